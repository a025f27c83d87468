import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from headpose.compression import channels, surgery
from headpose.errors import HeadPoseError, InputError, WeightsError
from headpose.networks.convolution import Conv2d
from headpose.networks.resnet import HeadPoseNet
from headpose.networks.spec import BlockSpec, ResNetSpec, StemSpec, macs, resnet
from tests.compression.networks import masked, specs
from tests.training.networks import network as lively

tp = pytest.importorskip("torch_pruning")

SPEC = resnet("bottleneck", (2, 1), (4, 6), (16, 24), StemSpec(8), head=(10, 6), output="euler")
KEEP = {
    "conv1": torch.tensor([0, 3, 5]),
    "layer1": torch.tensor([1, 4, 7, 15]),
    "layer1.1.conv2": torch.tensor([2]),
    "head.0": torch.tensor([0, 1, 8, 9]),
}
ORACLE = [
    resnet("basic", (2, 2), (6, 9), (8, 12), StemSpec(8, 3, 2, False), output="classes", classes=10),
    resnet("bottleneck", (2, 2), (6, 9), (16, 24), StemSpec(8), head=(10,), output="classes", classes=10),
    resnet("bottleneck", (1, 2), (6, 9), (16, 24), StemSpec(8), output="classes", classes=10, stride_on="1x1"),
]


@st.composite
def choices(draw, spec):
    """Channels to keep, of some groups."""
    keep = {}
    for group in draw(st.lists(st.sampled_from(channels.groups(spec)), unique=True)):
        kept = draw(st.sets(st.integers(0, group.width - 1), min_size=1))
        keep[group.name] = torch.tensor(sorted(kept))
    return keep


def masks(spec, keep):
    widths = channels.widths(spec)
    return {name: torch.zeros(widths[name]).index_fill(0, kept, 1.0) for name, kept in keep.items()}


@settings(max_examples=40)
@given(specs(), st.data())
def test_a_pruned_network_computes_what_the_masked_one_does(spec, data):
    network, keep = lively(spec), data.draw(choices(spec))
    images = torch.randn(2, 3, 40, 40)
    small = surgery.prune(network, keep)
    assert channels.widths(small.spec) == {
        name: len(keep.get(name, range(width))) for name, width in channels.widths(spec).items()
    }
    with torch.no_grad(), masked(network, masks(spec, keep)):
        wanted = network.raw(images)
    difference = (small.raw(images) - wanted).abs().max()
    assert difference <= 1e-5 * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("spec", ORACLE, ids=["basic", "bottleneck", "caffe"])
def test_torch_pruning_makes_the_same_network(spec):
    network, reference = lively(spec), lively(spec)
    images = torch.randn(2, 3, 64, 64)
    generator = torch.Generator().manual_seed(0)
    keep = {}
    for group in channels.groups(spec):
        kept = torch.randperm(group.width, generator=generator)[: group.width // 2 + 1].sort().values
        keep[group.name] = kept
        gone = [i for i in range(group.width) if i not in kept.tolist()]
        producer = next(layer.name for layer in channels.layers(spec) if layer.outputs == group)
        graph = tp.DependencyGraph().build_dependency(reference, images)
        module = reference.get_submodule(producer)
        cut = tp.prune_linear_out_channels if isinstance(module, nn.Linear) else tp.prune_conv_out_channels
        graph.get_pruning_group(module, cut, idxs=gone).prune()
    ours = surgery.prune(network, keep)
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in reference.state_dict().items()
    }
    assert all(torch.equal(v, reference.state_dict()[k]) for k, v in ours.state_dict().items())
    torch.testing.assert_close(ours(images), reference(images), atol=1e-5, rtol=1e-5)
    assert macs(ours.spec, 64) == _convolution_macs(reference, images)


def _convolution_macs(network, images):
    """Counted by torch-pruning, one layer at a time: its total also counts BatchNorm, ReLU and pooling."""
    shapes, handles = [], []
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            handles.append(module.register_forward_hook(lambda m, i, y: shapes.append((m, i[0][:1], y))))
    network(images)
    for handle in handles:
        handle.remove()
    bare = 0
    for module, x, _ in shapes:
        work, parameters = tp.utils.count_ops_and_params(_plain(module), x)
        bare += int(work) - (module.bias.numel() if module.bias is not None else 0)
        assert parameters == sum(value.numel() for value in module.parameters())
    return bare


def _plain(module):
    """A layer of torch's own class: torch-pruning's counter passes over subclasses in silence."""
    if isinstance(module, nn.Linear):
        return module
    sizes = (module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding)
    return nn.Conv2d(*sizes, bias=module.bias is not None)


