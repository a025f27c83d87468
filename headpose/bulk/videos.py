"""Divide videos at key frames, and read the frames of one part.

A part starts at a key frame, so that several workers decode one video without decoding frames twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2

from headpose.errors import ImageError
from headpose.streams import ffmpeg, timing
from headpose.streams.sources import CaptureSource, open_source
from headpose.types import Image

_SAME_MS = 0.5
_LONGEST_MS = 1e10  # larger times are an overflow of FFmpeg's "no timestamp" value


def segments(path: str, least: int) -> list[tuple[int, int, float]]:
    """Divide a video into parts that start at key frames.

    Args:
        path: Video file.
        least: Smallest number of frames in a part, except the last one.

    Returns:
        (index of the first frame, number of frames, time of the first frame in seconds since that of the video) of
        each part. If the frames cannot be counted without decoding them: one part, (0, 0, 0.0), the whole video.

    Raises:
        ImageError: The file is not a video that can be read.
    """
    with open_source(path) as source:
        if source.kind != "video":
            raise ImageError(f"{path} is not a video")
        announced = source.length or 0
    times, keys = _packets(Path(path))
    order = sorted(range(len(times)), key=times.__getitem__)
    shown = sorted(times)
    if not _is_countable(Path(path), shown, announced):
        return [(0, 0, 0.0)]
    place = {packet: index for index, packet in enumerate(order)}
    starts = [0]
    for start in sorted(place[key] for key in keys):
        if start - starts[-1] >= least and len(times) - start >= least:
            starts.append(start)
    ends = [*starts[1:], len(times)]
    return [(start, end - start, (shown[start] - shown[0]) / 1000) for start, end in zip(starts, ends, strict=True)]


def frames(path: str, start: int, count: int, every: int) -> Iterator[tuple[int, float, Image]]:
    """Yield the frames of one part of a video.

    Args:
        path: Video file.
        start: Index of the first frame, from ``segments``.
        count: Number of frames; 0 for all.
        every: Yield the frames whose index in the video is a multiple of this number.

    Yields:
        (index in the video, time in seconds since the part's first frame, (H, W, 3) uint8 BGR).

    Raises:
        ImageError: The video cannot be read, or ends before ``count`` frames.
    """
    source = open_source(path) if start == 0 else _source_from(Path(path), start)
    end = start
    with source:
        for frame in source:
            index = start + frame.index
            if count and index >= start + count:
                return
            end = index + 1
            if index % every == 0:
                yield index, frame.time_s, frame.image
            if end == start + count:
                return
    if problems := [] if count else source.problems:
        raise ImageError(problems[0])
    # A count that comes from the duration may be off by a few frames.
    if count and (missing := start + count - end) > max(2, 0.02 * count):
        raise ImageError(f"{path} is damaged or cut short: {missing} of {count} frames from frame {start} are missing")


def _is_countable(path: Path, shown: list[float], announced: int) -> bool:
    """Return whether each packet is one visible frame. Codecs have hidden frames, and MP4 files edit lists."""
    if not shown or abs(len(shown) - announced) > 1 or not 0 <= shown[0] <= shown[-1] < _LONGEST_MS:
        return False
    if any(a >= b for a, b in itertools.pairwise(shown)):  # frames are found again by their times
        return False
    capture = ffmpeg.open_file(path)
    first = capture.get(cv2.CAP_PROP_POS_MSEC) if capture.grab() else -1.0
    capture.release()
    return abs(first - shown[0]) < _SAME_MS


def _source_from(path: Path, start: int) -> CaptureSource:
    """Open a video at a frame. If seeking misses the frame, read from the beginning."""
    times, _ = _packets(path)
    shown = sorted(times)
    capture = ffmpeg.open_file(path)
    fps = capture.get(cv2.CAP_PROP_FPS)
    # The frame before is read to know its time; its successor is then the wanted one.
    capture.set(cv2.CAP_PROP_POS_FRAMES, start - 1)
    if not (capture.grab() and abs(capture.get(cv2.CAP_PROP_POS_MSEC) - shown[start - 1]) < _SAME_MS):
        capture.release()
        capture = ffmpeg.open_file(path)
        for _ in range(start):
            capture.grab()
    return CaptureSource(capture, str(path), "video", fps=fps if timing.is_usual(fps) else None, whole=True)


def _packets(path: Path) -> tuple[list[float], list[int]]:
    """Return the time of each packet in milliseconds, and the indices of the key frames; nothing is decoded."""
    capture = ffmpeg.open_file(path)
    times: list[float] = []
    keys: list[int] = []
    try:
        if not capture.set(cv2.CAP_PROP_FORMAT, -1):  # -1 returns packets
            return [], []
        while capture.grab():
            if capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME):
                keys.append(len(times))
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    finally:
        capture.release()
    return times, keys
