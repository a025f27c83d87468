"""The subcommands other than estimate."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys

import onnxruntime
import pytest

import headpose
from headpose import cli, doctor, inference, weights
from headpose.cli.estimate import add_arguments
from headpose.estimator import DEFAULT_MODEL


def test_models_lists_the_manifest(capsys, monkeypatch, network):
    crop = inference.load_model(network).crop
    info = headpose.ModelInfo(
        "named", "none.onnx", "0" * 64, 4_950_000, "fp32", "permissive", "", "", "", "", crop, {"aflw2000_mae": 3.5}
    )
    monkeypatch.setattr(weights, "manifest", lambda: {"named": info})
    assert cli.main(["models"]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split() == ["named", "4.95", "fp32", "permissive", "aflw2000_mae", "3.5", "(no", "file", "here)"]
    assert cli.main(["models", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["name"], entry["license"], entry["bytes"], entry["path"]) == ("named", "permissive", 4_950_000, None)
    assert entry["metrics"] == {"aflw2000_mae": 3.5} and entry["crop"]["size"] == 16


def test_models_marks_the_default_and_explains_the_licenses(capsys):
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out
    marked = [line.split()[0] for line in out.splitlines()[1:] if line.split()[1:2] == ["*"]]
    assert marked == [DEFAULT_MODEL]
    for line in ("license research-only: .*for research only", "license permissive: .*any use", r"\* the default"):
        assert re.search(f"^{line}", out, re.MULTILINE)
    assert cli.main(["models", "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out) if entry["default"]] == [DEFAULT_MODEL]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(
    ("model", "words", "terms"),
    [
        ("student", [], "are for research only"),
        ("student-int8", ["--json", "-"], "are for research only"),
        ("student", ["--quiet"], None),
        ("compact-clean", [], None),
    ],
)
def test_estimate_says_on_a_terminal_that_weights_are_for_research_only(repo, model, words, terms):
    import pty

    photo = repo / "examples" / "astronaut.jpg"
    command = [sys.executable, "-m", "headpose", "estimate", photo, "--model", model, *words]
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb") as terminal:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, timeout=120)
        os.write(theirs, b"END\n")
        told = b"".join(iter(terminal.readline, b"END\r\n")).decode()
        os.close(theirs)
    assert done.returncode == 0
    lines = [line for line in told.splitlines() if "weights" in line]
    assert lines == ([f"headpose: the weights of {model} {terms} (see headpose models)"] if terms else [])
    piped = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "research" not in piped.stderr + piped.stdout


def test_doctor_looks_at_everything(capsys):
    status = cli.main(["doctor"])
    out = capsys.readouterr().out
    assert status == int("PROBLEM" in out)
    for subject in ("headpose", "numpy", "OpenCV", "windows", "ONNX Runtime", "device cpu", "extra train", "detector"):
        assert re.search(rf"^(ok|note|PROBLEM) +{subject} ", out, re.MULTILINE), subject


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_doctor_tries_each_device(capsys, monkeypatch):
    there = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    cli.main(["doctor"])
    out = capsys.readouterr().out
    assert re.search(r"^ok +device cpu +starts$", out, re.MULTILINE)
    if "CUDAExecutionProvider" not in onnxruntime.capi._pybind_state.get_available_providers():
        assert re.search(r"^note +device cuda +device cuda is installed but does not start", out, re.MULTILINE)


def test_doctor_tells_of_two_versions_of_opencv_in_one_folder(capsys, monkeypatch):
    installed = {"opencv-python": "4.12.0.88", "opencv-python-headless": "4.14.0.94"}
    monkeypatch.setattr(doctor.metadata, "version", lambda name: installed.get(name, "1.0"))
    monkeypatch.setattr(doctor, "_ONNX_RUNTIME", ("onnxruntime",))
    monkeypatch.setattr(doctor, "_OPENCV", tuple(installed))
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"PROBLEM +OpenCV +opencv-python 4.12.0.88, opencv-python-headless 4.14.0.94; .*cv2/", out)


def test_doctor_reports_the_unrelated_distribution_of_the_same_name(capsys, monkeypatch, tmp_path):
    project, site = tmp_path / "project", tmp_path / "site"
    (project / "headpose").mkdir(parents=True)
    (project / "headpose" / "__init__.py").write_text("__version__ = '1.1.8'\n")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "headpose"\nversion = "1.1.8"\n'
    )
    cli.main(["doctor"])
    assert "package headpose" not in capsys.readouterr().out
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    subprocess.run(build, cwd=project, check=True, capture_output=True, timeout=60)
    (wheel,) = (project / "dist").iterdir()
    shutil.unpack_archive(wheel, site, "zip")  # which installs a pure wheel
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    assert cli.main(["doctor"]) == 1
    (line,) = re.findall(r"^PROBLEM +package headpose +(.*)$", capsys.readouterr().out, re.MULTILINE)
    assert line == (
        "1.1.8, an unrelated distribution, shares the folder headpose/ with open-headpose: "
        "pip uninstall headpose, then reinstall open-headpose"
    )


def test_doctor_minds_the_default_network_alone(capsys, monkeypatch, tmp_path, repo):
    """An installation from the wheel lacks some networks, and is whole."""
    monkeypatch.setattr(weights, "search_folders", lambda: [tmp_path])
    for name in (DEFAULT_MODEL, "student-int8"):
        shutil.copy(repo / "weights" / weights.lookup(name).file, tmp_path)
    (tmp_path / weights.lookup("compact").file).write_bytes(b"another network")
    monkeypatch.setattr(doctor, "_OPENCV", ("opencv-python",))  # what else this machine has is not asked here
    monkeypatch.setattr(doctor, "_ONNX_RUNTIME", ("onnxruntime",))
    status = cli.main(["doctor"])
    out = capsys.readouterr().out
    assert (status, "PROBLEM" in out) == (0, False)
    assert re.search(r"^ok +model student-int8 ", out, re.MULTILINE)
    assert re.search(r"^note +model teacher .*headpose fetch teacher", out, re.MULTILINE)
    assert re.search(r"^note +model compact .*is not model compact of this version", out, re.MULTILINE)
    (tmp_path / weights.lookup(DEFAULT_MODEL).file).unlink()
    assert cli.main(["doctor"]) == 1
    assert re.search(rf"^PROBLEM +model {DEFAULT_MODEL} .*headpose fetch", capsys.readouterr().out, re.MULTILINE)


def test_train_without_torch_names_the_extra():
    code = """
import sys
sys.modules["torch"] = None
from headpose.cli import main
sys.exit(main(["train", "compact", "--dry-run"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"headpose: error: .*pip install .*\[train\].* in a checkout.*\n", done.stderr), done.stderr


def test_the_default_network_is_the_estimators() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args(["photo.jpg"]).model == DEFAULT_MODEL


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("estimate photo.jpg", "--json"),
        ("estimate photo.jpg", "--csv"),
        ("estimate photo.jpg", "--out"),
        ("estimate photo.jpg", "--detector-model"),
        ("fetch student", "--to"),
        ("train compact", "--out"),
        ("compress student", "--out"),
        ("quantize student --precision fp16", "--out"),
        ("synth", "--out"),
        ("synth", "--sheet"),
        ("synth turn --source faces.csv", "--out"),
        ("synth turn --out turned", "--source"),
        ("report results", "--out"),
        ("weights to-safetensors student", "--out"),
    ],
)
def test_an_empty_name_is_not_the_working_folder(command, option, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main([*command.split(), option, ""])
    assert ended.value.code == 2
    assert "must not be empty" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
