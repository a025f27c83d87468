"""Label files in the layout of 300W-LP and AFLW2000-3D, for tests that need one with a known or a bad content."""

from pathlib import Path

import cv2
import numpy as np
import scipy.io

POSE = np.array([[-0.2, 0.5, 0.1, 60.0, 50.0, -20.0, 0.001]], np.float32)
"""Pitch, yaw, roll in radians, translation, scale."""


def landmarks(box: tuple[float, float, float, float], rows: int = 3) -> np.ndarray:
    """(rows, 68) points whose tight box is ``box``."""
    x1, y1, x2, y2 = box
    points = np.random.default_rng(0).uniform(0, 1, (rows, 68)).astype(np.float32)
    points[:2, 0], points[:2, 1] = 0, 1
    points[0] = x1 + (x2 - x1) * points[0]
    points[1] = y1 + (y2 - y1) * points[1]
    return points


def write_face(picture: Path, box=(10.0, 20.0, 50.0, 70.0), color=(0, 0, 0), **variables) -> Path:
    """Writes a plain picture and its .mat; ``variables`` are added, replaced, or with None left out."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(picture), np.full((80, 80, 3), color, np.uint8))
    content = {"Pose_Para": POSE, "pt3d_68": landmarks(box), "pt2d": np.full((2, 21), -1.0), **variables}
    kept = {name: value for name, value in content.items() if value is not None}
    scipy.io.savemat(picture.with_suffix(".mat"), kept)
    return picture
