"""Connections as the unit of pruning: their importance, their removal, and training without them.

A connection joins an input and an output of a layer: one kernel of a convolution, one weight of a dense layer. A
removed connection has weights of zero. ONNX Runtime multiplies zeros, too, so the network gets no faster, but the
weights that are left are fewer to store (``product``). Zeng et al. (Cognitive Computation 2018) prune connections by
correlation, after Sun, Wang & Tang ("Sparsifying Neural Network Connections for Face Recognition", CVPR 2016).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from headpose.compression import channels
from headpose.compression.importance import Evidence, HasImages, Loss, differentiable, seed_of
from headpose.compression.selection import Rule, select
from headpose.compression.surgery import modes_restored
from headpose.errors import InputError
from headpose.networks.network import Network

Importance = Callable[[Network, Sequence[str], Evidence], dict[str, Tensor]]
"""Criterion: layer -> (outputs, inputs) float64 on the CPU, larger for connections that are more worth keeping."""

_CONSTANT = 1e-6
"""An activation counts as constant if its variance is below this share of its mean square: float32's rounding."""


def correlations(network: Network, names: Sequence[str], images: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return the correlation of the two activations that each connection joins.

    The activation of an input is what the layer reads, that of an output what BatchNorm and the ReLU make of it; there
    is no ReLU before an addition, and after the last layer. A kernel has a correlation at each of its positions, over
    all images and positions of the map, with zeros as padding; the result is their mean.

    Args:
        network: Network on the device of the images.
        names: Names of layers, as in ``channels.layers``.
        images: Batches of (N, 3, S, S) images, read in one pass; no map is stored.

    Returns:
        (outputs, inputs) float64 in [-1, 1] for each layer; 0 where an activation is constant.

    Raises:
        InputError: A layer is unknown, or there is no image.
    """
    known = _layers(network, names)
    sums = {name: _Sums(network.get_submodule(name)) for name in names}
    seen = 0
    with contextlib.ExitStack() as stack, modes_restored(network), torch.no_grad():
        network.eval()
        for name in names:
            layer, found = known[name], sums[name]
            after = bool(layer.outputs) and layer.outputs.kind != "stream"  # type: ignore[union-attr]
            module = network.get_submodule(layer.norm or name)
            reads = network.get_submodule(name).register_forward_pre_hook(found.read)
            stack.callback(reads.remove)
            stack.callback(module.register_forward_hook(found.write_relu if after else found.write).remove)
        for batch in images:
            network.raw(batch)
            seen += len(batch)
    if not seen:
        raise InputError("the criterion needs at least one image")
    return {name: found.correlation() for name, found in sums.items()}


def correlation(network: Network, names: Sequence[str], images: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return the rank of the absolute correlation among those of the same sign in the layer, in [0, 1].

    After Sun et al., positive and negative correlations are ranked apart: a share of a layer's connections takes that
    share of both. Connections of a constant activation have the rank 0. Arguments and errors are those of
    ``correlations``.
    """
    found = {}
    for name, values in correlations(network, names, images).items():
        ranks = torch.zeros_like(values)
        for side in (values > 0, values < 0):
            count = int(side.sum())
            ranks[side] = (values[side].abs().argsort().argsort() + 1).double() / max(1, count)
        found[name] = ranks
    return found


def l1(network: Network, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the mean absolute weight of each connection, divided by the layer's mean (Han et al., NeurIPS 2015).

    Args:
        network: Network.
        names: Names of layers.

    Raises:
        InputError: A layer is unknown.
    """
    found = {name: _by_connection(weight.detach().double().abs()) for name, weight in _weights(network, names).items()}
    return {name: (size / size.mean().clamp(min=1e-300)).cpu() for name, size in found.items()}


def taylor(network: Network, names: Sequence[str], batches: Iterable[HasImages], loss: Loss) -> dict[str, Tensor]:
    """Return the squared first-order change of the loss when a connection is removed, averaged over batches.

    Source: Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, eq. 8, with the weights of
    the connection as the group.

    Args:
        network: Network on the device of the images.
        names: Names of layers.
        batches: Batches, read once.
        loss: Mean loss of a batch.

    Raises:
        InputError: A layer is unknown, or there is no batch.
    """
    weights = _weights(network, names)
    sums: dict[str, Tensor] = {}
    seen = 0
    with modes_restored(network), differentiable(list(weights.values())), torch.enable_grad():
        network.eval()
        for batch in batches:
            gradients = torch.autograd.grad(loss(network, batch), list(weights.values()), materialize_grads=True)
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                products = weight.detach().double() * gradient.double()
                change = _by_connection(products) * products[0, 0].numel()  # the sum over the kernel
                sums[name] = sums.get(name, 0) + change.square().cpu()
            seen += 1
    if not seen:
        raise InputError("the criterion needs at least one batch")
    return {name: total / seen for name, total in sums.items()}


def random(network: Network, names: Sequence[str], seed: int) -> dict[str, Tensor]:
    """Return random numbers in [0, 1), as a control. Those of a layer do not depend on the other layers."""
    found = {}
    for name, weight in _weights(network, names).items():
        generator = torch.Generator().manual_seed(seed_of(name, seed))
        found[name] = torch.rand(weight.shape[:2], generator=generator, dtype=torch.float64)
    return found


CRITERIA: dict[str, Importance] = {
    "correlation": lambda network, names, evidence: correlation(network, names, evidence.images()),
    "l1": lambda network, names, evidence: l1(network, names),
    "taylor": lambda network, names, evidence: taylor(
        network, names, evidence.batches, evidence.required_loss("taylor")
    ),
    "random": lambda network, names, evidence: random(network, names, evidence.seed),
}


def remove(network: Network, importance: Mapping[str, Tensor], rule: Rule) -> dict[str, int]:
    """Set the least important connections to zero, of those that are left.

    Args:
        network: Network, changed in place.
        importance: Layer -> (outputs, inputs), from a criterion.
        rule: Connections to remove. Each layer keeps at least one.

    Returns:
        Number of connections that are left in each layer.
    """
    masks = {name: kept(weight) for name, weight in _weights(network, list(importance)).items()}
    left = {name: values.flatten()[masks[name].cpu().flatten()] for name, values in importance.items()}
    chosen = select({name: values for name, values in left.items() if len(values)}, rule, minimum=1)
    with torch.no_grad():
        for name, indices in chosen.items():
            numbers = masks[name].cpu().flatten().nonzero().flatten()
            mask = torch.zeros(masks[name].numel(), dtype=torch.bool)
            mask[numbers[indices]] = True
            weight = network.get_parameter(f"{name}.weight")
            weight.mul_(mask.to(weight.device).reshape(_mask_shape(weight)))
    return {name: len(indices) for name, indices in chosen.items()}


def kept(weight: Tensor) -> Tensor:
    """Return (outputs, inputs) bool: which connections of a layer have weights other than zero."""
    return weight.detach().flatten(2).ne(0).any(2) if weight.ndim > 2 else weight.detach().ne(0)


@contextlib.contextmanager
def held(network: Network) -> Iterator[None]:
    """Keep removed connections at zero while the network is trained, inside the context: they get no gradient.

    The network must be on the device where it is trained.
    """
    with contextlib.ExitStack() as stack:
        for weight in _weights(network, [layer.name for layer in channels.layers(network.spec)]).values():
            mask = kept(weight).reshape(_mask_shape(weight))
            if not bool(mask.all()):
                hook: Any = weight.register_hook(lambda gradient, mask=mask: gradient * mask)  # type: ignore[no-untyped-call]
                stack.callback(hook.remove)
        yield


def removed_weights(network: nn.Module) -> int:
    """Return the number of weights of removed connections."""
    modules = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return sum(int((~kept(m.weight)).sum()) * m.weight[0, 0].numel() for m in modules)


class _Sums:
    """Sums over the activations that the connections of one layer join."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer
        self._x = torch.zeros(0)
        self._count = 0
        self._total: dict[str, Tensor] = {}

    def read(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Copy what the layer reads, as a ReLU works in place: a hook before the layer."""
        self._x = inputs[0].detach().contiguous().clone()

    def write_relu(self, module: nn.Module, inputs: Any, outputs: Tensor) -> None:
        """Add an output that a ReLU follows: a hook after the layer or its BatchNorm."""
        self.write(module, inputs, outputs.relu())

    def write(self, _: nn.Module, __: Any, outputs: Tensor) -> None:
        """Add an output: a hook after the layer or its BatchNorm."""
        x, y = self._x, outputs.detach().contiguous()
        one = torch.ones_like(y[:, :1])
        parts = {
            "xy": self._products(x, y),
            "x": self._products(x, one),
            "xx": self._products(x.square(), one),
            "y": y.transpose(0, 1).flatten(1).double().sum(1),
            "yy": y.transpose(0, 1).flatten(1).double().square().sum(1),
        }
        for key, value in parts.items():
            self._total[key] = self._total.get(key, 0) + value.double().cpu()
        self._count += y.numel() // y.shape[1]

    def correlation(self) -> Tensor:
        """Return (outputs, inputs) float64."""
        xy, x, xx, y, yy = (self._total[key] / self._count for key in ("xy", "x", "xx", "y", "yy"))
        y, yy = (value.reshape(-1, *[1] * (xy.ndim - 1)) for value in (y, yy))
        covariance, variances = xy - x * y, [_variance(x, xx), _variance(y, yy)]
        scale = (variances[0] * variances[1]).sqrt()
        values = torch.where(scale > 0, covariance / scale.clamp(min=1e-300), 0.0).clamp(-1, 1)
        return _by_connection(values)

    def _products(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sums of x * y for each weight: what a gradient of the weights computes."""
        if isinstance(self._layer, nn.Linear):
            return y.T @ x
        layer: Any = self._layer
        shape = (y.shape[1], x.shape[1], *layer.kernel_size)
        if layer.kernel_size == (1, 1):  # torch's is wrong on some CPUs: see ``convolution``
            flat = [v.transpose(0, 1).flatten(1) for v in (y, x[:, :, :: layer.stride[0], :: layer.stride[1]])]
            return (flat[0] @ flat[1].T).reshape(shape)
        return conv2d_weight(x, shape, y, layer.stride, layer.padding)  # type: ignore[no-untyped-call]


def _variance(mean: Tensor, square: Tensor) -> Tensor:
    variance = square - mean.square()
    return torch.where(variance > _CONSTANT * square, variance, 0.0)


def _by_connection(values: Tensor) -> Tensor:
    """Return the means over the positions of each kernel, (outputs, inputs)."""
    return values.flatten(2).mean(2) if values.ndim > 2 else values


def _mask_shape(weight: Tensor) -> tuple[int, ...]:
    return (*weight.shape[:2], *[1] * (weight.ndim - 2))


def _layers(network: Network, names: Sequence[str]) -> dict[str, channels.Layer]:
    known = {layer.name: layer for layer in channels.layers(network.spec)}
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"the network has no layer {unknown[0]!r}; its layers are {', '.join(known)}")
    return known


def _weights(network: Network, names: Sequence[str]) -> dict[str, nn.Parameter]:
    _layers(network, names)
    return {name: network.get_parameter(f"{name}.weight") for name in names}
