"""Random numbers that are the same on every machine.

A stream is seeded by a hash of names, never by ``hash()``, and uses the raw 64 bits of PCG64, whose
stream numpy guarantees; its distributions, which may change with a version, are not used.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

NOISE_UNIT = 209
"""Standard deviation of ``Draws.noise`` (of the sum of 8 bytes: sqrt(8 (256^2 - 1) / 12) = 209.02)."""

_EVERY_SECOND_BYTE = np.uint64(0x00FF00FF00FF00FF)
_SUM_OF_FOUR = np.uint64(0x0001000100010001)
_BYTE, _THREE_WORDS = np.uint64(8), np.uint64(48)
_MEAN = 1020  # of the sum of 8 bytes


class Draws:
    """A stream of integers that depends on nothing but its key."""

    def __init__(self, *key: str | int) -> None:
        digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest[:16], "little"))

    def below(self, end: int) -> int:
        """One of 0 ... end - 1."""
        return int(self._bits.random_raw()) % end

    def between(self, low: int, high: int) -> int:
        """One of low ... high, both ends included."""
        return low + self.below(high - low + 1)

    def noise(self, count: int) -> NDArray[np.int32]:
        """(count,) nearly normal values of mean 0 and standard deviation ``NOISE_UNIT``, at most 1020 off."""
        raw = np.asarray(self._bits.random_raw(count), np.uint64)
        pairs = (raw & _EVERY_SECOND_BYTE) + ((raw >> _BYTE) & _EVERY_SECOND_BYTE)
        # The product's upper 16 bits hold the sum of the four pairs of bytes, and no carry reaches them.
        return ((pairs * _SUM_OF_FOUR) >> _THREE_WORDS).astype(np.int32) - _MEAN
