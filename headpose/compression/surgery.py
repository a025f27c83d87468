"""Taking channels out of a network and putting them back.

``prune`` is exact: the new network computes what the old one would with those channels set to zero
after their ReLU, wherever they appear (``channels.maps``).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from headpose.compression import channels
from headpose.errors import InputError, WeightsError
from headpose.files import write_bytes
from headpose.networks import checkpoint
from headpose.networks.resnet import HeadPoseNet, ResNet
from headpose.networks.spec import ResNetSpec

Network = TypeVar("Network", bound=ResNet)
Axes = Mapping[str, tuple[str | None, ...]]
Keep = Mapping[str, Tensor]
"""Group -> (K,) int64 indices of the channels to keep, sorted, each once. Groups not named keep all."""

_COUNTER = "num_batches_tracked"


def check_keep(keep: Keep, widths: Mapping[str, int]) -> None:
    """Refuses a choice that does not fit groups of these widths.

    Raises:
        InputError: an unknown group; indices that are empty, not int64, out of range, unsorted or repeated.
    """
    channels.check_names(keep, widths)
    for name, indices in keep.items():
        if indices.ndim != 1 or indices.dtype != torch.int64 or not len(indices):
            raise InputError(f"{name} keeps one channel at least, named by a list of int64 indices: got {indices}")
        if int(indices.min()) < 0 or int(indices.max()) >= widths[name]:
            raise InputError(f"{name} has channels 0 to {widths[name] - 1}, got {indices.tolist()}")
        if not bool((indices[1:] > indices[:-1]).all()):
            raise InputError(f"{name} needs its indices sorted, each once: got {indices.tolist()}")


def compose(first: Keep, second: Keep) -> dict[str, Tensor]:
    """One choice in place of two: what is left of ``first``'s channels, of which ``second`` keeps some.

    ``prune(prune(network, first), second)`` is ``prune(network, compose(first, second))``.
    """
    return {**first, **{name: first[name][kept] if name in first else kept for name, kept in second.items()}}


def prune(network: Network, keep: Keep) -> Network:
    """A new network with the kept channels only; the old one is as it was, and they share no memory.

    Class, dtype, device, memory format, each module's mode and each parameter's requires_grad are the
    source's; hooks are not taken over, nor gradients. No random number is drawn.

    Raises:
        InputError: see ``check_keep``.
    """
    spec = network.spec
    check_keep(keep, channels.widths(spec))
    state = slice_state(network.state_dict(), channels.axes(spec), keep)
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


def slice_state(state: Mapping[str, Tensor], axes: Axes, keep: Keep) -> dict[str, Tensor]:
    """The kept channels' part of a full-size state dict, copied; what ``axes`` does not name is copied whole."""
    sliced = {}
    for name, value in state.items():
        part = value.detach()
        for dimension, group in enumerate(axes.get(name, ())):
            if group and group in keep:
                part = part.index_select(dimension, keep[group].to(part.device))
        sliced[name] = part.clone() if part.data_ptr() == value.data_ptr() else part
    return sliced


def scatter_state(full: Mapping[str, Tensor], small: Mapping[str, Tensor], axes: Axes, keep: Keep) -> dict[str, Tensor]:
    """The inverse of ``slice_state``: a copy of ``full`` with a pruned network's tensors in their places.

    Channels that ``keep`` leaves out hold what ``full`` held: the last value that each had, if every
    pruned network is scattered before the next channels go.

    Args:
        full: full-size tensors.
        small: the pruned network's; tensors that are missing here stay as they are in ``full``.
        axes: of the full network (``channels.axes``; the pruned network's are the same).
        keep: the kept channels in the full network's numbers.

    Raises:
        InputError: a tensor of ``small`` is unknown or has another shape than ``keep`` says.
    """
    merged = {name: value.detach().clone() for name, value in full.items()}
    for name, value in small.items():
        if name not in merged:
            raise InputError(f"the full-size network has no tensor {name}")
        target = merged[name]
        kept = {
            i: keep[group].to(target.device) for i, group in enumerate(axes.get(name, ())) if group and group in keep
        }
        if tuple(value.shape) != tuple(len(kept[i]) if i in kept else size for i, size in enumerate(target.shape)):
            raise InputError(f"{name} is {tuple(value.shape)}, and not what is kept of {tuple(target.shape)}")
        merged[name] = _put(target, value.detach().to(target), kept)
    return merged


