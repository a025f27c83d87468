"""What is promised about the distribution: its names, its files, its requirements, its two commands."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import cv2
import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement

import headpose
from headpose import download, weights
from headpose.estimator import DEFAULT_MODEL
from headpose.types import ModelInfo

DISTRIBUTION = "open-headpose"


def requirements(extra: str = "") -> dict[str, Requirement]:
    """The distribution's requirements that hold in this environment, by name."""
    parsed = map(Requirement, importlib.metadata.requires(DISTRIBUTION) or [])
    return {r.name: r for r in parsed if r.marker is None or r.marker.evaluate({"extra": extra})}


def constraints(repo: Path) -> dict[str, Requirement]:
    """The pins of constraints.txt that hold in this environment, by name."""
    lines = (repo / "constraints.txt").read_text("utf-8").splitlines()
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {r.name: r for r in parsed if r.marker is None or r.marker.evaluate()}


@pytest.fixture(scope="module")
def wheel(repo, tmp_path_factory) -> dict[str, bytes]:
    """The files of a freshly built wheel: name -> content."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=repo, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_version_is_one_number(repo, wheel):
    assert f"open_headpose-{headpose.__version__}.dist-info/METADATA" in wheel
    shown = subprocess.run([sys.executable, "-m", "headpose", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == f"headpose {headpose.__version__}"


def test_every_exported_name_can_be_imported():
    assert sorted(headpose.__all__) == headpose.__all__
    for name in headpose.__all__:
        assert getattr(headpose, name) is not None
    assert not [name for name in headpose.__all__ if name.startswith("_") and name != "__version__"]


def test_the_wheel_has_every_file_of_the_package(repo, wheel):
    there = {path.relative_to(repo).as_posix() for path in (repo / "headpose").rglob("*") if path.is_file()}
    there = {name for name in there if "__pycache__" not in name and not Path(name).name.startswith(".")}
    packed = {name for name in wheel if name.startswith("headpose/") and not name.startswith("headpose/_weights/")}
    assert packed == there
    assert {"headpose/py.typed", "headpose/models.toml", "headpose/recipes/compact.toml"} <= packed


def test_the_wheel_has_no_file_but_the_package(wheel):
    assert {name.split("/")[0] for name in wheel} == {"headpose", f"open_headpose-{headpose.__version__}.dist-info"}
    licenses = {Path(name).name for name in wheel if "/licenses/" in name}
    assert licenses == {"LICENSE", "NOTICE"}


def carried_networks() -> list[ModelInfo]:
    """What the distribution is to hold: the small networks, but for the one that only stands as a control."""
    return [info for info in weights.manifest().values() if info.bytes <= 8_000_000 and info.name != "student-scratch"]


def test_the_wheel_carries_the_small_networks_of_the_manifest(wheel):
    carried = {Path(name).name: content for name, content in wheel.items() if name.startswith("headpose/_weights/")}
    carried = {name: content for name, content in carried.items() if not name.endswith(".md")}
    small = {info.file: info.sha256 for info in carried_networks()}
    assert {name: hashlib.sha256(content).hexdigest() for name, content in carried.items()} == small
    assert f"{DEFAULT_MODEL}.onnx" in carried, "the default network must work offline after pip install"
    assert {"student.onnx", "student-fp16.onnx", "student-int8.onnx"} <= set(carried)


def test_every_address_is_of_one_repository(wheel, repo):
    folder = f"open_headpose-{headpose.__version__}.dist-info"
    metadata = Metadata.from_email(wheel[f"{folder}/METADATA"])
    assert metadata.project_urls is not None
    address = metadata.project_urls["Homepage"]
    assert {"Homepage", "Documentation", "Changelog", "Issues"} == set(metadata.project_urls)
    assert all(url == address or url.startswith(f"{address}/") for url in metadata.project_urls.values())
    for url in metadata.project_urls.values():
        _, found, path = url.partition("/blob/main/")
        assert not found or (repo / path).is_file(), url
    assert f'repository-code: "{address}"' in (repo / "CITATION.cff").read_text("utf-8")
    assert f"  source_url: {address}/blob/main/" in (repo / "mkdocs.yml").read_text("utf-8")
    assert f"{address}/releases/download/v{headpose.__version__}" == download.SOURCE
    links = re.findall(r"^\[[^]]+\]: (\S+)$", (repo / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert len(links) >= 2 and all(link.startswith(f"{address}/") for link in links)
    pictures = re.findall(r"https://raw\.[^)\" ]+", (repo / "README.md").read_text("utf-8"))
    raw = address.replace("://github.com/", "://raw.githubusercontent.com/")
    assert pictures and all(picture.startswith(f"{raw}/main/") for picture in pictures)


def test_the_page_of_the_index_has_whole_addresses(wheel, repo):
    page = wheel[f"open_headpose-{headpose.__version__}.dist-info/METADATA"].decode().partition("\n\n")[2]
    links = [link for link in re.findall(r"\]\(([^)]+)\)", page) if not link.startswith("#")]
    assert links and all(link.startswith("https://") for link in links)
    files = [found[1] for link in links if (found := re.search(r"/blob/main/([^#]+)", link))]
    assert {"docs/devices.md", "docs/protocols.md", "weights/student.md", "LICENSE"} <= set(files)
    assert [path for path in files if not (repo / path).is_file()] == []


def test_the_versions_of_python_that_are_named_are_those_of_ci(wheel, repo):
    metadata = Metadata.from_email(wheel[f"open_headpose-{headpose.__version__}.dist-info/METADATA"])
    named = {found[1] for name in metadata.classifiers or [] if (found := re.search(r":: Python :: (3\.\d+)$", name))}
    workflow = (repo / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert named == set(re.findall(r'"(3\.\d+)"', workflow))
    oldest = min(named, key=lambda version: int(version.removeprefix("3.")))
    assert str(metadata.requires_python) == f">={oldest}"


def test_ci_runs_the_targets_of_the_makefile(repo):
    targets = set(re.findall(r"^([\w-]+):", (repo / "Makefile").read_text("utf-8"), re.MULTILINE))
    for path, steps in ((".github/workflows/ci.yml", r"run: (make .*)$"), (".ci/run", r"^ *(make .*)$")):
        called = re.findall(steps, (repo / path).read_text("utf-8"), re.MULTILINE)
        named = {words.removeprefix("make ") for words in called} - {"${{ matrix.target }}"}
        assert {"demo", "wheel", "docs", "wheels-arm64", "test-avx2"} <= named <= targets, path
    assert {"test", "coverage"} <= targets


def test_the_wheel_says_that_the_default_network_is_for_research_only(wheel):
    info = weights.manifest()[DEFAULT_MODEL]
    assert info.license == "research-only"
    folder = f"open_headpose-{headpose.__version__}.dist-info"
    metadata = wheel[f"{folder}/METADATA"].decode()
    license = "Apache-2.0 AND LicenseRef-headpose-research-only-weights"
    assert re.search(rf"^License-Expression: {license}$", metadata, re.MULTILINE)
    assert re.search(rf"`{DEFAULT_MODEL}`, the default, .*for\s+research\s+only", metadata)
    notice = " ".join(wheel[f"{folder}/licenses/NOTICE"].decode().split())
    assert "LicenseRef-headpose-research-only-weights" in notice
    assert f"research only: {DEFAULT_MODEL}, the default network, is one of them" in notice


def test_the_wheel_has_the_card_of_each_of_its_networks_and_its_license(wheel, repo):
    cards = {Path(name).stem for name in wheel if name.startswith("headpose/_weights/") and name.endswith(".md")}
    assert cards == {info.name for info in carried_networks()}
    notice = " ".join((repo / "NOTICE").read_text("utf-8").split())
    for info in weights.manifest().values():
        card = (repo / "weights" / f"{info.name}.md").read_text("utf-8")
        assert f"License: **{info.license}**. Terms: {info.license_terms}." in card
        assert ("- Use: research only" in card) == (info.license == "research-only")
        research = notice[notice.index("student-wide, the default") : notice.index("compact-clean alone")]
        assert (f" {info.name}" in f" {research}") == (info.license == "research-only")
    for info in carried_networks():
        assert wheel[f"headpose/_weights/{info.name}.md"] == (repo / "weights" / f"{info.name}.md").read_bytes()


def test_the_source_archive_carries_the_networks_of_the_wheel_and_no_larger_ones(repo, tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=repo, check=True, capture_output=True, timeout=120)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        networks = {Path(name).name for name in archive.getnames() if "/weights/" in name and name.endswith(".onnx")}
    assert networks == {info.file for info in carried_networks()}


@pytest.mark.parametrize("damage", ["altered", "missing", "without a card", "too large to ship"])
def test_the_wheel_is_not_built_with_a_wrong_network(repo, tmp_path, damage):
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(repo / name, tmp_path)
    package, content = tmp_path / "headpose", b"a network"
    package.mkdir()
    (tmp_path / "weights").mkdir()
    shutil.copy(repo / "headpose" / "_version.py", package)
    (package / "__init__.py").touch()
    size = 9_000_000 if damage == "too large to ship" else len(content)
    entry = f'[net]\nfile = "net.onnx"\nbytes = {size}\nsha256 = "{hashlib.sha256(content).hexdigest()}"\n'
    (package / "models.toml").write_text(entry)
    if damage != "without a card":
        (tmp_path / "weights" / "net.md").write_text("# net\n")
    if damage != "missing":
        (tmp_path / "weights" / "net.onnx").write_bytes(b"another" if damage == "altered" else content)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    if damage == "too large to ship":
        assert built.returncode == 0
        (path,) = (tmp_path / "dist").glob("*.whl")
        assert not [name for name in zipfile.ZipFile(path).namelist() if name.endswith(".onnx")]
    else:
        assert built.returncode != 0
        assert "net.onnx" in built.stderr


def test_the_runtime_requires_five_libraries():
    tomli = {"tomli"} if sys.version_info < (3, 11) else set()
    assert set(requirements()) == {"numpy", "opencv-python", "onnxruntime", "platformdirs", "tqdm"} | tomli


@pytest.mark.parametrize("extra", ["", "mediapipe", "train", "apps", "test"])
def test_what_is_installed_satisfies_every_extra(extra):
    for name, requirement in requirements(extra).items():
        assert requirement.specifier.contains(importlib.metadata.version(name), prereleases=True), requirement


def test_the_extras_name_extras_that_exist():
    extras = set(importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or [])
    assert {"mediapipe", "train", "apps", "test"} <= extras
    for line in importlib.metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(line)
        if requirement.name == DISTRIBUTION:
            assert requirement.extras <= extras


def test_what_is_installed_has_the_pinned_versions(repo):
    for name, pin in constraints(repo).items():
        assert pin.specifier.contains(importlib.metadata.version(name), prereleases=True), pin


def test_the_builds_of_opencv_are_one_version_and_open_windows(repo):
    pins = {str(pin.specifier) for name, pin in constraints(repo).items() if name.startswith("opencv")}
    assert len(pins) == 1
    gui = re.search(r"^\s*GUI:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    assert gui is not None and gui[1] != "NONE", "a headless build of OpenCV overwrote the others: see the Makefile"


def test_the_console_script_is_the_command_line():
    (script,) = importlib.metadata.distribution(DISTRIBUTION).entry_points.select(group="console_scripts")
    assert script.name == "headpose"
    assert callable(script.load())


def test_programs_use_public_names_only(repo):
    programs = [*(repo / "apps").glob("*.py"), *(repo / "eval").glob("*.py")]
    assert programs
    for program in programs:
        for node in ast.walk(ast.parse(program.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "headpose":
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [part for alias in node.names for part in alias.name.split(".")]
            else:
                continue
            private = [name for name in names if name.startswith("_") and not name.startswith("__")]
            assert not private, f"{program.name} imports {private}"


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_says_in_one_line_that_python_is_too_old(repo, tmp_path, target):
    shutil.copy(repo / "Makefile", tmp_path)
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\necho Python 3.9.18\nexit 1\n")
    old.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    ran = subprocess.run(
        ["make", target, f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, timeout=30, env=environment
    )
    assert ran.returncode != 0
    first = ran.stderr.splitlines()[0]
    assert "3.10 or newer" in first and f"make {target} PYTHON=" in first
    assert not (tmp_path / ".venv").exists()
