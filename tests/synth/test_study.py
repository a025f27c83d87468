"""The script that compares what networks learn from rendered heads: what it prints of finished runs, and refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.datasets.labels import write_face
from tests.evaluation.faces import write_colored_faces
from tests.network_files import color_network

EULERS = [(float(yaw), float(pitch), 0.0) for yaw in range(-48, 49, 16) for pitch in (-20, 20)]
PARTS = ("all", "0-30", "30-60", "60-99")


@pytest.fixture
def run(load_program, monkeypatch, capsys):
    program = load_program("scripts/study_heads.py")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["study_heads", *map(str, arguments)])
        return subprocess.CompletedProcess(sys.argv, program.main(), *capsys.readouterr())

    return run


def write_finished(folder, geodesic):
    folder.mkdir(parents=True)
    errors = dict.fromkeys(("yaw", "pitch", "roll", "mae"), geodesic / 2) | {"geodesic": geodesic, "pitch bias": -1.0}
    (folder / "photographs.json").write_text(json.dumps(dict.fromkeys(PARTS, errors)))
    color_network(folder / "compact-clean.onnx")


def test_seeds_share_a_row_and_the_test_set_is_read_with_each_network(run, tmp_path):
    write_finished(tmp_path / "study" / "12000-0", 8.0)
    write_finished(tmp_path / "study" / "12000-1", 9.0)
    faces = write_colored_faces(tmp_path / "faces", EULERS)
    # Colors say no yaw beyond 50 degrees: a face of 62 is read wrong.
    write_face(faces / "image99999.png", color=(128, 0, 255), Pose_Para=np.array([[0, np.deg2rad(62), 0, 0, 0, 0, 1]]))
    ended = run(tmp_path, "--out", tmp_path / "study", "--table", "--test", faces)
    assert ended.returncode == 0, ended.stderr
    photographs, read = (line for line in ended.stdout.splitlines() if line.startswith("| 12000"))
    assert photographs == "| 12000 | 8.50 (8.00, 9.00) | 4.25 | 8.50 | 8.50 | 8.50 | -1.00 |"
    whole, _, *bins, _ = read.split("|")[2:-1]
    assert [float(cell) for cell in bins] == pytest.approx([0.0, 0.0, 12.0], abs=0.3)
    assert whole.split()[1:] == [f"({whole.split()[0]},", f"{whole.split()[0]})"]
    assert (tmp_path / "study" / "12000-1" / "aflw2000.json").is_file()


def test_what_cannot_be_run_is_said_in_one_line(run, tmp_path):
    wrong = run(tmp_path, "--out", tmp_path / "study", "--only", "12000,13000")
    absent = run(tmp_path, "--out", tmp_path / "study", "--only", "12000")
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "manifest.csv").write_text("image,x1,y1,x2,y2,yaw,pitch,roll\n")
    few = run(tmp_path, "--out", tmp_path / "study", "--only", "12000")
    for ended, said in ((wrong, "unknown run 13000"), (absent, "render the heads first"), (few, "render more")):
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1
        assert said in ended.stderr
    assert not (tmp_path / "study").exists()
