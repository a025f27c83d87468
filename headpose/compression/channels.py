"""Groups of channels that are pruned together, derived from the network's specification without torch.

Channels joined by an addition form one group: pruning removes a channel from all of its layers or from none.
``axes`` gives the group that indexes each dimension of each tensor. Surgery and importance use it and ``layers``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from headpose.errors import InputError
from headpose.networks.spec import BlockSpec, PlainSpec, ResNetSpec, Spec

Kind = Literal["stem", "inner", "stream", "head"]
Mode = Literal["paper", "stream"]

_KINDS: dict[Mode, tuple[Kind, ...]] = {"paper": ("stem", "inner"), "stream": ("stem", "inner", "stream")}
Kept = TypeVar("Kept", bound=ResNetSpec | PlainSpec)
"""Specification that keeps its kind."""

_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class Group:
    """Channels that are pruned together.

    Attributes:
        name: Name of the convolution or dense layer whose outputs they are (``conv1``, ``layer1.0.conv1``,
            ``head.0``). A residual stream has the name of the stage where it starts (``layer1``), or of the block if
            that is not the stage's first (``layer1.2``).
        kind: ``stem``: the first convolution, if no addition uses its output. ``inner``: between the convolutions of a
            block, or of a plain network. ``stream``: joined by additions; includes the stem if the first block's
            shortcut is an identity. ``head``: a hidden dense layer.
        width: Number of channels.
    """

    name: str
    kind: Kind
    width: int


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or a dense layer.

    Attributes:
        name: Name of the module in the state dict, without ``.weight``.
        norm: Name of its BatchNorm; empty for a dense layer, which has a bias instead.
        inputs: Channels that it reads; None for the image.
        outputs: Channels that it writes; None for the network's output.
    """

    name: str
    norm: str
    inputs: Group | None
    outputs: Group | None


def layers(spec: Spec) -> tuple[Layer, ...]:
    """Return all layers with the channels that they read and write, in network order."""
    found, source = _plain_layers(spec) if isinstance(spec, PlainSpec) else _residual_layers(spec)
    for i, width in enumerate(spec.head):
        target = Group(f"head.{i}", "head", width)
        found.append(Layer(target.name, "", source, target))
        source = target
    found.append(Layer(f"head.{len(spec.head)}", "", source, None))
    return tuple(found)


def _plain_layers(spec: PlainSpec) -> tuple[list[Layer], Group]:
    """Return the convolutions of a plain network, and the channels that the first dense layer reads."""
    found: list[Layer] = []
    for i, layer in enumerate(spec.layers, start=1):
        source = found[-1].outputs if found else None
        found.append(Layer(f"conv{i}", f"bn{i}", source, Group(f"conv{i}", "inner", layer.width)))
    last = found[-1].outputs
    assert last is not None
    return found, last


def _residual_layers(spec: ResNetSpec) -> tuple[list[Layer], Group]:
    """Return the convolutions of a residual network, and the channels that the first dense layer reads."""
    blocks = list(_blocks(spec))
    _, first, stem_width = blocks[0]
    stream = Group("conv1", "stem", stem_width) if first.projects(stem_width) else Group("layer1", "stream", stem_width)
    found = [Layer("conv1", "bn1", None, stream)]
    for name, block, width in blocks:
        projects, source = block.projects(width), stream
        for i, inner in enumerate(block.inner, start=1):
            target = Group(f"{name}.conv{i}", "inner", inner)
            found.append(Layer(target.name, f"{name}.bn{i}", source, target))
            source = target
        last = len(block.inner) + 1
        after = Group(name.removesuffix(".0"), "stream", block.out) if projects else stream
        found.append(Layer(f"{name}.conv{last}", f"{name}.bn{last}", source, after))
        if projects:
            found.append(Layer(f"{name}.downsample.0", f"{name}.downsample.1", stream, after))
        stream = after
    return found, stream


def groups(spec: Spec) -> tuple[Group, ...]:
    """Return all groups of channels, in network order."""
    return tuple(dict.fromkeys(layer.outputs for layer in layers(spec) if layer.outputs is not None))


def widths(spec: Spec) -> dict[str, int]:
    """Return the number of channels of each group, by name."""
    return {group.name: group.width for group in groups(spec)}


def check_names(names: Iterable[str], known: Collection[str]) -> None:
    """Check that all names are groups of the network.

    Args:
        names: Names to check.
        known: Names of the network's groups.

    Raises:
        InputError: A name is unknown.
    """
    for name in names:
        if name not in known:
            raise InputError(f"the network has no group of channels {name!r}; its groups are {', '.join(known)}")


