"""One head's sequences of every kind, of plain pictures: yaw is the red less 128 and pitch the blue less 128."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from headpose.datasets import sequences
from headpose.datasets.sequences import RenderedSequence, SequenceFrame
from headpose.types import Box, EulerAngles

FPS = 30
BOX = Box(20.0, 20.0, 60.0, 60.0)


def plain_sequences(root: Path) -> list[RenderedSequence]:
    """Writes the pictures of head 0 and gives its sequences: light adds 1.5 degrees, an open mouth -5 of pitch."""
    folder = sequences.head_folder(root, 0)
    folder.mkdir(parents=True)
    still, near = _picture(folder, "still", 128), _picture(folder, "near", 128 + 3)
    t = np.arange(90)
    yaws = np.round(35 * np.sin(np.pi * t / FPS)).astype(int)
    turn = [_picture(folder, f"turn{i}", 128 + yaw) for i, yaw in enumerate(yaws)]
    pitches = np.round(20 * np.sin(np.pi * t[:60] / FPS)).astype(int)
    nod = [_picture(folder, f"nod{i}", 128, 128 + pitch) for i, pitch in enumerate(pitches)]
    open_mouth = _picture(folder, "open", 128, 128 - 5)
    level = [(0.0, 0.0, 0.0)]
    return [
        _sequence("still", [still] * 60, level * 60, noise=40),
        *(_sequence(kind, [still] * 60, level * 60) for kind in ("boxes", "talk")),
        _sequence("light", [still, near] * 30, level * 60),
        _sequence("turn", turn, [(float(yaw), 0.0, 0.0) for yaw in yaws]),
        _sequence("nod", nod, [(0.0, float(pitch), 0.0) for pitch in pitches]),
        _sequence("expression", [still], level, "neutral"),
        _sequence("expression", [open_mouth], level, "mouth open"),
        _sequence("distance", [near] * 30, level * 30, "0.4 m", noise=40),
        _sequence("distance", [still] * 30, level * 30, "1 m", noise=40),
    ]


def _picture(folder: Path, name: str, red: int, blue: int = 128) -> Path:
    assert cv2.imwrite(str(folder / f"{name}.png"), np.full((80, 80, 3), (blue, 0, red), np.uint8))
    return folder / f"{name}.png"


def _sequence(
    kind: str, pictures: list[Path], eulers: list[tuple[float, float, float]], condition: str = "", noise: int = 0
) -> RenderedSequence:
    frames = [
        SequenceFrame(picture, i / FPS, BOX, EulerAngles(*euler))
        for i, (picture, euler) in enumerate(zip(pictures, eulers, strict=True))
    ]
    return RenderedSequence(kind, 0, condition, noise, tuple(frames))
