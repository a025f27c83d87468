"""Filters and resampling in integer arithmetic: results depend on no processor, library version or summation order."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.types import Image

DIRECTIONS = 48
"""Number of line directions, about 4 degrees apart: 0 is horizontal, 12 descends to the right at 45 degrees, 24 is
vertical, 36 ascends to the right."""

_SIDE = 12  # half the side of the square whose border defines the directions


def line(taps: int, direction: int) -> list[tuple[int, int]]:
    """Return the pixel offsets (dx, dy) of a line through the center of a square kernel.

    The line has one pixel per row or per column of the kernel.

    Args:
        taps: Side of the kernel in pixels, odd.
        direction: Direction in [0, ``DIRECTIONS``).
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
    """Return the pixel offsets (dx, dy) of a disc with a radius in tenths of a pixel."""
    reach = radius_tenths // 10
    inside = range(-reach, reach + 1)
    return [(x, y) for y in inside for x in inside if 100 * (x * x + y * y) <= radius_tenths**2]


def square(side: int) -> list[tuple[int, int]]:
    """Return the pixel offsets (dx, dy) of a square kernel with an odd side."""
    inside = range(-(side // 2), side // 2 + 1)
    return [(x, y) for y in inside for x in inside]


def mean_of_shifts(image: Image, offsets: Sequence[tuple[int, int]]) -> Image:
    """Replace each pixel by the rounded mean of the pixels at the offsets; mirror the image at its border.

    This is a correlation with a kernel of equal weights, as in ``cv2.filter2D``, in integer arithmetic.

    Args:
        image: (H, W, 3) uint8.
        offsets: At least one pixel offset (dx, dy). A run of offsets along x costs as much as one offset.
    """
    reach = max(max(abs(dx), abs(dy)) for dx, dy in offsets)
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, reach, reach, reach, reach, cv2.BORDER_REFLECT_101)
    runs = _runs(offsets)
    # 16 bits hold sums of up to 257 values.
    total = np.zeros(image.shape, np.uint16 if len(offsets) <= 257 else np.int32)
    if 2 * len(runs) > len(offsets):
        values = padded.astype(total.dtype)
        for dx, dy in offsets:
            total += values[reach + dy : reach + dy + height, reach + dx : reach + dx + width]
    else:
        # Cumulative sums along x: the sum of a run is the difference of two of them.
        sums = np.zeros((padded.shape[0], padded.shape[1] + 1, 3), np.int32)
        np.cumsum(padded, axis=1, dtype=np.int32, out=sums[:, 1:])
        total = total.astype(np.int32)
        for dx, dy, length in runs:
            rows, left = sums[reach + dy : reach + dy + height], reach + dx
            total += rows[:, left + length : left + length + width]
            total -= rows[:, left : left + width]
    return ((total + len(offsets) // 2) // len(offsets)).astype(np.uint8)


def shrink(image: Image, width: int, height: int) -> Image:
    """Shrink an image by area interpolation: each new pixel is the rounded mean of the area that it covers.

    Args:
        image: (H, W, 3) uint8.
        width: Width of the result in pixels, at most that of ``image``.
        height: Height of the result in pixels, at most that of ``image``.
    """
    rows = _area_sums(image.astype(np.int64), height)
    sums = _area_sums(np.swapaxes(rows, 0, 1), width).swapaxes(0, 1)
    area = image.shape[0] * image.shape[1]  # area of a new pixel; an old pixel has the area height * width
    return ((sums + area // 2) // area).astype(np.uint8)


def enlarge(image: Image, width: int, height: int) -> Image:
    """Enlarge an image by bilinear interpolation in OpenCV's fixed-point arithmetic."""
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR_EXACT), np.uint8)


def blend(image: Image, other: NDArray[np.int32] | int, share: NDArray[np.int32] | int) -> Image:
    """Blend ``other`` over ``image`` with an opacity ``share`` of 0 to 256."""
    mixed = image.astype(np.int32) * (256 - share) + np.asarray(other, np.int32) * share
    return np.asarray((mixed + 128) >> 8, np.uint8)


def _area_sums(values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the (count, ...) sums of ``values`` (n, ...) over count equal parts of the first axis, times count."""
    length = len(values)
    before = np.zeros((length + 1, *values.shape[1:]), np.int64)
    np.cumsum(values, axis=0, out=before[1:])
    whole, part = np.divmod(np.arange(count + 1) * length, count)
    part = part.reshape(-1, *(1,) * (values.ndim - 1))
    up_to = before[whole] * count + values[np.minimum(whole, length - 1)] * part
    return np.diff(up_to, axis=0)


def _runs(offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Group offsets into runs (first dx, dy, length) along x."""
    runs: list[tuple[int, int, int]] = []
    for dy, dx in sorted((dy, dx) for dx, dy in offsets):
        if runs and runs[-1][1] == dy and runs[-1][0] + runs[-1][2] == dx:
            runs[-1] = (runs[-1][0], dy, runs[-1][2] + 1)
        else:
            runs.append((dx, dy, 1))
    return runs


def _rounded(numerator: int, denominator: int) -> int:
    """Round a quotient to the nearest integer, halves away from 0, so that lines are symmetric about their center."""
    size = (2 * abs(numerator) + denominator) // (2 * denominator)
    return size if numerator >= 0 else -size
