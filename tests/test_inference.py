"""The file contract of a network, and what its answers must be."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnxruntime
import pytest

from headpose import geometry, weights
from headpose.errors import HeadPoseError, WeightsError
from headpose.files import sha256_of
from headpose.inference import DEVICES, OnnxPoseModel, create_session, load_model
from headpose.types import CropSpec, ModelInfo
from tests.networks import DEGREES_PER_UNIT, PLAIN, colour_network


@pytest.fixture
def network(tmp_path):
    return colour_network(tmp_path / "colour.onnx")


def inputs_of(red, blue):
    """(N, 3, 16, 16) crops of one colour each."""
    values = np.stack([red, np.zeros_like(red), blue], -1).astype(np.float32)
    return np.broadcast_to(values[:, :, None, None], (len(red), 3, 16, 16)).copy()


def test_predict(network):
    model = load_model(network)
    red, blue = np.array([0.5, 0.8, 0.1]), np.array([0.5, 0.4, 0.9])
    rotations = model.predict(inputs_of(red, blue))
    assert rotations.shape == (3, 3, 3) and rotations.dtype == np.float64
    euler = np.stack([(red - 0.5) * DEGREES_PER_UNIT, (blue - 0.5) * DEGREES_PER_UNIT, np.zeros(3)], -1)
    np.testing.assert_allclose(geometry.euler_from_rotation(rotations), euler, atol=1e-3)


def test_what_the_file_says_of_itself(network):
    model = load_model(str(network))
    assert (model.name, model.crop, model.path, model.device) == ("colour", PLAIN, network, "cpu")
    assert model.metadata == {"name": "colour"}


def test_no_crops_no_rotations(network):
    assert load_model(network).predict(inputs_of(np.zeros(0), np.zeros(0))).shape == (0, 3, 3)


def test_a_batch_gives_what_single_crops_give(network):
    model = load_model(network, threads=1)
    inputs = inputs_of(np.linspace(0, 1, 7), np.linspace(1, 0, 7))
    single = np.concatenate([model.predict(inputs[i : i + 1]) for i in range(7)])
    np.testing.assert_allclose(model.predict(inputs), single, atol=1e-6)


def test_rounding_is_repaired_but_no_more_than_that(tmp_path):
    inputs = inputs_of(np.array([0.7]), np.array([0.4]))
    exact = load_model(colour_network(tmp_path / "exact.onnx")).predict(inputs)
    rounded = load_model(colour_network(tmp_path / "rounded.onnx", gain=1.004)).predict(inputs)
    np.testing.assert_allclose(rounded @ rounded.swapaxes(-1, -2), [np.eye(3)], atol=1e-12)
    np.testing.assert_allclose(rounded, exact, atol=1e-6)


@pytest.mark.parametrize("gain", [1.2, 0.0, -1.0, np.nan, np.inf])
def test_what_is_no_rotation_is_an_error_never_an_angle(tmp_path, gain):
    model = load_model(colour_network(tmp_path / "wrong.onnx", gain=gain))
    with pytest.raises(HeadPoseError, match="model colour gave no rotation"):
        model.predict(inputs_of(np.array([0.7]), np.array([0.4])))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "no headpose.crop"),
        ({"headpose.crop": "{"}, "damaged"),
        ({"headpose.crop": "[]"}, "damaged"),
        ({"headpose.crop": '{"size": 16, "margin": 1}'}, "margin"),
        ({"headpose.crop": '{"size": 16}', "headpose.model": "{"}, "headpose.model .* damaged"),
        ({"headpose.crop": '{"size": 16}', "headpose.model": "3"}, "not an object"),
    ],
)
def test_metadata_that_cannot_be_used_are_an_error(tmp_path, metadata, message):
    with pytest.raises(WeightsError, match=message):
        load_model(colour_network(tmp_path / "a.onnx", metadata=metadata))


def test_a_file_without_a_name_has_its_own(tmp_path):
    network = colour_network(tmp_path / "mine.onnx", metadata={"headpose.crop": json.dumps(PLAIN.to_dict())})
    assert load_model(network).name == "mine"


def test_inputs_that_break_the_contract_are_an_error(tmp_path):
    with pytest.raises(WeightsError, match="no head pose network"):
        load_model(colour_network(tmp_path / "a.onnx", inputs="picture"))
    with pytest.raises(WeightsError, match="crops to"):
        load_model(colour_network(tmp_path / "b.onnx", size=32))
    with pytest.raises(WeightsError, match="dynamic N"):
        load_model(colour_network(tmp_path / "c.onnx", batch=1))


@pytest.mark.parametrize("content", [b"", b"not a network", bytes(1000)])
def test_a_file_that_is_no_network_is_an_error_in_a_line(tmp_path, content, capfd):
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.onnx is no network") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_cut_network_is_an_error(network):
    network.write_bytes(network.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="is no network that ONNX Runtime can run"):
        load_model(network)


def test_a_missing_file_is_an_error(tmp_path):
    for path in (tmp_path / "none.onnx", str(tmp_path / "none.onnx")):
        with pytest.raises(WeightsError, match="does not exist"):
            load_model(path)
        with pytest.raises(WeightsError, match="does not exist"):
            OnnxPoseModel(path)


def test_a_name_is_checked_against_the_manifest(network, monkeypatch):
    info = ModelInfo(
        name="small",
        file=network.name,
        sha256=sha256_of(network),
        bytes=network.stat().st_size,
        precision="fp32",
        lane="clean",
        licence="",
        data="",
        recipe="",
        parent="",
        crop=PLAIN,
    )
    monkeypatch.setenv("HEADPOSE_WEIGHTS", str(network.parent))
    monkeypatch.setattr(weights, "manifest", lambda: {"small": info})
    assert load_model("small").crop == PLAIN
    other = dataclasses.replace(info, crop=CropSpec(size=16, scale=1.5))
    monkeypatch.setattr(weights, "manifest", lambda: {"small": other})
    with pytest.raises(WeightsError, match="another crop"):
        load_model("small")


def test_auto_is_the_best_that_works(network):
    _, device = create_session(network)
    assert device in DEVICES and device != "auto"


@pytest.mark.parametrize(
    ("device", "provider", "package"),
    [
        ("cuda", "CUDAExecutionProvider", "onnxruntime-gpu"),
        ("tensorrt", "TensorrtExecutionProvider", "onnxruntime-gpu"),
        ("openvino", "OpenVINOExecutionProvider", "onnxruntime-openvino"),
    ],
)
def test_a_device_that_is_not_installed_names_its_package(network, device, provider, package):
    if provider in onnxruntime.get_available_providers():
        assert load_model(network, device=device).device == device
    else:
        with pytest.raises(HeadPoseError, match=f"pip install {package}"):
            load_model(network, device=device)


def test_unknown_device_and_threads_below_zero(network):
    with pytest.raises(HeadPoseError, match="auto, cpu, cuda, tensorrt, openvino"):
        load_model(network, device="gpu")
    with pytest.raises(HeadPoseError, match="threads"):
        load_model(network, threads=-1)
