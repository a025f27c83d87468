"""Error metrics of predicted poses, and bootstrap intervals of their means.

All metrics are computed per face and then averaged, so they do not depend on the batch size.
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
"""Edges of the usual bins by |yaw| in degrees; the last edge belongs to its bin."""

Difference = Literal["wrapped", "plain", "folded"]
DIFFERENCES: tuple[Difference, ...] = get_args(Difference)
"""Differences of two angles in published code (see ``angle_errors``)."""


def euler_errors(predicted: ArrayLike, true: ArrayLike) -> Array:
    """Compute the signed error of each angle, wrapped to [-180, 180).

    Errors are not folded at 180 degrees: a face that is read backwards has an error of 180, whereas
    ``min(|e|, |180 - e|)``, which occurs in published code, counts it as correct.

    Args:
        predicted: (..., 3) yaw, pitch, roll in degrees, of any size.
        true: (..., 3) yaw, pitch, roll in degrees, of any size.

    Returns:
        (..., 3) degrees in [-180, 180).
    """
    return geometry.wrap_degrees(np.asarray(predicted, np.float64) - np.asarray(true, np.float64))


def angle_errors(predicted: ArrayLike, true: ArrayLike, difference: Difference = "wrapped") -> Array:
    """Compute the absolute error of each angle with one of the differences of published code.

    Args:
        predicted: (..., 3) yaw, pitch, roll in degrees, of any size.
        true: (..., 3) yaw, pitch, roll in degrees, of any size.
        difference: ``"wrapped"`` wraps at 360 degrees (``euler_errors``); ``"plain"`` is |p - t| (Hopenet's
            ``test_hopenet.py``, FSA-Net); ``"folded"`` is the minimum of |p - t + k| for k = 0, +-180 and +-360
            (6DRepNet's ``test.py`` and code derived from it), which counts an error of 160 degrees as 20.

    Returns:
        (..., 3) errors in degrees, >= 0.

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
    """Compute the mean absolute errors of yaw, pitch and roll.

    Args:
        predicted: (N, 3) yaw, pitch, roll in degrees, N >= 1.
        true: (N, 3) yaw, pitch, roll in degrees.
        weights: (N,) weights, >= 0 and not all 0; None for equal weights.

    Returns:
        (3,) errors in degrees. Their mean is the MAE of published tables.
    """
    return weighted_mean(np.abs(euler_errors(predicted, true)), weights)


def weighted_mean(values: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Compute the weighted mean over the first axis.

    Args:
        values: (N, ...) values, N >= 1.
        weights: (N,) weights, >= 0 and not all 0; None for equal weights.

    Raises:
        InputError: There is no value, a weight is negative, or no weight is above 0.
    """
    values = np.asarray(values, np.float64)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != values.shape[:1]:
        raise InputError(f"{len(values)} values need as many weights, got {weights.shape}")
    if (weights < 0).any() or not weights.sum() > 0:
        raise InputError("a mean needs a value with a weight above 0, and none below")
    return np.asarray(np.tensordot(weights / weights.sum(), values, 1))


def roc_auc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Compute the area under the ROC curve: the probability that a positive scores above a negative, ties count half.

    It is the Mann-Whitney statistic (Hanley and McNeil, "The Meaning and Use of the Area under a Receiver Operating
    Characteristic (ROC) Curve", Radiology 1982).

    Args:
        positive: (N,) scores of positives, N >= 1.
        negative: (M,) scores of negatives, M >= 1.

    Raises:
        InputError: There are no positives or no negatives, or a score is not a number.
    """
    scores, others = np.asarray(positive, np.float64), np.sort(np.asarray(negative, np.float64))
    if not len(scores) or not len(others) or np.isnan(scores).any() or np.isnan(others).any():
        raise InputError("an area under a ROC curve needs scores of positives and of negatives, all of them numbers")
    below = np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")
    return float(below.mean() / (2 * len(others)))


def yaw_bins(yaw: ArrayLike, edges: Sequence[float] = YAW_EDGES) -> dict[str, NDArray[np.bool_]]:
    """Return the masks of the bins by |yaw|, or by the absolute value of another angle.

    Args:
        yaw: (N,) true yaw in degrees.
        edges: Ascending edges in degrees. A bin includes its lower edge; the last bin also includes its upper edge.

    Returns:
        (N,) boolean masks by name, such as "0-30", in the order of the edges.
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
    """Compute the percentile bootstrap interval of a mean.

    Columns are resampled together, so the intervals of several errors of the same faces, or of the difference between
    two networks, come from the same resamples (Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of
    Statistics 1979).

    Args:
        values: (N,) or (N, K) values, one row per face, N >= 1.
        level: Coverage in (0, 1).
        resamples: Number of resamples, >= 1.
        seed: Random seed.
        groups: (N,) group of each face. Groups, such as the frames of a video, are resampled as a whole. None resamples
            faces.

    Returns:
        (2,) or (2, K) lower and upper bounds.

    Raises:
        InputError: There is no value, ``level`` or ``resamples`` is out of range, or ``groups`` has another length.
    """
    if not 0.0 < level < 1.0:
        raise InputError(f"level is in (0, 1), got {level}")
    tail = (1.0 - level) / 2.0
    means = bootstrap_means(values, resamples=resamples, seed=seed, groups=groups)
    return np.quantile(means, (tail, 1.0 - tail), axis=0)


def bootstrap_means(
    values: ArrayLike, *, resamples: int = 5000, seed: int = 0, groups: Sequence[Hashable] | None = None
) -> Array:
    """Return the (resamples,) or (resamples, K) means of the resamples of ``bootstrap_interval``."""
    values = np.asarray(values, np.float64)
    if not len(values):
        raise InputError("a bootstrap interval needs at least one value")
    if resamples < 1:
        raise InputError(f"resamples is 1 or more, got {resamples}")
    if groups is not None and len(groups) != len(values):
        raise InputError(f"{len(values)} values need as many groups, got {len(groups)}")
    sums, sizes = _group_sums(values, groups)
    rng = np.random.default_rng(seed)
    # A resample is described by the count of each group, so its mean is a product.
    uniform = np.full(len(sums), 1.0 / len(sums))
    draws = (rng.multinomial(len(sums), uniform) for _ in range(resamples))
    return np.stack([(counts @ sums) / (counts @ sizes) for counts in draws])


def bootstrap_p_value(
    values: ArrayLike, *, resamples: int = 5000, seed: int = 0, groups: Sequence[Hashable] | None = None
) -> Array:
    """Compute the two-sided p-value of a mean of 0, from the resamples of ``bootstrap_interval``.

    The p-value is twice the fraction of resamples on the less frequent side of 0. The observed sample counts as one
    resample, so it is never 0 (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, eq. 4.11).

    Args:
        values: (N,) or (N, K) values, such as the differences of the errors of two networks on the same faces.
        resamples: As in ``bootstrap_interval``.
        seed: As in ``bootstrap_interval``.
        groups: As in ``bootstrap_interval``.

    Returns:
        () or (K,) p-values in [2 / (resamples + 1), 1].
    """
    means = bootstrap_means(values, resamples=resamples, seed=seed, groups=groups)
    lesser = np.minimum((means <= 0).sum(0), (means >= 0).sum(0))
    return np.minimum(1.0, 2.0 * (lesser + 1) / (resamples + 1))


def _group_sums(values: Array, groups: Sequence[Hashable] | None) -> tuple[Array, Array]:
    """Return the sum of the values and the number of faces of each group, in order of first appearance."""
    index: dict[Hashable, int] = {}
    of_face = [index.setdefault(group, len(index)) for group in (range(len(values)) if groups is None else groups)]
    sums = np.zeros((len(index), *values.shape[1:]))
    np.add.at(sums, of_face, values)
    return sums, np.bincount(of_face).astype(np.float64)
