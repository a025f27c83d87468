"""How weights are stored: the seam for codecs like product quantisation (Zeng et al., Cognitive Computation 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class WeightCodec(Protocol):
    """Turns a state dict into the tensors that are stored, and back.

    A codec may lose precision: the compressor validates what comes back, and counts what is stored.
    """

    def encode(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors to store, of any types and shapes, by names of the codec's own."""
        ...

    def decode(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict, float32."""
        ...


class Plain:
    """float32 as it is."""

    def encode(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.detach().float() for name, value in state.items() if "num_batches_tracked" not in name}

    def decode(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(stored)


class Half:
    """float16: half of the bytes, each weight off by up to 1/2048 of itself."""

    def encode(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(torch.float16) for name, value in Plain().encode(state).items()}

    def decode(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.float() for name, value in stored.items()}


CODECS: dict[str, WeightCodec] = {"plain": Plain(), "half": Half()}


def stored_bytes(codec: WeightCodec, state: Mapping[str, Tensor]) -> int:
    """Bytes of the tensors that a codec stores, file headers apart."""
    return sum(value.numel() * value.element_size() for value in codec.encode(state).values())
