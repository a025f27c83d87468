"""The file contract of a network, and what its answers must be."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import onnxruntime
import pytest

from headpose import geometry, inference, weights
from headpose.errors import HeadPoseError, WeightsError
from headpose.files import sha256_of
from headpose.inference import DEVICES, OnnxPoseModel, Session, bounded_threads, create_session, load_model
from headpose.types import CropSpec, ModelInfo
from tests.network_files import DEGREES_PER_UNIT, PLAIN, color_network


@pytest.fixture
def network(tmp_path):
    return color_network(tmp_path / "color.onnx")


def inputs_of(red, blue):
    """(N, 3, 16, 16) crops of one color each."""
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
    assert (model.name, model.crop, model.path, model.device) == ("color", PLAIN, network, "cpu")
    assert model.metadata == {"name": "color"}


def test_no_crops_no_rotations(network):
    assert load_model(network).predict(inputs_of(np.zeros(0), np.zeros(0))).shape == (0, 3, 3)


def test_a_batch_gives_what_single_crops_give(network):
    model = load_model(network, threads=1)
    inputs = inputs_of(np.linspace(0, 1, 7), np.linspace(1, 0, 7))
    single = np.concatenate([model.predict(inputs[i : i + 1]) for i in range(7)])
    np.testing.assert_allclose(model.predict(inputs), single, atol=1e-6)


def test_rounding_is_repaired_but_no_more_than_that(tmp_path):
    inputs = inputs_of(np.array([0.7]), np.array([0.4]))
    exact = load_model(color_network(tmp_path / "exact.onnx")).predict(inputs)
    rounded = load_model(color_network(tmp_path / "rounded.onnx", gain=1.004)).predict(inputs)
    np.testing.assert_allclose(rounded @ rounded.swapaxes(-1, -2), [np.eye(3)], atol=1e-12)
    np.testing.assert_allclose(rounded, exact, atol=1e-6)


@pytest.mark.parametrize("gain", [1.2, 0.0, -1.0, np.nan, np.inf])
def test_what_is_no_rotation_is_an_error_never_an_angle(tmp_path, gain):
    model = load_model(color_network(tmp_path / "wrong.onnx", gain=gain))
    with pytest.raises(HeadPoseError, match="model color returned no rotation"):
        model.predict(inputs_of(np.array([0.7]), np.array([0.4])))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "no headpose.crop"),
        ({"headpose.crop": "{"}, "damaged"),
        ({"headpose.crop": "[]"}, "damaged"),
        ({"headpose.crop": '{"size": 16, "margin": 1}'}, "margin"),
        ({"headpose.crop": "[" * 100_000}, "damaged"),
        ({"headpose.crop": '{"size": 16}', "headpose.model": '{"name": 3}'}, "name"),
        ({"headpose.crop": '{"size": 16}', "headpose.model": "{"}, "headpose.model .* damaged"),
        ({"headpose.crop": '{"size": 16}', "headpose.model": "3"}, "not an object"),
    ],
)
def test_metadata_that_cannot_be_used_are_an_error(tmp_path, metadata, message):
    with pytest.raises(WeightsError, match=message):
        load_model(color_network(tmp_path / "a.onnx", metadata=metadata))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e30", "1e6", "-1e-9", "true", '"1"', "null"])
@pytest.mark.parametrize("key", ["mean", "std", "scale", "shift_y", "size", "square"])
def test_a_crop_with_a_broken_number_is_an_error(tmp_path, key, value):
    if (key, value) in (("shift_y", "-1e-9"), ("square", "true")):
        return  # which they may be
    setting = f"[0.5, {value}, 0.5]" if key in ("mean", "std") else value
    metadata = {"headpose.crop": f'{{"size": 16, "{key}": {setting}}}'}
    with pytest.raises(WeightsError, match=rf"damaged: crop {key}") as caught:
        load_model(color_network(tmp_path / "a.onnx", metadata=metadata))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["student", "student-int8", "student-fp16"])
def test_an_input_that_is_not_finite_never_becomes_an_angle(name, value):
    model = load_model(name, threads=1)
    inputs = np.zeros((2, 3, model.crop.size, model.crop.size), np.float32)
    inputs[1, 2, 3, 4] = value
    with pytest.raises(HeadPoseError, match="has a value that is not a finite number"):
        model.predict(inputs)


def test_a_file_without_a_name_has_its_own(tmp_path):
    network = color_network(tmp_path / "mine.onnx", metadata={"headpose.crop": json.dumps(PLAIN.to_dict())})
    assert load_model(network).name == "mine"


def test_inputs_that_break_the_contract_are_an_error(tmp_path):
    with pytest.raises(WeightsError, match="not a head pose network"):
        load_model(color_network(tmp_path / "a.onnx", inputs="picture"))
    with pytest.raises(WeightsError, match="crops to"):
        load_model(color_network(tmp_path / "b.onnx", size=32))
    with pytest.raises(WeightsError, match="dynamic N"):
        load_model(color_network(tmp_path / "c.onnx", batch=1))


@pytest.mark.parametrize("content", [b"", b"not a network", bytes(1000)])
def test_a_file_that_is_no_network_is_an_error_in_a_line(tmp_path, content, capfd):
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.onnx is not a network") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_cut_network_is_an_error(network):
    network.write_bytes(network.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="is not a network that ONNX Runtime can run"):
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
        license="permissive",
        license_terms="",
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
    with pytest.raises(WeightsError, match=r"differs from that in models\.toml"):
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
        ("directml", "DmlExecutionProvider", "onnxruntime-directml"),
    ],
)
def test_a_device_that_is_not_installed_names_its_package(network, device, provider, package):
    if provider in onnxruntime.get_available_providers():
        assert load_model(network, device=device).device == device
    else:
        with pytest.raises(HeadPoseError, match=f"pip install {package}"):
            load_model(network, device=device)


def test_unknown_device_and_threads_below_zero(network):
    with pytest.raises(HeadPoseError, match="auto, cpu, cuda, tensorrt, openvino, directml, coreml"):
        load_model(network, device="gpu")
    with pytest.raises(HeadPoseError, match="threads"):
        load_model(network, threads=-1)


@pytest.fixture
def told(caplog):
    """What the package's log has got, as if nothing had been told before."""
    inference.warn_once.cache_clear()
    caplog.set_level("INFO", "headpose")
    yield lambda level: [record.getMessage() for record in caplog.records if record.levelname == level]
    inference.warn_once.cache_clear()


