"""Errors of predicted poses, and how sure one can be of their means.

Everything here is a number for each face or a mean of such numbers; nothing depends on how faces
were batched.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headpose import geometry
from headpose.errors import InputError
from headpose.geometry import Array

YAW_EDGES = (0.0, 30.0, 60.0, 99.0)
"""Edges of the bins by |yaw| that this field reports, degrees; the last one belongs to its bin."""

Difference = Literal["wrapped", "plain", "folded"]
DIFFERENCES: tuple[Difference, ...] = get_args(Difference)
"""How published code takes the difference of two angles (``angle_errors``)."""


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


def angle_errors(predicted: ArrayLike, true: ArrayLike, difference: Difference = "wrapped") -> Array:
    """Absolute error of each angle, as different evaluations take it.

    Args:
        predicted, true: (..., 3) yaw, pitch, roll in degrees, of any size.
        difference: ``"wrapped"`` is the short way round 360 degrees (``euler_errors``); ``"plain"`` is
            |p - t| as it stands (Hopenet's ``test_hopenet.py``, FSA-Net); ``"folded"`` is the smallest of
            |p - t + k| for k of 0, +-180 and +-360 (6DRepNet's ``test.py`` and its kin), which scores an
            error of 160 degrees as 20.

    Returns:
        (..., 3) degrees, at least 0.

    Raises:
        InputError: ``difference`` is unknown.
    """
    if difference not in DIFFERENCES:
        raise InputError(f"difference is one of {', '.join(DIFFERENCES)}, got {difference!r}")
    if difference == "wrapped":
        return np.abs(euler_errors(predicted, true))
    errors = np.asarray(predicted, np.float64) - np.asarray(true, np.float64)
    if difference == "plain":
        return np.abs(errors)
    return np.min([np.abs(errors + turn) for turn in (0.0, 180.0, -180.0, 360.0, -360.0)], 0)


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
        InputError: there is no value, or no weight above 0.
    """
    values = np.asarray(values, np.float64)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != values.shape[:1]:
        raise InputError(f"{len(values)} values need as many weights, got {weights.shape}")
    if (weights < 0).any() or not weights.sum() > 0:
        raise InputError("a mean needs a value with a weight above 0, and none below")
    return np.asarray(np.tensordot(weights / weights.sum(), values, 1))


def yaw_bins(yaw: ArrayLike, edges: Sequence[float] = YAW_EDGES) -> dict[str, NDArray[np.bool_]]:
    """Which faces belong to which bin of |yaw|, or of another angle's size.

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


def bootstrap_interval(
    values: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> Array:
    """Percentile bootstrap of a mean: how far it would move had other faces been drawn.

    Columns are resampled together, so the intervals of several errors of the same faces, or of the
    difference between two networks, come from the same draws (Efron, "Bootstrap Methods: Another Look
    at the Jackknife", Annals of Statistics 1979).

    Args:
        values: (N,) or (N, K), one row a face, N at least 1.
        level: coverage, in (0, 1).
        resamples: number of draws of N faces.
        seed: the same seed gives the same interval.
        groups: of each face, drawn whole: frames of one video, views of one photograph. None draws faces.

    Returns:
        (2,) or (2, K): lower and upper end.

    Raises:
        InputError: there is no value, ``level`` or ``resamples`` is out of range, or there are not as many groups as
            values.
    """
    if not 0.0 < level < 1.0:
        raise InputError(f"level is in (0, 1), got {level}")
    tail = (1.0 - level) / 2.0
    means = bootstrap_means(values, resamples=resamples, seed=seed, groups=groups)
    return np.quantile(means, (tail, 1.0 - tail), axis=0)


def bootstrap_means(
    values: ArrayLike, *, resamples: int = 5000, seed: int = 0, groups: Sequence[Hashable] | None = None
) -> Array:
    """The means of the draws that ``bootstrap_interval`` takes its quantiles of: (resamples,) or (resamples, K)."""
    values = np.asarray(values, np.float64)
    if not len(values):
        raise InputError("a bootstrap interval needs at least one value")
    if resamples < 1:
        raise InputError(f"resamples is 1 or more, got {resamples}")
    if groups is not None and len(groups) != len(values):
        raise InputError(f"{len(values)} values need as many groups, got {len(groups)}")
    sums, sizes = _group_sums(values, groups)
    rng = np.random.default_rng(seed)
    # How often each group is drawn says all about a resample, and turns the means into products.
    uniform = np.full(len(sums), 1.0 / len(sums))
    draws = (rng.multinomial(len(sums), uniform) for _ in range(resamples))
    return np.stack([(counts @ sums) / (counts @ sizes) for counts in draws])


def bootstrap_p_value(
    values: ArrayLike, *, resamples: int = 5000, seed: int = 0, groups: Sequence[Hashable] | None = None
) -> Array:
    """Two-sided p-value of a mean being 0, read off the same draws as its interval.

    Twice the share of draws on the lesser side of 0, the observed sample counted as one draw more, so that
    it is never 0 (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, eq. 4.11).

    Args:
        values: (N,) or (N, K); for two networks, the differences of their errors on the same faces.
        resamples, seed, groups: as in ``bootstrap_interval``.

    Returns:
        () or (K,), in [2 / (resamples + 1), 1].
    """
    means = bootstrap_means(values, resamples=resamples, seed=seed, groups=groups)
    lesser = np.minimum((means <= 0).sum(0), (means >= 0).sum(0))
    return np.minimum(1.0, 2.0 * (lesser + 1) / (resamples + 1))


def _group_sums(values: Array, groups: Sequence[Hashable] | None) -> tuple[Array, Array]:
    """Sum of the values and number of faces of each group, in the order of their first faces."""
    index: dict[Hashable, int] = {}
    of_face = [index.setdefault(group, len(index)) for group in (range(len(values)) if groups is None else groups)]
    sums = np.zeros((len(index), *values.shape[1:]))
    np.add.at(sums, of_face, values)
    return sums, np.bincount(of_face).astype(np.float64)
