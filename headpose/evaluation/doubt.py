"""What a network says of its own errors: calibration of ``covariance`` and ``face``, and how far both can be trusted.

Errors are rotation vectors in head axes, as in ``headpose.reading``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from headpose import geometry, metrics
from headpose.errors import InputError
from headpose.geometry import Array
from headpose.reading import Calibration, Reading, probability

PARTS = 10
"""Number of parts of equal size in the table of predicted and true errors."""

READ_SHARE = 0.99
"""Share of the faces that the threshold of ``face`` keeps."""

_MEAN_CHI = math.sqrt(8.0 / math.pi)  # mean of the chi distribution with three degrees of freedom
_STEPS, _TOLERANCE = 100, 1e-10
_LEAST_SLOPE = 1e-3


def errors_in_head_axes(predicted: ArrayLike, true: ArrayLike) -> Array:
    """Return (N, 3) errors in radians: the vectors d with ``true = predicted exp([d]x)``.

    Args:
        predicted: (N, 3, 3) rotations.
        true: (N, 3, 3) rotations.
    """
    turn = np.swapaxes(np.asarray(predicted, np.float64), -1, -2) @ np.asarray(true, np.float64)
    return np.deg2rad(geometry.vector_from_rotation(turn))


def mahalanobis(errors: Array, covariance: Array) -> Array:
    """Return the (N,) distances sqrt(d^T S^-1 d) of (N, 3) errors under (N, 3, 3) covariances."""
    solved = np.linalg.solve(covariance, errors[:, :, None])[:, :, 0]
    return np.sqrt(np.maximum((errors * solved).sum(1), 0.0))


def fit_temperature(errors: Array, covariance: Array, weights: ArrayLike | None = None) -> float:
    """Return the factor on covariances that makes held-out errors most likely.

    The likelihood is that of the training (``losses.laplace_likelihood``). Its maximum is where the mean Mahalanobis
    distance is that of a Gaussian, sqrt(8 / pi): the mean error is then as large as predicted. The maximum of the
    Gaussian likelihood, which matches the mean square, would follow the few largest errors.

    Args:
        errors: (N, 3) errors in radians, N >= 1.
        covariance: (N, 3, 3) covariances that the network predicts, not calibrated.
        weights: (N,) weights of the faces, >= 0; None for equal weights.

    Raises:
        InputError: There is no face with a weight, or no error at all.
    """
    mean = float(metrics.weighted_mean(mahalanobis(errors, covariance), weights))
    if not mean > 0:
        raise InputError("a temperature cannot be fitted to faces without errors")
    return (mean / _MEAN_CHI) ** 2


def fit_platt(faces: ArrayLike, others: ArrayLike) -> tuple[float, float]:
    """Fit the logits of faces and negatives by Platt scaling, with equal weight for the two kinds.

    ``logit / temperature + bias`` then is the logit of a probability for a crop that is a face as often as not. The
    targets are smoothed as in Platt ("Probabilistic Outputs for Support Vector Machines", 1999), so that logits which
    separate the two perfectly give finite constants.

    Args:
        faces: (N,) logits of faces, N >= 1.
        others: (M,) logits of negatives, M >= 1.

    Returns:
        The temperature, above 0, and the bias. (1, 0) if higher logits do not mean more faces.
    """
    logits = [np.asarray(values, np.float64) for values in (faces, others)]
    counts = [len(values) for values in logits]
    if not all(counts):
        raise InputError("Platt scaling needs faces and negatives")
    x = np.concatenate(logits)
    target = np.repeat([(counts[0] + 1) / (counts[0] + 2), 1 / (counts[1] + 2)], counts)
    weight = np.repeat([0.5 / count for count in counts], counts)
    slope, bias = _logistic_regression(x, target, weight)
    return (1.0 / slope, bias) if slope > _LEAST_SLOPE else (1.0, 0.0)


def _logistic_regression(x: Array, target: Array, weight: Array) -> tuple[float, float]:
    """Return slope and bias that minimise the weighted cross-entropy, by Newton's method with step halving."""
    design = np.column_stack([x, np.ones_like(x)])
    values = np.zeros(2)

    def loss(values: Array) -> float:
        logit = design @ values
        return float((weight * (np.logaddexp(0.0, logit) - target * logit)).sum())

    for _ in range(_STEPS):
        p = probability(design @ values)
        gradient = design.T @ (weight * (p - target))
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + 1e-12 * np.eye(2)
        step, before = np.linalg.solve(hessian, gradient), loss(values)
        while loss(values - step) > before and np.abs(step).max() > _TOLERANCE:
            step = step / 2
        values = values - step
        if np.abs(step).max() <= _TOLERANCE * (1 + np.abs(values).max()):
            break
    return float(values[0]), float(values[1])


