"""Read the sources of a recipe into lists of samples, and cache their images."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headpose.datasets import duplicates, manifest, splits, w300lp
from headpose.errors import RecipeError
from headpose.images import read_image
from headpose.recipes.data import DataRecipe, SourceRecipe
from headpose.training import density
from headpose.types import Image, Sample


@dataclass(frozen=True, slots=True)
class Split:
    """Training and validation samples.

    Attributes:
        training: Training samples.
        repeats: Mean number of draws of each training sample per epoch.
        sources: Index of the source of each training sample among the sources of faces (``faces_only``).
        validation: Validation samples.
        sha256: SHA-256 of the relative image paths, boxes, labels and weights of all samples, in hexadecimal. It does
            not depend on the order of the samples or on the folder of the data.
    """

    training: list[Sample]
    repeats: NDArray[np.float64]
    validation: list[Sample]
    sha256: str = ""
    sources: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


def read(recipe: DataRecipe) -> Split:
    """Read all sources of faces and split each of them by source photograph.

    Raises:
        DataError: A source cannot be read; see the readers.
        RecipeError: A source does not contain labeled heads, or cannot reach its share of the draws.
    """
    recipe = faces_only(recipe)
    lines: list[str] = []
    training: list[Sample] = []
    validation: list[Sample] = []
    sources: list[int] = []
    for number, source in enumerate(recipe.sources):
        train, held_out = splits.split(_samples(source), recipe.validation, recipe.split_seed)
        weights = [weight * source.weight for weight in _weights(recipe, train)]
        train = [dataclasses.replace(sample, weight=weight) for sample, weight in zip(train, weights, strict=True)]
        held_out = [dataclasses.replace(sample, weight=sample.weight * source.weight) for sample in held_out]
        training += train
        validation += held_out
        sources += [number] * len(train)
        lines += [describe("training", source, sample) for sample in train]
        lines += [describe("validation", source, sample) for sample in held_out]
    digest = hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape"))
    of_source = np.array(sources, np.int64)
    return Split(training, density.repeats(recipe, training, of_source), validation, digest.hexdigest(), of_source)


def faces_only(recipe: DataRecipe) -> DataRecipe:
    """Return the data without the negatives. The shares of the other sources are those among the draws of faces."""
    faces = tuple(source for source in recipe.sources if source.kind != "negatives")
    rest = 1.0 - sum(source.share for source in recipe.sources if source.kind == "negatives")
    if len(faces) == len(recipe.sources) or all(source.share for source in recipe.sources):
        rest = 1.0  # shares of all sources are normalized anyway
    shared = tuple(dataclasses.replace(source, share=source.share / rest) for source in faces)
    return dataclasses.replace(recipe, sources=shared)


def _weights(recipe: DataRecipe, samples: list[Sample]) -> list[float]:
    """Return the weights of training faces in the loss, without the weight of their source.

    The weight is max(spread_floor, 1 / (1 + (spread / 10)^2)) up to an absolute yaw of ``spread_until``, and 1 beyond
    it. A face without a spread keeps its weight.
    """
    weights = [each.weight if each.spread is None else max(recipe.spread_floor, each.weight) for each in samples]
    if recipe.spread_until < 180.0 and samples:
        beyond = np.abs(density.angles(samples)[:, 0]) > recipe.spread_until
        for number in np.flatnonzero(beyond):
            weights[number] = weights[number] if samples[number].spread is None else 1.0
    return weights


def describe(side: str, source: SourceRecipe, sample: Sample) -> str:
    """Return a line for the hash of the data: everything about a sample that affects a run, except the pixels."""
    root = Path(source.path)
    root = root.parent if source.kind == "manifest" else root
    inside = sample.image.relative_to(root) if sample.image.is_relative_to(root) else sample.image
    return f"{side} {inside.as_posix()} {sample.box.as_tuple()} {tuple(sample.euler)} {sample.weight}"


def _samples(source: SourceRecipe) -> list[Sample]:
    samples = read_faces(source)
    return duplicates.group_near_duplicates(samples) if source.near_duplicates else samples


def read_faces(source: SourceRecipe) -> list[Sample]:
    """Read all faces of a source, each in the group that the source names.

    Raises:
        DataError: The source cannot be read; see the readers.
        RecipeError: The source does not contain labeled heads.
    """
    if source.kind == "cifar-10":
        raise RecipeError(f"{source.path}: a source of kind cifar-10 holds no head poses; set task = 'classification'")
    return w300lp.read(source.path) if source.kind == "300w-lp" else manifest.read(source.path)


class Pictures:
    """Image reader with a cache of decoded images (one per process)."""

    def __init__(self, limit_gib: float) -> None:
        """Create an empty cache of at most ``limit_gib`` GiB."""
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
