import dataclasses
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from onnx import numpy_helper
from safetensors import safe_open
from torch import nn

from headpose.cli import main
from headpose.errors import WeightsError
from headpose.inference import OnnxPoseModel
from headpose.networks.export import ModelCard, export_onnx, state_from_onnx
from headpose.networks.resnet import HeadPoseNet
from headpose.networks.spec import BlockSpec, ResNetSpec, StemSpec
from headpose.reading import Calibration
from headpose.types import CropSpec
from tests.compression.networks import specs
from tests.training.networks import TINY_BASIC, TINY_BOTTLENECK, TINY_CAFFE, network

CARD = ModelCard("tiny", "fp32", "permissive", "any use", "none", "tiny")
CROP = CropSpec(40, scale=1.25)
# What is left of a network whose stem was pruned to the width of the stream behind it.
PROJECTED = ResNetSpec("basic", StemSpec(6, 3, 2, False), ((BlockSpec((5,), 6, projection=True),),))
EVERYTHING = dataclasses.replace(TINY_BASIC, outputs=("face", "region", "covariance"))
EULER_AND_MORE = dataclasses.replace(TINY_BOTTLENECK, outputs=("covariance",))
SPECS = pytest.mark.parametrize(
    "spec",
    [TINY_BASIC, TINY_BOTTLENECK, TINY_CAFFE, PROJECTED, EVERYTHING, EULER_AND_MORE],
    ids=["basic 6d", "bottleneck euler", "caffe", "needless projection", "all outputs", "euler and covariance"],
)


