import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from headpose.datasets import aflw2000
from headpose.evaluation import predictions
from tests.evaluation.faces import write_coloured_faces
from tests.networks import colour_network

EULERS = [(float(yaw), float(pitch), 0.0) for yaw in range(-48, 49, 6) for pitch in (-40, 0, 25)]


@pytest.fixture
def run(repo):
    def run(*arguments):
        command = [sys.executable, str(repo / "eval" / "aflw2000.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture
def data(tmp_path):
    return write_coloured_faces(tmp_path / "faces", [*EULERS, (0.0, 0.0, 170.0)], noise_degrees=3.0)


@pytest.fixture
def network(tmp_path):
    return colour_network(tmp_path / "colour.onnx")


def test_a_result_says_what_was_measured_at_any_batch(run, data, network, tmp_path):
    records = {}
    for batch in (1, 64):
        file = tmp_path / f"{batch}.json"
        done = run(
            "--data", data, "--model", network, "--json", file, "--batch", batch, "--threads", 1, "--device", "cpu"
        )
        assert done.returncode == 0, done.stderr
        assert "51 pictures, a complete copy has 1969" in done.stderr
        records[batch] = json.loads(file.read_text())
    one, many = records[1], records[64]
    assert {"n", "list_sha256", "yaw", "pitch", "roll", "mae", "geodesic", "bins", "ci", "protocol"} <= set(one)
    assert one["n"] == 51
    assert list(one["bins"]) == ["0-30", "30-60", "60-99"]
    assert one["mae"] == pytest.approx((one["yaw"] + one["pitch"] + one["roll"]) / 3)
    for name in ("yaw", "pitch", "roll", "mae", "geodesic", "mae_smallest"):
        assert one[name] == pytest.approx(many[name], abs=1e-4)
    # Labels with normal noise of 3 degrees: its mean absolute value is 2.4.
    assert one["mae"] == pytest.approx(2.4, abs=0.5)
    assert one["ci"]["mae"][0] < one["mae"] < one["ci"]["mae"][1]
    assert "Pose_Para" in one["protocol"]
    assert f"{one['geodesic']:.3f}" in done.stdout


def test_predictions_score_as_the_network_that_made_them(run, data, network, tmp_path):
    angles, first, second = tmp_path / "p.csv", tmp_path / "1.json", tmp_path / "2.json"
    shared = ("--data", data, "--list", "all")
    assert run(*shared, "--model", network, "--predictions", angles, "--json", first).returncode == 0
    assert run(*shared, "--score", angles, "--json", second).returncode == 0
    with angles.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [f"image{index:05}" for index in range(len(EULERS) + 1)]
    for row, euler in zip(rows, EULERS, strict=False):
        np.testing.assert_allclose([float(row[name]) for name in ("yaw", "pitch", "roll")], euler, atol=0.2)
    made, scored = (json.loads(file.read_text()) for file in (first, second))
    assert made["list_sha256"] == scored["list_sha256"]
    for name in ("n", "yaw", "pitch", "roll", "mae", "geodesic"):
        assert made[name] == pytest.approx(scored[name], abs=1e-4)


def test_user_errors_are_one_line(run, data, network, tmp_path):
    (data / "image00007.mat").write_bytes(b"damaged")
    cases = [
        (("--data", tmp_path / "nowhere", "--model", network), "cannot read the folder"),
        (("--data", data, "--model", tmp_path / "nowhere.onnx"), "does not exist"),
        (("--data", data, "--model", network), "image00007.mat is not a MATLAB 5 file"),
        (("--data", data, "--model", network, "--threads", -1), "threads must be"),
    ]
    for arguments, says in cases:
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("aflw2000: error: ")
        assert says in done.stderr
        assert done.stderr.count("\n") == 1
    assert run("--data", data, "--model", network, "--batch", 0).returncode == 2


@pytest.mark.data
def test_the_headline_list_is_the_one_that_published_numbers_use(run, data_dir, tmp_path):
    """Scores the labels themselves: no error, but for the branch of the faces past 90 degrees."""
    samples = aflw2000.read(data_dir / "aflw2000")
    predictions.write(tmp_path / "labels.csv", samples, np.stack([sample.rotation for sample in samples]))
    done = run("--data", data_dir / "aflw2000", "--score", tmp_path / "labels.csv", "--json", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["n"] == 1969
    assert record["list_sha256"] == "077e71d35ac90a6b2eeabac17a3149f35145c429045a132e4c73438d485c8e0d"
    assert {name: bin["n"] for name, bin in record["bins"].items()} == {"0-30": 1311, "30-60": 380, "60-99": 278}
    assert record["geodesic"] < 1e-4
    assert record["bins"]["30-60"]["mae"] < 1e-4
    assert 0 < record["mae"] < 0.5