def calibrate(
    reading: Reading, labels: ArrayLike, weights: ArrayLike | None = None, others: ArrayLike = ()
) -> Calibration:
    """Fit the calibration of a network to held-out faces.

    Args:
        reading: Outputs of the network for N held-out faces, not calibrated.
        labels: (N, 3, 3) rotations of their labels.
        weights: (N,) weights of the faces; None for equal weights.
        others: (M,) logits ``face`` of held-out negatives. Without any, ``face`` is not calibrated.
    """
    temperature, face = 1.0, (1.0, 0.0)
    if reading.covariance is not None:
        errors = errors_in_head_axes(reading.rotation, labels)
        temperature = fit_temperature(errors, reading.covariance, weights)
    if reading.face is not None and len(np.asarray(others)):
        face = fit_platt(reading.face, others)
    return Calibration(temperature, *face)


@dataclass(frozen=True, slots=True)
class Part:
    """Faces of similar uncertainty.

    Attributes:
        n: Number of faces.
        predicted: Mean uncertainty, degrees.
        true: Mean geodesic error, degrees.
    """

    n: int
    predicted: float
    true: float

    @property
    def excess(self) -> float:
        """True mean error relative to the predicted one, minus 1."""
        return self.true / self.predicted - 1.0


@dataclass(frozen=True, slots=True)
class Doubt:
    """How well the uncertainty of a network tells its errors.

    Attributes:
        n: Number of faces.
        far_degrees: Geodesic error from which a face counts as read wrong.
        far: Number of faces that are read wrong.
        auc: Area under the ROC curve of the uncertainty of wrong faces against the others; None if all or none are.
        parts: Faces in ``PARTS`` parts of equal size, in the order of their uncertainty.
    """

    n: int
    far_degrees: float
    far: int
    auc: float | None
    parts: list[Part]


def judge(uncertainty: ArrayLike, errors: ArrayLike, far_degrees: float) -> Doubt:
    """Compare uncertainties with errors.

    Args:
        uncertainty: (N,) expected errors in degrees, N >= 1.
        errors: (N,) geodesic errors in degrees.
        far_degrees: Error from which a face counts as read wrong.

    Raises:
        InputError: There are no faces, or as many uncertainties as errors are missing.
    """
    expected, actual = np.asarray(uncertainty, np.float64), np.asarray(errors, np.float64)
    if not len(expected) or expected.shape != actual.shape:
        raise InputError(f"{len(expected)} uncertainties and {len(actual)} errors: as many of both are needed")
    far = actual > far_degrees
    auc = metrics.roc_auc(expected[far], expected[~far]) if far.any() and not far.all() else None
    order = np.argsort(expected, kind="stable")
    parts = [
        Part(len(part), float(expected[part].mean()), float(actual[part].mean()))
        for part in np.array_split(order, min(PARTS, len(order)))
    ]
    return Doubt(len(expected), far_degrees, int(far.sum()), auc, parts)


def read_as_faces(faces: ArrayLike, others: ArrayLike, share: float = READ_SHARE) -> float:
    """Return the share of negatives that are read as faces where a share of the faces is.

    Args:
        faces: (N,) logits or probabilities of faces, N >= 1.
        others: (M,) values of negatives, M >= 1.
        share: Share of the faces at or above the threshold, in (0, 1].
    """
    values = np.sort(np.asarray(faces, np.float64))
    threshold = values[math.floor((1.0 - share) * len(values) + 1e-9)]
    return float((np.asarray(others, np.float64) >= threshold).mean())


def table(judged: Sequence[tuple[str, Doubt]]) -> str:
    """Return Markdown: for each network the AUC, and in each part the predicted and the true mean error."""
    first = judged[0][1]
    columns = " | ".join(str(number) for number in range(1, len(first.parts) + 1))
    far = f"AUC of > {first.far_degrees:g} degrees"
    lines = [
        f"| uncertainty | n | {far} | mean error, predicted / true, degrees: {columns} |",
        "|---" * (3 + len(first.parts)) + "|",
    ]
    for name, each in judged:
        cells = " | ".join(f"{part.predicted:.1f} / {part.true:.1f}" for part in each.parts)
        auc = "-" if each.auc is None else f"{each.auc:.3f}"
        lines.append(f"| {name} | {each.n} | {auc} | {cells} |")
    return "\n".join(lines)
