"""Errors of predicted poses, and how sure one can be of their means.

Everything here is a number for each face or a mean of such numbers; nothing depends on how faces
were batched.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headpose import geometry
from headpose.geometry import Array

YAW_EDGES = (0.0, 30.0, 60.0, 99.0)
"""Edges of the bins by |yaw| that this field reports, degrees; the last one belongs to its bin."""


def euler_errors(predicted: ArrayLike, true: ArrayLike) -> Array:
    """Signed error of each angle, the short way round the circle.

    359 degrees from 0 is -1. There is no folding at 180: a face read backwards errs by 180, where
    ``min(|e|, |180 - e|)``, seen in published code, would call it right.

    Args:
        predicted, true: (..., 3) yaw, pitch, roll in degrees, of any size.

    Returns:
        (..., 3) degrees in [-180, 180).
    """
    return geometry.wrap_degrees(np.asarray(predicted, np.float64) - np.asarray(true, np.float64))


def euler_mae(predicted: ArrayLike, true: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Mean absolute error of yaw, pitch and roll.

    Args:
        predicted, true: (N, 3) yaw, pitch, roll in degrees, N at least 1.
        weights: (N,) at least 0, not all 0.

    Returns:
        (3,) degrees; their mean is the MAE that this field's tables give.
    """
    return weighted_mean(np.abs(euler_errors(predicted, true)), weights)


def weighted_mean(values: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Mean over the first axis.

    Args:
        values: (N, ...), N at least 1.
        weights: (N,) at least 0, not all 0; None weighs all alike.

    Raises:
        ValueError: there is no value, or no weight above 0.
    """
    values = np.asarray(values, np.float64)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != values.shape[:1]:
        raise ValueError(f"{len(values)} values need as many weights, got {weights.shape}")
    if (weights < 0).any() or not weights.sum() > 0:
        raise ValueError("a mean needs a value with a weight above 0, and none below")
    return np.asarray(np.tensordot(weights / weights.sum(), values, 1))


def yaw_bins(yaw: ArrayLike, edges: Sequence[float] = YAW_EDGES) -> dict[str, NDArray[np.bool_]]:
    """Which faces belong to which bin of |yaw|.

    Args:
        yaw: (N,) true yaw in degrees.
        edges: ascending; a bin holds its lower edge, the last one its upper edge as well.

    Returns:
        (N,) masks by name, such as "0-30", in the order of the edges.
    """
    size = np.abs(np.asarray(yaw, np.float64))
    bins = {}
    for low, high in itertools.pairwise(edges):
        below = size <= high if high == edges[-1] else size < high
        bins[f"{low:g}-{high:g}"] = (size >= low) & below
    return bins


def bootstrap_interval(values: ArrayLike, *, level: float = 0.95, resamples: int = 5000, seed: int = 0) -> Array:
    """Percentile bootstrap of a mean: how far it would move had other faces been drawn.

    Columns are resampled together, so the intervals of several errors of the same faces, or of the
    difference between two networks, come from the same draws (Efron, "Bootstrap Methods: Another Look
    at the Jackknife", Annals of Statistics 1979).

    Args:
        values: (N,) or (N, K), one row a face, N at least 1.
        level: coverage, in (0, 1).
        resamples: number of draws of N faces.
        seed: the same seed gives the same interval.

    Returns:
        (2,) or (2, K): lower and upper end.
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        raise ValueError("a bootstrap interval needs at least one value")
    rng = np.random.default_rng(seed)
    # How often each face is drawn says all about a resample, and turns the means into products.
    uniform = np.full(len(values), 1.0 / len(values))
    draws = (rng.multinomial(len(values), uniform) for _ in range(resamples))
    means = np.stack([counts @ values for counts in draws]) / len(values)
    tail = (1.0 - level) / 2.0
    return np.quantile(means, (tail, 1.0 - tail), axis=0)
