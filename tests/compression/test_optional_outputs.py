"""The optional outputs through pruning, distillation, FP16 and INT8."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from headpose import config, crop, geometry
from headpose.compression import channels, surgery
from headpose.compression.distillation import student_spec
from headpose.compression.fp16 import to_fp16
from headpose.compression.int8 import to_int8
from headpose.compression.parity import OUTPUT_LIMITS, check_parity, compare, noise_pictures, read
from headpose.compression.read import read_network
from headpose.compression.recipe import StudentRecipe
from headpose.errors import RecipeError, WeightsError
from headpose.inference import OnnxPoseModel
from headpose.networks.export import ModelCard, export_onnx
from headpose.reading import Calibration, Reading
from headpose.recipes import training as recipe
from headpose.types import CropSpec
from tests.training.networks import TINY_BASIC, network, recipe_values

SPEC = dataclasses.replace(TINY_BASIC, outputs=("region", "covariance", "face"), head=(9,))
CROP = CropSpec(40, scale=1.25)
CARD = ModelCard("tiny", "fp32", "permissive", "any use", "none", "tiny")
CROPS = noise_pictures(24, CROP.size)
FITTED = Calibration(2.0, 3.0, 0.5)


def calm(seed=0):
    """A network whose outputs differ between pictures, and do not reach their bounds."""
    net = network(SPEC, seed)
    with torch.no_grad():
        net.head[-1].weight *= 0.05
        net.head[-1].bias[[0, 4]] += 1.0
    return net


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "tiny.onnx"
    export_onnx(calm(), CROP, CARD, path, FITTED)
    return path


@pytest.mark.parametrize("convert", [to_fp16, to_int8])
def test_a_variant_has_all_outputs_and_the_calibration(source, tmp_path, convert):
    convert(source, tmp_path / "small.onnx", CROPS)
    before, after = (OnnxPoseModel(path, device="cpu", threads=1) for path in (source, tmp_path / "small.onnx"))
    assert (after.outputs, after.calibration) == (before.outputs, FITTED) == (SPEC.outputs, FITTED)
    parity = compare(read(before, CROPS), read(after, CROPS))
    assert list(parity.outputs) == ["region", "covariance", "face"]
    assert all(0 < value < OUTPUT_LIMITS[name] for name, value in parity.outputs.items())
    assert "covariance 0.0" in str(parity)


@pytest.mark.parametrize(
    ("values", "name"), [(slice(6, 10), "region"), (slice(10, 13), "covariance"), (slice(16, 17), "face")]
)
def test_the_gate_stops_a_spoiled_output(source, tmp_path, values, name):
    spoiled = calm()
    with torch.no_grad():
        spoiled.head[-1].bias[values] += 1.0
    export_onnx(spoiled, CROP, CARD, tmp_path / "spoiled.onnx", FITTED)
    with pytest.raises(WeightsError, match=f"the output {name} of tiny differs from that of tiny by"):
        check_parity(source, tmp_path / "spoiled.onnx", CROPS, 0.5)


def test_networks_with_other_outputs_are_not_compared(source, tmp_path):
    export_onnx(network(TINY_BASIC), CROP, CARD, tmp_path / "plain.onnx")
    with pytest.raises(WeightsError, match="different outputs"):
        check_parity(source, tmp_path / "plain.onnx", CROPS, 180.0)


def test_the_differences_are_what_they_are_said_to_be():
    rotation, half = np.eye(3)[None], np.array([[0.5, 0.5, 0.5, 0.5]])
    before = Reading(rotation, half, 0.01 * np.eye(3)[None], np.zeros(1))
    after = Reading(rotation, half * [1, 1, 1, 2], 0.0121 * np.eye(3)[None], np.full(1, np.log(3.0)))
    assert compare(before, after).outputs == pytest.approx({"region": 0.5, "covariance": 0.1, "face": 0.25})
    assert compare(before, Reading(rotation)).outputs == {}


def test_pruning_keeps_every_output():
    net = calm()
    keep = {"layer1.0.conv1": torch.tensor([0, 2]), "conv1": torch.tensor([0, 1, 3])}
    small = surgery.prune(net, {name: kept for name, kept in keep.items() if name in channels.widths(SPEC)})
    assert small.spec.outputs == SPEC.outputs
    last = f"head.{len(SPEC.head)}"
    for name in (f"{last}.weight", f"{last}.bias"):
        assert torch.equal(small.state_dict()[name], net.state_dict()[name])
    images = torch.from_numpy(crop.normalize(np.stack(CROPS[:4]), CROP))
    found = small.read(images)
    assert {name: tuple(value.shape[1:]) for name, value in found.items()} == {
        "rotation": (3, 3),
        "region": (4,),
        "covariance": (3, 3),
        "face": (),
    }


def test_a_student_has_the_outputs_of_its_teacher():
    values = {"ratio": 2.0, "stages": [{"images": 10, "output": 1.0}]}
    assert student_spec(SPEC, config.parse(StudentRecipe, values)).parts == SPEC.parts


def test_a_network_must_have_the_outputs_of_the_recipe(source, tmp_path):
    values = recipe_values(tmp_path / "labels.csv")
    values["crop"] = CROP.to_dict()
    with pytest.raises(RecipeError, match=r"tiny\.onnx has network\.output '6d' .*they must be the same"):
        read_network(str(source), recipe.from_dict(values))
    values["network"]["outputs"] = ["covariance", "region", "face"]
    assert read_network(str(source), recipe.from_dict(values)).spec == SPEC


def test_an_uncertainty_of_the_file_is_calibrated(source):
    reading = read(OnnxPoseModel(source, device="cpu"), CROPS[:3])
    plain = calm().read(torch.from_numpy(crop.normalize(np.stack(CROPS[:3]), CROP)))["covariance"].detach().numpy()
    np.testing.assert_allclose(
        geometry.expected_angle(reading.covariance), 2**0.5 * geometry.expected_angle(plain), rtol=1e-3
    )
