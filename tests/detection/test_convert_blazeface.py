"""The conversion of BlazeFace: the file in the package is what the script makes."""

import subprocess
import sys

import pytest

DATA = "headpose/detection/data"


def convert(repo, *arguments):
    command = [sys.executable, str(repo / "scripts/convert_blazeface.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=repo, capture_output=True, text=True, timeout=60)


def test_the_packaged_network_is_reproduced_byte_for_byte(repo, tmp_path):
    pytest.importorskip("tflite")
    ran = convert(repo, repo / DATA / "blazeface-short.tflite", "--out", tmp_path)
    assert ran.returncode == 0, ran.stderr
    for name in ("blazeface-short.onnx", "blazeface-short.tflite"):
        assert (tmp_path / name).read_bytes() == (repo / DATA / name).read_bytes()


def test_another_file_is_refused(repo, tmp_path):
    pytest.importorskip("tflite")
    for source in (repo / "LICENSE", tmp_path / "none.whl", repo / DATA / "blazeface-short.onnx"):
        ran = convert(repo, source, "--out", tmp_path)
        assert ran.returncode == 1
        assert ran.stderr.startswith("convert_blazeface: error: ")
        assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []
