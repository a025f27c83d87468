"""Product quantization of a network's weights, and training of the codewords through the quantized weights.

Zeng et al. (Cognitive Computation 2018) quantize the absolute values of the weights and keep their signs apart: of
their codec only this is published. Its block sizes, 9 weights for 3x3 kernels and 4 for other layers, its 256 codewords
and its training are those of Stock et al. ("And the Bit Goes Down", ICLR 2020): the gradient of a codeword is the mean
of the gradients of its vectors.

The network stays an ordinary one while it is trained. ``tied`` gives all weights of a codeword the same gradient, so
that any optimizer changes them by the same amount and they stay equal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headpose.coded import MOST_CODEWORDS, Codes
from headpose.errors import InputError
from headpose.networks.network import Network

_ROUNDS = 25  # of k-means; the distortion of student's layers falls by less than 0.1 % in the next 25
_AT_ONCE = 2**22  # distances that are in memory at once
_DROPPED_BITS = 13  # of float32's 23: those that float16 does not have


@dataclass(frozen=True, slots=True)
class Codec:
    """Settings of a product quantization.

    Attributes:
        codewords: Maximum number of codewords of a layer, up to 256. A layer has at most a quarter as many as vectors,
            as in Stock et al.: a codebook must not be larger than the weights.
        length: Weights of a vector.
        kernel_length: Weights of a vector in layers of 3x3 kernels.
        signed: Whether codewords have signs. Otherwise they are absolute values, and each weight has a sign.
    """

    codewords: int = MOST_CODEWORDS
    length: int = 4
    kernel_length: int = 9
    signed: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.codewords <= MOST_CODEWORDS:
            raise InputError(f"the number of codewords must be from 1 to {MOST_CODEWORDS}, got {self.codewords}")
        if self.length < 1 or self.kernel_length < 1:
            raise InputError(f"a codeword has one weight or more, got {self.length} and {self.kernel_length}")

    def length_for(self, shape: Sequence[int]) -> int:
        """Return the number of weights of a vector in a layer."""
        return self.kernel_length if tuple(shape[2:]) == (3, 3) else self.length


def layers(network: Network) -> list[str]:
    """Return the names of all convolutions and dense layers, in network order."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def quantize(weight: Tensor, codec: Codec, seed: int = 0) -> Codes:
    """Quantize the weights of a layer by k-means.

    Connections whose weights are all zero are masked: they have been pruned.

    Args:
        weight: (outputs, inputs, height, width) or (outputs, inputs) weights, finite.
        codec: Settings.
        seed: Random seed of the first codewords.

    Returns:
        The codes. The same weights and seed give the same codes on the same machine.
    """
    mask = _mask(weight)
    values, length = _kept(weight, mask), codec.length_for(weight.shape)
    vectors = _vectors(values if codec.signed else values.abs(), length)
    count = max(1, min(codec.codewords, len(vectors) // 4))
    if len(vectors):
        centers, indices = cluster(vectors, count, seed)
    else:  # all connections have been pruned
        centers, indices = vectors.new_zeros(1, length), torch.zeros(0)
    return Codes(
        tuple(weight.shape),
        centers.half().cpu().numpy(),
        indices.to(torch.uint8).cpu().numpy(),
        None if codec.signed else (values < 0).cpu().numpy(),
        None if mask is None else mask.cpu().numpy(),
    )


def cluster(vectors: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Cluster vectors by k-means, started by k-means++ (Arthur & Vassilvitskii, SODA 2007).

    It is written here because libraries cost more than these lines: SciPy's k-means++ compares all vectors with all
    centers before each new one, a minute for a large layer, and scikit-learn, a test's oracle, is a large dependency.

    Args:
        vectors: (V, L) float32, V at least 1.
        count: Number of clusters, at least 1.
        seed: Random seed.

    Returns:
        (count, L) float32 centers, and (V,) int64 indices of the nearest ones.
    """
    centers = _first(vectors, count, torch.Generator().manual_seed(seed))
    indices = _nearest(vectors, centers)
    for _ in range(_ROUNDS):
        sizes = torch.bincount(indices, minlength=count)
        sums = torch.zeros_like(centers).index_add_(0, indices, vectors)
        centers = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centers)
        before, indices = indices, _nearest(vectors, centers)
        if torch.equal(before, indices):
            break
    return centers, indices


def refit(weight: Tensor, codes: Codes) -> Codes:
    """Return the codes with the codewords of trained weights: the means of the weights that share a codeword."""
    values = _kept(weight, _tensor(codes.mask, weight))
    if (signs := _tensor(codes.signs, weight)) is not None:
        values = torch.where(signs, -values, values)
    mean = _Shared(codes, weight.device).mean(values)
    # The optimizer may move a codeword of absolute values below zero: then its sign is not that of its weights.
    return Codes(codes.shape, mean.half().cpu().numpy(), codes.indices, codes.signs, codes.mask)


@contextlib.contextmanager
def tied(network: Network, codes: Mapping[str, Codes]) -> Iterator[None]:
    """Train codewords instead of weights, inside the context.

    All weights that share a codeword get the mean of their gradients, and pruned connections get none. Optimizers
    without randomness, weight decay and averages over steps then keep the weights equal and the pruned ones zero.

    Args:
        network: Network whose weights are those of ``codes`` (``insert``).
        codes: Codes by name of the layer; other layers are trained as usual. The network must be on the device where it
            is trained.
    """
    with contextlib.ExitStack() as stack:
        for name, each in codes.items():
            weight = network.get_parameter(f"{name}.weight")
            hook = weight.register_hook(_Tie(each, weight))  # type: ignore[no-untyped-call]
            stack.callback(hook.remove)
        yield


def insert(network: Network, codes: Mapping[str, Codes]) -> None:
    """Set the weights of layers to those that their codes decode to."""
    with torch.no_grad():
        for name, each in codes.items():
            weight = network.get_parameter(f"{name}.weight")
            weight.copy_(torch.from_numpy(each.decode()))


@torch.no_grad()
def shorten(network: Network, names: Sequence[str]) -> None:
    """Round all tensors but the weights of the named layers to float16's 11 bits, in float32's range.

    The zeros that this leaves compress to nothing: BatchNorm and the layers without codes take half the bytes. A
    variance beyond float16's range keeps its size.
    """
    coded = {f"{name}.weight" for name in names}
    for name, value in network.state_dict().items():
        if value.dtype == torch.float32 and name not in coded:
            bits = value.contiguous().view(torch.int32)
            half = (1 << (_DROPPED_BITS - 1)) - 1 + ((bits >> _DROPPED_BITS) & 1)
            value.copy_(((bits + half) >> _DROPPED_BITS << _DROPPED_BITS).view(torch.float32))


class _Shared:
    """Means over the weights of each codeword."""

    def __init__(self, codes: Codes, device: torch.device) -> None:
        self.indices = torch.from_numpy(codes.indices.astype(np.int64)).to(device)
        self._shape = codes.codebook.shape
        counts = torch.zeros(self._shape, device=device)
        counts.index_add_(0, self.indices, _vectors(torch.ones(codes.stored, device=device), self._shape[1]))
        self._counts = counts.clamp(min=1)  # padding does not count

    def mean(self, values: Tensor) -> Tensor:
        """Return the (K, L) means of (n,) stored values."""
        sums = torch.zeros(self._shape, device=values.device)
        return sums.index_add_(0, self.indices, _vectors(values.float(), self._shape[1])) / self._counts


class _Tie:
    """Hook on the gradient of a layer's weights."""

    def __init__(self, codes: Codes, weight: Tensor) -> None:
        self._shared = _Shared(codes, weight.device)
        self._mask = _tensor(codes.mask, weight)
        signs = _tensor(codes.signs, weight)
        self._signs = None if signs is None else 1.0 - 2.0 * signs.float()

    def __call__(self, gradient: Tensor) -> Tensor:
        values = _kept(gradient, self._mask)
        values = values if self._signs is None else values * self._signs
        mean = self._shared.mean(values)[self._shared.indices].flatten()[: len(values)]
        mean = mean if self._signs is None else mean * self._signs
        if self._mask is None:
            return mean.reshape(gradient.shape).to(gradient)
        result = gradient.new_zeros(len(self._mask), gradient[0, 0].numel())
        result[self._mask] = mean.reshape(-1, result.shape[1]).to(gradient)
        return result.reshape(gradient.shape)


def _mask(weight: Tensor) -> Tensor | None:
    """Return which connections of a layer have weights other than zero; None for all."""
    mask = weight.detach().reshape(weight.shape[0] * weight.shape[1], -1).ne(0).any(1)
    return None if bool(mask.all()) else mask


def _kept(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the values of the kept connections, (n,), in C order."""
    flat = values.detach().reshape(-1)
    return flat if mask is None else flat.reshape(len(mask), -1)[mask].flatten()


def _vectors(values: Tensor, length: int) -> Tensor:
    """Cut (n,) values into (V, L) vectors; the last one is padded with zeros."""
    return nn.functional.pad(values, (0, -len(values) % length)).reshape(-1, length)


def _tensor(values: NDArray[np.bool_] | None, like: Tensor) -> Tensor | None:
    return None if values is None else torch.from_numpy(values).to(like.device)


def _first(vectors: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the first centers: each next one is a vector drawn by its squared distance to the nearest before."""
    chosen = [int(torch.randint(len(vectors), (1,), generator=generator))]
    nearest = (vectors - vectors[chosen[0]]).square().sum(1)
    for _ in range(count - 1):
        # A running sum and a search: torch.multinomial takes at most 2^24 weights.
        sums = nearest.double().cumsum(0)
        drawn = torch.rand(1, generator=generator, dtype=torch.float64) * float(sums[-1])
        chosen.append(min(int(torch.searchsorted(sums, drawn.to(sums), right=True)), len(vectors) - 1))
        nearest = torch.minimum(nearest, (vectors - vectors[chosen[-1]]).square().sum(1))
    return vectors[chosen].clone()


def _nearest(vectors: Tensor, centers: Tensor) -> Tensor:
    """Return the index of the nearest center of each vector."""
    squares = centers.square().sum(1)
    parts = torch.split(vectors, max(1, _AT_ONCE // len(centers)))
    # |x - c|^2 without |x|^2, which is the same for all c
    return torch.cat([(squares - 2 * part @ centers.T).argmin(1) for part in parts])
