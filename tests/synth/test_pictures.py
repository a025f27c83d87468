"""The script that lays rendered heads beside photographs."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest


@pytest.fixture
def program(load_program):
    return load_program("scripts/measure_pictures.py")


def rows(text):
    """Name of the range of yaw -> medians."""
    lines = [line.split("|")[1:-1] for line in text.splitlines()[2:]]
    return {line[1].strip(): [float(cell.split()[0]) for cell in line[2:] if cell.strip()] for line in lines}


def test_light_contrast_and_detail_are_distinguished(program, tmp_path, monkeypatch, capsys):
    columns = np.arange(120)
    frontal = np.full((120, 120, 3), 51, np.uint8)
    stripes = np.repeat(np.where(columns % 2, 204, 102).astype(np.uint8)[None, :, None], 120, 0).repeat(3, 2)
    red = np.zeros((120, 120, 3), np.uint8)
    red[..., 2] = 255
    lines = ["image,x1,y1,x2,y2,yaw,pitch,roll"]
    for name, picture, yaw in (("even", frontal, 0), ("stripes", stripes, 40), ("red", red, -70)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
        lines.append(f"{name}.png,23,23,96.846,96.846,{yaw},0,0")  # 1.3 times this box are 96 pixels
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    monkeypatch.setattr(sys, "argv", ["measure_pictures", str(tmp_path / "faces.csv")])
    assert program.main() == 0
    even, striped, colored = rows(capsys.readouterr().out).values()
    assert even == pytest.approx([0.2, 0, 0.2, 0.2, 0, 0, 0], abs=0.01)
    assert striped[0] == pytest.approx(0.6, abs=0.02)
    assert striped[5] > 0.05
    assert striped[6] == 0
    assert colored[6] == pytest.approx(1)

    monkeypatch.setattr(sys, "argv", ["measure_pictures", str(tmp_path / "none.csv")])
    assert program.main() == 1
    assert "measure_pictures: error:" in capsys.readouterr().err
