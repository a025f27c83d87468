"""Random numbers that are identical on all machines.

A stream is seeded by a SHA-256 of names and uses the raw 64-bit output of PCG64, which NumPy guarantees to be stable.
NumPy's distributions are not used, because they may change between versions.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

NOISE_UNIT = 209
"""Standard deviation of ``Draws.noise``, a sum of 8 bytes: sqrt(8 (256^2 - 1) / 12) = 209.02."""

_EVERY_SECOND_BYTE = np.uint64(0x00FF00FF00FF00FF)
_SUM_OF_FOUR = np.uint64(0x0001000100010001)
_BYTE, _THREE_WORDS = np.uint64(8), np.uint64(48)
_MEAN = 1020  # mean of the sum of 8 bytes


class Draws:
    """Stream of random integers that depends only on its key."""

    def __init__(self, *key: str | int) -> None:
        """Seed the stream with ``key``."""
        digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest[:16], "little"))

    def below(self, end: int) -> int:
        """Return an integer in [0, end)."""
        return int(self._bits.random_raw()) % end

    def between(self, low: int, high: int) -> int:
        """Return an integer in [low, high]."""
        return low + self.below(high - low + 1)

    def noise(self, count: int) -> NDArray[np.int32]:
        """Return (count,) approximately normal values: mean 0, standard deviation ``NOISE_UNIT``, range +-1020."""
        raw = np.asarray(self._bits.random_raw(count), np.uint64)
        pairs = (raw & _EVERY_SECOND_BYTE) + ((raw >> _BYTE) & _EVERY_SECOND_BYTE)
        # The upper 16 bits of the product hold the sum of the four pairs of bytes; no carry reaches them.
        return ((pairs * _SUM_OF_FOUR) >> _THREE_WORDS).astype(np.int32) - _MEAN
