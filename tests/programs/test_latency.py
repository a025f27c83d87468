import json
import subprocess
import sys

import pytest

from tests.evaluation.test_latency import network as foreign_network
from tests.networks import colour_network


@pytest.fixture
def run(repo):
    def run(*arguments):
        command = [sys.executable, str(repo / "eval" / "latency.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run


def test_a_run_times_the_parts_the_whole_and_other_networks(run, tmp_path):
    peers = tmp_path / "peers"
    peers.mkdir()
    foreign_network(peers / "theirs.onnx", [1, 3, 120, 120])
    model, file = colour_network(tmp_path / "colour.onnx"), tmp_path / "times.json"
    done = run("--model", model, "--peers", peers, "--rounds", 2, "--calls", 3, "--json", file)
    assert done.returncode == 0, done.stderr
    record = json.loads(file.read_text())
    times = record["times_ms"]
    assert list(times) == [
        "colour: crop",
        "colour: network",
        "colour: crop + network",
        "theirs: crop + network",
        "decode JPEG",
        "blazeface: detect",
        "blazeface + colour: detect + crop + network",
    ]
    assert times["colour: crop + network"]["ratio"] == 1
    for timing in times.values():
        assert 0 < timing["median"] <= timing["p95"]
        assert timing["calls"] == 6
    assert times["blazeface: detect"]["median"] < times["blazeface + colour: detect + crop + network"]["median"] * 1.2
    assert "640 x 480 frame" in record["setting"]
    assert "theirs: crop + network" in done.stdout


def test_user_errors_are_one_line(run, tmp_path):
    model = colour_network(tmp_path / "colour.onnx")
    cases = [
        (("--model", "nonesuch"), "nonesuch"),
        (("--model", model, "--peers", tmp_path / "nowhere"), "no .onnx file"),
        (("--model", model, "--image", tmp_path / "nowhere.jpg"), "does not exist"),
        (("--model", model, model), "one name"),
        (("--model", model, "--rounds", 0), "a round and a call"),
    ]
    for arguments, says in cases:
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("latency: error: ")
        assert says in done.stderr
        assert done.stderr.count("\n") == 1
    assert run("--model", model, "--frame", "wide").returncode == 2
