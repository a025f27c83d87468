"""The optional outputs of a network: what is read, checked and calibrated, and what a pose says of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headpose import Box, HeadPoseEstimator, geometry, inference
from headpose.errors import HeadPoseError, InputError, WeightsError
from headpose.inference import load_model
from headpose.reading import Calibration, Reading, probability
from tests.network_files import PLAIN, color_network

COVARIANCE = np.array([[0.04, 0.01, 0.0], [0.01, 0.09, -0.02], [0.0, -0.02, 0.02]])
ALL = {"region": [0.5, 0.45, 0.6, 0.7], "covariance": COVARIANCE, "face": 2.0}
INPUTS = np.full((2, 3, 16, 16), 0.5, np.float32)

turns = hnp.arrays(float, 3, elements=st.floats(-300, 300)).map(geometry.rotation_from_vector)
variances = hnp.arrays(float, 3, elements=st.just(0.0) | st.floats(1e-200, 0.3))  # SciPy has NaN for smaller ones


def test_all_outputs_of_a_file(tmp_path):
    model = load_model(color_network(tmp_path / "a.onnx", optional=ALL))
    assert model.outputs == ("region", "covariance", "face")
    reading = model.read(INPUTS)
    assert len(reading) == 2
    np.testing.assert_array_equal(reading.rotation, model.predict(INPUTS))
    for name, value in ALL.items():
        found = getattr(reading, name)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, [value, value], rtol=1e-6)
    np.testing.assert_allclose(reading.readable, 1 / (1 + np.exp(-2.0)))


@pytest.mark.parametrize("name", ALL)
def test_some_outputs_of_a_file(tmp_path, name):
    reading = load_model(color_network(tmp_path / "a.onnx", optional={name: ALL[name]})).read(INPUTS)
    assert [key for key in ALL if getattr(reading, key) is not None] == [name]
    assert (reading.readable is None) == (name != "face")


def test_files_of_contract_1_have_a_rotation_only(tmp_path):
    plain = {"headpose.crop": json.dumps(PLAIN.to_dict()), "headpose.model": json.dumps({"name": "old"})}
    model = load_model(color_network(tmp_path / "a.onnx", optional=ALL, metadata=plain))
    assert model.outputs == ()
    assert (model.read(INPUTS).region, model.read(INPUTS).readable) == (None, None)


def test_no_crops(tmp_path):
    reading = load_model(color_network(tmp_path / "a.onnx", optional=ALL)).read(INPUTS[:0])
    assert reading.region.shape == (0, 4) and reading.covariance.shape == (0, 3, 3) and reading.face.shape == (0,)


def test_a_network_that_only_predicts_is_read_too():
    class Mine:
        name, crop = "mine", PLAIN

        def predict(self, inputs):
            return np.tile(np.eye(3), (len(inputs), 1, 1))

    reading = inference.read(Mine(), INPUTS)
    assert reading.rotation.shape == (2, 3, 3) and reading.covariance is None
    Mine.read = lambda self, inputs: np.eye(3)
    with pytest.raises(HeadPoseError, match="mine must return a Reading, got ndarray"):
        inference.read(Mine(), INPUTS)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("region", [0.5, 0.5, 0.0, 0.5], "width or height"),
        ("region", [0.5, np.nan, 0.5, 0.5], "not a number"),
        ("region", [0.5, 0.5, 0.5], r"shape \[2, 3\]"),
        ("covariance", np.triu(COVARIANCE), "not symmetric"),
        ("covariance", np.diag([0.1, 0.1, -0.01]), "not positive definite"),
        ("covariance", np.zeros((3, 3)), "not positive definite"),
        ("covariance", np.full((3, 3), np.inf), "not a number"),
        ("face", np.nan, "not a number"),
        ("face", [0.0], r"shape \[2, 1\]"),
    ],
)
def test_an_invalid_output_is_an_error(tmp_path, name, value, message):
    model = load_model(color_network(tmp_path / "wrong.onnx", optional={**ALL, name: value}))
    with pytest.raises(HeadPoseError, match=f"model color returned no {name}.*{message}"):
        model.read(INPUTS)
    assert model.predict(INPUTS).shape == (2, 3, 3)  # the rotation does not depend on it


def test_rounding_of_a_covariance_is_repaired(tmp_path):
    singular = np.outer([1, 2, 3], [1, 2, 3]) * 0.01 - 1e-7 * np.eye(3)
    (repaired, _) = (
        load_model(color_network(tmp_path / "a.onnx", optional={"covariance": singular})).read(INPUTS).covariance
    )
    assert np.linalg.eigvalsh(repaired).min() > 0
    np.testing.assert_allclose(repaired, singular, atol=1e-6)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"contract": 3}, "follows contract 3, this version knows 2: update headpose"),
        ({"contract": "two"}, "no valid contract"),
        ({"contract": True}, "no valid contract"),
        ({"contract": 2, "outputs": "face"}, "not a list of names"),
        ({"contract": 2, "outputs": ["gaze"]}, "unknown output 'gaze'"),
        ({"contract": 2, "outputs": ["face"]}, "lacks the output face"),
        ({"calibration": []}, "calibration must be an object"),
        ({"calibration": {"temperature": 0}}, "temperature must be a number above 0, got 0"),
        ({"calibration": {"face": {"bias": "high"}}}, "face.bias must be a number, got 'high'"),
        ({"calibration": {"faces": {}}}, "calibration must be an object"),
    ],
)
def test_metadata_that_do_not_fit_are_an_error(tmp_path, about, message):
    metadata = {"headpose.crop": json.dumps(PLAIN.to_dict()), "headpose.model": json.dumps({"name": "x", **about})}
    with pytest.raises(WeightsError, match=message):
        load_model(color_network(tmp_path / "a.onnx", metadata=metadata))


def test_the_calibration_of_a_file_is_applied(tmp_path):
    fitted = Calibration(temperature=2.5, face_temperature=4.0, face_bias=-1.0)
    assert Calibration.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted
    reading = load_model(color_network(tmp_path / "a.onnx", optional=ALL, calibration=fitted.to_dict())).read(INPUTS)
    np.testing.assert_allclose(reading.covariance[0], 2.5 * COVARIANCE, rtol=1e-6)
    np.testing.assert_allclose(reading.face, 2.0 / 4.0 - 1.0)
    np.testing.assert_allclose(reading.region[0], ALL["region"], rtol=1e-6)


def test_calibration_rejects_what_is_no_number():
    for wrong in ({"temperature": -1.0}, {"face_temperature": float("nan")}, {"face_bias": True}):
        with pytest.raises(InputError, match="must be a number"):
            Calibration(**wrong)


def test_probabilities_do_not_overflow():
    np.testing.assert_allclose(probability(np.array([-1e4, 0.0, 1e4])), [0, 0.5, 1])


@settings(max_examples=60, deadline=None)
@given(variances, turns)
def test_expected_angle_is_carlsons_integral_in_any_axes(values, turn):
    angle = geometry.expected_angle(turn @ np.diag(values) @ turn.T)
    exact = np.rad2deg(np.sqrt(8 / np.pi) * scipy.special.elliprg(*values)) if values.any() else 0.0
    np.testing.assert_allclose(angle, min(exact, 180.0), rtol=1e-3, atol=1e-5)


def test_expected_angle_is_the_mean_length_of_normal_vectors():
    draws = np.random.default_rng(0).multivariate_normal(np.zeros(3), COVARIANCE, 200_000)
    mean = np.rad2deg(np.linalg.norm(draws, axis=1).mean())
    np.testing.assert_allclose(geometry.expected_angle(COVARIANCE), mean, rtol=0.01)
    assert geometry.expected_angle(np.eye(3) * 100) == 180.0
    assert geometry.expected_angle(np.tile(COVARIANCE, (4, 2, 1, 1))).shape == (4, 2)
    with pytest.raises(InputError, match="shape"):
        geometry.expected_angle(np.eye(2))


@settings(max_examples=30, deadline=None)
@given(turns, st.floats(-180, 180), hnp.arrays(float, 3, elements=st.floats(-60, 60)))
def test_the_error_in_head_axes_does_not_change_with_a_turn_of_the_picture(rotation, angle, error):
    true = rotation @ geometry.rotation_from_vector(error)
    predicted, label = geometry.turn_picture(rotation, angle), geometry.turn_picture(true, angle)
    np.testing.assert_allclose(geometry.vector_from_rotation(predicted.T @ label), error, atol=1e-6)


def test_a_pose_has_uncertainty_and_probability(tmp_path):
    network = color_network(tmp_path / "a.onnx", optional=ALL, calibration={"temperature": 4.0})
    estimator = HeadPoseEstimator(network, threads=1)
    (pose,) = estimator(np.full((64, 64, 3), 128, np.uint8), boxes=[Box(10, 10, 50, 50)])
    assert pose.uncertainty == pytest.approx(2 * geometry.expected_angle(COVARIANCE), rel=1e-5)
    assert pose.readable == pytest.approx(1 / (1 + np.exp(-2.0)))
    values = json.loads(json.dumps(pose.to_dict()))
    assert (values["uncertainty"], values["readable"]) == pytest.approx((pose.uncertainty, pose.readable), abs=1e-6)


@pytest.mark.parametrize(("least", "reliable"), [(0.0, True), (0.88, True), (0.89, False), (1.0, False)])
def test_poses_below_the_confidence_are_marked_and_kept(tmp_path, least, reliable):
    network = color_network(tmp_path / "a.onnx", optional={"face": 2.0})  # 0.8808
    estimator = HeadPoseEstimator(network, threads=1, min_confidence=least)
    (pose,) = estimator(np.full((64, 64, 3), 128, np.uint8), boxes=[Box(10, 10, 50, 50)])
    assert (pose.reliable, pose.to_dict()["reliable"]) == (reliable, reliable)


def test_a_confidence_needs_a_network_that_has_one(tmp_path):
    plain = color_network(tmp_path / "a.onnx", optional={"covariance": COVARIANCE})
    assert HeadPoseEstimator(plain, threads=1).min_confidence == 0
    with pytest.raises(InputError, match="model color has no output face"):
        HeadPoseEstimator(plain, threads=1, min_confidence=0.5)
    for wrong in (1.5, -0.1, float("nan"), "high"):
        with pytest.raises(InputError, match="min_confidence must be a number from 0 to 1"):
            HeadPoseEstimator(plain, threads=1, min_confidence=wrong)


def test_a_pose_of_an_older_network_has_neither(tmp_path):
    estimator = HeadPoseEstimator(color_network(tmp_path / "a.onnx"), threads=1)
    (pose,) = estimator(np.full((64, 64, 3), 128, np.uint8), boxes=[Box(10, 10, 50, 50)])
    assert (pose.uncertainty, pose.readable, pose.covariance) == (None, None, None)
    assert (pose.to_dict()["uncertainty"], pose.to_dict()["readable"]) == (None, None)


def test_reading_of_a_rotation_only():
    assert Reading(np.zeros((0, 3, 3))).readable is None
