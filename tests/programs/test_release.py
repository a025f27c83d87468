"""The files of a release: built from a small checkout, installed from a local index, fetched from a local server."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

NETWORK = "student-int8"
CHANGELOG = """# Changelog

## [Unreleased]

## [7.8.9] - 2031-02-03

### Added

- One thing that needs
  two lines.
- Another thing.

## [7.8.8] - 2030-01-01

- An old thing.

[Unreleased]: https://example.org/compare/v7.8.9...HEAD
[7.8.9]: https://example.org/v7.8.9
[7.8.8]: https://example.org/v7.8.8
"""
NOTES = "### Added\n\n- One thing that needs two lines.\n- Another thing.\n"


def git(folder: Path, *arguments: str) -> str:
    """Run git and return its output."""
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def template(repo, tmp_path_factory) -> Path:
    """A repository with one commit: this package, version 7.8.9, with one network."""
    root = tmp_path_factory.mktemp("template")
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "NOTICE", ".gitignore", ".gitattributes"):
        shutil.copy(repo / name, root)
    shutil.copytree(repo / "headpose", root / "headpose", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "headpose" / "_version.py").write_text('__version__ = "7.8.9"\n')
    (root / "scripts").mkdir()
    shutil.copy(repo / "scripts" / "release.py", root / "scripts")
    (root / "weights").mkdir()
    for suffix in (".onnx", ".md"):
        shutil.copy(repo / "weights" / f"{NETWORK}{suffix}", root / "weights")
    tables = re.split(r"^(?=\[)", (repo / "headpose" / "models.toml").read_text("utf-8"), flags=re.MULTILINE)
    (table,) = (text for text in tables if text.startswith(f"[{NETWORK}]"))
    (root / "headpose" / "models.toml").write_text(table, "utf-8")
    (root / "CHANGELOG.md").write_text(CHANGELOG)
    citation = (repo / "CITATION.cff").read_text("utf-8")
    citation, versions = re.subn(r"^version: .*$", "version: 7.8.9", citation, flags=re.MULTILINE)
    citation, dates = re.subn(r"^(date-released: ).*$", r'\1"2031-02-03"', citation, flags=re.MULTILINE)
    assert (versions, dates) == (1, 1)
    (root / "CITATION.cff").write_text(citation, "utf-8")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=All of it")
    return root


@pytest.fixture
def checkout(template, tmp_path) -> Path:
    """A copy of the repository."""
    return shutil.copytree(template, tmp_path / "checkout")


@pytest.fixture
def release(checkout, load_program, monkeypatch, capfd):
    """Run the program of the checkout; return its exit status, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["release", *map(str, arguments)])
        return (load_program(str(checkout / "scripts" / "release.py")).main(), *capfd.readouterr())

    return run


