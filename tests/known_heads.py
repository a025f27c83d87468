"""Four rendered heads whose angles are known exactly, in one small picture that ships: what the signs are bound to.

``tests/synth/test_known_heads.py`` renders them; ``HEADPOSE_UPDATE_GOLDEN=1`` makes it write them again. Look at the
picture then: from left to right the nose points to the left of the picture (yaw > 0) and up (pitch > 0), the head
is tilted clockwise (roll > 0), and the last one looks to the right, down, and is tilted counter-clockwise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headpose.images import read_image
from headpose.types import Box
from tests.golden import FOLDER

SIDE = 96
POSES = ((40.0, 0.0, 0.0), (0.0, 25.0, 0.0), (0.0, 0.0, 30.0), (-30.0, -20.0, -20.0))
PICTURE, LABELS = FOLDER / "known_heads.jpg", FOLDER / "known_heads.json"


@dataclass(frozen=True)
class KnownHead:
    """One of them: its labels in pixels of the whole picture and degrees.

    Attributes:
        euler: (3,) yaw, pitch, roll.
        box: tight, of the landmarks.
        landmarks: (68, 3) x right, y down, z towards the camera.
    """

    euler: NDArray[np.float64]
    box: Box
    landmarks: NDArray[np.float64]


def picture() -> NDArray[np.uint8]:
    """(96, 384, 3) uint8 BGR."""
    return read_image(PICTURE)


def heads() -> list[KnownHead]:
    """In the order of ``POSES``, from left to right."""
    stored = json.loads(LABELS.read_text())
    return [
        KnownHead(np.array(each["euler"]), Box(*each["box"]), np.array(each["landmarks"], np.float64))
        for each in stored
    ]
