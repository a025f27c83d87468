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
    """Divides samples by group.

    Each group is hashed with the seed, so its side depends on neither the order nor the presence of
    the others: data added later moves nothing from one side to the other.

    Args:
        samples: with groups; a sample without one counts as a group of its picture's name.
        fraction: expected share of the groups that goes to validation, in [0, 1].
        seed: another seed gives another split.

    Returns:
        (training, validation), each in the order given.
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
    """A number in [0, 1) that depends on nothing but the group's name and the seed."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