@pytest.fixture
def serve(tmp_path):
    """Serve a folder by HTTP from this machine; return the address."""
    root = tmp_path / "served"
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield root, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_release_is_built_installed_and_fetched(release, checkout, serve, tmp_path, repo):
    git(checkout, "tag", "vendored")  # no tag of a version
    status, out, err = release()
    assert (status, err) == (0, "")
    folder = checkout / "dist" / "7.8.9"
    assert out.splitlines()[-1] == f"wrote {folder}; this commit has no tag yet: git tag v7.8.9"
    assert [path.name for path in (checkout / "dist").iterdir()] == ["7.8.9"]
    wheel, sdist = folder / "open_headpose-7.8.9-py3-none-any.whl", folder / "open_headpose-7.8.9.tar.gz"
    names = {path.name for path in folder.iterdir()}
    networks = {f"{NETWORK}.onnx", f"{NETWORK}.md"}
    assert names == {wheel.name, sdist.name, "LICENSE", "NOTICE", "RELEASE_NOTES.md", "SHA256SUMS", *networks}
    assert (folder / "RELEASE_NOTES.md").read_text("utf-8") == NOTES
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text("utf-8").splitlines())
    assert sums == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names - {"SHA256SUMS"}}
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    with zipfile.ZipFile(wheel) as archive:
        assert {f"headpose/_weights/{name}" for name in networks} < set(archive.namelist())
    with tarfile.open(sdist) as archive:
        assert {f"open_headpose-7.8.9/weights/{name}" for name in networks} < set(archive.getnames())
    assert git(checkout, "status", "--porcelain") == ""
    assert release()[::2] == (1, f"release: error: {folder} exists already: remove it, or give another --out\n")

    served, address = serve
    shutil.copytree(folder, served / "files")
    (served / "simple" / "open-headpose").mkdir(parents=True)
    for package in (wheel, sdist):
        shutil.copy(package, served / "simple" / "open-headpose")
    site, fetched = tmp_path / "site", tmp_path / "fetched"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--isolated", "--target", str(site)]
    subprocess.run(
        [*pip, "--index-url", f"{address}/simple/", "open-headpose"], check=True, capture_output=True, timeout=120
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "HEADPOSE_SOURCE": f"{address}/files"}

    def headpose(*arguments):
        command = [sys.executable, "-m", "headpose", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert headpose("--version") == "headpose 7.8.9\n"
    photo = repo / "examples" / "astronaut.jpg"
    assert headpose("estimate", photo, "--model", NETWORK).startswith("astronaut.jpg  yaw ")
    headpose("fetch", NETWORK, "--to", fetched)
    assert (fetched / f"{NETWORK}.onnx").read_bytes() == (folder / f"{NETWORK}.onnx").read_bytes()


def test_the_folder_and_the_tag_of_the_version(release, checkout, tmp_path):
    git(checkout, "tag", "v7.8.9")
    status, out, _ = release("--out", tmp_path / "new" / "release")
    assert (status, out.splitlines()[-1]) == (0, f"wrote {tmp_path / 'new' / 'release'}")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["release"]
    assert not (checkout / "dist").exists()


def replace(name: str, old: str, new: str):
    """Return a change: the file with other text, committed."""

    def change(root: Path) -> None:
        text = (root / name).read_text("utf-8")
        assert old in text
        (root / name).write_text(text.replace(old, new, 1), "utf-8")
        git(root, "commit", "--quiet", "--all", "--message=Another text")

    return change


def remove(name: str):
    """Return a change: the file removed, committed."""

    def change(root: Path) -> None:
        git(root, "rm", "--quiet", name)
        git(root, "commit", "--quiet", "--message=Less")

    return change


def _alter_network(root: Path) -> None:
    path = root / "weights" / f"{NETWORK}.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    git(root, "commit", "--quiet", "--all", "--message=Another network")


def _tag_the_commit_before(root: Path) -> None:
    git(root, "tag", "v7.8.9")
    git(root, "commit", "--quiet", "--allow-empty", "--message=Later")


REFUSALS = {
    "changed": (lambda root: (root / "README.md").write_text("x"), r"the working tree has changes \(README\.md\)"),
    "untracked": (lambda root: (root / "new.py").touch(), r"the working tree has changes \(new\.py\)"),
    "no repository": (lambda root: shutil.rmtree(root / ".git"), "git status: fatal: not a git repository"),
    "another tag": (lambda root: git(root, "tag", "v7.9.0"), r"has the tag v7\.9\.0, but its version is 7\.8\.9"),
    "tag elsewhere": (_tag_the_commit_before, r"the tag v7\.8\.9 is on another commit"),
    "no section": (replace("CHANGELOG.md", "[7.8.9] -", "[7.9.0] -"), r'no entries under "## \[7\.8\.9\]'),
    "no date": (replace("CHANGELOG.md", " - 2031-02-03", ""), r'no entries under "## \[7\.8\.9\]'),
    "no entry": (
        replace("CHANGELOG.md", "- One thing that needs\n  two lines.\n- Another thing.\n", ""),
        r'no entries under "## \[7\.8\.9\]',
    ),
    "no link": (replace("CHANGELOG.md", "\n[7.8.9]:", "\n[7.8.7]:"), r'no link "\[7\.8\.9\]: \.\.\."'),
    "unreleased": (replace("CHANGELOG.md", "[Unreleased]\n", "[Unreleased]\n\n- New.\n"), "entries under Unreleased"),
    "cited version": (replace("CITATION.cff", "version: 7.8.9", "version: 7.8.8"), "has version 7.8.8, .* has 7.8.9"),
    "cited date": (replace("CITATION.cff", "2031-02-03", "2031-02-04"), "has date-released 2031-02-04, .*2031-02-03"),
    "no cited date": (replace("CITATION.cff", "date-released", "date"), "has date-released nowhere"),
    "another network": (_alter_network, f"is not model {NETWORK} of this version"),
    "no network": (remove(f"weights/{NETWORK}.onnx"), f"model {NETWORK} is not complete: .*onnx does not exist"),
    "no card": (remove(f"weights/{NETWORK}.md"), f"model {NETWORK} is not complete: .*md does not exist"),
    "no page": (remove("README.md"), r"cannot build the package: .*README\.md"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_release_is_refused(release, checkout, case):
    change, message = REFUSALS[case]
    change(checkout)
    status, out, err = release()
    assert (status, out) == (1, "")
    assert re.fullmatch(r"release: error: [^\n]+\n", err), err
    assert re.search(message, err), err
    assert not (checkout / "dist").exists()


def test_an_output_folder_that_exists_is_kept(release, tmp_path):
    (tmp_path / "there").mkdir()
    assert release("--out", tmp_path / "there")[0] == 1
    assert not list((tmp_path / "there").iterdir())
