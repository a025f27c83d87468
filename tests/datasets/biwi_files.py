"""Files in BIWI's layout, for tests that need labels of known or bad content."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike

from headpose import geometry

FOCAL, CENTER = 500.0, (320.0, 240.0)
CALIBRATION = f"{FOCAL} 0 320 \n0 {FOCAL} 240 \n0 0 1 \n\n0 0 0 0 \n\n1 0 0 \n0 1 0 \n0 0 1 \n\n-20 0 0 \n\n640 480 \n"
"""A color camera 20 mm beside the depth camera."""


def write_frame(
    folder: Path, frame: int, euler: ArrayLike, center: ArrayLike = (0, 0, 1000), color: ArrayLike = (0, 0, 0)
) -> Path:
    """Writes a plain picture and its pose file; ``folder`` is a sequence."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rgb.cal").write_text(CALIBRATION)
    picture = folder / f"frame_{frame:05}_rgb.png"
    assert cv2.imwrite(str(picture), np.full((480, 640, 3), color, np.uint8))
    rows = geometry.to_opencv(geometry.rotation_from_euler(euler))
    text = "\n".join(" ".join(f"{value:.6g}" for value in row) + " " for row in rows)
    pose = folder / f"frame_{frame:05}_pose.txt"
    pose.write_text(f"{text}\n\n{' '.join(map(str, np.asarray(center, float)))} \n\n")
    return pose
