import json
import shutil
import subprocess
import sys

import cv2
import pytest

from headpose.datasets import aflw2000
from tests.evaluation.faces import write_colored_faces
from tests.network_files import color_network

EULERS = [(float(yaw), float(pitch), 0.0) for yaw in range(-32, 33, 16) for pitch in (-24, 0, 24)]


@pytest.fixture
def run(repo):
    def run(*arguments):
        command = [sys.executable, str(repo / "eval" / "robustness.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture
def data(tmp_path):
    return write_colored_faces(tmp_path / "faces", EULERS, noise_degrees=2.0)


@pytest.fixture
def network(tmp_path):
    return color_network(tmp_path / "color.onnx")


def test_the_papers_table_with_a_reduced_input_beside_and_resumed(run, data, network, tmp_path):
    out = tmp_path / "out"
    shared = ("--data", data, "--models", network, "--out", out, "--seeds", 2, "--threads", 1, "--device", "cpu")
    done = run(*shared, "--downsample", 8)
    assert done.returncode == 0, done.stderr
    assert "15 pictures, a complete copy has 1969" in done.stderr
    record = json.loads((out / "results.json").read_text())
    assert record["n"] == 15
    assert set(record["networks_sha256"]) == {"color", "color-DS8"}
    found = {(each["network"], each["condition"]): each for each in record["results"]}
    assert list(found) == [(name, each) for each in ("clean", "MB", "LB", "OC") for name in ("color", "color-DS8")]
    assert [found["color", each]["seeds"] for each in ("clean", "MB", "LB", "OC")] == [1, 1, 1, 2]
    assert found["color", "MB"]["ratio"] == pytest.approx(1, abs=0.01)  # plain pictures look the same blurred
    assert found["color", "LB"]["ratio_mae"] > 5
    assert (out / "results.md").read_text() == done.stdout
    assert f"{found['color', 'LB']['geodesic']:.2f}" in done.stdout
    assert "on the whole picture" in record["protocol"]

    for picture in data.glob("*.png"):  # a second run reads what the first has measured
        picture.write_bytes(b"")
    assert run(*shared, "--downsample", 8).stdout == done.stdout
    again = run(*shared, "--conditions", "grey-1")
    assert again.returncode == 1
    assert "is empty" in again.stderr


def test_curves_are_drawn_over_five_levels(run, data, network, tmp_path):
    done = run(
        *("--data", data, "--models", network, "--out", tmp_path / "out", "--severity", "--limit", 6, "--threads", 1),
        *("--conditions", "darken", "grey", "--device", "cpu"),
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "severity.json").read_text())
    assert record["n"] == 6
    labels = [f"{name}-{level}" for name in ("darken", "grey") for level in range(1, 6)]
    assert [each["condition"] for each in record["results"]] == ["clean", *labels]
    darker = [each["geodesic"] for each in record["results"][1:6]]
    assert darker == sorted(darker)
    picture = cv2.imread(str(tmp_path / "out" / "severity.png"))
    assert picture is not None
    assert picture.std() > 10


def test_exported_pictures_are_a_set_in_the_same_layout(run, data, tmp_path):
    done = run("--data", data, "--export", tmp_path / "set", "--conditions", "LB", "OC", "--seeds", 2)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["LB", "OC-seed0", "OC-seed1"]
    assert len(aflw2000.read(tmp_path / "set" / "OC-seed1")) == 15
    assert done.stdout.count("pixels sha256 ") == 3


def test_other_faces_are_measured_by_levels_and_never_by_the_papers_settings(run, data, network, tmp_path):
    shared = ("--models", network, "--threads", 1, "--device", "cpu", "--limit", 5)
    assert run("--data", data, "--export", tmp_path / "set", "--conditions", "grey-1").returncode == 0
    file = tmp_path / "set" / "grey-1" / "labels.csv"
    for faces in (("--manifest", file), ("--w300lp", data)):
        done = run(*faces, *shared, "--out", tmp_path / faces[0].strip("-"))
        assert done.returncode == 0, done.stderr
        record = json.loads((tmp_path / faces[0].strip("-") / "results.json").read_text())
        conditions = [each["condition"] for each in record["results"]]
        assert conditions == ["clean", "motion_blur-3", "defocus-3", "low_light-3", "occlusion-3"]
        barred = run(*faces, *shared, "--out", tmp_path / "out", "--conditions", "defocus-1", "LB", "OC")
        assert barred.returncode == 1
        assert "LB, OC are the settings of the test" in barred.stderr


def test_user_errors_are_one_line(run, data, network, tmp_path):
    out = ("--out", tmp_path / "out")
    shutil.copyfile(network, tmp_path / "same.onnx")
    (tmp_path / "file").write_text("")
    cases = [
        (("--data", data, "--models", network), "nothing to do"),
        (("--data", data, *out), "name the networks"),
        (("--data", data, "--models", "nonesuch", *out), "nonesuch"),
        (("--data", data, "--models", "fsanet", *out), "--peers"),
        (("--data", data, "--models", "fsanet", "--peers", tmp_path, *out), "fsanet-1x1.onnx"),
        (("--data", tmp_path / "nowhere", "--models", network, *out), "cannot read the folder"),
        (("--data", data, "--models", network, *out, "--conditions", "defocus-9"), "there is no corruption"),
        (("--data", data, "--models", network, *out, "--severity", "--conditions", "MB"), "with levels"),
        (("--manifest", tmp_path / "nowhere.csv", "--models", network, *out), "cannot read"),
        (("--manifest", tmp_path / "file", "--models", network, "--out", tmp_path / "file"), "lacks the columns"),
        (("--w300lp", data, "--models", f"{network},{tmp_path / 'same.onnx'}", *out), "one name"),
        (("--w300lp", data, "--models", network, "--out", tmp_path / "file" / "out"), "cannot make the folder"),
        (("--w300lp", data, "--export", tmp_path / "file"), "cannot write"),
    ]
    for arguments, says in cases:
        done = run(*arguments)
        assert done.returncode == 1, arguments
        assert done.stdout == ""
        lines = [line for line in done.stderr.splitlines() if not line.startswith("robustness: warning: ")]
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("robustness: error: ")
        assert says in lines[0]
    for wrong in (("--seeds", 0), ("--downsample", 4), ("--models", "a,,b"), ("--on", "face")):
        assert run("--data", data, *wrong).returncode == 2
