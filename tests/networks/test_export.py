import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open

from headpose.cli import main
from headpose.errors import WeightsError
from headpose.networks.export import ModelCard, export_onnx, state_from_onnx
from headpose.networks.resnet import HeadPoseNet
from headpose.networks.spec import BlockSpec, ResNetSpec, StemSpec
from headpose.types import CropSpec
from tests.training.networks import TINY_BASIC, TINY_BOTTLENECK, TINY_CAFFE, network

CARD = ModelCard("tiny", "fp32", "permissive", "any use", "none", "tiny")
CROP = CropSpec(40, scale=1.25)
# What is left of a network whose stem was pruned to the width of the stream behind it.
PROJECTED = ResNetSpec("basic", StemSpec(6, 3, 2, False), ((BlockSpec((5,), 6, projection=True),),))
SPECS = pytest.mark.parametrize(
    "spec",
    [TINY_BASIC, TINY_BOTTLENECK, TINY_CAFFE, PROJECTED],
    ids=["basic 6d", "bottleneck euler", "caffe", "needless projection"],
)


@SPECS
def test_onnx_runtime_gives_torchs_rotations(spec, tmp_path):
    net = network(spec)
    export_onnx(net, CROP, CARD, tmp_path / "tiny.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "tiny.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        images = torch.randn(count, 3, 40, 40)
        (ours,) = session.run(["rotation"], {"image": images.numpy()})
        np.testing.assert_allclose(ours, net(images).detach().numpy(), atol=2e-6)


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
