"""From BlazeFace's output tensors to boxes: anchors, decoding, and merging what overlaps.

Boxes travel as rows of (K, 5) float32: x1, y1, x2, y2 in pixels, then the score as a logit.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

STRIDES = ((8, 2), (16, 6))  # side of a cell in pixels, anchors in each cell
SAME_FACE = 0.3  # IoU from which two boxes are one face, as in MediaPipe's graph
_PART = 0.35  # share of a box inside a larger, surer one from which it is an ear or an eye of that face
_MOST_LOGIT = 100.0  # MediaPipe's score_clipping_thresh


@functools.lru_cache(maxsize=64)
def anchors(height: int, width: int) -> Array:
    """(A, 2) float32: x, y of the anchors' centres in an input of that size, in the order of the outputs.

    MediaPipe's SsdAnchorsCalculator with fixed anchor size: only centres matter.
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
    """Boxes of one input whose score is high enough.

    Args:
        boxes: (A, 16) float32, centre x and y from the anchor, width, height, six key points; pixels.
        logits: (A,) float32.
        height, width: of the input, padding included.
        min_logit: what is below is dropped.

    Returns:
        (K, 5) float32 in pixels of the input; finite, none of them empty.
    """
    kept = logits >= min_logit
    kept &= (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
    center, half = boxes[kept, :2] + anchors(height, width)[kept], boxes[kept, 2:4] / 2
    rows = np.column_stack([center - half, center + half, logits[kept]])
    return rows[np.isfinite(rows).all(axis=1)]


def sigmoid(logits: Array) -> Array:
    """Scores in [0, 1] of logits, clipped as in MediaPipe's graph."""
    clipped = np.clip(logits, -_MOST_LOGIT, _MOST_LOGIT).astype(np.float64)
    return (1.0 / (1.0 + np.exp(-clipped))).astype(np.float32)


def blend(rows: Array) -> Array:
    """BlazeFace's substitute for non-maximum suppression (section 3.4 of the paper).

    The boxes of a cluster become their mean, weighted by the score; the cluster keeps its best score.

    Args:
        rows: (K, 5) float32.

    Returns:
        (L, 5) float32, L <= K, the best first.
    """
    blended = [
        np.append(np.average(cluster[:, :4], axis=0, weights=sigmoid(cluster[:, 4])), cluster[0, 4])
        for cluster in _clusters(rows)
    ]
    return np.array(blended, np.float32).reshape(-1, 5)


def _clusters(rows: Array) -> Iterator[Array]:
    """Rows that overlap the best one left, again and again; each cluster with its best first."""
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    while len(rows):
        same = iou(rows[0], rows) > SAME_FACE
        same[0] = True
        yield rows[same]
        rows = rows[~same]


def drop_duplicates(rows: Array) -> Array:
    """Keeps of faces that overlap the surer one, and no ear or eye that passed for a face of its own.

    Args:
        rows: (K, 5) float32.

    Returns:
        (L, 5) float32, L <= K, the best first.
    """
    kept: list[Array] = []
    for row in rows[np.argsort(-rows[:, 4], kind="stable")]:
        others = np.array(kept, np.float32).reshape(-1, 5)
        part = (_shared(row, others) > _PART * _area(row)) & (_area(others) > _area(row))
        if not part.any() and not (iou(row, others) > SAME_FACE).any():
            kept.append(row)
    return np.array(kept, np.float32).reshape(-1, 5)


def iou(row: Array, rows: Array) -> Array:
    """(K,) intersection over union of a row with each of (K, 5) rows."""
    shared = _shared(row, rows)
    return shared / (_area(row) + _area(rows) - shared)


def _shared(row: Array, rows: Array) -> Array:
    low, high = np.maximum(row[:2], rows[:, :2]), np.minimum(row[2:4], rows[:, 2:4])
    return np.clip(high - low, 0, None).prod(axis=1)


def _area(rows: Array) -> Array:
    return (rows[..., 2] - rows[..., 0]) * (rows[..., 3] - rows[..., 1])
