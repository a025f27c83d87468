import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.evaluation.foreign import adapter_file, linear_network
from tests.network_files import PLAIN, color_network
from tests.videos import write_video

STAGES = ["crop", "network", "crop + network", "decode + detect + crop + network + track"]


@pytest.fixture
def run(repo):
    def run(*arguments):
        command = [sys.executable, str(repo / "eval" / "latency.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture
def peer(tmp_path):
    folder = tmp_path / "peers"
    folder.mkdir()
    linear_network(folder / "net.onnx", {"angles": (np.eye(3), np.zeros(3))})
    return adapter_file(tmp_path / "theirs.toml"), folder


def test_a_run_times_the_parts_the_whole_and_other_networks(run, tmp_path, peer):
    model, file = color_network(tmp_path / "color.onnx"), tmp_path / "times.json"
    options = ("--rounds", 2, "--calls", 3, "--threads", f"1,2,{10**6}", "--json", file)
    done = run("--model", model, "--adapter", peer[0], "--peers", peer[1], *options)
    assert done.returncode == 0, done.stderr
    record = json.loads(file.read_text())
    assert record["reference"] == "color" and record["device"] == "cpu"
    assert [each["threads"] for each in record["runs"]] == list(dict.fromkeys([1, 2, os.cpu_count()]))
    assert done.stderr.count("latency: warning: 1000000 threads are more") == 1
    for each in record["runs"]:
        times = {(row["network"], row["stage"]): row for row in each["times_ms"]}
        assert list(times) == [
            ("", "decode JPEG"),
            ("", "blazeface: detect"),
            ("", "track"),
            *((name, stage) for name in ("color", "theirs") for stage in STAGES),
        ]
        assert times["color", "crop + network"]["ratio"] == 1
        for row in times.values():
            assert 0 < row["best"] <= row["median"] <= row["p95"]
            assert row["calls"] == 6 and row["cpu"] >= 0
        # The two are timed apart, on a machine that may be busy.
        assert times["", "blazeface: detect"]["best"] < times["color", STAGES[-1]]["best"] * 3
        assert each["peak_gflops"]["fp32"] > 1 and set(each["peak_gflops"]) == {"fp32", "int8"}
    ours, theirs = record["networks"]
    assert (ours["kind"], theirs["kind"], theirs["macs"]) == ("ours", "peer", 9)
    assert ours["memory"]["peak"] >= ours["memory"]["runtime"] > 1e6
    assert "640 x 480 frame" in record["setting"]
    for threads, each in zip((1, 2), record["runs"], strict=False):
        times = {(row["network"], row["stage"]): row["median"] for row in each["times_ms"]}
        share = times["", "blazeface: detect"] / times["color", STAGES[-1]]
        line = rf"threads {threads}: of the .* ms of a frame with color: .*blazeface: detect {share:.0%}, track"
        assert re.search(line, done.stdout), done.stdout
    assert "theirs: crop + network" in done.stdout and "of the fp32 peak" in done.stdout
    # A warning is a line on stderr, and in the record of a single thread only.
    assert record["runs"][1]["warnings"] == []
    shown = [line for line in done.stderr.splitlines() if "the machine was busy" in line]
    assert shown == [f"latency: warning: {text}" for text in record["runs"][0]["warnings"]]


def test_ratios_are_to_the_network_that_is_named(run, tmp_path, peer):
    model, file = color_network(tmp_path / "color.onnx"), tmp_path / "times.json"
    options = ("--rounds", 1, "--calls", 2, "--json", file)
    done = run("--models", f"{model},{peer[0]}", "--peers", peer[1], "--reference", "theirs", *options)
    assert done.returncode == 0, done.stderr
    record = json.loads(file.read_text())
    ratios = {(row["network"], row["stage"]): row["ratio"] for row in record["runs"][0]["times_ms"]}
    assert ratios["theirs", "crop + network"] == 1 != ratios["color", "crop + network"]


def test_user_errors_are_one_line(run, tmp_path, peer):
    model = color_network(tmp_path / "color.onnx")
    cases = [
        (("--model", "nonesuch"), "nonesuch"),
        (("--model", model, "--peers", tmp_path / "nowhere"), "no network of"),
        (("--model", model, "--image", tmp_path / "nowhere.jpg"), "does not exist"),
        (("--model", model, model), "the same name"),
        (("--model", model, "--rounds", 0), "a round and a call"),
        (("--models", f"{model},{peer[0]}"), "--peers"),
        (("--model", model, "--reference", "nonesuch"), "nonesuch"),
    ]
    for arguments, says in cases:
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("latency: error: ")
        assert says in done.stderr
        assert done.stderr.count("\n") == 1
    misused = [("--model", model, "--frame", "wide"), ("--threads", "1"), ("--model", model, "--threads", "one")]
    for arguments in (*misused, ("--model", model, "--adapter", peer[0])):
        done = run(*arguments)
        assert done.returncode == 2 and "Traceback" not in done.stderr


def test_the_pipeline_times_the_loop_of_a_clip_with_the_share_of_the_detector(run, tmp_path, photo):
    """A network that finds the face again, and one that needs the detector in every frame."""
    region = {"region": [0.5, 0.5, 1 / PLAIN.scale, 1 / PLAIN.scale], "face": 3.0}  # always where it was
    follows = color_network(tmp_path / "follows.onnx", name="follows", optional=region)
    plain = color_network(tmp_path / "plain.onnx", name="plain")
    clip, file = write_video(tmp_path / "clip.avi", [photo] * 40, fps=30), tmp_path / "loop.json"
    done = run("--model", follows, plain, "--pipeline", clip, "--frame", "160x120", "--rounds", 1, "--json", file)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())["rows"]
    assert [(row["name"], row["loop"]) for row in rows] == [
        ("follows", "newcomers every 15 frames"),
        ("follows", "detector in every frame"),
        ("plain", "detector in every frame"),
    ]
    assert [row["searches"] for row in rows] == [pytest.approx(2 / 30), 1, 1]
    assert all(row["frames"] == 30 and row["faces"] == 1 and 0 < row["detector"] < 1 for row in rows)
    assert rows[0]["mean"] < rows[1]["mean"]
    assert done.stdout.count("| detector in every frame |") == 2


def test_from_a_frame_to_its_packet(run, tmp_path, photo):
    clip, file = write_video(tmp_path / "clip.avi", [photo] * 20, fps=30), tmp_path / "send.json"
    options = ("--pipeline", clip, "--send", "--frame", "160x120", "--rounds", 1, "--seconds", 4, "--fps", 12)
    done = run("--model", color_network(tmp_path / "color.onnx"), *options, "--min-face", 60, "--json", file)
    assert done.returncode == 0, done.stderr
    record = json.loads(file.read_text())
    (row,) = record["rows"]
    assert record["setting"].endswith("160 x 120, 20 frames, 1 passes, 12 frames/s for 4 s")
    assert row["frames"] == 18 and 0 < row["packets"] == row["read"] <= 18 and 0 < row["median"] <= row["p99"]
    assert f"| {row['median']:.1f} | {row['p95']:.1f} | {row['p99']:.1f} |" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pipeline", "none.avi"), "none.avi has 0 frames that can be read"),
        (("--mediapipe", "python3"), "--mediapipe PYTHON and --send need --pipeline CLIP"),
        (("--send",), "--mediapipe PYTHON and --send need --pipeline CLIP"),
    ],
)
def test_a_pipeline_that_cannot_run(run, tmp_path, arguments, message):
    done = run("--model", color_network(tmp_path / "a.onnx"), *arguments)
    assert done.returncode != 0 and message in done.stderr and "Traceback" not in done.stderr


def test_an_interpreter_without_mediapipe_is_reported_in_one_line(run, tmp_path, photo):
    clip = write_video(tmp_path / "clip.avi", [photo] * 20, fps=30)
    options = ("--pipeline", clip, "--frame", "160x120", "--rounds", 1, "--mediapipe", tmp_path / "python")
    done = run("--model", color_network(tmp_path / "a.onnx"), *options)
    assert done.returncode == 1
    assert re.fullmatch(r"latency: error: .*python cannot run mediapipe's face mesh: .*\n", done.stderr)
