"""Validation: by what a network is chosen."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from headpose import geometry
from headpose.errors import InputError
from headpose.training.data import Pictures
from headpose.training.validation import Validator
from headpose.types import Box, CropSpec, EulerAngles, Sample

LABELS = [(0.0, 0.0, 0.0), (10.0, 20.0, -5.0), (-70.0, 0.0, 0.0), (75.0, 5.0, 0.0)]
WEIGHTS = [1.0, 0.0, 3.0, 0.5]
ERRORS = np.array([2.0, 50.0, 10.0, 4.0])  # of roll, degrees


def validator(folder: Path, weights: list[float], labels: list[tuple[float, float, float]] = LABELS) -> Validator:
    path = folder / "grey.png"
    cv2.imwrite(str(path), np.full((20, 20, 3), 90, np.uint8))
    samples = [
        Sample(path, Box(2, 2, 18, 18), EulerAngles(*label), weight)
        for label, weight in zip(labels, weights, strict=True)
    ]
    return Validator(samples, CropSpec(16), Pictures(0))


def read(errors: np.ndarray, labels: list[tuple[float, float, float]] = LABELS) -> np.ndarray:
    """What a network reads that errs by these degrees of roll."""
    return geometry.rotation_from_euler(np.array(labels) + errors[: len(labels), None] * [0, 0, 1])


def test_errors_are_means_by_the_weights_of_the_faces(tmp_path):
    score = validator(tmp_path, WEIGHTS).score(read(ERRORS))
    mean = np.average(ERRORS, weights=WEIGHTS)
    assert score.error == score.figures["geodesic"] == pytest.approx(mean)
    assert score.figures["roll"] == pytest.approx(mean)
    assert score.figures["yaw"] == pytest.approx(0, abs=1e-9)
    assert score.figures["pitch"] == pytest.approx(0, abs=1e-9)
    assert score.figures["mae"] == pytest.approx(mean / 3)
    assert score.figures["profile_geodesic"] == pytest.approx((3.0 * 10 + 0.5 * 4) / 3.5)


def test_without_profiles_their_error_is_not_a_number(tmp_path):
    score = validator(tmp_path, WEIGHTS[:2], LABELS[:2]).score(read(ERRORS, LABELS[:2]))
    assert math.isnan(score.figures["profile_geodesic"])


def test_validation_needs_a_weight_above_0(tmp_path):
    with pytest.raises(InputError, match="weight above 0"):
        validator(tmp_path, [0.0] * 4)
