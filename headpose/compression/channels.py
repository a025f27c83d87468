"""Which channels of a residual network live and die together, as data, free of torch.

Channels that an addition joins form one group: pruning takes a channel away everywhere or nowhere.
``axes`` says by which group every dimension of every tensor is indexed; surgery and importance derive
from it and from ``layers``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from headpose.errors import InputError
from headpose.networks.spec import BlockSpec, ResNetSpec

Kind = Literal["stem", "inner", "stream", "head"]
Mode = Literal["paper", "stream"]

_KINDS: dict[Mode, tuple[Kind, ...]] = {"paper": ("stem", "inner"), "stream": ("stem", "inner", "stream")}
_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class Group:
    """Channels that live and die together.

    Attributes:
        name: of the convolution or dense layer whose outputs they are (``conv1``, ``layer1.0.conv1``,
            ``head.0``); for a residual stream, of the stage where it starts (``layer1``), or of the block
            if that is not the stage's first (``layer1.2``).
        kind: ``stem``, the first convolution where no addition meets its output; ``inner``, between the
            convolutions of a block; ``stream``, what the additions of one width join, the stem included
            where the first block's shortcut is an identity; ``head``, a hidden dense layer.
        width: how many.
    """

    name: str
    kind: Kind
    width: int


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or a dense layer.

    Attributes:
        name: in the state dict, less ``.weight``.
        norm: of its BatchNorm; empty for a dense layer, which has a bias instead.
        inputs: None for the picture.
        outputs: None for the network's output.
    """

    name: str
    norm: str
    inputs: Group | None
    outputs: Group | None


def layers(spec: ResNetSpec) -> tuple[Layer, ...]:
    """Every layer with the channels that it reads and writes, in the order of the network."""
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
    source = stream
    for i, width in enumerate(spec.head):
        target = Group(f"head.{i}", "head", width)
        found.append(Layer(target.name, "", source, target))
        source = target
    found.append(Layer(f"head.{len(spec.head)}", "", source, None))
    return tuple(found)


def groups(spec: ResNetSpec) -> tuple[Group, ...]:
    """Every group of channels, in the order in which the network makes them."""
    return tuple(dict.fromkeys(layer.outputs for layer in layers(spec) if layer.outputs is not None))


def widths(spec: ResNetSpec) -> dict[str, int]:
    """How many channels each group has."""
    return {group.name: group.width for group in groups(spec)}


def check_names(names: Iterable[str], known: Collection[str]) -> None:
    """Raises InputError where a name is no group of the network's, whose groups are ``known``."""
    for name in names:
        if name not in known:
            raise InputError(f"the network has no channels {name!r}; it has {', '.join(known)}")


def axes(spec: ResNetSpec) -> dict[str, tuple[str | None, ...]]:
    """The group that each dimension of each tensor of the state dict is indexed by, None where by none.

    Tensors are named as ``ResNet.state_dict`` names them; BatchNorm's step counters are left out.
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


def maps(spec: ResNetSpec) -> dict[str, tuple[str, ...]]:
    """The modules whose outputs are a group's maps: of BatchNorm and dense layers before the ReLU, of blocks after it.

    A stream has one map for each of its blocks, and the stem's where that belongs to it: a network in
    which a channel is zero in all of them computes what it does without the channel.
    """
    found: dict[str, list[str]] = {group.name: [] for group in groups(spec)}
    ends = {f"{name}.conv{len(block.inner) + 1}": name for name, block, _ in _blocks(spec)}
    for layer in layers(spec):
        if layer.outputs is not None and not layer.name.endswith("downsample.0"):
            found[layer.outputs.name].append(ends.get(layer.name) or layer.norm or layer.name)
    return {name: tuple(modules) for name, modules in found.items()}


def prunable(spec: ResNetSpec, mode: Mode) -> tuple[str, ...]:
    """Names of the groups that may be pruned, in the order of the network.

    Args:
        spec: of the network.
        mode: ``paper``, what Aghli & Ribeiro (CVPR Workshops 2021) prune: the convolutions inside the
            blocks, and the stem where no addition meets its output; ``stream``, the residual streams as
            well, which is ours.
    """
    return tuple(group.name for group in groups(spec) if group.kind in _KINDS[mode])


def resize(spec: ResNetSpec, widths: Mapping[str, int]) -> ResNetSpec:
    """The spec with other widths for some groups; a shortcut stays what it is, projection or identity.

    Raises:
        InputError: a group that the network does not have, or a width below 1.
    """
    old = {group.name: group.width for group in groups(spec)}
    check_names(widths, old)
    for name, width in widths.items():
        if width < 1:
            raise InputError(f"{name} needs a width of 1 or more, got {width}")
    new = {**old, **widths}
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
        head=tuple(outputs[f"head.{i}"] for i in range(len(spec.head))),
    )


def _blocks(spec: ResNetSpec) -> Iterator[tuple[str, BlockSpec, int]]:
    """(name, block, width of the stream before it), in order."""
    width = spec.stem.width
    for i, stage in enumerate(spec.stages, start=1):
        for j, block in enumerate(stage):
            yield f"layer{i}.{j}", block, width
            width = block.out
