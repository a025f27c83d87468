"""Small videos that tests make, and read back."""

from __future__ import annotations

import struct
from collections.abc import Sequence
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


def edit_mp4(
    path: Path,
    *,
    ticks: Sequence[int] = (),
    turned: bool = False,
    pixel: tuple[int, int] | None = None,
) -> Path:
    """Changes the header of an MP4 that ``write_video`` wrote.

    Args:
        path: the file.
        ticks: how long each frame is shown; their sum must be that of before (1280 a frame, a second has 16000).
        turned: shown turned by 90 degrees clockwise, as a phone's upright video is.
        pixel: width and height of a pixel.
    """
    data = bytearray(path.read_bytes())
    parents = [b"moov", b"trak", b"mdia", b"minf", b"stbl"]
    if ticks:
        runs = b"".join(struct.pack(">II", 1, each) for each in ticks)
        put_box(data, data.index(b"stts") - 4, b"stts" + struct.pack(">II", 0, len(ticks)) + runs, parents)
    if pixel:
        # Before the decoder's own settings, in the description of the pictures.
        put_box(data, data.index(b"esds") - 4, b"pasp" + struct.pack(">II", *pixel), [*parents, b"stsd", b"mp4v"], 0)
    if turned:
        at = data.index(b"tkhd") + 44
        data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def put_box(data: bytearray, at: int, content: bytes, parents: Sequence[bytes], replaced: int | None = None) -> None:
    """Puts a box at a place, over the one that is there or, with ``replaced`` 0, before it; its parents grow."""
    if replaced is None:
        replaced = int.from_bytes(data[at : at + 4], "big")
    data[at : at + replaced] = struct.pack(">I", len(content) + 4) + content
    moov = data.index(b"moov")
    for parent in parents:
        size_at = data.index(parent, moov) - 4
        size = int.from_bytes(data[size_at : size_at + 4], "big") + len(content) + 4 - replaced
        data[size_at : size_at + 4] = size.to_bytes(4, "big")
