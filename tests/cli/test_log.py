"""What the command line and a library's user see of the log."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import onnxruntime
import pytest

from headpose import cli, inference
from headpose.cli.log import show_log


@pytest.fixture(autouse=True)
def nothing_told_before():
    inference.warn_once.cache_clear()
    yield
    inference.warn_once.cache_clear()


def test_more_threads_than_there_are_are_one_line_and_no_hang(estimate, astronaut):
    status, out, err = estimate(astronaut, "--threads", 20_000)
    assert status == 0 and "yaw" in out
    assert err == f"headpose: warning: 20000 threads are more than this machine has CPUs: using {os.cpu_count()}\n"


def test_verbose_says_where_the_networks_run(estimate, astronaut):
    assert estimate(astronaut, "--device", "cpu")[2] == ""
    status, _, err = estimate(astronaut, "--device", "cpu", "-v")
    assert status == 0
    assert err.splitlines() == [
        "headpose: blazeface-short.onnx runs on cpu, threads: 1",
        "headpose: color.onnx runs on cpu, threads: 1",
    ]


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_fall_back_to_the_processor_is_reported_once(estimate, astronaut, monkeypatch):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    status, _, err = estimate(astronaut)
    assert status == 0
    assert err == "headpose: warning: device cuda is installed but does not start: using cpu\n"
    status, out, err = estimate(astronaut, "--device", "cuda")
    assert (status, out) == (1, "") and err.startswith("headpose: error: device cuda is installed but does not start")


def test_each_command_has_the_option(capsys):
    assert cli.main(["models", "-v"]) == 0
    assert capsys.readouterr().err == ""


def test_a_message_is_one_line_for_each_program_and_is_not_doubled(capsys):
    for program in ("one", "two"):
        show_log(program)
    logging.getLogger("headpose.any").warning("of two\nlines")
    logging.getLogger("headpose.any").info("hidden")
    assert capsys.readouterr().err == "two: warning: of two lines\n"


def test_a_library_is_silent_and_keeps_the_users_level(network, tmp_path):
    code = f"""
import logging, headpose
headpose.load_model({str(network)!r}, threads=20_000)
assert logging.getLogger("headpose").level == logging.NOTSET
logging.basicConfig(level=logging.INFO)
headpose.load_model({str(network)!r}, threads=1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "" and done.stderr == "INFO:headpose.inference:color.onnx runs on cpu, threads: 1\n"


def test_nothing_is_kept_about_the_user(network, astronaut, tmp_path):
    """ONNX Runtime keeps a number of the device in the home folder, and its events, unless it is switched off."""
    (tmp_path / "home").mkdir()
    settings = {**os.environ, "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "home")}
    settings = {name: value for name, value in settings.items() if not name.startswith(("ORT_", "XDG_"))}
    command = [sys.executable, "-m", "headpose", "estimate", str(astronaut), "--model", str(network), "--threads", "1"]
    subprocess.run(command, env=settings, check=True, capture_output=True)
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []
