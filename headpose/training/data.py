"""A recipe's sources as lists of samples, and their pictures."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headpose.datasets import duplicates, manifest, splits, w300lp
from headpose.errors import RecipeError
from headpose.images import read_image
from headpose.training.recipe import DataRecipe, SourceRecipe
from headpose.types import Image, Sample


@dataclass(frozen=True, slots=True)
class Split:
    """Samples to train on, how often an epoch shows each, and samples to validate on."""

    training: list[Sample]
    repeats: NDArray[np.float64]
    validation: list[Sample]


def read(recipe: DataRecipe) -> Split:
    """Reads every source and splits each by source photograph.

    Raises:
        DataError: a source cannot be read (see the readers).
        RecipeError: a source does not hold labelled heads.
    """
    training: list[Sample] = []
    validation: list[Sample] = []
    repeats: list[float] = []
    for source in recipe.sources:
        train, held_out = splits.split(_samples(source), recipe.validation, recipe.split_seed)
        training += train
        validation += held_out
        repeats += [source.repeat] * len(train)
    return Split(training, np.array(repeats), validation)


def _samples(source: SourceRecipe) -> list[Sample]:
    if source.kind == "cifar-10":
        raise RecipeError(f"{source.path}: a source of kind cifar-10 holds no head poses; set task = 'classification'")
    samples = w300lp.read(source.path) if source.kind == "300w-lp" else manifest.read(source.path)
    if source.near_duplicates:
        samples = duplicates.group_near_duplicates(samples)
    return [dataclasses.replace(sample, weight=sample.weight * source.weight) for sample in samples]


class Pictures:
    """Reads pictures, and keeps them decoded up to a limit of memory (each process its own)."""

    def __init__(self, limit_gib: float) -> None:
        self._left = limit_gib * 2**30
        self._kept: dict[str, Image] = {}

    def read(self, sample: Sample) -> Image:
        key = str(sample.image)
        image = self._kept.get(key)
        if image is None:
            image = read_image(sample.image)
            if image.nbytes <= self._left:
                self._left -= image.nbytes
                self._kept[key] = image
        return image
