"""Plain networks: their specification, sizes, and layers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from headpose.errors import InputError
from headpose.landmarks import load_landmark_model
from headpose.networks import spec as specs
from headpose.networks.build import build
from headpose.networks.export import ModelCard, export_onnx, state_from_onnx
from headpose.networks.plain import PlainNet
from headpose.networks.spec import PlainLayerSpec, PlainSpec
from headpose.types import CropSpec
from tests.training.networks import network

SPEC = PlainSpec(22, (PlainLayerSpec(4, max_pool=True), PlainLayerSpec(6, kernel=1, stride=2), PlainLayerSpec(5)), (8,))


def test_a_network_has_the_layers_of_its_spec_and_gives_points_in_its_crop():
    network = build(SPEC)
    assert isinstance(network, PlainNet)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items() if name.endswith("weight")}
    assert shapes["conv1.weight"] == (4, 3, 3, 3)
    assert shapes["conv2.weight"] == (6, 4, 1, 1)
    assert shapes["head.0.weight"] == (8, 5 * 6 * 6)  # 22 -> 11 by the max-pool -> 6 by the stride
    assert shapes["head.1.weight"] == (136, 8)
    points = network.eval()(torch.randn(2, 3, 22, 22))
    assert points.shape == (2, 68, 2)
    assert (points - 0.5).abs().max() < 0.5  # it starts in the middle


def test_a_pool_leaves_a_map_as_large_as_a_stride_does():
    pooled, strided = (
        build(PlainSpec(23, (layer,), ())) for layer in (PlainLayerSpec(4, max_pool=True), PlainLayerSpec(4, stride=2))
    )
    images = torch.randn(1, 3, 23, 23)
    assert pooled.features(images).shape == strided.features(images).shape == (1, 4 * 12 * 12)


def test_parameters_and_macs_are_those_of_the_layers():
    network, counted = build(SPEC), 0

    def count(layer, _, output):
        nonlocal counted
        places = output[0, 0].numel() if output.ndim == 4 else 1
        counted += layer.weight.numel() * places

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(count)
    network.eval()(torch.zeros(1, 3, 22, 22))
    assert specs.macs(SPEC, 22) == counted
    assert specs.parameters(SPEC) == sum(each.numel() for each in network.parameters())
    with pytest.raises(InputError, match="22 px only, not 24"):
        specs.macs(SPEC, 24)


def test_the_file_gives_torchs_points_and_the_weights_come_back(tmp_path):
    net, crop, file = network(SPEC), CropSpec(22), tmp_path / "points.onnx"
    export_onnx(net, crop, ModelCard("points", "fp32", "permissive", "any use", "none", "points"), file)
    images = torch.randn(3, 3, 22, 22)
    found = load_landmark_model(file, device="cpu", threads=1).predict(images.numpy())
    np.testing.assert_allclose(found, net(images).detach().numpy(), atol=1e-5)
    spec, stored, state = state_from_onnx(file)
    assert (spec, stored) == (SPEC, crop)
    wanted = {name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], value) for name, value in wanted.items())


def test_a_spec_survives_json_beside_those_of_residual_networks():
    assert specs.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC
    residual = specs.resnet("basic", (1,), (4,), (4,), specs.StemSpec(4))
    assert specs.from_dict(json.loads(json.dumps(residual.to_dict()))) == residual


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": []}, "layers"),
        ({"layers": [{"width": 4, "kernel": 2}]}, "kernel is odd, got 2"),
        ({"layers": [{"width": 0}]}, "width"),
        ({"output": "6d"}, "output"),
        ({"depth": 3}, "depth"),
    ],
)
def test_a_spec_that_fits_no_network_is_one_clear_error(change, message):
    with pytest.raises(InputError, match=message):
        specs.from_dict(SPEC.to_dict() | change)