def test_more_threads_than_the_machine_has_are_reported_once_and_not_made(network, told):
    there = os.cpu_count()
    for _ in range(2):
        session, _ = create_session(network, threads=there + 1)
    assert session.get_session_options().intra_op_num_threads == there
    assert told("WARNING") == [f"{there + 1} threads are more than this machine has CPUs: using {there}"]
    assert (bounded_threads(0), bounded_threads(1), bounded_threads(there)) == (0, 1, there)


def test_where_a_network_runs_is_in_the_log(network, told):
    create_session(network, device="cpu", threads=1)
    assert told("INFO") == ["color.onnx runs on cpu, threads: 1"] and not told("WARNING")


@pytest.fixture
def dead_cuda(monkeypatch):
    """An ONNX Runtime that was built for CUDA, on a machine without it: it drops the provider without an error."""
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    there = ["CUDAExecutionProvider", *onnxruntime.get_available_providers()]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_auto_tells_once_of_an_accelerator_that_does_not_start(network, told, dead_cuda):
    assert [create_session(network)[1] for _ in range(2)] == ["cpu", "cpu"]
    assert told("WARNING") == ["device cuda is installed but does not start: using cpu"]


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_device_that_does_not_start_is_an_error_and_a_broken_file_is_the_files(network, tmp_path, dead_cuda):
    with pytest.raises(HeadPoseError, match="device cuda is installed but does not start: check its driver"):
        create_session(network, device="cuda")
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    for device in ("cuda", "auto"):
        with pytest.raises(WeightsError, match=r"broken\.onnx is not a network"):
            create_session(tmp_path / "broken.onnx", device=device)


def test_a_provider_that_fails_writes_no_banner_and_is_not_replaced(network, capfd):
    with pytest.raises(ValueError, match="provider"):
        Session(str(network), onnxruntime.SessionOptions(), [3])  # type: ignore[list-item]
    assert capfd.readouterr() == ("", "")


def test_a_device_that_fails_at_work_is_reported_in_a_line(network, capfd):
    session, _ = create_session(network, threads=1)
    with pytest.raises(HeadPoseError, match="ONNX Runtime failed: ") as caught:
        session.run(None, {"image": np.zeros((1, 2, 3), np.float32)})
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", [b"headpose.crop", b"color", b"image", b"rotation"])
def test_names_that_are_no_text_are_refused(tmp_path, text):
    network = color_network(tmp_path / "network.onnx")
    data = bytearray(network.read_bytes())
    at = data.find(text)
    while at >= 0:  # every place that has it, so that the graph still fits together
        data[at] = 0x80
        at = data.find(text)
    network.write_bytes(data)
    with pytest.raises(WeightsError, match=r"UTF-8|is not a network|has no headpose\.crop|one input, image"):
        OnnxPoseModel(network)
