"""Removal of channels from a network, and their restoration.

``prune`` is exact: the new network is equivalent to the old one with these channels set to zero after the ReLU, in all
of their maps (``channels.maps``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from headpose.compression import channels
from headpose.errors import InputError, WeightsError
from headpose.files import write_bytes
from headpose.networks import checkpoint
from headpose.networks import spec as specs
from headpose.networks.build import build
from headpose.networks.network import Network
from headpose.networks.spec import PlainSpec, Spec

Net = TypeVar("Net", bound=Network)
Axes = Mapping[str, tuple[str | None, ...]]
Keep = Mapping[str, Tensor]
"""Group -> (K,) int64 indices of the channels to keep, sorted, each once. Groups that are not listed keep all."""

_COUNTER = "num_batches_tracked"
_ONCE: Mapping[str, int] = {}


def check_keep(keep: Keep, widths: Mapping[str, int]) -> None:
    """Check that the indices are valid for groups of these widths.

    Args:
        keep: Channels to keep.
        widths: Number of channels of each group.

    Raises:
        InputError: A group is unknown, or its indices are empty, not int64, out of range, unsorted or repeated.
    """
    channels.check_names(keep, widths)
    for name, indices in keep.items():
        if indices.ndim != 1 or indices.dtype != torch.int64 or not len(indices):
            raise InputError(f"{name} must keep at least one channel, given by a list of int64 indices, got {indices}")
        if int(indices.min()) < 0 or int(indices.max()) >= widths[name]:
            raise InputError(f"{name} has channels 0 to {widths[name] - 1}, got {indices.tolist()}")
        if not bool((indices[1:] > indices[:-1]).all()):
            raise InputError(f"the indices of {name} must be sorted, each once, got {indices.tolist()}")


def compose(first: Keep, second: Keep) -> dict[str, Tensor]:
    """Return the channels that are left after pruning with ``first``, then with ``second``.

    ``prune(prune(network, first), second)`` equals ``prune(network, compose(first, second))``.
    """
    return {**first, **{name: first[name][kept] if name in first else kept for name, kept in second.items()}}


def prune(network: Net, keep: Keep) -> Net:
    """Return a new network with only the kept channels. The old one is not changed; they share no memory.

    Class, dtype, device, memory format, the mode of each module and requires_grad of each parameter are copied. Hooks
    and gradients are not. No random numbers are drawn.

    Args:
        network: Network to prune.
        keep: Channels to keep.

    Raises:
        InputError: ``keep`` is invalid (``check_keep``).
    """
    spec = network.spec
    check_keep(keep, channels.widths(spec))
    state = slice_state(network.state_dict(), channels.axes(spec), keep, channels.repeats(spec))
    small = _of_state(type(network), channels.resize(spec, {name: len(kept) for name, kept in keep.items()}), state)
    if _channels_last(network):
        small.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for (_, new), (_, old) in zip(small.named_modules(), network.named_modules(), strict=True):
        new.training = old.training
        if isinstance(new, nn.BatchNorm2d) and isinstance(old, nn.BatchNorm2d):
            new.momentum, new.eps = old.momentum, old.eps
    for (_, new), (_, old) in zip(small.named_parameters(), network.named_parameters(), strict=True):
        new.requires_grad_(old.requires_grad)
    return small


def slice_state(
    state: Mapping[str, Tensor], axes: Axes, keep: Keep, repeats: Mapping[str, int] = _ONCE
) -> dict[str, Tensor]:
    """Return a copy of the kept channels of a full-size state dict. Tensors not in ``axes`` are copied entirely.

    Args:
        state: Tensors of the full network.
        axes: Groups by dimension (``channels.axes``).
        keep: Channels to keep.
        repeats: Columns of each channel, of tensors where it has more than one (``channels.repeats``).
    """
    sliced = {}
    for name, value in state.items():
        part = value.detach()
        for dimension, group in enumerate(axes.get(name, ())):
            if group and group in keep:
                indices = _columns(keep[group], repeats.get(name, 1) if dimension else 1)
                part = part.index_select(dimension, indices.to(part.device))
        sliced[name] = part.clone() if part.data_ptr() == value.data_ptr() else part
    return sliced


def _columns(indices: Tensor, repeat: int) -> Tensor:
    """Return the columns of channels that have ``repeat`` consecutive ones each."""
    return (indices[:, None] * repeat + torch.arange(repeat)).flatten() if repeat > 1 else indices


def scatter_state(
    full: Mapping[str, Tensor],
    small: Mapping[str, Tensor],
    axes: Axes,
    keep: Keep,
    repeats: Mapping[str, int] = _ONCE,
) -> dict[str, Tensor]:
    """Return a copy of ``full`` that contains the tensors of a pruned network, the inverse of ``slice_state``.

    Channels that are not in ``keep`` retain their values from ``full``: the last value that each had, if every
    pruned network is scattered before the next channels go.

    Args:
        full: Tensors of the full network.
        small: Tensors of the pruned network; missing tensors are copied from ``full``.
        axes: Groups by dimension (``channels.axes``), the same for both networks.
        keep: Indices of the kept channels in the full network.
        repeats: As in ``slice_state``.

    Raises:
        InputError: A tensor of ``small`` is unknown, or its shape does not match ``keep``.
    """
    merged = {name: value.detach().clone() for name, value in full.items()}
    for name, value in small.items():
        if name not in merged:
            raise InputError(f"the full-size network has no tensor {name}")
        target = merged[name]
        kept = {
            i: _columns(keep[group], repeats.get(name, 1) if i else 1).to(target.device)
            for i, group in enumerate(axes.get(name, ()))
            if group and group in keep
        }
        if tuple(value.shape) != tuple(len(kept[i]) if i in kept else size for i, size in enumerate(target.shape)):
            raise InputError(
                f"{name} has shape {tuple(value.shape)}, not that of the kept part of {tuple(target.shape)}"
            )
        merged[name] = _put(target, value.detach().to(target), kept)
    return merged


def _put(target: Tensor, value: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
    """Return a copy of ``target`` with ``value`` at the kept indices of each dimension in ``kept``."""
    if not kept:
        return value.clone()
    dimension, *rest = kept
    inside = target.index_select(dimension, kept[dimension])
    return target.index_copy(dimension, kept[dimension], _put(inside, value, {i: kept[i] for i in rest}))


@torch.no_grad()
def stride_for_pooling(network: Net) -> Net:
    """Return a network without max-pools, whose convolutions before them have twice the stride (Zeng et al. 2018).

    Weights and the sizes of all maps are kept; the convolution computes a quarter of its outputs. What the network
    computes changes: it needs training. The old network is not changed; they share no memory.
    """
    spec: Any = network.spec
    if isinstance(spec, PlainSpec):
        strided = tuple(_strided(layer) for layer in spec.layers)
        changed: Any = dataclasses.replace(spec, layers=strided)
    else:
        changed = dataclasses.replace(spec, stem=_strided(spec.stem))
    state = {name: value.detach().clone() for name, value in network.state_dict().items()}
    found: Any = _of_state(build, changed, state)
    return found.train(network.training)


def _strided(layer: Any) -> Any:
    """Return the specification of a layer, or of a stem, with a stride in place of its max-pool."""
    return dataclasses.replace(layer, max_pool=False, stride=2 * layer.stride) if layer.max_pool else layer


@contextlib.contextmanager
def modes_restored(network: nn.Module) -> Iterator[None]:
    """Restore the mode of each module, training or eval, on exit, also after an exception."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def recalibrate(network: Network, batches: Iterable[Tensor]) -> None:
    """Re-estimate BatchNorm's running statistics, as the mean of the statistics of all batches.

    Pruning changes the inputs of the layers, which makes the old statistics invalid. Weights, modes and momentum do not
    change.

    Args:
        network: Network, changed in place.
        batches: Batches of (N, 3, S, S) images on the network's device. All batches have equal weight, so they should
            have the same N.

    Raises:
        InputError: There is no batch. The statistics are then unchanged, as after any other error.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [(norm.momentum, {name: value.clone() for name, value in norm.named_buffers()}) for norm in norms]
    seen = 0
    try:
        with modes_restored(network):
            network.eval()
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # None selects a cumulative average in torch
                norm.train()
            for images in batches:
                network(images)
                seen += 1
        if not seen:
            raise InputError("BatchNorm's statistics need at least one batch")
    except BaseException:
        for norm, (_, buffers) in zip(norms, before, strict=True):
            for name, value in norm.named_buffers():
                value.copy_(buffers[name])
        raise
    finally:
        for norm, (momentum, _) in zip(norms, before, strict=True):
            norm.momentum = momentum


def save(network: Network, path: Path, extra: Mapping[str, str] | None = None) -> None:
    """Write widths and weights as one .safetensors file, atomically.

    Args:
        network: Network to save; its step counters are omitted.
        path: Path of the file.
        extra: Additional metadata of the file (``read_metadata``), without the key ``spec``.

    Raises:
        InputError: ``extra`` has the key ``spec``.
        HeadPoseError: The file cannot be written.
    """
    if extra and "spec" in extra:
        raise InputError("the key 'spec' is reserved for the network's widths: choose another key")
    state = {
        name: value.detach().contiguous().clone()
        for name, value in network.state_dict().items()
        if not name.endswith(_COUNTER)
    }
    about = {**(extra or {}), "spec": json.dumps(network.spec.to_dict())}
    write_bytes(path, checkpoint.to_bytes(state, about))


def load(path: Path) -> Network:
    """Load a network from a file written by ``save`` or ``headpose weights to-safetensors``.

    Returns:
        The network on the CPU, in eval mode.

    Raises:
        WeightsError: The file was not written by this package, or is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            spec = specs.from_dict(json.loads(file.metadata()["spec"]))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _of_state(build, spec, state).eval()
    except Exception as error:  # safetensors, json, torch and our own checks each raise their own kinds
        raise WeightsError(f"{path} is not a network that this package saved: {error!r:.200}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a .safetensors file: ``spec``, and ``extra`` of ``save``.

    Raises:
        WeightsError: The file cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except Exception as error:  # as in ``load``
        raise WeightsError(f"cannot read the weights {path}: {error!r:.200}") from error


def _of_state(kind: Callable[[Any], Net], spec: Spec, state: Mapping[str, Tensor]) -> Net:
    """Return a network that uses the given tensors without copying them; step counters may be missing."""
    with torch.device("meta"):  # allocates no memory and draws no random numbers
        network = kind(spec)
    counters = {name: torch.tensor(0) for name in network.state_dict() if name.endswith(_COUNTER)}
    network.load_state_dict({**counters, **state}, assign=True)
    return network


def _channels_last(network: nn.Module) -> bool:
    return any(
        value.ndim == 4 and not value.is_contiguous() and value.is_contiguous(memory_format=torch.channels_last)
        for value in network.parameters()
    )
