"""Calibration of what a network says of its own errors, and the judgement of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headpose import geometry, metrics
from headpose.errors import InputError
from headpose.evaluation import doubt
from headpose.reading import Calibration, Reading, probability


def drawn(count=4000, factor=1.0, tail=0.0, seed=0):
    """Rotations with errors from the stated covariances times ``factor``; a share ``tail`` errs by 90 degrees."""
    rng = np.random.default_rng(seed)
    deviations = rng.uniform(0.02, 0.3, (count, 3))
    axes = geometry.rotation_from_vector(rng.uniform(-90, 90, (count, 3)))
    covariance = (axes * deviations[:, None, :] ** 2) @ axes.swapaxes(1, 2)
    errors = (axes @ (np.sqrt(factor) * deviations * rng.normal(size=(count, 3)))[:, :, None])[:, :, 0]
    wrong = rng.random(count) < tail
    errors[wrong] *= (np.pi / 2 / np.linalg.norm(errors[wrong], axis=1))[:, None]
    predicted = geometry.rotation_from_vector(rng.uniform(-80, 80, (count, 3)))
    return (
        Reading(predicted, covariance=covariance),
        predicted @ geometry.rotation_from_vector(np.rad2deg(errors)),
        errors,
    )


def test_errors_are_in_head_axes():
    reading, labels, errors = drawn(200)
    np.testing.assert_allclose(doubt.errors_in_head_axes(reading.rotation, labels), errors, atol=1e-9)


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_the_temperature_is_found(factor):
    reading, labels, errors = drawn(factor=factor)
    assert doubt.fit_temperature(errors, reading.covariance) == pytest.approx(factor, rel=0.05)
    assert doubt.calibrate(reading, labels).temperature == pytest.approx(factor, rel=0.05)


def test_wrong_labels_do_not_inflate_the_temperature():
    """A Gaussian likelihood matches the mean square, which a few wrong labels dominate."""
    reading, _, errors = drawn(tail=0.02)
    gaussian = (doubt.mahalanobis(errors, reading.covariance) ** 2).mean() / 3
    assert doubt.fit_temperature(errors, reading.covariance) < 1.6 < gaussian


def test_weights_count_and_no_face_is_an_error():
    reading, _, errors = drawn(1000)
    errors = np.where(np.arange(1000)[:, None] < 500, errors, 3 * errors)
    first = np.arange(1000) < 500
    assert doubt.fit_temperature(errors, reading.covariance, first) == pytest.approx(1.0, rel=0.15)
    with pytest.raises(InputError, match="without errors"):
        doubt.fit_temperature(np.zeros((3, 3)), np.tile(np.eye(3), (3, 1, 1)))


def test_after_calibration_parts_err_as_predicted():
    reading, labels, _ = drawn(factor=6.0)
    fitted = doubt.calibrate(reading, labels)
    covariance = fitted.apply({"covariance": reading.covariance})["covariance"]
    errors = geometry.geodesic_degrees(reading.rotation, labels)
    found = doubt.judge(geometry.expected_angle(covariance), errors, 15.0)
    assert [part.n for part in found.parts] == [400] * 10
    assert all(abs(part.excess) < 0.15 for part in found.parts)
    assert found.far == (errors > 15).sum() and 0.6 < found.auc < 0.95
    plain = doubt.judge(geometry.expected_angle(reading.covariance), errors, 15.0)
    assert all(part.excess > 0.8 for part in plain.parts)  # sqrt(6) - 1 = 1.45


@settings(max_examples=15, deadline=None)
@given(st.floats(0.2, 5.0), st.floats(-2, 2))
def test_platt_scaling_finds_the_probabilities(temperature, bias):
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20_000)
    is_face = rng.random(20_000) < probability(true)
    logits = (true - bias) * temperature
    found = doubt.fit_platt(logits[is_face], logits[~is_face])
    np.testing.assert_allclose(logits / found[0] + found[1], true, atol=0.35)


def test_platt_scaling_of_perfect_and_of_useless_logits():
    temperature, bias = doubt.fit_platt(np.linspace(5, 9, 50), np.linspace(-9, -5, 40))
    assert 0.1 < temperature < 20 and abs(bias) < 3
    assert doubt.fit_platt([-1.0, -2.0], [1.0, 2.0]) == (1.0, 0.0)
    with pytest.raises(InputError, match="faces and negatives"):
        doubt.fit_platt([1.0], [])


def test_what_a_network_lacks_is_not_calibrated():
    reading, labels, _ = drawn(50)
    assert doubt.calibrate(Reading(reading.rotation), labels) == Calibration()
    faces = Reading(reading.rotation, face=np.linspace(-1, 5, 50))
    assert doubt.calibrate(faces, labels) == Calibration()  # no negatives
    fitted = doubt.calibrate(faces, labels, others=np.linspace(-6, 1, 30))
    assert (fitted.temperature, fitted.face_temperature != 1) == (1.0, True)


def test_the_table_of_two_networks():
    reading, labels, _ = drawn(500)
    judged = doubt.judge(
        geometry.expected_angle(reading.covariance), geometry.geodesic_degrees(reading.rotation, labels), 15
    )
    lines = doubt.table([("a", judged), ("b", judged)]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith(f"| a | 500 | {judged.auc:.3f} | {judged.parts[0].predicted:.1f} / ")
    assert doubt.judge([1.0, 2.0], [3.0, 4.0], 15).auc is None
    with pytest.raises(InputError, match="as many of both"):
        doubt.judge([], [], 15)


def test_negatives_read_as_faces():
    faces = np.arange(100.0)
    assert doubt.read_as_faces(faces, [0.5, 1.5, 50.0, -3.0]) == 0.5  # 99 of 100 faces are at 1 or above
    assert doubt.read_as_faces(faces, [0.0], share=1.0) == 1.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_the_area_under_the_curve_counts_pairs(positive, negative):
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert metrics.roc_auc(positive, negative) == pytest.approx(np.mean(pairs))


def test_no_area_without_both_kinds():
    with pytest.raises(InputError, match="positives and of negatives"):
        metrics.roc_auc([1.0], [])