def _put(target: Tensor, value: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
    """``target`` with ``value`` at the kept indices of some dimensions."""
    if not kept:
        return value.clone()
    dimension, *rest = kept
    inside = target.index_select(dimension, kept[dimension])
    return target.index_copy(dimension, kept[dimension], _put(inside, value, {i: kept[i] for i in rest}))


@contextlib.contextmanager
def modes_restored(network: nn.Module) -> Iterator[None]:
    """Puts every module back into the mode, training or not, that it had; also when the block fails."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def recalibrate(network: ResNet, batches: Iterable[Tensor]) -> None:
    """Re-estimates BatchNorm's running statistics: the plain mean of every batch's own.

    Nothing else changes: no weight, no mode, no momentum.

    Args:
        network: changed in place; after pruning its statistics are those of other inputs.
        batches: (N, 3, S, S) images on the network's device, best of one size: each batch counts the same.

    Raises:
        InputError: there is no batch. The statistics are then as they were, as after any other error.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [(norm.momentum, {name: value.clone() for name, value in norm.named_buffers()}) for norm in norms]
    seen = 0
    try:
        with modes_restored(network):
            network.eval()
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # torch's sign for a cumulative average
                norm.train()
            for images in batches:
                network(images)
                seen += 1
        if not seen:
            raise InputError("BatchNorm's statistics need one batch at least")
    except BaseException:
        for norm, (_, buffers) in zip(norms, before, strict=True):
            for name, value in norm.named_buffers():
                value.copy_(buffers[name])
        raise
    finally:
        for norm, (momentum, _) in zip(norms, before, strict=True):
            norm.momentum = momentum


def save(network: ResNet, path: Path, extra: Mapping[str, str] | None = None) -> None:
    """Writes widths and weights as one .safetensors file, atomically.

    Args:
        network: step counters are left out.
        path: the file.
        extra: more entries of the file's metadata (``read_metadata``), beside ``spec``.

    Raises:
        InputError: ``extra`` has an entry ``spec``.
        HeadPoseError: the file cannot be written.
    """
    if extra and "spec" in extra:
        raise InputError("'spec' holds the network's widths: name the entry otherwise")
    state = {
        name: value.detach().contiguous().clone()
        for name, value in network.state_dict().items()
        if not name.endswith(_COUNTER)
    }
    about = {**(extra or {}), "spec": json.dumps(network.spec.to_dict())}
    write_bytes(path, checkpoint.to_bytes(state, about))


def load(path: Path) -> ResNet:
    """The network of a file that ``save`` or ``headpose weights to-safetensors`` wrote, on the CPU, in eval mode.

    Raises:
        WeightsError: it is no such file, or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            spec = ResNetSpec.from_dict(json.loads(file.metadata()["spec"]))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        kind = ResNet if spec.output == "classes" else HeadPoseNet
        return _of_state(kind, spec, state).eval()
    except Exception as error:  # safetensors, json, torch and our own checks each raise their own kinds
        raise WeightsError(f"{path} is not a network that this package saved: {error!r:.200}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a .safetensors file: ``spec`` and what ``save`` was given beside it.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except Exception as error:  # as in ``load``
        raise WeightsError(f"cannot read the weights {path}: {error!r:.200}") from error


def _of_state(kind: type[Network], spec: ResNetSpec, state: Mapping[str, Tensor]) -> Network:
    """A network that takes the tensors over; step counters may be missing."""
    with torch.device("meta"):  # no memory, and no random number
        network = kind(spec)
    counters = {name: torch.tensor(0) for name in network.state_dict() if name.endswith(_COUNTER)}
    network.load_state_dict({**counters, **state}, assign=True)
    return network


def _channels_last(network: nn.Module) -> bool:
    return any(
        value.ndim == 4 and not value.is_contiguous() and value.is_contiguous(memory_format=torch.channels_last)
        for value in network.parameters()
    )
