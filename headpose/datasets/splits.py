"""Training and validation from one pool of samples, without a photograph on both sides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from headpose.datasets import duplicates
from headpose.images import read_image
from headpose.types import Box, EulerAngles, Sample


def split(samples: Iterable[Sample], fraction: float, seed: int) -> tuple[list[Sample], list[Sample]]:
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
        raise ValueError(f"the validation fraction must be in [0, 1], got {fraction}")
    training: list[Sample] = []
    validation: list[Sample] = []
    for sample in samples:
        chosen = _uniform(sample.group or sample.image.stem, seed) < fraction
        (validation if chosen else training).append(sample)
    return training, validation


def _uniform(group: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but the group's name and the seed."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def near_duplicate_groups(images: Iterable[Path]) -> list[str]:
    """Group of each picture; ``duplicates.group_near_duplicates`` knows the faces too and finds more."""
    samples = []
    for image in images:
        height, width = read_image(image).shape[:2]
        samples.append(Sample(image, Box(0.0, 0.0, width, height), EulerAngles(0.0, 0.0, 0.0), group=image.as_posix()))
    return [sample.group for sample in duplicates.group_near_duplicates(samples)]
