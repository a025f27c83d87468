"""Plain networks: their channels, strides in place of max-pools, and the whole chain on landmarks."""

import json

import numpy as np
import pytest
import tomlkit
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from headpose import cli
from headpose.compression import channels, product, surgery
from headpose.errors import InputError
from headpose.landmarks import load_landmark_model
from headpose.networks.build import build
from headpose.networks.spec import PlainLayerSpec, PlainSpec, macs
from headpose.recipes import training as recipe
from headpose.training.loop import contiguous_state
from scripts import publish_weights
from tests.cli.errors import assert_error
from tests.compression.test_compress import FINE
from tests.training.networks import network, recipe_values
from tests.training.test_landmarks import write_points


@st.composite
def specs(draw):
    widths = st.integers(1, 6)
    layer = st.builds(PlainLayerSpec, widths, st.sampled_from([1, 3]), st.integers(1, 2), st.booleans())
    layers = draw(st.lists(layer, min_size=1, max_size=3))
    return PlainSpec(draw(st.integers(8, 13)), tuple(layers), tuple(draw(st.lists(widths, max_size=2))))


def keeps(draw, spec):
    """Some channels of every group."""
    found = {}
    for name, width in channels.widths(spec).items():
        kept = draw(st.sets(st.integers(0, width - 1), min_size=1))
        found[name] = torch.tensor(sorted(kept))
    return found


def images(spec, count=2):
    return torch.randn(count, 3, spec.size, spec.size, generator=torch.Generator().manual_seed(0))


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_pruned_network_is_the_old_one_without_these_channels(data):
    spec = data.draw(specs())
    keep = keeps(data.draw, spec)
    net = network(spec)
    small = surgery.prune(net, keep)
    assert channels.widths(small.spec) == {name: len(kept) for name, kept in keep.items()}
    handles = []
    for name, kept in keep.items():
        mask = torch.zeros(channels.widths(spec)[name])
        mask[kept] = 1
        module = net.get_submodule(name.replace("conv", "bn"))
        hook = lambda _m, _i, y, mask=mask: y * mask.view(1, -1, *[1] * (y.ndim - 2))  # noqa: E731
        handles.append(module.register_forward_hook(hook))
    with torch.no_grad():
        assert torch.allclose(small.raw(images(spec)), net.raw(images(spec)), atol=1e-4)
    for handle in handles:
        handle.remove()
    axes, repeats = channels.axes(spec), channels.repeats(spec)
    full = {name: value for name, value in net.state_dict().items() if name in axes}
    zeroed = {name: torch.zeros_like(value) for name, value in full.items()}
    back = surgery.scatter_state(zeroed, {k: small.state_dict()[k] for k in axes}, axes, keep, repeats)
    again = surgery.slice_state(back, axes, keep, repeats)
    assert all(torch.equal(again[name], small.state_dict()[name]) for name in axes)
    assert all(bool(((value == full[name]) | (value == 0)).all()) for name, value in back.items())


def test_convolutions_and_dense_layers_may_be_pruned():
    spec = PlainSpec(16, (PlainLayerSpec(4, max_pool=True), PlainLayerSpec(6)), (8, 5))
    assert (
        channels.prunable(spec, "paper") == channels.prunable(spec, "stream") == ("conv1", "conv2", "head.0", "head.1")
    )
    assert channels.repeats(spec) == {"head.0.weight": 64}
    with pytest.raises(InputError, match="no group of channels 'layer1'"):
        channels.resize(spec, {"layer1": 3})


def test_a_stride_computes_every_second_output_of_the_convolution():
    spec = PlainSpec(
        13, (PlainLayerSpec(4, max_pool=True), PlainLayerSpec(6, stride=2), PlainLayerSpec(5, max_pool=True))
    )
    net = network(spec)
    strided = surgery.stride_for_pooling(net)
    assert [(layer.stride, layer.max_pool) for layer in strided.spec.layers] == [(2, False), (2, False), (2, False)]
    assert strided.spec.sides == spec.sides
    assert macs(strided.spec, 13) < 0.5 * macs(spec, 13)
    state = strided.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert not strided.training and net.spec == spec
    with torch.no_grad():
        whole, part = (each.bn1(each.conv1(images(spec))) for each in (net, strided))
    assert torch.allclose(part, whole[:, :, ::2, ::2], atol=1e-5)
    with torch.no_grad():
        strided.conv1.weight.zero_()
    assert net.conv1.weight.abs().sum() > 0


