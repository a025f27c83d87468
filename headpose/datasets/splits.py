"""Training and validation from one pool of samples, without a photograph on both sides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from headpose.errors import InputError


class Grouped(Protocol):
    """A picture with the name of its source photograph, or ""."""

    @property
    def image(self) -> Path: ...

    @property
    def group(self) -> str: ...


_Grouped = TypeVar("_Grouped", bound=Grouped)


def split(samples: Iterable[_Grouped], fraction: float, seed: int) -> tuple[list[_Grouped], list[_Grouped]]:
    """Split samples by group.

    The side of a group is determined by a hash of its name and the seed. It does not depend on other groups, so adding
    data does not move samples to the other side.

    Args:
        samples: Samples. Without a group, the name of the image is used.
        fraction: Expected fraction of the groups in the validation part, in [0, 1].
        seed: Random seed.

    Returns:
        (training, validation), each in the original order.
    """
    if not 0.0 <= fraction <= 1.0:
        raise InputError(f"the validation fraction must be in [0, 1], got {fraction}")
    training: list[_Grouped] = []
    validation: list[_Grouped] = []
    for sample in samples:
        chosen = _uniform(sample.group or sample.image.stem, seed) < fraction
        (validation if chosen else training).append(sample)
    return training, validation


def _uniform(group: str, seed: int) -> float:
    """Return a number in [0, 1) that depends only on the name of the group and the seed."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