@SPECS
def test_onnx_runtime_gives_torchs_rotations(spec, tmp_path):
    net = network(spec)
    export_onnx(net, CROP, CARD, tmp_path / "tiny.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "tiny.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        images = torch.randn(count, 3, 40, 40)
        (ours,) = session.run(["rotation"], {"image": images.numpy()})
        np.testing.assert_allclose(ours, net(images).detach().numpy(), atol=5e-6)


@pytest.mark.parametrize("spec", [EVERYTHING, EULER_AND_MORE], ids=["all", "covariance"])
def test_the_optional_outputs_are_written_and_described(spec, tmp_path):
    net, fitted = network(spec), Calibration(2.0, 3.0, 0.5)
    export_onnx(net, CROP, CARD, tmp_path / "plain.onnx")
    export_onnx(net, CROP, CARD, tmp_path / "fitted.onnx", fitted)
    plain, calibrated = (OnnxPoseModel(tmp_path / f"{name}.onnx", device="cpu") for name in ("plain", "fitted"))
    assert plain.outputs == tuple(name for name in ("region", "covariance", "face") if name in spec.outputs)
    assert (plain.metadata["contract"], plain.calibration, calibrated.calibration) == (2, Calibration(), fitted)
    images = torch.randn(5, 3, 40, 40)
    wanted = {name: value.detach().numpy() for name, value in net.read(images).items()}
    reading = plain.read(images.numpy())
    for name, value in wanted.items():
        np.testing.assert_allclose(getattr(reading, name), value, atol=3e-6, rtol=2e-5)
    np.testing.assert_allclose(calibrated.read(images.numpy()).covariance, 2 * wanted["covariance"], rtol=1e-4)


def test_without_optional_outputs_the_file_says_what_it_said(tmp_path):
    export_onnx(network(TINY_BASIC), CROP, CARD, tmp_path / "tiny.onnx", Calibration(2.0))
    about = OnnxPoseModel(tmp_path / "tiny.onnx", device="cpu").metadata
    assert not {"contract", "outputs", "calibration"} & about.keys()
    assert "outputs" not in about["architecture"]


@settings(max_examples=25)
@given(specs(outputs=("6d", "euler")))
def test_any_network_can_be_written(tmp_path_factory, spec):
    path = tmp_path_factory.mktemp("any") / "any.onnx"
    net = network(spec)
    export_onnx(net, CROP, CARD, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = torch.randn(2, 3, 40, 40)
    wanted = net.double()(images.double()).detach().numpy()
    np.testing.assert_allclose(session.run(["rotation"], {"image": images.numpy()})[0], wanted, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # inside of torch.export
@pytest.mark.parametrize("spec", [PROJECTED, TINY_BOTTLENECK], ids=["6d", "euler"])
def test_torchs_exporter_writes_the_same_network_in_more_nodes(spec, tmp_path):
    """What ``export``'s docstring says of the exporter that it stands in for."""
    net = network(spec)
    export_onnx(net, CROP, CARD, tmp_path / "ours.onnx")
    images = torch.randn(3, 3, 40, 40)
    program = torch.onnx.export(
        net,
        (images,),
        dynamo=True,
        optimize=False,
        input_names=["image"],
        output_names=["rotation"],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        opset_version=18,
        verbose=False,
    )
    onnx.save(program.model_proto, tmp_path / "torch.onnx")
    models = [onnx.load(tmp_path / name) for name in ("ours.onnx", "torch.onnx")]
    ours, theirs = ({v.name: numpy_helper.to_array(v) for v in model.graph.initializer} for model in models)
    assert all(np.array_equal(ours[name], theirs[name]) for name in net.state_dict() if "num_batches" not in name)
    assert 2 * len(models[0].graph.node) < len(models[1].graph.node)
    assert models[0].ByteSize() < models[1].ByteSize()
    outputs = [
        onnxruntime.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"]).run(
            ["rotation"], {"image": images.numpy()}
        )[0]
        for name in ("ours.onnx", "torch.onnx")
    ]
    np.testing.assert_allclose(*outputs, atol=2e-6)


def test_the_same_network_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        export_onnx(network(TINY_BASIC), CROP, CARD, tmp_path / f"{name}.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


class Function(nn.Module):
    """A layer that is traced."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (nn.functional.softplus, "softplus"),
        (lambda x: torch.cat([x], dim=1), "cat"),  # a keyword: the table's functions read positions
        (lambda x: x.mean((1, 2)), r"mean over \(1, 2\)"),
    ],
)
def test_a_function_without_an_operator_is_refused(tmp_path, function, says):
    net = network(TINY_BASIC)
    net.layer1[0].relu = Function(function)
    with pytest.raises(NotImplementedError, match=says):
        export_onnx(net, CROP, CARD, tmp_path / "tiny.onnx")
    assert not (tmp_path / "tiny.onnx").exists()


def test_an_epsilon_that_is_not_onnxs_default_is_written(tmp_path):
    net = network(TINY_BASIC)
    net.bn1.eps = 0.5
    export_onnx(net, CROP, CARD, tmp_path / "tiny.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "tiny.onnx", providers=["CPUExecutionProvider"])
    images = torch.randn(2, 3, 40, 40)
    wanted = net(images).detach().numpy()
    np.testing.assert_allclose(session.run(["rotation"], {"image": images.numpy()})[0], wanted, atol=2e-6)


@SPECS
def test_the_weights_come_back_bit_for_bit(spec, tmp_path):
    net = network(spec)
    export_onnx(net, CROP, CARD, tmp_path / "tiny.onnx")
    read_spec, crop, state = state_from_onnx(tmp_path / "tiny.onnx")
    assert (read_spec, crop) == (spec, CROP)
    wanted = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)


def test_the_file_describes_itself(tmp_path):
    export_onnx(network(TINY_BASIC), CROP, CARD, tmp_path / "tiny.onnx")
    model = onnx.load(tmp_path / "tiny.onnx")
    about = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert CropSpec.from_dict(about["headpose.crop"]) == CROP
    assert about["headpose.model"]["license"] == "permissive"
    assert sum(node.op_type == "BatchNormalization" for node in model.graph.node) == 9  # unfolded


def test_a_foreign_network_is_refused(tmp_path):
    export_onnx(network(TINY_BASIC), CROP, CARD, tmp_path / "tiny.onnx")
    model = onnx.load(tmp_path / "tiny.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    for name in ("foreign.onnx", "text.onnx", "missing.onnx"):
        with pytest.raises(WeightsError, match="not a network that this package exported"):
            state_from_onnx(tmp_path / name)


def test_the_command_line_gives_the_weights_back(tmp_path, capsys):
    net = network(TINY_BASIC)
    export_onnx(net, CROP, CARD, tmp_path / "tiny.onnx")
    assert main(["weights", "to-safetensors", str(tmp_path / "tiny.onnx"), str(tmp_path / "tiny.safetensors")]) == 0
    with safe_open(tmp_path / "tiny.safetensors", framework="pt") as file:
        spec = ResNetSpec.from_dict(json.loads(file.metadata()["spec"]))
        again = HeadPoseNet(spec).eval()
        missing = again.load_state_dict({k: file.get_tensor(k) for k in file.keys()}, strict=False).missing_keys  # noqa: SIM118
    assert all(name.endswith("num_batches_tracked") for name in missing)
    images = torch.randn(2, 3, 40, 40)
    assert torch.equal(again(images), net(images))
    (tmp_path / "text.onnx").write_text("not a network")
    assert main(["weights", "to-safetensors", str(tmp_path / "text.onnx"), str(tmp_path / "no.safetensors")]) == 1
    assert "not a network" in capsys.readouterr().err
    assert not (tmp_path / "no.safetensors").exists()
    command = ["weights", "to-safetensors", str(tmp_path / "tiny.onnx"), "--out", str(tmp_path / "named.safetensors")]
    assert main(command) == 0
    assert (tmp_path / "named.safetensors").read_bytes() == (tmp_path / "tiny.safetensors").read_bytes()
    with pytest.raises(SystemExit):
        main(["weights", "to-safetensors", str(tmp_path / "tiny.onnx")])
