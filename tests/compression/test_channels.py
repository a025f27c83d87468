import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headpose.compression import channels
from headpose.compression.channels import Group
from headpose.errors import InputError
from headpose.networks.build import build
from headpose.networks.spec import BlockSpec, ResNetSpec, StemSpec, macs, parameters, resnet
from tests.compression.networks import specs

BOTTLENECK = resnet("bottleneck", (1, 2), (4, 6), (16, 24), StemSpec(8), head=(10,), output="euler")
COUPLED = resnet("basic", (2, 1), (5, 7), (8, 12), StemSpec(8, 3, 2, False))


def shapes(spec):
    """The network without memory for its weights."""
    with torch.device("meta"):
        return build(spec)


def test_groups_come_in_the_order_of_the_network():
    assert channels.groups(BOTTLENECK) == (
        Group("conv1", "stem", 8),
        Group("layer1.0.conv1", "inner", 4),
        Group("layer1.0.conv2", "inner", 4),
        Group("layer1", "stream", 16),
        Group("layer2.0.conv1", "inner", 6),
        Group("layer2.0.conv2", "inner", 6),
        Group("layer2", "stream", 24),
        Group("layer2.1.conv1", "inner", 6),
        Group("layer2.1.conv2", "inner", 6),
        Group("head.0", "head", 10),
    )


def test_a_stem_that_an_addition_meets_belongs_to_the_stream():
    assert channels.groups(COUPLED) == (
        Group("layer1", "stream", 8),
        Group("layer1.0.conv1", "inner", 5),
        Group("layer1.1.conv1", "inner", 5),
        Group("layer2.0.conv1", "inner", 7),
        Group("layer2", "stream", 12),
    )
    assert channels.maps(COUPLED)["layer1"] == ("bn1", "layer1.0", "layer1.1")


def test_a_stage_without_a_projection_goes_on_with_the_stream_before_it():
    stages = ((BlockSpec((4,), 8),), (BlockSpec((5,), 8), BlockSpec((6,), 9)), (BlockSpec((7,), 9),))
    spec = ResNetSpec("basic", StemSpec(3), stages)
    streams = [group for group in channels.groups(spec) if group.kind == "stream"]
    assert streams == [Group("layer1", "stream", 8), Group("layer2.1", "stream", 9)]
    assert channels.maps(spec)["layer1"] == ("layer1.0", "layer2.0")
    assert channels.maps(spec)["layer2.1"] == ("layer2.1", "layer3.0")


@settings(max_examples=50)
@given(specs())
def test_every_dimension_of_every_tensor_has_the_width_of_its_group(spec):
    state = {k: v for k, v in shapes(spec).state_dict().items() if not k.endswith("num_batches_tracked")}
    axes, widths = channels.axes(spec), channels.widths(spec)
    assert state.keys() == axes.keys()
    for name, value in state.items():
        assert len(axes[name]) == value.ndim
        free = [size for size, group in zip(value.shape, axes[name], strict=True) if group is None]
        named = [(size, widths[group]) for size, group in zip(value.shape, axes[name], strict=True) if group]
        assert all(size == width for size, width in named)
        if value.ndim == 4:  # all but the picture's three channels, and the kernel
            assert free == [3, *value.shape[2:]] if name == "conv1.weight" else free == [*value.shape[2:]]
        elif value.ndim == 2:
            assert free == ([spec.values] if name == f"head.{len(spec.head)}.weight" else [])


@settings(max_examples=50)
@given(specs(), st.data())
def test_resizing_changes_the_groups_named_and_no_shortcut(spec, data):
    old = channels.widths(spec)
    named = data.draw(st.lists(st.sampled_from(list(old)), unique=True))
    wanted = {name: data.draw(st.integers(1, 9)) for name in named}
    new = channels.resize(spec, wanted)
    assert channels.widths(new) == {**old, **wanted}
    assert [(layer.name, layer.norm) for layer in channels.layers(new)] == [
        (layer.name, layer.norm) for layer in channels.layers(spec)
    ]
    network = shapes(new)
    assert parameters(new) == sum(value.numel() for value in network.parameters())
    assert channels.axes(new).keys() == {k for k in network.state_dict() if not k.endswith("num_batches_tracked")}


def test_a_projection_that_widths_no_longer_ask_for_stays():
    spec = resnet("basic", (1,), (4,), (6,), StemSpec(8))
    narrow = channels.resize(spec, {"conv1": 6})
    assert narrow.stages[0][0] == BlockSpec((4,), 6, projection=True)
    assert macs(narrow, 64) > macs(dataclasses.replace(narrow, stages=((BlockSpec((4,), 6),),)), 64)
    assert channels.resize(narrow, {"conv1": 8}) == spec  # back where widths say it, nothing is left over


@pytest.mark.parametrize("wrong", [{"layer9": 3}, {"conv1": 0}], ids=["unknown", "width 0"])
def test_an_impossible_width_is_refused(wrong):
    with pytest.raises(InputError, match=r"channels|width"):
        channels.resize(BOTTLENECK, wrong)


def test_what_may_be_pruned():
    inner = tuple(group.name for group in channels.groups(BOTTLENECK) if group.kind == "inner")
    assert channels.prunable(BOTTLENECK, "paper") == ("conv1", *inner)
    assert set(channels.prunable(BOTTLENECK, "stream")) == {"conv1", *inner, "layer1", "layer2"}
    assert channels.prunable(COUPLED, "paper") == ("layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1")
