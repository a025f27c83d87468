"""Storage of weights without training: what pruning counts as the size of a step.

Product quantization, whose codewords are trained, is a stage of its own: ``coding``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class WeightCodec(Protocol):
    """Conversion of a state dict into the tensors that are stored, and back.

    A codec may be lossy: the pruning validates the decoded weights and counts the stored bytes.
    """

    def encode(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors to store. The codec chooses their names, dtypes and shapes."""
        ...

    def decode(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the float32 state dict."""
        ...


class Plain:
    """Storage as float32, without loss."""

    def encode(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.detach().float() for name, value in state.items() if "num_batches_tracked" not in name}

    def decode(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(stored)


class Half:
    """Storage as float16: half the bytes, with a relative error of up to 1/2048 per weight."""

    def encode(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(torch.float16) for name, value in Plain().encode(state).items()}

    def decode(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.float() for name, value in stored.items()}


CODECS: dict[str, WeightCodec] = {"plain": Plain(), "half": Half()}


def stored_bytes(codec: WeightCodec, state: Mapping[str, Tensor]) -> int:
    """Return the number of bytes of the tensors that a codec stores, without file headers."""
    return sum(value.numel() * value.element_size() for value in codec.encode(state).values())