def test_every_network_is_built_from_our_convolution(tmp_path):
    """Torch's own class gets wrong gradients in narrow strided layers on some processors."""
    surgery.save(lively(SPEC), tmp_path / "network.safetensors")
    for network in (lively(SPEC), surgery.prune(lively(SPEC), KEEP), surgery.load(tmp_path / "network.safetensors")):
        layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        assert len(layers) == 12
        assert {type(layer) for layer in layers} == {Conv2d}


def test_two_cuts_are_one():
    network = lively(SPEC)
    again = {"layer1": torch.tensor([0, 2]), "head.1": torch.tensor([5])}
    twice = surgery.prune(surgery.prune(network, KEEP), again)
    once = surgery.prune(network, surgery.compose(KEEP, again))
    assert twice.spec == once.spec
    assert all(torch.equal(v, once.state_dict()[k]) for k, v in twice.state_dict().items())


def test_everything_else_is_the_sources():
    network = lively(SPEC).double().to(memory_format=torch.channels_last).train()
    network.layer1.eval()
    network.bn1.momentum = 0.3
    network.conv1.weight.requires_grad_(False)
    state = torch.get_rng_state()
    small = surgery.prune(network, KEEP)
    assert torch.equal(torch.get_rng_state(), state)
    assert type(small) is HeadPoseNet and small.bn1.momentum == 0.3
    assert [m.training for m in small.modules()] == [m.training for m in network.modules()]
    assert {n for n, p in small.named_parameters() if not p.requires_grad} == {"conv1.weight"}
    assert {v.dtype for v in small.parameters()} == {torch.float64}
    assert all(v.is_contiguous(memory_format=torch.channels_last) for v in small.parameters() if v.ndim == 4)
    assert not surgery.prune(lively(SPEC), {}).conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_source_is_left_alone():
    network = lively(SPEC)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    small = surgery.prune(network, KEEP).train()
    small(torch.randn(4, 3, 40, 40))
    with torch.no_grad():
        for value in small.parameters():
            value.zero_()
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize(
    "wrong",
    [
        {"layer9": torch.tensor([0])},
        {"conv1": torch.tensor([], dtype=torch.int64)},
        {"conv1": torch.tensor([3, 1])},
        {"conv1": torch.tensor([1, 1])},
        {"conv1": torch.tensor([8])},
        {"conv1": torch.tensor([-1])},
        {"conv1": torch.tensor([1.0])},
        {"conv1": torch.tensor([True] * 8)},
    ],
    ids=["unknown", "empty", "unsorted", "twice", "too large", "negative", "float", "mask"],
)
def test_an_impossible_choice_is_refused(wrong):
    with pytest.raises(InputError, match=r"channel|indices"):
        surgery.prune(lively(SPEC), wrong)


@settings(max_examples=40)
@given(specs(), st.data())
def test_what_is_sliced_can_be_put_back(spec, data):
    keep, axes = data.draw(choices(spec)), channels.axes(spec)
    state = lively(spec).state_dict()
    memory = {k: torch.full_like(v, 7) for k, v in state.items()}
    small = surgery.slice_state(state, axes, keep)
    merged = surgery.scatter_state(memory, small, axes, keep)
    assert all((v == 7).all() for v in memory.values())  # a copy was written to
    again = surgery.slice_state(merged, axes, keep)
    assert all(torch.equal(again[k], v) for k, v in small.items())
    for name, value in merged.items():  # the kept places hold the network's values, all others the memory's
        kept = torch.ones(value.shape, dtype=torch.bool)
        for dimension, group in enumerate(axes.get(name, ())):
            if group in keep:
                inside = torch.zeros(value.shape[dimension], dtype=torch.bool)
                inside[keep[group]] = True
                kept &= inside.view(-1, *[1] * (value.ndim - dimension - 1))
        assert torch.equal(value, torch.where(kept, state[name], memory[name]))


def test_what_is_put_back_shares_no_memory():
    state, axes = lively(SPEC).state_dict(), channels.axes(SPEC)
    part = {"conv1.weight": torch.zeros(3, 3, 7, 7)}
    merged = surgery.scatter_state(state, part, axes, KEEP)
    assert torch.equal(merged["bn1.weight"], state["bn1.weight"])
    for name, value in merged.items():
        before = state[name].clone()
        value.fill_(5)
        assert torch.equal(state[name], before)
    assert not part["conv1.weight"].any()


