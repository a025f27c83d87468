"""The program that compares networks on held-out sets: what it takes, prints, writes and refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from headpose.datasets import aflw2000
from tests.evaluation.faces import write_colored_faces
from tests.evaluation.foreign import adapter_file, linear_network
from tests.network_files import color_network

EULERS = [(float(yaw), float(pitch), 0.0) for yaw in range(-48, 49, 16) for pitch in (-20, 20)]
COLORS = {"angles": (np.array([[100, 0, 0], [0, 0, 100], [0, 0, 0]]), np.array([-50, -50, 0]))}


@pytest.fixture
def run(load_program, monkeypatch, capfd):
    program = load_program("eval/heldout.py")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["heldout", *map(str, arguments)])
        try:
            status = program.main()
        except SystemExit as stop:
            status = stop.code
        return subprocess.CompletedProcess(sys.argv, status, *capfd.readouterr())

    return run


@pytest.fixture
def setting(tmp_path):
    """A network of ours, somebody else's that reads 10 degrees of yaw too much, and a manifest."""
    faces = write_colored_faces(tmp_path / "faces", EULERS)
    rows = ["image,x1,y1,x2,y2,yaw,pitch,roll,unit"]
    for sample in aflw2000.read(faces):
        rows.append(",".join(map(str, [sample.image, *sample.box, *sample.euler, "degrees"])))
    (tmp_path / "held.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "sets.toml").write_text('[sets]\naflw = "held.csv"\n"aflw/cut" = "held.csv"\n')
    (peers := tmp_path / "peers").mkdir()
    linear_network(peers / "net.onnx", {"angles": (COLORS["angles"][0], COLORS["angles"][1] + [10, 0, 0])})
    return color_network(tmp_path / "color.onnx"), adapter_file(tmp_path / "theirs.toml"), "--peers", peers


def test_networks_of_both_kinds_in_one_table(run, setting, tmp_path):
    sets = ("--sets", tmp_path / "sets.toml", "--set", f"layout={tmp_path / 'faces'}", "--threads", 1)
    done = run(*setting, *sets, "--json", tmp_path / "held.json", "--cells", tmp_path / "cells")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "held.json").read_text())
    scores = {(each["part"], each["network"]): each for each in record["scores"]}
    parts = ["aflw", "aflw/cut 1/3", "aflw/cut 1/2", "layout"]
    assert list(scores) == [(part, network) for part in parts for network in ("color", "theirs")]
    for part in parts:  # pictures of one color are read alike, whatever is cut off
        assert scores[part, "color"]["geodesic"] < 0.5
        assert scores[part, "theirs"]["geodesic"] == pytest.approx(10, abs=0.5)
        assert scores[part, "theirs"]["versus"]["mean"] == pytest.approx(10, abs=0.5)
    assert "| theirs | 10.0" in done.stdout and "Cut: the picture ends" in done.stdout
    assert set(record["networks_sha256"]) == {"color", "theirs"}
    assert run(*setting, *sets, "--cells", tmp_path / "cells").stdout == done.stdout


def test_some_of_the_sets_and_some_of_the_faces(run, setting, tmp_path):
    sets = ("--sets", tmp_path / "sets.toml", "--only", "aflw/cut", "--limit", 5, "--threads", 1)
    done = run(*setting, *sets)
    assert done.returncode == 0, done.stderr
    assert "| aflw/cut 1/2 | theirs | 5 |" in done.stdout
    assert "| aflw |" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["student"], 1, "no folder of a run"),
        (["student", "--set", "a"], 2, "not NAME=PATH"),
        (["student", "--set", "a b=x"], 2, "cannot name"),
        (["student", "--set", "a=gone.csv"], 1, "gone.csv"),
        (["student", "--set", "a=x.csv", "--set", "a=y.csv"], 1, "two of the sets have one name"),
        (["student", "student", "--set", "a=x.csv"], 1, "two of the networks have one name"),
        (["student", "--set", "a=x.csv", "--only", "b"], 1, "there is no set b: there are a"),
        (["student", "--sets", "gone.toml"], 1, "cannot read the sets"),
        (["fsanet", "--set", "a=x.csv"], 1, "--peers"),
        (["student", "--negatives", "walls"], 1, "need sets to measure on"),
    ],
)
def test_what_cannot_be_compared(run, tmp_path, monkeypatch, arguments, status, said):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.returncode == status
    assert said in done.stderr
    if status == 1:
        assert done.stderr.count("\n") == 1


def test_what_networks_say_of_their_errors(run, setting, tmp_path):
    """One network states an uncertainty and a logit, the other does not: its rotation is measured alone."""
    outputs = {"covariance": 0.01 * np.eye(3), "face": 2.0}
    sure = color_network(tmp_path / "sure.onnx", name="sure", optional=outputs)
    (tmp_path / "walls").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / "walls" / f"{number}.png"), np.full((60, 60, 3), 40 * number, np.uint8))
    sets = ("--sets", tmp_path / "sets.toml", "--threads", 1, "--cells", tmp_path / "cells")
    more = ("--negatives", tmp_path / "walls", "--json", tmp_path / "held.json")
    arguments = (setting[0], sure, *sets, *more, "--reliability", tmp_path / "plot.svg")
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "held.json").read_text())
    assert list(record["doubt"]) == ["sure"]
    judged = record["doubt"]["sure"]
    assert (judged["n"], judged["far"], judged["auc"]) == (3 * len(EULERS), 0, None)
    error = float(np.rad2deg(0.1 * np.sqrt(8 / np.pi)))
    assert all(part["predicted"] == pytest.approx(error, rel=1e-3) for part in judged["parts"])
    assert f"| sure | {3 * len(EULERS)} | - | {error:.1f} / 0." in done.stdout
    assert record["negatives_read_as_faces"] == {"sure": 1.0}
    assert "sure: 100.0% of the negatives are read as faces where 99% of the faces are" in done.stdout
    assert (tmp_path / "plot.svg").read_text("utf-8").lstrip().startswith("<?xml")
    assert run(*arguments).stdout == done.stdout  # with the errors of the cells


def test_plots_need_an_uncertainty(run, setting, tmp_path):
    done = run(setting[0], "--sets", tmp_path / "sets.toml", "--reliability", tmp_path / "plot.svg", "--threads", 1)
    assert done.returncode == 1 and "needs a network with the output covariance" in done.stderr
    assert not (tmp_path / "plot.svg").exists()
