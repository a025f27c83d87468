"""A recipe's sources as lists of samples, and their pictures."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headpose.datasets import duplicates, manifest, splits, w300lp
from headpose.errors import RecipeError
from headpose.images import read_image
from headpose.recipes.training import DataRecipe, SourceRecipe
from headpose.types import Image, Sample


@dataclass(frozen=True, slots=True)
class Split:
    """Samples to train on, how often an epoch shows each, and samples to validate on.

    ``sha256``, in hexadecimal, is of both sides' pictures (by their paths from the source on), boxes, labels and
    weights, in any order: data that have only been moved keep it.
    """

    training: list[Sample]
    repeats: NDArray[np.float64]
    validation: list[Sample]
    sha256: str = ""


def read(recipe: DataRecipe) -> Split:
    """Reads every source and splits each by source photograph.

    Raises:
        DataError: a source cannot be read (see the readers).
        RecipeError: a source does not hold labelled heads.
    """
    lines: list[str] = []
    training: list[Sample] = []
    validation: list[Sample] = []
    repeats: list[float] = []
    for source in recipe.sources:
        train, held_out = splits.split(_samples(source), recipe.validation, recipe.split_seed)
        training += train
        validation += held_out
        repeats += [source.repeat] * len(train)
        lines += [_line("training", source, sample) for sample in train]
        lines += [_line("validation", source, sample) for sample in held_out]
    digest = hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape"))
    return Split(training, np.array(repeats), validation, digest.hexdigest())


def _line(side: str, source: SourceRecipe, sample: Sample) -> str:
    """What decides a sample's part in a run, but for the pixels."""
    root = Path(source.path)
    root = root.parent if source.kind == "manifest" else root
    inside = sample.image.relative_to(root) if sample.image.is_relative_to(root) else sample.image
    return f"{side} {inside.as_posix()} {sample.box.as_tuple()} {tuple(sample.euler)} {sample.weight}"


def _samples(source: SourceRecipe) -> list[Sample]:
    if source.kind == "cifar-10":
        raise RecipeError(f"{source.path}: a source of kind cifar-10 holds no head poses; set task = 'classification'")
    if source.kind == "negatives":
        raise RecipeError(f"{source.path}: negatives hold no head poses, and no network has an output for them")
    samples = w300lp.read(source.path) if source.kind == "300w-lp" else manifest.read(source.path)
    if source.near_duplicates:
        samples = duplicates.group_near_duplicates(samples)
    return [dataclasses.replace(sample, weight=sample.weight * source.weight) for sample in samples]


class Pictures:
    """Reads pictures, and keeps them decoded up to a limit of memory (each process its own)."""

    def __init__(self, limit_gib: float) -> None:
        self._left = limit_gib * 2**30
        self._kept: dict[str, Image] = {}

    def read(self, sample: splits.Grouped) -> Image:
        key = str(sample.image)
        image = self._kept.get(key)
        if image is None:
            image = read_image(sample.image)
            if image.nbytes <= self._left:
                self._left -= image.nbytes
                self._kept[key] = image
        return image