def test_tensors_that_do_not_fit_are_not_put_back():
    state, axes = lively(SPEC).state_dict(), channels.axes(SPEC)
    with pytest.raises(InputError, match=r"conv1\.weight has shape \(8, "):
        surgery.scatter_state(state, state, axes, KEEP)
    with pytest.raises(InputError, match="no tensor extra"):
        surgery.scatter_state(state, {"extra": torch.zeros(1)}, axes, KEEP)


def test_recalibrated_statistics_are_the_mean_of_the_batches():
    network = lively(resnet("basic", (1,), (4,), (6,), StemSpec(5, 3, 1, False), head=(3,)))
    network.bn1.momentum = 0.2
    network.layer1.train()
    modes = [module.training for module in network.modules()]
    batches = [torch.randn(4, 3, 12, 12) * scale for scale in (1.0, 2.0, 3.0)]
    with torch.no_grad():
        maps = [network.conv1(images) for images in batches]
    surgery.recalibrate(network, iter(batches))
    mean = torch.stack([x.mean((0, 2, 3)) for x in maps]).mean(0)
    variance = torch.stack([x.var((0, 2, 3)) for x in maps]).mean(0)
    torch.testing.assert_close(network.bn1.running_mean, mean)
    torch.testing.assert_close(network.bn1.running_var, variance)
    assert [module.training for module in network.modules()] == modes
    assert network.bn1.momentum == 0.2 and network.layer1[0].bn1.momentum == 0.1


@pytest.mark.parametrize(
    ("batches", "says"),
    [([], "at least one batch"), ([torch.randn(2, 3, 12, 12), torch.randn(2, 9)], "input")],
    ids=["none", "a bad one"],
)
def test_a_recalibration_that_fails_changes_nothing(batches, says):
    network = lively(SPEC)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises((ValueError, RuntimeError), match=says):
        surgery.recalibrate(network, batches)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert network.bn1.momentum == 0.1 and not network.bn1.training


@given(spec=specs())
@settings(max_examples=15)
def test_a_saved_network_comes_back(spec, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "net.safetensors"
    network = lively(spec)
    surgery.save(network.to(memory_format=torch.channels_last), path, {"note": "by hand"})
    again = surgery.load(path)
    assert (type(again), again.spec, again.training) == (type(network), spec, False)
    assert surgery.read_metadata(path)["note"] == "by hand"
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(again(images), network(images), atol=1e-6, rtol=1e-5)
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in again.state_dict().items() if "tracked" not in k)


def _header(change):
    """A file whose spec was changed, its tensors as they were."""

    def write(path):
        data = path.read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + size])
        header["__metadata__"] = change(header["__metadata__"])
        text = json.dumps({k: v for k, v in header.items() if v is not None}).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])

    return write


def _other(**values):
    return _header(lambda about: {"spec": json.dumps({**json.loads(about["spec"]), **values})})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b"\x80\x04pickle"),
        lambda path: path.write_bytes(b""),
        _header(lambda about: None),
        _header(lambda about: {"spec": "{"}),
        _header(lambda about: {"spec": "[]"}),
        _other(head=[10, 7]),
        _other(head=[10, 10**15]),
        _other(head="ab"),
        _other(stages=[]),
    ],
    ids=["gone", "cut", "pickle", "empty", "no spec", "no json", "a list", "width", "huge", "text", "no stage"],
)
def test_a_damaged_file_is_refused_in_one_line(spoil, tmp_path):
    path = tmp_path / "net.safetensors"
    surgery.save(lively(SPEC), path)
    spoil(path)
    with pytest.raises(WeightsError, match="not a network that this package saved") as caught:
        surgery.load(path)
    assert "\n" not in str(caught.value)


def test_metadata_that_cannot_be_kept_or_read(tmp_path):
    with pytest.raises(InputError, match="spec"):
        surgery.save(lively(SPEC), tmp_path / "net.safetensors", {"spec": "mine"})
    with pytest.raises(HeadPoseError, match="folder"):
        surgery.save(lively(SPEC), tmp_path / "none" / "net.safetensors")
    with pytest.raises(WeightsError, match="cannot read"):
        surgery.read_metadata(tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_projection_survives_a_cut_to_equal_widths():
    spec = ResNetSpec("basic", StemSpec(8), ((BlockSpec((4,), 6),),), output="euler")
    network, keep = lively(spec), {"conv1": torch.tensor([0, 1, 2, 5, 6, 7])}
    small = surgery.prune(network, keep)
    assert small.layer1[0].downsample is not None
    images = torch.randn(2, 3, 40, 40)
    with torch.no_grad(), masked(network, masks(spec, keep)):
        torch.testing.assert_close(small(images), network(images), atol=1e-5, rtol=1e-5)
