"""Small videos that tests make, and read back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

FPS = 12.5
_CODEC = {".avi": "MJPG"}


def shade(index: int) -> int:
    """The grey of a frame of ``write_video``."""
    return 20 + 5 * index


def write_video(path: Path, frames: int | list[NDArray[np.uint8]], fps: float = FPS) -> Path:
    """Writes pictures, or a number of 64x48 frames each in the grey that ``shade`` says."""
    if isinstance(frames, int):
        frames = [np.full((48, 64, 3), shade(index), np.uint8) for index in range(frames)]
    height, width = frames[0].shape[:2]
    codec = cv2.VideoWriter.fourcc(*_CODEC.get(path.suffix, "mp4v"))
    writer = cv2.VideoWriter(str(path), codec, fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def read_video(path: Path) -> tuple[list[NDArray[np.uint8]], float]:
    """The frames of a video, and its frames per second."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(np.asarray(read[1], np.uint8))
    return frames, capture.get(cv2.CAP_PROP_FPS)
