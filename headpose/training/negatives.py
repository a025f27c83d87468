"""Negatives of a recipe: regions without a face, cropped and augmented like faces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from headpose import crop
from headpose.datasets import negatives, splits
from headpose.datasets.negatives import Negative
from headpose.recipes.data import DataRecipe, SourceRecipe
from headpose.training.augment import Augmenter
from headpose.training.data import Pictures
from headpose.training.sampling import Draw, generator
from headpose.types import CropSpec, Image


@dataclass(frozen=True, slots=True)
class NegativeSplit:
    """Training and validation negatives.

    ``sha256`` is the SHA-256 of the relative image paths, boxes and faces of all negatives, in hexadecimal and
    independent of their order; "" if there are none. ``repeats`` is the number of draws of each per epoch.
    """

    training: list[Negative]
    repeats: NDArray[np.float64]
    validation: list[Negative]
    sha256: str = ""


def read(recipe: DataRecipe) -> NegativeSplit:
    """Read the sources of kind ``negatives`` and split each of them by photograph, as labeled faces are.

    Raises:
        DataError: A source cannot be read.
    """
    training: list[Negative] = []
    validation: list[Negative] = []
    repeats: list[float] = []
    lines: list[str] = []
    for source in recipe.sources:
        if source.kind != "negatives":
            continue
        train, held_out = splits.split(negatives.read(source.path), recipe.validation, recipe.split_seed)
        training += train
        validation += held_out
        repeats += [source.repeat] * len(train)
        lines += [_line(side, source, each) for side, part in (("t", train), ("v", held_out)) for each in part]
    digest = hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest() if lines else ""
    return NegativeSplit(training, np.array(repeats, np.float64), validation, digest)


def _line(side: str, source: SourceRecipe, negative: Negative) -> str:
    root = Path(source.path)
    root = root if root.is_dir() else root.parent
    inside = negative.image.relative_to(root) if negative.image.is_relative_to(root) else negative.image
    boxes = [negative.box and negative.box.as_tuple(), *(face.as_tuple() for face in negative.faces)]
    return f"{side} {inside.as_posix()} {boxes}"


class NegativeViews(Dataset[Image]):
    """Dataset of augmented crops, (S, S, 3) uint8 BGR, indexed by ``Draw``, which determines box and augmentation."""

    def __init__(self, places: Sequence[Negative], augmenter: Augmenter, pictures: Pictures) -> None:
        self._places, self._augmenter, self._pictures = places, augmenter, pictures

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, draw: Draw) -> Image:
        place, rng = self._places[draw[0]], generator(draw)
        picture = self._pictures.read(place)
        height, width = picture.shape[:2]
        box = negatives.draw_box(place, width, height, rng)
        return self._augmenter(picture, box, np.eye(3), rng)[0]


def held_out_crops(places: Sequence[Negative], spec: CropSpec) -> NDArray[np.uint8]:
    """Return (N, S, S, 3) uint8 BGR validation crops. Random boxes are seeded by the group name."""
    crops = np.empty((len(places), spec.size, spec.size, 3), np.uint8)
    pictures = Pictures(0)
    for number, place in enumerate(places):
        picture = pictures.read(place)
        height, width = picture.shape[:2]
        rng = np.random.default_rng(list(hashlib.sha256(place.group.encode("utf-8", "surrogateescape")).digest()))
        crops[number] = crop.cut(picture, negatives.draw_box(place, width, height, rng), spec)
    return crops
