import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from headpose.cli import main
from tests.evaluation.faces import write_colored_faces
from tests.evaluation.foreign import adapter_file, linear_network
from tests.network_files import color_network
from tests.videos import write_video

EULERS = [(float(yaw), float(pitch), 0.0) for yaw in (-40, 0, 40) for pitch in (-20, 20)]
COLORS = {"angles": (np.array([[100, 0, 0], [0, 0, 100], [0, 0, 0]]), np.array([-50, -50, 0]))}


@pytest.fixture
def run(load_program, monkeypatch, capfd):
    """The program in this process; the evaluators it starts are processes of their own."""
    program = load_program("eval/all.py")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["all", *map(str, arguments)])
        try:
            status = program.main()
        except SystemExit as stop:
            status = stop.code
        return subprocess.CompletedProcess(sys.argv, status, *capfd.readouterr())

    return run


@pytest.fixture
def setting(tmp_path):
    data = write_colored_faces(tmp_path / "faces", EULERS, noise_degrees=2.0)
    (peers := tmp_path / "peers").mkdir()
    linear_network(peers / "net.onnx", COLORS)
    ours, theirs = color_network(tmp_path / "color.onnx"), adapter_file(tmp_path / "theirs.toml")
    common = ("--data", data, "--models", f"{ours},{theirs}", "--peers", peers, "--out", tmp_path / "results")
    return (*common, "--only", "accuracy,robustness", "--threads", 1)


def started(done):
    return [line.split()[0] for line in done.stdout.splitlines() if line.startswith("eval/")]


def test_a_folder_is_filled_once_and_again_where_a_network_changed(run, setting, tmp_path):
    done = run(*setting)
    assert done.returncode == 0, done.stderr
    assert started(done) == ["eval/aflw2000.py", "eval/aflw2000.py", "eval/robustness.py"]
    results = tmp_path / "results"
    assert {path.name for path in (results / "accuracy").iterdir()} == {"color.json", "theirs.json"}
    assert json.loads((results / "networks.json").read_text())["theirs"]["macs"] == 9
    assert main(["report", str(results), "--out", str(tmp_path / "report"), "--data", str(tmp_path / "faces")]) == 0

    assert started(run(*setting)) == []
    color_network(tmp_path / "color.onnx", gain=1.0001)  # another file of the same name
    assert started(run(*setting)) == ["eval/aflw2000.py", "eval/robustness.py"]
    adapter_file(tmp_path / "theirs.toml", crop='channels = "rgb"\nmean = [0, 0, 0]\nstd = [1, 1, 1]\nscale = 1.2')
    assert started(run(*setting)) == ["eval/aflw2000.py", "eval/robustness.py"]
    assert started(run(*setting)) == []


def test_a_dry_run_writes_nothing(run, setting, tmp_path):
    done = run(*setting[:-4], "--dry-run")
    assert started(done) == ["eval/aflw2000.py", "eval/aflw2000.py", "eval/robustness.py", "eval/latency.py"]
    assert not (tmp_path / "results").exists()


def test_stability_is_measured_where_there_is_something_to_measure_on(run, setting, photo, tmp_path):
    clip = write_video(tmp_path / "clip.avi", [cv2.resize(photo, (256, 256), interpolation=cv2.INTER_AREA)] * 20)
    arguments = (*setting[:-4], "--only", "accuracy,stability", "--threads", 1, "--clips", clip)
    assert "eval/stability.py" in started(run(*arguments, "--dry-run"))
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "results" / "stability.json").read_text())
    assert [each["network"] for each in record["clips"]] == ["color", "theirs"]
    assert started(run(*arguments)) == []
    assert main(["report", str(tmp_path / "results"), "--docs", str(tmp_path / "page.md")]) == 0
    assert "Jitter on 1 videos (clip)" in (tmp_path / "page.md").read_text()
    another = clip.with_stem("another")
    another.write_bytes(clip.read_bytes())
    assert started(run(*arguments, another)) == ["eval/stability.py"]
    assert started(run(*arguments, another)) == []
    color_network(tmp_path / "color.onnx", gain=1.0001)
    assert started(run(*arguments)) == ["eval/aflw2000.py", "eval/stability.py"]


def test_user_errors_are_one_line(run, setting, tmp_path):
    data, ours = setting[1], tmp_path / "color.onnx"
    common = ("--data", data, "--out", tmp_path / "results", "--only", "accuracy")
    cases = [
        ((*common, "--models", "nonesuch"), "nonesuch"),
        ((*common, "--models", f"{ours},{ours}"), "one name"),
        ((*common, "--models", "fsanet"), "--peers"),
        (("--data", data, "--models", ours, "--out", ours, "--only", "accuracy"), "cannot write into"),
        ((*common, "--models", ours, "--compress", tmp_path / "nowhere"), "headpose compress"),
    ]
    for arguments, says in cases:
        done = run(*arguments)
        assert done.returncode == 1 and says in done.stderr
        assert done.stderr.startswith("all: error: ") and done.stderr.count("\n") == 1
    done = run("--data", tmp_path / "nowhere", "--models", ours, "--out", tmp_path / "r", "--only", "accuracy")
    assert (
        done.returncode == 1
        and "cannot read the folder" in done.stderr
        and "all: error: eval/aflw2000.py" in done.stderr
    )
    for misused in (("--only", "speed"), ("--models", ",")):
        assert run(*common, "--models", ours, *misused).returncode == 2