def axes(spec: Spec) -> dict[str, tuple[str | None, ...]]:
    """Return the group that indexes each dimension of each tensor, or None if no group does.

    The keys are those of the state dict, without BatchNorm's step counters.
    """
    found: dict[str, tuple[str | None, ...]] = {}
    for layer in layers(spec):
        rows, columns = (group.name if group else None for group in (layer.outputs, layer.inputs))
        if layer.norm:
            found[f"{layer.name}.weight"] = (rows, columns, None, None)
            found.update({f"{layer.norm}.{name}": (rows,) for name in _NORM})
        else:
            found[f"{layer.name}.weight"] = (rows, columns)
            found[f"{layer.name}.bias"] = (rows,)
    return found


def repeats(spec: Spec) -> dict[str, int]:
    """Return the number of consecutive columns that each channel has in tensors where it has more than one.

    The first dense layer of a plain network reads every position of the last map.
    """
    if not isinstance(spec, PlainSpec) or spec.sides[-1] == 1:
        return {}
    return {"head.0.weight": spec.sides[-1] ** 2}


def maps(spec: Spec) -> dict[str, tuple[str, ...]]:
    """Return the modules whose outputs are the feature maps of each group.

    Outputs of BatchNorm and dense layers are taken before the ReLU, those of blocks after it. A stream has one map for
    each of its blocks, and the stem's if the stem belongs to it. Setting a channel to zero in all of them is equivalent
    to removing the channel.
    """
    found: dict[str, list[str]] = {group.name: [] for group in groups(spec)}
    blocks = () if isinstance(spec, PlainSpec) else _blocks(spec)
    ends = {f"{name}.conv{len(block.inner) + 1}": name for name, block, _ in blocks}
    for layer in layers(spec):
        if layer.outputs is not None and not layer.name.endswith("downsample.0"):
            found[layer.outputs.name].append(ends.get(layer.name) or layer.norm or layer.name)
    return {name: tuple(modules) for name, modules in found.items()}


def prunable(spec: Spec, mode: Mode) -> tuple[str, ...]:
    """Return the names of the groups that may be pruned, in network order.

    Args:
        spec: Specification of the network.
        mode: ``paper`` selects the groups pruned by Aghli & Ribeiro (CVPR Workshops 2021): the convolutions inside the
            blocks, and the stem if no addition uses its output. ``stream`` adds the residual streams (ours). In a plain
            network, where most weights are in dense layers, both select all convolutions and hidden dense layers.
    """
    kinds = ("inner", "head") if isinstance(spec, PlainSpec) else _KINDS[mode]
    return tuple(group.name for group in groups(spec) if group.kind in kinds)


def resize(spec: Kept, widths: Mapping[str, int]) -> Kept:
    """Return the specification with other widths for some groups. Projections and identity shortcuts are kept.

    Args:
        spec: Specification of the network.
        widths: New number of channels, at least 1, by name of the group.

    Raises:
        InputError: A group is unknown, or a width is below 1.
    """
    old = {group.name: group.width for group in groups(spec)}
    check_names(widths, old)
    for name, width in widths.items():
        if width < 1:
            raise InputError(f"the width of {name} must be 1 or more, got {width}")
    new = {**old, **widths}
    head = tuple(new[f"head.{i}"] for i in range(len(spec.head)))
    if isinstance(spec, PlainSpec):
        sized = (dataclasses.replace(layer, width=new[f"conv{i}"]) for i, layer in enumerate(spec.layers, start=1))
        return dataclasses.replace(spec, layers=tuple(sized), head=head)
    outputs = {layer.name: new[layer.outputs.name] for layer in layers(spec) if layer.outputs is not None}
    stream = outputs["conv1"]
    blocks: dict[str, BlockSpec] = {}
    for name, block, inputs in _blocks(spec):
        *inner, out = (outputs[f"{name}.conv{i}"] for i in range(1, len(block.inner) + 2))
        resized = BlockSpec(tuple(inner), out, block.stride)
        kept = block.projects(inputs) and not resized.projects(stream)
        blocks[name] = dataclasses.replace(resized, projection=kept)
        stream = out
    return dataclasses.replace(
        spec,
        stem=dataclasses.replace(spec.stem, width=outputs["conv1"]),
        stages=tuple(
            tuple(blocks[f"layer{i}.{j}"] for j in range(len(stage))) for i, stage in enumerate(spec.stages, start=1)
        ),
        head=head,
    )


def _blocks(spec: ResNetSpec) -> Iterator[tuple[str, BlockSpec, int]]:
    """Yield (name, block, width of its input) of each block, in network order."""
    width = spec.stem.width
    for i, stage in enumerate(spec.stages, start=1):
        for j, block in enumerate(stage):
            yield f"layer{i}.{j}", block, width
            width = block.out
