"""How much each channel is worth keeping: one function for each criterion, and their names in ``CRITERIA``.

A criterion gives every channel of the groups asked for a number, larger for what is more worth keeping.
Networks are judged as they would be used (eval mode) and left as they were: weights, gradients,
statistics, modes, hooks. A new criterion is a function, and a line in ``CRITERIA``.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headpose.compression import channels
from headpose.compression.surgery import modes_restored
from headpose.errors import InputError
from headpose.networks.resnet import ResNet

Loss = Callable[[ResNet, Any], Tensor]
"""(network, batch) -> the batch's mean loss, a scalar to differentiate."""

_AT_ONCE = 2**18
"""Values of a map that are compared at once: they stay in the processor's cache, which halves the cost."""

_CONSTANT = 1e-10
"""A map whose variance is below this share of its mean square is the same everywhere."""


class HasImages(Protocol):
    """What a criterion must know of a batch; a loss may know more."""

    @property
    def images(self) -> Tensor:
        """(N, 3, S, S) on the network's device."""
        ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a criterion may look at; each takes what it needs.

    Attributes:
        batches: each is read once; of the validation split, never of the test set.
        loss: of a batch, for criteria that need gradients.
        seed: for criteria that draw.
    """

    batches: Iterable[HasImages] = ()
    loss: Loss | None = None
    seed: int = 0

    def images(self) -> Iterator[Tensor]:
        """Of every batch."""
        return (batch.images for batch in self.batches)


class Importance(Protocol):
    """A criterion: group -> (width,) float64 on the CPU, larger for what is more worth keeping."""

    def __call__(self, network: ResNet, names: Sequence[str], evidence: Evidence) -> dict[str, Tensor]: ...


def zeros(network: ResNet, names: Sequence[str], images: Iterable[Tensor]) -> dict[str, Tensor]:
    """APoZ: the share of zeros after the ReLU over all images and positions (Hu et al., "Network Trimming",
    2016, eq. 1; Aghli & Ribeiro, CVPR Workshops 2021, eq. 1 and 2).

    Zeros are counted in one pass, exactly, and no map is kept. A residual stream has several maps: the
    result is the mean of their shares.

    Args:
        network: on the device of the images.
        names: of groups.
        images: (N, 3, S, S) batches of any size; every image counts the same.

    Returns:
        For each group (width,) float64 in [0, 1].

    Raises:
        InputError: an unknown group, or no image.
    """
    counts: dict[tuple[str, str], Tensor] = {}
    positions: dict[tuple[str, str], int] = {}

    def count(group: str, module: str, values: Tensor) -> None:
        key = group, module
        for part in torch.split(values, max(1, _AT_ONCE // values[0].numel())):
            # Comparing into a float tensor and summing that is many times faster than counting booleans,
            # and exact: a map has far fewer than 2^24 positions.
            zero = torch.le(part, 0, out=torch.empty_like(part, dtype=torch.float32))
            found = zero.flatten(2).sum(2) if zero.ndim > 2 else zero
            counts[key] = counts.get(key, 0) + found.long().sum(0)
        positions[key] = positions.get(key, 0) + values.numel() // values.shape[1]

    _watch(network, names, images, count)
    shares = {key: found.cpu().double() / positions[key] for key, found in counts.items()}
    return {
        name: torch.stack([share for (group, _), share in shares.items() if group == name]).mean(0) for name in names
    }


def apoz(network: ResNet, names: Sequence[str], images: Iterable[Tensor]) -> dict[str, Tensor]:
    """1 - APoZ: how often a channel says anything. Arguments and errors as for ``zeros``."""
    return {name: 1.0 - share for name, share in zeros(network, names, images).items()}


def l1(network: ResNet, names: Sequence[str]) -> dict[str, Tensor]:
    """Mean absolute weight of the filter (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017).

    Divided by the layer's mean, so that layers compare; for a stream, the mean over the layers that write it.
    """
    found = {}
    for name, layers in _producers(network, names).items():
        sizes = [
            network.get_parameter(f"{layer.name}.weight").detach().abs().double().flatten(1).mean(1) for layer in layers
        ]
        found[name] = torch.stack([size / size.mean().clamp(min=1e-300) for size in sizes]).mean(0).cpu()
    return found


def taylor(network: ResNet, names: Sequence[str], batches: Iterable[HasImages], loss: Loss) -> dict[str, Tensor]:
    """Squared first-order change of the loss when the channel's gate closes, mean over batches (Molchanov et
    al., "Importance Estimation for Neural Network Pruning", CVPR 2019, eq. 8).

    The gate is the BatchNorm: gamma dE/dgamma + beta dE/dbeta; of a dense layer, all its weights and the
    bias. The layers that write one stream share a gate, so their changes add up before the square.

    Raises:
        InputError: an unknown group, or no batch.
    """
    producers = _producers(network, names)
    gates = {
        name: [
            network.get_parameter(f"{layer.norm or layer.name}.{kind}")
            for layer in layers
            for kind in ("weight", "bias")
        ]
        for name, layers in producers.items()
    }
    parameters = [parameter for group in gates.values() for parameter in group]
    sums = {name: torch.zeros(group[0].shape[0], dtype=torch.float64) for name, group in gates.items()}
    seen = 0
    with modes_restored(network), _differentiable(parameters), torch.enable_grad():
        network.eval()
        for batch in batches:
            gradients = iter(torch.autograd.grad(loss(network, batch), parameters, materialize_grads=True))
            for name, group in gates.items():
                changes = [(p.detach().double() * next(gradients).double()).reshape(len(p), -1).sum(1) for p in group]
                sums[name] += torch.stack(changes).sum(0).square().cpu()
            seen += 1
    if not seen:
        raise InputError("the criterion needs one batch at least")
    return {name: total / seen for name, total in sums.items()}


def correlation(network: ResNet, names: Sequence[str], images: Iterable[Tensor]) -> dict[str, Tensor]:
    """Rank of a unit whose outputs its neighbours do not carry yet (after Sun et al., "Sparsifying Neural
    Network Connections for Face Recognition", CVPR 2016, and Zeng et al., Cognitive Computation 2018).

    Two units are as alike as their maps after the ReLU correlate over images and positions (in absolute
    value: the next layer can turn a sign), or as the cosine of their filters if that is more. Of the most
    alike pair left, the unit of smaller variance goes, again and again; the importance is the rank of
    removal, in (0, 1]. Units that never change go first. Of equals the later one goes.

    Args:
        network: on the device of the images, which must do float64.
        names: of groups.
        images: (N, 3, S, S) batches, read in one pass; no map is kept.

    Raises:
        InputError: an unknown group, or no image.
    """
    sums: dict[str, Tensor] = {}
    products: dict[str, Tensor] = {}
    positions: dict[str, int] = {}

    def add(group: str, _: str, values: Tensor) -> None:
        flat = values.relu().transpose(0, 1).flatten(1).double()
        sums[group] = sums.get(group, 0) + flat.sum(1)
        products[group] = products.get(group, 0) + flat @ flat.T
        positions[group] = positions.get(group, 0) + flat.shape[1]

    _watch(network, names, images, add)
    found = {}
    for name, layers in _producers(network, names).items():
        mean = (sums[name] / positions[name]).cpu().numpy()
        square = (products[name] / positions[name]).cpu().numpy()
        alike, variance = _correlations(mean, square)
        filters = [network.get_parameter(f"{layer.name}.weight").detach().flatten(1).double() for layer in layers]
        cosines = [torch.nn.functional.normalize(rows, dim=1) for rows in filters]
        cosine = torch.stack([rows @ rows.T for rows in cosines]).mean(0).cpu().numpy()
        rank = np.empty(len(mean))
        rank[_elimination(np.maximum(alike, cosine), variance)] = np.arange(1, len(mean) + 1)
        found[name] = torch.from_numpy(rank / len(mean))
    return found


def random(network: ResNet, names: Sequence[str], seed: int) -> dict[str, Tensor]:
    """A control: numbers drawn from [0, 1), the same for a group whichever others are asked for."""
    found = {}
    for name, layers in _producers(network, names).items():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:{name}".encode()))
        width = len(network.get_parameter(f"{layers[0].name}.weight"))
        found[name] = torch.rand(width, generator=generator, dtype=torch.float64)
    return found


def _taylor(network: ResNet, names: Sequence[str], evidence: Evidence) -> dict[str, Tensor]:
    if evidence.loss is None:
        raise InputError("the criterion 'taylor' needs a loss")
    return taylor(network, names, evidence.batches, evidence.loss)


CRITERIA: dict[str, Importance] = {
    "apoz": lambda network, names, evidence: apoz(network, names, evidence.images()),
    "l1": lambda network, names, evidence: l1(network, names),
    "taylor": _taylor,
    "correlation": lambda network, names, evidence: correlation(network, names, evidence.images()),
    "random": lambda network, names, evidence: random(network, names, evidence.seed),
}


def _watch(
    network: ResNet, names: Sequence[str], images: Iterable[Tensor], see: Callable[[str, str, Tensor], None]
) -> None:
    """Runs the images through and shows each map of the groups: (group, module, (N, C) or (N, C, H, W)).

    What is seen is the value before the ReLU or after it (``channels.maps``); the ReLU works in place, so
    it is to be read at once.
    """
    maps = channels.maps(network.spec)
    channels.check_names(names, maps)
    seen = 0
    with contextlib.ExitStack() as stack, modes_restored(network), torch.no_grad():
        network.eval()
        for group in names:
            for module in maps[group]:

                def hook(_: Any, __: Any, values: Tensor, group: str = group, module: str = module) -> None:
                    see(group, module, values)

                stack.callback(network.get_submodule(module).register_forward_hook(hook).remove)
        for batch in images:
            network.raw(batch)
            seen += len(batch)
    if not seen:
        raise InputError("the criterion needs one image at least")


def _producers(network: ResNet, names: Sequence[str]) -> dict[str, list[channels.Layer]]:
    """The layers that write each group."""
    layers = channels.layers(network.spec)
    channels.check_names(names, channels.widths(network.spec))
    return {name: [layer for layer in layers if layer.outputs and layer.outputs.name == name] for name in names}


@contextlib.contextmanager
def _differentiable(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Frozen parameters ask for gradients within it."""
    asked = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, before in zip(parameters, asked, strict=True):
            parameter.requires_grad_(before)


def _correlations(
    mean: NDArray[np.float64], square: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(C, C) absolute correlations and (C,) variances from means and mean products; 0 for what never changes."""
    covariance = square - np.outer(mean, mean)
    variance = np.diag(covariance).copy()
    variance[variance <= _CONSTANT * np.diag(square)] = 0.0
    deviation = np.sqrt(variance)
    scale = np.outer(deviation, deviation)
    alike = np.divide(np.abs(covariance), scale, out=np.zeros_like(covariance), where=scale > 0)
    return np.minimum(alike, 1.0), variance


def _elimination(alike: NDArray[np.float64], variance: NDArray[np.float64]) -> list[int]:
    """Every unit, in the order in which they go."""
    order = [int(i) for i in np.flatnonzero(variance == 0)[::-1]]
    alike = alike.copy()
    np.fill_diagonal(alike, -np.inf)
    alike[order, :] = alike[:, order] = -np.inf
    left = len(variance) - len(order)
    nearest = alike.argmax(1)
    strength = alike.max(1)
    while left > 1:
        one = int(strength.argmax())
        gone = max((one, int(nearest[one])), key=lambda i: (-variance[i], i))
        order.append(gone)
        alike[gone, :] = alike[:, gone] = -np.inf
        strength[gone] = -np.inf
        stale = (nearest == gone) & np.isfinite(strength)  # only these need another look
        nearest[stale] = alike[stale].argmax(1)
        strength[stale] = alike[stale].max(1)
        left -= 1
    return [*order, *(set(range(len(variance))) - set(order))]
