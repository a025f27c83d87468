"""The runtime where nothing but numpy, OpenCV, ONNX Runtime and tqdm can be imported."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.network_files import color_network

PROGRAM = """
import importlib.abc, sys

BLOCKED = {"torch", "torchvision", "mediapipe", "scipy", "matplotlib", "onnx", "onnxscript", "albumentations",
           "gradio", "safetensors", "PIL", "pandas"}


class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)


sys.meta_path.insert(0, Blocker())
from headpose.cli import main

status = main(sys.argv[1:])
assert not BLOCKED & set(sys.modules), BLOCKED & set(sys.modules)
sys.exit(status)
"""


def run(*arguments):
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def network(tmp_path):
    return color_network(tmp_path / "color.onnx")


def test_estimate_end_to_end(tmp_path, repo, network):
    photo = repo / "examples" / "astronaut.jpg"
    out = tmp_path / "out.jpg"
    done = run("estimate", photo, "--model", network, "--json", "-", "--csv", tmp_path / "a.csv", "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["score"] > 0.5
    assert out.stat().st_size > 10_000


def test_a_network_of_codewords_is_decoded_by_numpy_alone(tmp_path, repo):
    from tests.compression.test_product import quantized, written

    file = written(tmp_path, *quantized())
    done = run("estimate", repo / "examples" / "astronaut.jpg", "--model", file, "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["score"] > 0.5


@pytest.mark.parametrize("command", [["models"], ["models", "--json"], ["--help"], ["estimate", "--help"]])
def test_commands(command):
    done = run(*command)
    assert (done.returncode, done.stderr) == (0, "")


def test_doctor_finds_the_extras_missing_or_not_and_does_not_fall():
    done = run("doctor")
    assert "detector" in done.stdout and done.stderr == ""


def test_the_mediapipe_detector_says_what_to_install(repo, network):
    done = run("estimate", repo / "examples" / "astronaut.jpg", "--model", network, "--detector", "mediapipe")
    assert done.returncode == 1
    assert done.stderr.startswith("headpose: error: ") and "mediapipe" in done.stderr and "pip install" in done.stderr
    assert done.stderr.count("\n") == 1


def test_every_public_name_can_be_imported():
    code = (
        PROGRAM.split("from headpose.cli")[0] + "import headpose\nfor name in headpose.__all__: getattr(headpose, name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