def test_the_max_pool_of_a_stem_becomes_a_stride():
    from tests.training.networks import TINY_BOTTLENECK

    strided = surgery.stride_for_pooling(network(TINY_BOTTLENECK))
    assert (strided.spec.stem.stride, strided.spec.stem.max_pool) == (4, False)
    assert strided(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 3)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    manifest, labels = write_points(folder, 60)
    values = recipe_values(manifest)
    values["task"] = "landmarks"
    values["data"]["sources"][0]["landmarks"] = str(labels)
    layers = [{"width": 8, "max_pool": True}, {"width": 12, "max_pool": True}, {"width": 16}]
    values["network"] = {"size": 32, "layers": layers, "head": [24]}
    (folder / "training.toml").write_text(tomlkit.dumps(values))
    save_file(contiguous_state(build(recipe.from_dict(values).spec)), folder / "best.safetensors")
    compression = {
        "name": "tiny",
        "baseline": {"recipe": str(folder / "training.toml"), "weights": str(folder / "best.safetensors")},
        "prune": {
            "importance": "correlation", "rule": {"kind": "share", "value": 0.25}, "minimum": 2, "multiple": 2,
            "steps": 1, "images": 32, "last_images": 32, "recalibration_images": 32, "scan": [0.5], "scan_images": 16,
            "pooling": "stride", "pooling_images": 32, "optimiser": FINE, "last_optimiser": FINE,
            "guide": {"output": 1.0}, "stop": {"tolerance": 1000.0},
        },
        "product": {"small": {"network": "teacher", "last_images": 32, "optimiser": FINE, "guide": {"features": 1.0}}},
        "run": {"batch": 16, "ema": 0.9, "bf16": "off", "threads": 1},
    }  # fmt: skip
    (folder / "tiny.toml").write_text(tomlkit.dumps(compression))
    return folder


def test_landmarks_go_through_the_chain(faces, tmp_path):
    assert cli.main(["compress", str(faces / "tiny.toml"), "--out", str(tmp_path / "run")]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    variants = {variant["name"]: variant for variant in report["variants"]}
    assert list(variants) == ["baseline", "strided", "teacher", "small"]
    assert all(variant["latency_ms"] for variant in variants.values())
    numbers = [variants[name] for name in variants]
    assert [v["macs"] for v in numbers] == sorted((v["macs"] for v in numbers), reverse=True)
    assert variants["small"]["bytes"] < 0.6 * variants["teacher"]["bytes"] < 0.6 * variants["baseline"]["bytes"]
    assert report["steps"][1]["kept"]["head.0"] and len(report["steps"][1]["kept"]["head.0"]) == 18
    model = load_landmark_model(tmp_path / "run" / "small.safetensors", device="cpu", threads=1)
    assert model.predict(np.zeros((2, 3, 32, 32), np.float32)).shape == (2, 68, 2)
    network = surgery.load(tmp_path / "run" / "product" / "small" / "network.safetensors")
    assert not any(layer.max_pool for layer in network.spec.layers)
    assert len(product.layers(network)) == 5
    (origin,) = publish_weights.origins(tmp_path / "run", ["small"])
    assert (origin.file.name, origin.result.name) == ("small.safetensors", "small.json")
    assert "- Pruned: 1 steps of pruning by correlation (share)" in "\n".join(origin.history)
    assert "256 codewords for each layer, vectors of 9 weights" in origin.history[-2]
    assert f"held-out faces, on which its NME is {variants['small']['figures']['nme']:.2f} %." in origin.history[-1]


def test_students_of_plain_networks_are_refused(faces, tmp_path, capsys):
    stage = "students.one.stages=[{images=32,labels=1.0}]"
    command = ["compress", str(faces / "tiny.toml"), "--out", str(tmp_path / "run"), "--set", stage]
    command += ["--set", f"baseline.teacher={faces / 'best.safetensors'}", "--only", "distill"]
    status = cli.main(command)
    out, err = capsys.readouterr()
    err = "".join(line + "\n" for line in err.splitlines() if line.startswith("headpose:"))
    assert_error((status, out, err), "students: a plain network has no residual streams")


def test_a_guide_needs_layers_that_kept_their_width(faces, tmp_path, capsys):
    command = ["compress", str(faces / "tiny.toml"), "--out", str(tmp_path / "run"), "--only", "prune"]
    command += ["--set", "prune.guide.features=1.0", "--set", "prune.pooling=keep", "--set", "prune.scan=[]"]
    assert cli.main(command) == 1
    assert "recipe: guide: no layer kept its width" in capsys.readouterr().err


def test_strides_need_a_max_pool(faces, tmp_path, capsys):
    training = tomlkit.parse((faces / "training.toml").read_text()).unwrap()
    for layer in training["network"]["layers"]:
        layer["max_pool"] = False
    (tmp_path / "training.toml").write_text(tomlkit.dumps(training))
    save_file(contiguous_state(build(recipe.from_dict(training).spec)), tmp_path / "best.safetensors")
    command = ["compress", str(faces / "tiny.toml"), "--out", str(tmp_path / "run"), "--only", "prune"]
    command += ["--set", f"baseline.recipe={tmp_path / 'training.toml'}"]
    status = cli.main([*command, "--set", f"baseline.weights={tmp_path / 'best.safetensors'}"])
    out, err = capsys.readouterr()
    err = "".join(line + "\n" for line in err.splitlines() if line.startswith("headpose:"))
    assert_error((status, out, err), "prune.pooling: the baseline has no max-pool")
    assert not (tmp_path / "run" / "strided").exists()
