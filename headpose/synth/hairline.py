"""The volume of hair: how far the scalp must be moved outwards so that the head's outline is the photograph's."""

from __future__ import annotations

import numpy as np

from headpose.geometry import Array
from headpose.synth.fit import Fit
from headpose.synth.surface import F32, U8, kernel

SKULL = np.array([0.0, 0.55, -0.35])
"""(3,) float64, the middle of the skull in drawn head axes, decimeters: hair grows away from here."""

_DIRECTIONS = 72
_LEAST, _LARGEST = 0.96, 1.55  # distance from the middle of the skull, against a head without hair
_USUAL = 1.1


def grow(vertices: F32, hair: F32, found: Fit, mask: U8, skull: U8) -> F32:
    """Move the scalp outwards to the outline that the photograph shows.

    Args:
        vertices: (n, 3) drawn head axes.
        hair: (n,) share in [0, 1] by which a vertex follows.
        found: The fit in the photograph's pixels.
        mask: (H, W) uint8, 1 on the head with its hair.
        skull: (H, W) uint8, 1 on the head that was fitted, without neck.

    Returns:
        (n, 3) float32.
    """
    middle = found.project((found.rotation @ SKULL)[None])[0, :2]
    inner, outer = (_reach(each, middle[0], middle[1], _DIRECTIONS) for each in (skull, mask))
    known = inner > 2
    ratio = np.where(known, outer / np.maximum(inner, 1), _USUAL)
    ratio = np.clip(_calmed(ratio), _LEAST, _LARGEST)
    offset = found.project(vertices @ found.rotation.T)[:, :2] - middle
    angle = np.arctan2(offset[:, 1], offset[:, 0]) / (2 * np.pi) * _DIRECTIONS
    distance = np.linalg.norm(offset, axis=1)
    edge = np.interp(angle, np.arange(_DIRECTIONS), inner, period=_DIRECTIONS)
    # What faces the camera has no outline of its own and takes the mean of the upper half.
    upwards = found.rotation[:2, 1] * [1, -1]
    turns = np.arange(_DIRECTIONS) / _DIRECTIONS * 2 * np.pi
    above = np.clip(np.cos(turns) * upwards[0] + np.sin(turns) * upwards[1], 0.05, None)
    usual = float((ratio * above).sum() / above.sum())
    share = np.clip(distance / np.maximum(edge, 1), 0, 1)
    grown = share * np.interp(angle, np.arange(_DIRECTIONS), ratio, period=_DIRECTIONS) + (1 - share) * usual
    factor = 1 + hair * (grown - 1)
    skull_middle = SKULL.astype(np.float32)
    return (skull_middle + (vertices - skull_middle) * factor[:, None]).astype(np.float32)


def _calmed(ratio: Array) -> Array:
    """Median of five directions, then mean of five, around the circle."""
    ring = np.concatenate([ratio[-4:], ratio, ratio[:4]])
    median = np.median(np.lib.stride_tricks.sliding_window_view(ring, 5), axis=1)
    return np.lib.stride_tricks.sliding_window_view(median, 5).mean(1)


@kernel
def _reach(mask: U8, x: float, y: float, directions: int) -> Array:
    """Distance in pixels from a place to where the mask ends, by direction: from right over down."""
    height, width = mask.shape
    result = np.zeros(directions)
    for k in range(directions):
        cosine, sine = np.cos(2 * np.pi * k / directions), np.sin(2 * np.pi * k / directions)
        gap = 0
        for step in range(1, height + width):
            column, row = int(np.floor(x + step * cosine)), int(np.floor(y + step * sine))
            if column < 0 or row < 0 or column >= width or row >= height:
                break
            if mask[row, column]:
                result[k] = step
                gap = 0
            else:
                gap += 1
                if gap > 3 and result[k] > 0:
                    break
    return result
