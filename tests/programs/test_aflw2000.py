import csv
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from headpose import cli, geometry
from headpose.datasets import aflw2000
from headpose.evaluation import predictions
from headpose.images import write_image
from tests.datasets.biwi_files import write_frame
from tests.datasets.labels import write_face
from tests.evaluation.faces import write_colored_faces
from tests.evaluation.foreign import adapter_file, linear_network
from tests.network_files import color_network

EULERS = [(float(yaw), float(pitch), 0.0) for yaw in range(-48, 49, 6) for pitch in (-40, 0, 25)]


@pytest.fixture
def process(repo):
    """The program in a process of its own."""

    def process(*arguments):
        command = [sys.executable, str(repo / "eval" / "aflw2000.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return process


@pytest.fixture
def run(load_program, monkeypatch, capsys):
    """The same in this process, which has imported it all: a second less each."""
    program = load_program("eval/aflw2000.py")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["aflw2000", *map(str, arguments)])
        try:
            status = program.main()
        except SystemExit as stop:
            status = stop.code
        return subprocess.CompletedProcess(sys.argv, status, *capsys.readouterr())

    return run


@pytest.fixture
def data(tmp_path):
    return write_colored_faces(tmp_path / "faces", [*EULERS, (0.0, 0.0, 170.0)], noise_degrees=3.0)


@pytest.fixture
def network(tmp_path):
    return color_network(tmp_path / "color.onnx")


def test_a_result_says_what_was_measured_at_any_batch(process, data, network, tmp_path):
    records = {}
    for batch in (1, 64):
        file = tmp_path / f"{batch}.json"
        done = process(
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


# What tests.network_files.color_network reads, as a foreign network with angles: 100 * (mean - 0.5).
COLORS = {"angles": (np.array([[100, 0, 0], [0, 0, 100], [0, 0, 0]]), np.array([-50, -50, 0]))}


@pytest.fixture
def peer(tmp_path):
    folder = tmp_path / "peers"
    folder.mkdir()
    linear_network(folder / "net.onnx", COLORS)
    return adapter_file(tmp_path / "theirs.toml"), folder


def test_a_foreign_network_enters_the_same_table(run, data, network, peer, tmp_path):
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    assert run("--data", data, "--model", network, "--json", first).returncode == 0
    done = run("--data", data, "--adapter", peer[0], "--peers", peer[1], "--json", second, "--threads", 1)
    assert done.returncode == 0, done.stderr
    ours, theirs = (json.loads(file.read_text()) for file in (first, second))
    assert theirs["adapter"] == "theirs" and list(theirs["sha256"]) == ["net.onnx"]
    assert "Angles: as the network gives them" in theirs["protocol"]
    # Another crop of the same plain colors.
    for name in ("n", "yaw", "pitch", "roll", "geodesic"):
        assert theirs[name] == pytest.approx(ours[name], abs=0.02)


def test_an_audit_scores_a_file_and_a_network_in_every_way(run, data, network, tmp_path):
    angles, record, scored = tmp_path / "p.csv", tmp_path / "r.json", tmp_path / "s.json"
    done = run("--data", data, "--model", network, "--audit", "--predictions", angles, "--json", record)
    assert done.returncode == 0, done.stderr
    audit = json.loads(record.read_text())["audit"]
    assert {row["list_name"]: row["n"] for row in audit["rows"]} == {"99": 51, "90": 51, "all": 52}
    assert len(audit["rows"]) == 27 and set(audit["crops"]) == {"hopenet"}
    assert audit["crops"]["hopenet"]["mae"]["first"] > audit["crops"]["hopenet"]["mae"]["second"]
    assert "crop hopenet-pt2d: not measured" in done.stdout  # no point of theirs was seen
    assert "| pictures | n | reading | wrapped | plain | folded |" in done.stdout and "A: crop hopenet." in done.stdout
    done = run("--data", data, "--score", angles, "--audit", "--json", scored)
    assert done.returncode == 0, done.stderr
    again = json.loads(scored.read_text())["audit"]
    assert again["crops"] == {}
    for row, other in zip(audit["rows"], again["rows"], strict=True):
        assert row["mae"] == pytest.approx(other["mae"], abs=1e-5)


def test_a_file_with_the_list_alone_can_be_audited(run, data, network, tmp_path):
    angles, record = tmp_path / "p.csv", tmp_path / "r.json"
    assert run("--data", data, "--model", network, "--predictions", angles).returncode == 0
    done = run("--data", data, "--score", angles, "--audit", "--json", record)
    assert done.returncode == 0, done.stderr
    assert {row["list_name"]: row["n"] for row in json.loads(record.read_text())["audit"]["rows"]}["all"] == 51


def test_two_files_are_compared_face_by_face(run, data, network, tmp_path):
    angles, worse, record = tmp_path / "p.csv", tmp_path / "worse.csv", tmp_path / "r.json"
    assert run("--data", data, "--model", network, "--predictions", angles).returncode == 0
    header, *rows = angles.read_text().splitlines()
    spoilt = [f"{name}.png,{float(yaw) + 40},{pitch},{roll}" for name, yaw, pitch, roll in (r.split(",") for r in rows)]
    worse.write_text("\n".join([header, *spoilt]))
    done = run("--data", data, "--score", angles, "--versus", worse, "--json", record)
    assert done.returncode == 0, done.stderr
    versus = json.loads(record.read_text())["versus"]
    assert versus["yaw"]["mean"] == pytest.approx(-38, abs=2) and versus["yaw"]["p"] < 0.001
    assert versus["pitch"]["mean"] == 0 and versus["pitch"]["p"] == 1
    assert "| yaw |" in done.stdout and str(worse) in done.stdout


def test_the_csv_of_estimate_is_scored(run, tmp_path, photo, network, monkeypatch, capsys):
    """Each labeled face gets the row of the face that was found there; one that was not found is left out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "two.png", np.hstack([photo, photo]))
    write_image(tmp_path / "photos" / "wall.png", np.full((200, 300, 3), 150, np.uint8))
    assert cli.main(["estimate", "photos", "--model", str(network), "--csv", "angles.csv", "-q"]) == 0
    rows = list(csv.DictReader((tmp_path / "angles.csv").read_text().splitlines()))
    assert len(rows) == 2
    boxes = {"right": (691, 82, 788, 176), "left": (178, 82, 276, 176)}
    found = {side: min(rows, key=lambda row: abs(float(row["x1"]) - box[0])) for side, box in boxes.items()}
    assert found["left"] is not found["right"]
    lines = ["image,x1,y1,x2,y2,yaw,pitch,roll"]
    for side, off in (
        ("right", 3.0),
        ("left", 5.0),
    ):  # an order of their own
        angles = [float(found[side][name]) + (off if name == "yaw" else 0) for name in ("yaw", "pitch", "roll")]
        lines.append(",".join(["photos/two.png", *map(str, (*boxes[side], *angles))]))
    lines.append("photos/wall.png,50,50,90,90,0,10,20")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    capsys.readouterr()
    done = run("--data", "labels.csv", "--score", "angles.csv", "--json", "r.json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "aflw2000: warning: angles.csv has 2 of the 3 faces; the others are left out\n"
    record = json.loads((tmp_path / "r.json").read_text())
    assert (record["n"], record["pitch"], record["roll"]) == (2, pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
    assert record["yaw"] == pytest.approx(4.0)
    assert "1 faces that the file does not have are left out" in record["protocol"]
    done = run("--data", "labels.csv", "--score", "angles.csv", "--versus", "angles.csv", "--audit")
    assert done.returncode == 0 and "| yaw | 4.00 | 4.00 | +0.00 |" in done.stdout
    (tmp_path / "old.csv").write_text((tmp_path / "angles.csv").read_text().replace("image", "name", 1))
    assert (
        run("--data", "labels.csv", "--score", "old.csv").stdout.splitlines()[1:]
        == run("--data", "labels.csv", "--score", "angles.csv").stdout.splitlines()[1:]
    )  # all but its name


def test_the_csv_of_other_pictures_is_refused(run, data, tmp_path):
    header, row = "image,x1,y1,x2,y2,yaw,pitch,roll\n", "10,20,50,70,0,0,0\n"
    (tmp_path / "others.csv").write_text(f"{header}photos/a.png,{row}")
    (tmp_path / "both.csv").write_text(f"{header}a/image00000.png,{row}b/image00000.png,{row}")
    (tmp_path / "elsewhere.csv").write_text(f"{header}image00000.png,60,20,79,79,0,0,0\n")
    (tmp_path / "empty.csv").write_text(f"{header}image00000.png,60,20,60,79,0,0,0\n")
    for file, says in (
        ("others.csv", "has none of the 51 faces of the data"),
        ("both.csv", "line 3: b/image00000.png and a/image00000.png would both be image00000"),
        ("elsewhere.csv", "has none of the 51 faces of the data"),
        ("empty.csv", "line 2: box is empty"),
    ):
        done = run("--data", data, "--score", tmp_path / file)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert says in done.stderr, done.stderr


def test_invariance_is_checked_on_some_faces(run, data, network, peer, tmp_path):
    record = tmp_path / "r.json"
    for what in (("--model", network, "--device", "cpu"), ("--adapter", peer[0], "--peers", peer[1])):
        done = run("--data", data, *what, "--invariance", 7, "--threads", 1, "--json", record)
        assert done.returncode == 0, done.stderr
        checks = json.loads(record.read_text())["invariance"]
        assert [check["verdict"] for check in checks] == ["same", "same", "", "", "", "", ""]
        assert "7 faces" in done.stdout


def test_other_test_sets_are_measured_the_same_way(run, network, tmp_path):
    lines = ["image,x1,y1,x2,y2,yaw,pitch,roll"]
    for folder, (yaw, pitch) in {"AFW": (30, 10), "AFW_Flip": (-20, 10)}.items():
        color = (round(255 * (0.5 + pitch / 100)), 0, round(255 * (0.5 + yaw / 100)))
        pose = np.deg2rad([[pitch, yaw, 0, 0, 0, 0, 0]])
        write_face(tmp_path / "lp" / folder / "AFW_1_1_0.png", color=color, Pose_Para=pose)
        lines.append(f"lp/{folder}/AFW_1_1_0.png,10,10,60,60,{yaw},{pitch},0")
        write_frame(tmp_path / "biwi" / "04", 1 if yaw > 0 else 2, (yaw, pitch, 0), color=color)
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    cases = [
        (("--data", tmp_path / "lp", "--set-kind", "300w-lp"), "300W-LP's layout", "AFW/AFW_1_1_0"),
        (("--data", tmp_path / "faces.csv"), "a manifest of faces", "lp/AFW/AFW_1_1_0"),
        (
            ("--data", tmp_path / "biwi", "--set-kind", "biwi", "--sequences", "4", "--boxes", "labels"),
            "BIWI",
            "04/frame_00001_rgb",
        ),
    ]
    for arguments, title, name in cases:
        done = run(*arguments, "--model", network, "--json", tmp_path / "r.json", "--predictions", tmp_path / "p.csv")
        assert (done.returncode, done.stderr) == (0, "")
        record = json.loads((tmp_path / "r.json").read_text())
        assert record["n"] == 2 and record["mae"] < 0.2 and record["protocol"].startswith((title, f"a set in {title}"))
        assert (tmp_path / "p.csv").read_text().splitlines()[1].startswith(f"{name},")
        assert run(*arguments, "--score", tmp_path / "p.csv").returncode == 0


def test_biwi_is_cut_by_a_detector_that_must_find_its_faces(run, network, tmp_path, photo):
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, 64:576] = photo[:480]
    for frame in (1, 2):
        # The face of the photograph lies about 30 mm to the left and 120 up at a meter.
        file = write_frame(tmp_path / "04", frame, (0, 0, 0), center=(-2, -205, 1000))
        if frame == 1:
            cv2.imwrite(str(file.with_name("frame_00001_rgb.png")), image)
    done = run(
        "--data", tmp_path, "--set-kind", "biwi", "--sequences", "4", "--model", network, "--json", tmp_path / "r"
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "r").read_text())
    assert record["n"] == 1
    assert "face of blazeface that overlaps the label's most; 1 faces that it does not find" in record["protocol"]


def test_user_errors_are_one_line(run, process, data, network, tmp_path):
    (data / "image00007.mat").write_bytes(b"damaged")
    cases = [
        (("--data", tmp_path / "nowhere", "--model", network), "cannot read the folder"),
        (("--data", data, "--model", tmp_path / "nowhere.onnx"), "does not exist"),
        (("--data", data, "--model", network), "image00007.mat is not a MATLAB 5 file"),
        (("--data", data, "--model", network, "--threads", -1), "threads must be"),
        (("--data", data, "--model", network, "--json", tmp_path / "no" / "r.json"), "no does not exist"),
        (("--data", data, "--model", network, "--predictions", tmp_path / "no" / "a.csv"), "no does not exist"),
        (("--data", data, "--set-kind", "biwi", "--model", network), "no sequence 01 of BIWI"),
        (("--data", tmp_path / "faces.csv", "--model", network), "cannot read"),
        (("--data", data, "--adapter", tmp_path / "no.toml", "--peers", tmp_path), "cannot read the adapter"),
        (("--data", data, "--adapter", adapter_file(tmp_path / "a.toml"), "--peers", tmp_path), "needs net.onnx"),
    ]
    for arguments, says in cases:
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("aflw2000: error: ")
        assert says in done.stderr
        assert done.stderr.count("\n") == 1
    done = process("--data", data, "--model", tmp_path / "nowhere.onnx")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    misused = [
        ("--model", network, "--batch", 0),
        ("--adapter", tmp_path / "a.toml"),
        ("--score", tmp_path / "p.csv", "--crop", "hopenet"),
        ("--model", network, "--sequences", "25"),
    ]
    for arguments in misused:
        done = run("--data", data, *arguments)
        assert done.returncode == 2 and "Traceback" not in done.stderr


@pytest.mark.data
def test_the_headline_list_is_the_one_that_published_numbers_use(process, data_dir, tmp_path):
    """Scores the labels themselves: no error, but for the branch of the faces past 90 degrees."""
    samples = aflw2000.read(data_dir / "aflw2000")
    angles = geometry.euler_from_rotation(np.stack([sample.rotation for sample in samples]), "asin")
    predictions.write(tmp_path / "labels.csv", [sample.image.stem for sample in samples], angles)
    done = process("--data", data_dir / "aflw2000", "--score", tmp_path / "labels.csv", "--json", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["n"] == 1969
    assert record["list_sha256"] == "077e71d35ac90a6b2eeabac17a3149f35145c429045a132e4c73438d485c8e0d"
    assert {name: bin["n"] for name, bin in record["bins"].items()} == {"0-30": 1311, "30-60": 380, "60-99": 278}
    assert record["geodesic"] < 1e-4
    assert record["bins"]["30-60"]["mae"] < 1e-4
    assert 0 < record["mae"] < 0.5
