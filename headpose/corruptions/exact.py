"""Filters and resampling in integers: no rounding depends on a processor, a library's version or an order of sums."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.types import Image

DIRECTIONS = 48
"""Number of directions of a line, about 4 degrees apart: 0 lies, 12 falls to the right at 45 degrees, 24 stands, 36
rises to the right."""

_SIDE = 12  # half the side of the square on whose border a line's direction ends


def line(taps: int, direction: int) -> list[tuple[int, int]]:
    """The pixels (dx, dy) of a line through the middle of a square kernel, one for each row or each column.

    Args:
        taps: side of the kernel, odd.
        direction: 0 ... ``DIRECTIONS`` - 1.
    """
    step = direction % DIRECTIONS
    if step <= _SIDE:
        x, y = _SIDE, step
    elif step <= 3 * _SIDE:
        x, y = 2 * _SIDE - step, _SIDE
    else:
        x, y = -_SIDE, 4 * _SIDE - step
    half = taps // 2
    return [(_rounded(i * x, _SIDE), _rounded(i * y, _SIDE)) for i in range(-half, half + 1)]


def disc(radius_tenths: int) -> list[tuple[int, int]]:
    """The pixels (dx, dy) within a radius, given in tenths of a pixel."""
    reach = radius_tenths // 10
    inside = range(-reach, reach + 1)
    return [(x, y) for y in inside for x in inside if 100 * (x * x + y * y) <= radius_tenths**2]


def square(side: int) -> list[tuple[int, int]]:
    """The pixels (dx, dy) of a square kernel, ``side`` odd."""
    inside = range(-(side // 2), side // 2 + 1)
    return [(x, y) for y in inside for x in inside]


def mean_of_shifts(image: Image, offsets: Sequence[tuple[int, int]]) -> Image:
    """Each pixel becomes the mean, rounded to nearest, of those at the offsets; the border is mirrored.

    That is correlation with a kernel of equal weights, as ``cv2.filter2D`` does, in integers.

    Args:
        image: (H, W, 3) uint8.
        offsets: (dx, dy), at least one. A run along x costs no more than one pixel.
    """
    reach = max(max(abs(dx), abs(dy)) for dx, dy in offsets)
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, reach, reach, reach, reach, cv2.BORDER_REFLECT_101)
    runs = _runs(offsets)
    # 257 times 255 is the largest sum that 16 bits hold.
    total = np.zeros(image.shape, np.uint16 if len(offsets) <= 257 else np.int32)
    if 2 * len(runs) > len(offsets):
        values = padded.astype(total.dtype)
        for dx, dy in offsets:
            total += values[reach + dy : reach + dy + height, reach + dx : reach + dx + width]
    else:
        # Sums from the left edge: a run is the difference of two of them, whatever its length.
        sums = np.zeros((padded.shape[0], padded.shape[1] + 1, 3), np.int32)
        np.cumsum(padded, axis=1, dtype=np.int32, out=sums[:, 1:])
        total = total.astype(np.int32)
        for dx, dy, length in runs:
            rows, left = sums[reach + dy : reach + dy + height], reach + dx
            total += rows[:, left + length : left + length + width]
            total -= rows[:, left : left + width]
    return ((total + len(offsets) // 2) // len(offsets)).astype(np.uint8)


def shrink(image: Image, width: int, height: int) -> Image:
    """Area interpolation: each new pixel is the mean of the area it covers, rounded to nearest.

    Args:
        image: (H, W, 3) uint8.
        width, height: of the result, at most those of ``image``.
    """
    rows = _area_sums(image.astype(np.int64), height)
    sums = _area_sums(np.swapaxes(rows, 0, 1), width).swapaxes(0, 1)
    area = image.shape[0] * image.shape[1]  # of a new pixel, in units in which an old one is height * width
    return ((sums + area // 2) // area).astype(np.uint8)


def enlarge(image: Image, width: int, height: int) -> Image:
    """Bilinear interpolation in OpenCV's fixed-point arithmetic."""
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR_EXACT), np.uint8)


def blend(image: Image, other: NDArray[np.int32] | int, share: NDArray[np.int32] | int) -> Image:
    """``image`` covered by ``other`` to a share of 0 ... 256."""
    mixed = image.astype(np.int32) * (256 - share) + np.asarray(other, np.int32) * share
    return np.asarray((mixed + 128) >> 8, np.uint8)


def _area_sums(values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(count, ...) sums of ``values`` (n, ...) over count equal parts of the first axis, times count."""
    length = len(values)
    before = np.zeros((length + 1, *values.shape[1:]), np.int64)
    np.cumsum(values, axis=0, out=before[1:])
    whole, part = np.divmod(np.arange(count + 1) * length, count)
    part = part.reshape(-1, *(1,) * (values.ndim - 1))
    up_to = before[whole] * count + values[np.minimum(whole, length - 1)] * part
    return np.diff(up_to, axis=0)


def _runs(offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Offsets as runs (first dx, dy, length) along x."""
    runs: list[tuple[int, int, int]] = []
    for dy, dx in sorted((dy, dx) for dx, dy in offsets):
        if runs and runs[-1][1] == dy and runs[-1][0] + runs[-1][2] == dx:
            runs[-1] = (runs[-1][0], dy, runs[-1][2] + 1)
        else:
            runs.append((dx, dy, 1))
    return runs


def _rounded(numerator: int, denominator: int) -> int:
    """The nearest integer, halves away from 0, so that a line is symmetric about its middle."""
    size = (2 * abs(numerator) + denominator) // (2 * denominator)
    return size if numerator >= 0 else -size
