"""Errors of predicted landmarks.

The error of a point is its distance from the label, in percent of the square root of the area of the tight box of the
face's known points. Points without a label do not count; covered ones, whose label is a guess, do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from headpose.datasets.points import Landmarks
from headpose.geometry import Array

PROFILE_DEGREES = 45.0
"""|yaw| from which a face is a profile: the outline of its far side has no label."""

FAILURE_PERCENT = 8.0
"""NME from which a face is a failure."""

FIGURES = ("nme", "nme_front", "nme_profile", "rmse", "failures")
"""Names of the figures of ``figures``."""


def errors(predicted: Array, true: Sequence[Landmarks]) -> Array:
    """Compute the error of each point in percent; NaN for points without a label.

    Args:
        predicted: (N, 68, 2) points, in the unit of the labels.
        true: N labels.

    Returns:
        (N, 68) float64.
    """
    labels, known = np.stack([each.points for each in true]), np.stack([each.known for each in true]) > 0
    sides = np.array([each.side for each in true])
    distances = np.linalg.norm(np.where(known[..., None], predicted - labels, np.nan), axis=2)
    return np.asarray(100.0 * distances / sides[:, None])


def figures(predicted: Array, true: Sequence[Landmarks], yaw: Array) -> dict[str, float]:
    """Compute the figures of a network.

    Args:
        predicted: (N, 68, 2) points, in the unit of the labels; N is 1 or more.
        true: N labels.
        yaw: (N,) yaw of the faces in degrees.

    Returns:
        ``nme``: normalized mean error, the mean over faces of the mean over a face's points. ``nme_front`` and
        ``nme_profile``: that of faces of |yaw| below and from ``PROFILE_DEGREES``; NaN if there are none. ``rmse``:
        root of the mean over faces of the mean squared error of a face's points. All in percent of the box.
        ``failures``: share of the faces with an NME above ``FAILURE_PERCENT``, percent.
    """
    of_points = errors(predicted, true)
    of_faces = np.nanmean(of_points, axis=1)
    profile = np.abs(yaw) >= PROFILE_DEGREES
    return {
        "nme": float(of_faces.mean()),
        "nme_front": _mean(of_faces[~profile]),
        "nme_profile": _mean(of_faces[profile]),
        "rmse": float(np.sqrt(np.nanmean(of_points**2, axis=1).mean())),
        "failures": float(100.0 * (of_faces > FAILURE_PERCENT).mean()),
    }


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else math.nan
