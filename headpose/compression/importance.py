"""Importance criteria for channels: one function for each criterion, listed by name in ``CRITERIA``.

A criterion returns one number for each channel of the requested groups, larger for channels that are more worth
keeping. Networks are evaluated in eval mode; their weights, gradients, statistics, modes and hooks do not change. To
add a criterion, write a function and list it in ``CRITERIA``.
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
from headpose.networks.network import Network

Loss = Callable[[Network, Any], Tensor]
"""(network, batch) -> differentiable scalar: the mean loss of the batch."""

_AT_ONCE = 2**18
"""Number of values of a map that are compared at once: they stay in the CPU cache, which halves the time."""

_CONSTANT = 1e-10
"""A map counts as constant if its variance is below this share of its mean square."""


class HasImages(Protocol):
    """Batch with images: all that a criterion requires. A loss may require more."""

    @property
    def images(self) -> Tensor:
        """(N, 3, S, S) images on the network's device."""
        ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """Input of the criteria; each uses what it needs.

    Attributes:
        batches: Batches of the validation split, never of the test set; each is read once.
        loss: Loss of a batch, for criteria that need gradients.
        seed: Random seed, for criteria that draw random numbers.
    """

    batches: Iterable[HasImages] = ()
    loss: Loss | None = None
    seed: int = 0

    def required_loss(self, criterion: str) -> Loss:
        """Return the loss; InputError if there is none, naming the criterion."""
        if self.loss is None:
            raise InputError(f"the criterion {criterion!r} needs a loss")
        return self.loss

    def images(self) -> Iterator[Tensor]:
        """Return an iterator over the images of all batches, (N, 3, S, S) each."""
        return (batch.images for batch in self.batches)


class Importance(Protocol):
    """A criterion: returns group -> (width,) float64 on the CPU, larger for channels that are more worth keeping."""

    def __call__(self, network: Network, names: Sequence[str], evidence: Evidence) -> dict[str, Tensor]: ...


