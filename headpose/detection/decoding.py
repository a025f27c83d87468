"""Decoding of BlazeFace's output tensors: anchors, boxes, and non-maximum suppression.

Boxes are rows of a (K, 7) float32 array: x1, y1, x2, y2 in pixels, the score as a logit, then a vector (x, y) to the
left of the head, in pixels: where the face is upright, it points to the right of the image. Functions that do not need
the vector take (K, 5) rows, too.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

STRIDES = ((8, 2), (16, 6))  # side of a cell in pixels, number of anchors in each cell
SAME_FACE = 0.3  # IoU above which two boxes are the same face, as in MediaPipe's graph
_PART = 0.35  # a box with more than this share inside a larger, more confident one is a part of that face
_MOST_LOGIT = 100.0  # MediaPipe's score_clipping_thresh


@functools.lru_cache(maxsize=64)
def anchors(height: int, width: int) -> Array:
    """Return (A, 2) float32 anchor centers (x, y) for an input size, in the order of the outputs.

    Equals MediaPipe's SsdAnchorsCalculator with fixed anchor size, where only centers matter.
    """
    centers = []
    for stride, count in STRIDES:
        y, x = np.mgrid[: height // stride, : width // stride]
        cells = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) * stride
        centers.append(np.repeat(cells, count, axis=0))
    result = np.concatenate(centers).astype(np.float32)
    result.setflags(write=False)
    return result


def decode(boxes: Array, logits: Array, height: int, width: int, min_logit: float) -> Array:
    """Decode the boxes of one input and drop those with a low score.

    Args:
        boxes: (A, 16) float32: center x and y relative to the anchor, width, height, six key points; pixels.
        logits: (A,) float32 scores as logits.
        height: Height of the input in pixels, including padding.
        width: Width of the input in pixels, including padding.
        min_logit: Minimum logit of a box.

    Returns:
        (K, 7) float32 in pixels of the input. All values are finite and no box is empty.
    """
    kept = logits >= min_logit
    kept &= (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
    center, half = boxes[kept, :2] + anchors(height, width)[kept], boxes[kept, 2:4] / 2
    rows = np.column_stack([center - half, center + half, logits[kept], _leftwards(boxes[kept, 4:12])])
    return rows[np.isfinite(rows).all(axis=1)]


def _leftwards(points: Array) -> Array:
    """Return (K, 2) vectors to the left of each head from (K, 8): its right eye, left eye, nose tip and mouth.

    The eyes alone are close together in a profile, where their line says little: the vector from the mouth to the eyes,
    turned by a right angle, is added. Both grow with what they can say.
    """
    right, left, mouth = points[:, :2], points[:, 2:4], points[:, 6:8]
    up = (right + left) / 2 - mouth
    return left - right + np.column_stack([-up[:, 1], up[:, 0]])


def sigmoid(logits: Array) -> Array:
    """Return scores in [0, 1]; logits are clipped as in MediaPipe's graph."""
    clipped = np.clip(logits, -_MOST_LOGIT, _MOST_LOGIT).astype(np.float64)
    return (1.0 / (1.0 + np.exp(-clipped))).astype(np.float32)


def blend(rows: Array) -> Array:
    """Merge overlapping boxes: BlazeFace's blending (section 3.4 of the paper) instead of non-maximum suppression.

    Each cluster of boxes becomes its score-weighted mean, with the highest score of the cluster.

    Args:
        rows: (K, C) float32 boxes, C is 5 or 7.

    Returns:
        (L, C) float32 boxes, L <= K, sorted by descending score.
    """
    blended: list[Array] = []
    for cluster in _clusters(rows):
        weights = sigmoid(cluster[:, 4])
        row = weights @ cluster / weights.sum()
        row[4] = cluster[0, 4]
        blended.append(row)
    return np.array(blended, np.float32).reshape(-1, rows.shape[1])


def _clusters(rows: Array) -> Iterator[Array]:
    """Yield clusters: the best remaining row and all rows that overlap it, best row first."""
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    while len(rows):
        same = iou(rows[0], rows) > SAME_FACE
        same[0] = True
        yield rows[same]
        rows = rows[~same]


def drop_duplicates(rows: Array) -> Array:
    """Apply non-maximum suppression that also drops boxes inside a larger, more confident face.

    Args:
        rows: (K, C) float32 boxes, C is 5 or 7.

    Returns:
        (L, C) float32 boxes, L <= K, sorted by descending score.
    """
    kept: list[Array] = []
    for row in rows[np.argsort(-rows[:, 4], kind="stable")]:
        others = np.array(kept, np.float32).reshape(-1, rows.shape[1])
        part = (_shared(row, others) > _PART * _area(row)) & (_area(others) > _area(row))
        if not part.any() and not (iou(row, others) > SAME_FACE).any():
            kept.append(row)
    return np.array(kept, np.float32).reshape(-1, rows.shape[1])


def iou(row: Array, rows: Array) -> Array:
    """Return (K,) intersection over union of a row with each of (K, C) rows."""
    shared = _shared(row, rows)
    return shared / (_area(row) + _area(rows) - shared)


def _shared(row: Array, rows: Array) -> Array:
    low, high = np.maximum(row[:2], rows[:, :2]), np.minimum(row[2:4], rows[:, 2:4])
    return np.clip(high - low, 0, None).prod(axis=1)


def _area(rows: Array) -> Array:
    return (rows[..., 2] - rows[..., 0]) * (rows[..., 3] - rows[..., 1])
