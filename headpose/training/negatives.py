"""Negatives of a recipe: regions without a face, cropped and augmented like faces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from headpose import crop
from headpose.datasets import negatives, splits
from headpose.datasets.negatives import Negative
from headpose.errors import RecipeError
from headpose.recipes.data import DataRecipe, SourceRecipe
from headpose.training.augment import Augmenter, View
from headpose.training.data import Pictures
from headpose.training.sampling import Draw, generator
from headpose.types import CropSpec, Image


@dataclass(frozen=True, slots=True)
class NegativeSplit:
    """Training and validation negatives.

    ``sha256`` is the SHA-256 of the relative image paths, boxes and faces of all negatives, in hexadecimal and
    independent of their order; "" if there are none. ``repeats`` is the mean number of draws of each while the faces
    are drawn once (``read``), and ``weights`` the weight of each in the loss.
    """

    training: list[Negative]
    repeats: NDArray[np.float64]
    validation: list[Negative]
    sha256: str = ""
    weights: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


def read(recipe: DataRecipe, faces: float = 0.0) -> NegativeSplit:
    """Read the sources of kind ``negatives`` and split each of them by photograph, as labeled faces are.

    Args:
        recipe: Data of a recipe.
        faces: Number of draws of faces in an epoch, for sources with a share of all draws.

    Raises:
        DataError: A source cannot be read.
        RecipeError: A source with a share has nothing to train on.
    """
    training: list[Negative] = []
    validation: list[Negative] = []
    lines: list[str] = []
    counts: list[int] = []
    sources = [source for source in recipe.sources if source.kind == "negatives"]
    for source in sources:
        train, held_out = splits.split(negatives.read(source.path), recipe.validation, recipe.split_seed)
        training += train
        validation += held_out
        counts.append(len(train))
        lines += [_line(side, source, each) for side, part in (("t", train), ("v", held_out)) for each in part]
    digest = hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest() if lines else ""
    repeats = np.repeat(_repeats(recipe, sources, counts, faces), counts)
    weights = np.repeat([source.weight for source in sources], counts)
    return NegativeSplit(training, repeats, validation, digest, weights)


def _repeats(recipe: DataRecipe, sources: Sequence[SourceRecipe], counts: Sequence[int], faces: float) -> list[float]:
    """Return the number of draws in an epoch of a negative of each source."""
    total = sum(source.share for source in recipe.sources) if all(each.share for each in recipe.sources) else 1.0
    plain = sum(count * source.repeat for source, count in zip(sources, counts, strict=True) if not source.share)
    whole = (faces + plain) / (1.0 - sum(source.share for source in sources) / total)  # draws of an epoch
    repeats = []
    for source, count in zip(sources, counts, strict=True):
        if source.share and not count:
            raise RecipeError(
                f"{source.path}: there is nothing to train on, and data.sources gives it a share of the draws"
            )
        repeats.append(source.share / total * whole / count if source.share else source.repeat)
    return repeats


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
        return self.view(draw[0], generator(draw)).image

    def view(self, index: int, rng: np.random.Generator) -> View:
        """Draw a view of a negative; its rotation and region mean nothing."""
        place = self._places[index]
        picture = self._pictures.read(place)
        height, width = picture.shape[:2]
        return self._augmenter(picture, negatives.draw_box(place, width, height, rng), np.eye(3), rng)


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