def zeros(network: Network, names: Sequence[str], images: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return APoZ, the average percentage of zeros after the ReLU over all images and positions.

    Source: Hu et al., "Network Trimming", 2016, eq. 1; Aghli & Ribeiro, CVPR Workshops 2021, eq. 1 and 2. Zeros are
    counted exactly, in one pass, without storing maps. For a residual stream, which has several maps, the result is
    the mean of their shares.

    Args:
        network: Network on the device of the images.
        names: Names of groups.
        images: Batches of (N, 3, S, S) images, of any size; all images have equal weight.

    Returns:
        Shares in [0, 1] for each group, (width,) float64.

    Raises:
        InputError: A group is unknown, or there is no image.
    """
    counts: dict[tuple[str, str], Tensor] = {}
    positions: dict[tuple[str, str], int] = {}

    def count(group: str, module: str, values: Tensor) -> None:
        key = group, module
        for part in torch.split(values, max(1, _AT_ONCE // values[0].numel())):
            # A float tensor is many times faster to sum than a boolean one, and exact: a map has far fewer than
            # 2^24 positions.
            zero = torch.le(part, 0, out=torch.empty_like(part, dtype=torch.float32))
            found = zero.flatten(2).sum(2) if zero.ndim > 2 else zero
            counts[key] = counts.get(key, 0) + found.long().sum(0)
        positions[key] = positions.get(key, 0) + values.numel() // values.shape[1]

    _watch(network, names, images, count)
    shares = {key: found.cpu().double() / positions[key] for key, found in counts.items()}
    return {
        name: torch.stack([share for (group, _), share in shares.items() if group == name]).mean(0) for name in names
    }


def apoz(network: Network, names: Sequence[str], images: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return 1 - APoZ, the share of values above zero. Arguments and errors are those of ``zeros``."""
    return {name: 1.0 - share for name, share in zeros(network, names, images).items()}


def l1(network: Network, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the mean absolute weight of each filter (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017).

    It is divided by the layer's mean, so that layers are comparable. For a stream, the result is the mean over the
    layers that write to it.
    """
    found = {}
    for name, layers in _producers(network, names).items():
        sizes = [
            network.get_parameter(f"{layer.name}.weight").detach().abs().double().flatten(1).mean(1) for layer in layers
        ]
        found[name] = torch.stack([size / size.mean().clamp(min=1e-300) for size in sizes]).mean(0).cpu()
    return found


def taylor(network: Network, names: Sequence[str], batches: Iterable[HasImages], loss: Loss) -> dict[str, Tensor]:
    """Return the squared first-order change of the loss when a channel is removed, averaged over batches.

    Source: Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, eq. 8. The gate of a
    convolution's channel is its BatchNorm: gamma dE/dgamma + beta dE/dbeta. The gate of a dense layer's channel is its
    weights and bias. Layers that write to the same stream share a gate: their changes are added, then squared.

    Args:
        network: Network on the device of the images.
        names: Names of groups.
        batches: Batches, read once.
        loss: Mean loss of a batch.

    Raises:
        InputError: A group is unknown, or there is no batch.
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
    with modes_restored(network), differentiable(parameters), torch.enable_grad():
        network.eval()
        for batch in batches:
            gradients = iter(torch.autograd.grad(loss(network, batch), parameters, materialize_grads=True))
            for name, group in gates.items():
                changes = [(p.detach().double() * next(gradients).double()).reshape(len(p), -1).sum(1) for p in group]
                sums[name] += torch.stack(changes).sum(0).square().cpu()
            seen += 1
    if not seen:
        raise InputError("the criterion needs at least one batch")
    return {name: total / seen for name, total in sums.items()}


def correlation(network: Network, names: Sequence[str], images: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return the rank at which each channel is removed when the most redundant channels are removed first.

    After Sun et al., "Sparsifying Neural Network Connections for Face Recognition", CVPR 2016, and Zeng et al.,
    Cognitive Computation 2018. The similarity of two channels is the absolute correlation of their maps after the ReLU
    over images and positions (the next layer can invert a sign), or the cosine of their filters if that is larger.
    Of the most similar remaining pair, the channel with the smaller variance is removed, repeatedly. The importance is
    the rank of removal, in (0, 1]. Constant channels are removed first. Of equal channels the last one is removed.

    Args:
        network: Network on the device of the images, which must support float64.
        names: Names of groups.
        images: Batches of (N, 3, S, S) images, read in one pass; no map is stored.

    Raises:
        InputError: A group is unknown, or there is no image.
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


def random(network: Network, names: Sequence[str], seed: int) -> dict[str, Tensor]:
    """Return random numbers in [0, 1), as a control. Those of a group do not depend on the other groups."""
    found = {}
    for name, layers in _producers(network, names).items():
        generator = torch.Generator().manual_seed(seed_of(name, seed))
        width = len(network.get_parameter(f"{layers[0].name}.weight"))
        found[name] = torch.rand(width, generator=generator, dtype=torch.float64)
    return found


def seed_of(name: str, seed: int) -> int:
    """Return the random seed of a layer or group, which does not depend on the others."""
    return zlib.crc32(f"{seed}:{name}".encode())


CRITERIA: dict[str, Importance] = {
    "apoz": lambda network, names, evidence: apoz(network, names, evidence.images()),
    "l1": lambda network, names, evidence: l1(network, names),
    "taylor": lambda network, names, evidence: taylor(
        network, names, evidence.batches, evidence.required_loss("taylor")
    ),
    "correlation": lambda network, names, evidence: correlation(network, names, evidence.images()),
    "random": lambda network, names, evidence: random(network, names, evidence.seed),
}


def _watch(
    network: Network, names: Sequence[str], images: Iterable[Tensor], see: Callable[[str, str, Tensor], None]
) -> None:
    """Run the network on the images and call ``see`` with each map of the groups.

    Args:
        network: Network on the device of the images.
        names: Names of groups.
        images: Batches of (N, 3, S, S) images.
        see: Callback that receives the group, the module and its output, (N, C) or (N, C, H, W), before or after the
            ReLU (``channels.maps``). It must read the output immediately, as the ReLU works in place.

    Raises:
        InputError: A group is unknown, or there is no image.
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
        raise InputError("the criterion needs at least one image")


def _producers(network: Network, names: Sequence[str]) -> dict[str, list[channels.Layer]]:
    """Return the layers that write to each group."""
    layers = channels.layers(network.spec)
    channels.check_names(names, channels.widths(network.spec))
    return {name: [layer for layer in layers if layer.outputs and layer.outputs.name == name] for name in names}


@contextlib.contextmanager
def differentiable(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Enable gradients for the parameters inside the context, then restore their ``requires_grad``."""
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
    """Return (C, C) absolute correlations and (C,) variances; both are 0 for constant channels.

    Args:
        mean: (C,) means.
        square: (C, C) mean products.
    """
    covariance = square - np.outer(mean, mean)
    variance = np.diag(covariance).copy()
    variance[variance <= _CONSTANT * np.diag(square)] = 0.0
    deviation = np.sqrt(variance)
    scale = np.outer(deviation, deviation)
    alike = np.divide(np.abs(covariance), scale, out=np.zeros_like(covariance), where=scale > 0)
    return np.minimum(alike, 1.0), variance


def _elimination(alike: NDArray[np.float64], variance: NDArray[np.float64]) -> list[int]:
    """Return the indices of all channels in the order of removal.

    Args:
        alike: (C, C) similarities.
        variance: (C,) variances.
    """
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
        stale = (nearest == gone) & np.isfinite(strength)  # only these have lost their nearest neighbor
        nearest[stale] = alike[stale].argmax(1)
        strength[stale] = alike[stale].max(1)
        left -= 1
    return [*order, *(set(range(len(variance))) - set(order))]
