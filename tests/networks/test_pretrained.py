import dataclasses
import re

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from headpose.errors import WeightsError
from headpose.networks.pretrained import initialize, our_name
from headpose.networks.resnet import HeadPoseNet
from tests.training.networks import TINY_BASIC, TINY_BOTTLENECK, TINY_CAFFE, network

CAFFE_LAYERS = {
    "conv1": "1x1_reduce",
    "bn1": "1x1_reduce_bn",
    "conv2": "3x3",
    "bn2": "3x3_bn",
    "conv3": "1x1_increase",
    "bn3": "1x1_increase_bn",
    "downsample.0": "1x1_proj",
    "downsample.1": "1x1_proj_bn",
}


def caffe_name(name):
    """VGGFace2's name for ours."""
    layer, _, kind = name.rpartition(".")
    if match := re.fullmatch(r"layer(\d)\.(\d)\.(.+)", layer):
        return f"conv{int(match[1]) + 1}_{int(match[2]) + 1}_{CAFFE_LAYERS[match[3]]}.{kind}"
    return {"conv1": "conv1_7x7_s2", "bn1": "conv1_7x7_s2_bn"}.get(layer, layer) + f".{kind}"


def tensors(net):
    return {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}


def fresh(spec):
    torch.manual_seed(7)
    return HeadPoseNet(spec).eval()


def test_vggface2s_names_are_known():
    for name in tensors(network(TINY_CAFFE)):
        if not name.startswith("head"):
            assert our_name(caffe_name(name)) == name
            assert our_name("module." + name) == name


def test_torchvisions_weights_fit_by_name(tmp_path):
    source, target = network(TINY_BOTTLENECK), fresh(TINY_BOTTLENECK)
    state = {k: v for k, v in source.state_dict().items() if not k.startswith("head")}
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in state.items()} | {"fc.weight": torch.ones(3, 3)}},
        tmp_path / "r.pth",
    )
    match = initialize(target, tmp_path / "r.pth")
    assert all(torch.equal(target.state_dict()[k], state[k]) for k in tensors(source) if k in state)
    assert set(match.fresh) == {k for k in tensors(source) if k.startswith("head")}
    assert match.unused == ("fc.weight",)
    assert match.other_shape == ()
    assert "tensors taken" in str(match) and "fc.weight" in str(match)


def vggface2_features(state, x):
    """VGGFace2's ResNet in plain functions: stride on the first 1x1, a pool that pads at its end only."""

    def conv_bn(x, name, stride=1, padding=0):
        x = functional.conv2d(x, state[f"{name}.weight"], stride=stride, padding=padding)
        statistics = (state[f"{name}_bn.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *statistics)

    x = conv_bn(x, "conv1_7x7_s2", 2, 3).relu()
    x = functional.pad(x, (0, 1, 0, 1), value=float("-inf")) if x.shape[-1] % 2 == 0 else x
    x = functional.max_pool2d(x, 3, 2)
    for stage, blocks in ((2, 1), (3, 2)):
        for block in range(1, blocks + 1):
            name, stride = f"conv{stage}_{block}", 2 if stage > 2 and block == 1 else 1
            y = conv_bn(x, f"{name}_1x1_reduce", stride).relu()
            y = conv_bn(y, f"{name}_3x3", 1, 1).relu()
            y = conv_bn(y, f"{name}_1x1_increase")
            x = (y + (conv_bn(x, f"{name}_1x1_proj", stride) if block == 1 else x)).relu()
    return x.mean((2, 3))


@pytest.mark.parametrize("size", [40, 46])
def test_vggface2s_weights_compute_what_they_did(tmp_path, size):
    state = {caffe_name(k): v for k, v in tensors(network(TINY_CAFFE)).items() if not k.startswith("head")}
    save_file(state, tmp_path / "vggface2.safetensors")
    target = fresh(TINY_CAFFE)
    initialize(target, tmp_path / "vggface2.safetensors")
    images = torch.randn(2, 3, size, size)
    features = {}
    target.head[0].register_forward_pre_hook(lambda _, inputs: features.update(last=inputs[0]))
    target(images)
    torch.testing.assert_close(features["last"], vggface2_features(state, images))


def test_another_shape_is_reported_and_left(tmp_path):
    state = tensors(network(TINY_BOTTLENECK))
    state["conv1.weight"] = torch.zeros(2, 3, 7, 7)
    save_file(state, tmp_path / "r.safetensors")
    target = fresh(TINY_BOTTLENECK)
    before = target.conv1.weight.clone()
    assert initialize(target, tmp_path / "r.safetensors").other_shape == ("conv1.weight",)
    assert torch.equal(target.conv1.weight, before)


def test_what_cannot_be_used_is_one_line(tmp_path):
    save_file({"blocks.0.attn.qkv.weight": torch.ones(3, 3)}, tmp_path / "vit.safetensors")
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, message in (
        ("vit.safetensors", "no convolution"),
        ("text.pth", "cannot read"),
        ("text.safetensors", "cannot read"),
        ("missing.pth", "cannot read"),
        ("list.pth", "no state dict"),
    ):
        with pytest.raises(WeightsError, match=message) as caught:
            initialize(fresh(TINY_BOTTLENECK), tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", [TINY_BASIC, TINY_BOTTLENECK], ids=["6d", "euler"])
def test_optional_outputs_are_added_to_a_network_without_them(tmp_path, spec):
    source = network(spec)
    target = fresh(dataclasses.replace(spec, outputs=("covariance", "face")))
    save_file({k: v.contiguous() for k, v in tensors(source).items()}, tmp_path / "a.safetensors")
    before = target.head[-1].weight.detach().clone()
    match = initialize(target, tmp_path / "a.safetensors")
    images, count = torch.randn(3, 3, 40, 40), spec.parts["rotation"]
    torch.testing.assert_close(target(images), source(images))
    assert torch.equal(target.head[-1].weight[count:], before[count:])
    last = f"head.{len(spec.head)}"
    assert match.extended == (f"{last}.weight", f"{last}.bias") and match.other_shape == ()
    assert "2 take their rotation, and their other outputs start fresh" in str(match)
