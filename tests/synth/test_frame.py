"""The script that measures the head axes of rendered heads against labeled photographs."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from headpose import geometry
from headpose.evaluation import predictions
from headpose.synth.anatomy import FRAME

TURN = (-0.4, 2.0, 0.3)  # yaw, pitch, roll


@pytest.fixture
def program(load_program):
    return load_program("scripts/measure_frame.py")


def test_a_constant_turn_between_the_axes_is_found(program, tmp_path, monkeypatch, capsys):
    random = np.random.default_rng(0)
    true = random.uniform([-80, -40, -40], [80, 40, 40], (60, 3))
    noise = random.normal(0, 0.5, (60, 3))
    noise -= noise.mean(0)
    read = geometry.rotation_from_euler(true) @ geometry.rotation_from_euler(np.array(TURN) + noise)
    names = [f"face{i}" for i in range(60)]
    lines = ["image,x1,y1,x2,y2,yaw,pitch,roll"]
    for name, angles in zip(names, true, strict=True):
        (tmp_path / f"{name}.jpg").touch()
        lines.append(f"{name}.jpg,0,0,9,9," + ",".join(map(str, angles)))
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    predictions.write(tmp_path / "angles.csv", names, geometry.euler_from_rotation(read))
    arguments = ["--data", str(tmp_path / "faces.csv"), "--predictions", str(tmp_path / "angles.csv")]
    monkeypatch.setattr(sys, "argv", ["measure_frame", *arguments])
    assert program.main() == 0
    out = capsys.readouterr().out
    pitch, yaw, roll = (float(cell.split()[0]) for cell in out.splitlines()[2].split("|")[3:6])
    assert (yaw, pitch, roll) == pytest.approx(TURN, abs=0.02)
    for cell in out.splitlines()[2].split("|")[3:6]:
        low, high = (float(end) for end in cell.split("[")[1].rstrip("] ").split(","))
        assert low <= float(cell.split()[0]) <= high
    assert f"pitch {TURN[1] + FRAME.pitch:.1f}" in out.splitlines()[-1]

    (tmp_path / "angles.csv").write_text("image,yaw\n")
    assert program.main() == 1
    assert "lacks the columns" in capsys.readouterr().err
