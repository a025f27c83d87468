"""Decoders: from values of the last dense layer to rotation, region, covariance and face logit, or to landmarks.

``headpose.reading`` defines the outputs, ``parts`` of a spec says which values belong to which. With values of 0 a
region is a face in the middle of a usual crop, and a covariance is that of 5.7 degrees about each axis.
``headpose.networks.export`` traces the decoders, so they may only call functions of its table.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from headpose.networks.rotations import decoder
from headpose.networks.spec import PlainSpec, Spec
from headpose.reading import LANDMARKS

_REACH = 3.0  # bound of the logarithms below: a factor of 20 either way
_SIDE = 0.7  # of a tight box in its crop
_DEVIATION = 0.1  # radians


def decode(raw: Tensor, spec: Spec) -> dict[str, Tensor]:
    """Convert the output of ``Network.raw`` to all outputs, in float32 also under autocast.

    Args:
        raw: (N, V) values, V = ``spec.values``.
        spec: Specification of the network.

    Returns:
        ``rotation`` (N, 3, 3), and of ``region`` (N, 4), ``covariance`` (N, 3, 3) and ``face`` (N,) what the network
        has, not calibrated; or ``landmarks`` (N, 68, 2) alone.
    """
    with torch.autocast(raw.device.type, enabled=False):
        return {name: decoders(spec)[name](part) for name, part in split(raw.float(), spec).items()}


def split(raw: Tensor, spec: Spec) -> dict[str, Tensor]:
    """Return the values of each output, (N, V_i) views of ``raw``, by name; ``rotation`` is the first, if it is one."""
    return dict(zip(spec.parts, torch.split(raw, list(spec.parts.values()), 1), strict=True))


def decoders(spec: Spec) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return the decoder of each output of a network, by name."""
    if isinstance(spec, PlainSpec):
        return {"landmarks": landmarks}
    known = {"rotation": decoder(spec.output), "region": region, "covariance": covariance, "face": face}
    return {name: known[name] for name in spec.parts}


def region(values: Tensor) -> Tensor:
    """Decode regions: an offset from the middle of the crop, and the logarithms of width and height.

    Args:
        values: (N, 4).

    Returns:
        (N, 4) center x, center y, width and height in sides of the crop; width and height are in (0.03, 15).
    """
    center, size = values.chunk(2, 1)
    return torch.cat([center + 0.5, _bounded(size).exp() * _SIDE], 1)


def scale_tril(values: Tensor) -> Tensor:
    """Decode the Cholesky factors L of covariances ``L L^T``.

    ``L = diag(s) U``, where the deviations s are in 0.1 exp(-3) to 0.1 exp(3) radians (0.3 to 115 degrees), and U is
    lower triangular with ones on its diagonal and values in (-1, 1) below it. So L is never singular, and no value can
    overflow.

    Args:
        values: (N, 6): the logarithms of s / 0.1, then U's entries (2, 1), (3, 1) and (3, 2) before the bound.

    Returns:
        (N, 3, 3) lower triangular matrices in radians.
    """
    logarithms, below = values.chunk(2, 1)
    first, second, third = (_bounded(logarithms).exp() * _DEVIATION).chunk(3, 1)
    u21, u31, u32 = below.tanh().chunk(3, 1)
    zero = first * 0.0
    entries = [first, zero, zero, second * u21, second, zero, third * u31, third * u32, third]
    return torch.cat(entries, 1).reshape(-1, 3, 3)


def covariance(values: Tensor) -> Tensor:
    """Decode (N, 6) values to (N, 3, 3) covariances in radians squared; see ``scale_tril``."""
    factor = scale_tril(values)
    return torch.matmul(factor, factor.transpose(1, 2))


def face(values: Tensor) -> Tensor:
    """Return the (N,) logits of (N, 1) values."""
    return values.reshape(-1)


def landmarks(values: Tensor) -> Tensor:
    """Decode (N, 136) offsets from the middle of the crop to (N, 68, 2) x and y in sides of the crop."""
    return values.reshape(-1, LANDMARKS, 2) + 0.5


def _bounded(values: Tensor) -> Tensor:
    """Bound values smoothly to +-``_REACH``, with a slope of 1 at 0."""
    return (values / _REACH).tanh() * _REACH
