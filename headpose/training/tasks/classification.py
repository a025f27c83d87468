"""Image classification on CIFAR-10, the paper's second task (Aghli & Ribeiro, Tables 3 and 4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from headpose import crop
from headpose.datasets import cifar10
from headpose.errors import DataError, RecipeError
from headpose.losses import cross_entropy
from headpose.networks.network import Network
from headpose.recipes.data import DataRecipe
from headpose.recipes.training import AugmentRecipe, Recipe
from headpose.training import sampling as stream
from headpose.training.protocols import Batch, Score
from headpose.types import CropSpec, Image

_BATCH = 256
_View = tuple[Image, int]


@dataclass(frozen=True, slots=True)
class Split:
    """Training and validation images."""

    training: cifar10.LabeledImages
    validation: cifar10.LabeledImages


class ClassificationTask:
    """Classification ``Task``. The target of its batches is ``label`` (N,) int64.

    The augmentation is that of He et al. ("Deep Residual Learning", CVPR 2016, 4.2): a shift of up to ``augment.shift``
    of the side, and mirroring with the probability ``augment.flip``. Other augmentations of the recipe are ignored.
    """

    unit = "% wrong"

    def __init__(self, recipe: Recipe, split: Split | None = None) -> None:
        """Read the data of a recipe.

        Args:
            recipe: Training recipe.
            split: Data of another run with the same source. None reads the source.

        Raises:
            DataError: The source cannot be read, or one side of the split is empty.
            RecipeError: The recipe does not have exactly one source of kind ``cifar-10``, or input size or number of
                classes do not fit.
        """
        self.recipe, self.crop = recipe, recipe.crop
        if len(recipe.data.sources) != 1 or recipe.data.sources[0].kind != "cifar-10":
            raise RecipeError("recipe: a classification task has one source, of kind cifar-10")
        if recipe.crop.size != cifar10.SIDE or recipe.run.growing:
            raise RecipeError(f"recipe: a classification task takes crop.size = {cifar10.SIDE} and no run.growing")
        self._folder = recipe.data.sources[0].path
        classes = len(cifar10.class_names(self._folder))
        if recipe.spec.classes != classes:
            raise RecipeError(f"recipe: network.classes is {recipe.spec.classes}, {self._folder} has {classes}")
        self.split = _read(recipe.data) if split is None else split
        self.examples = {"training": len(self.split.training.labels), "validation": len(self.split.validation.labels)}
        if not all(self.examples.values()):
            count = sum(self.examples.values())
            raise DataError(f"{self._folder}: {count} pictures are too few to train and to validate on")

    @property
    def size(self) -> int:
        return self.crop.size

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for side in (self.split.training, self.split.validation):
            digest.update(f"{len(side.labels)} ".encode() + side.labels.tobytes() + side.images.tobytes())
        return digest.hexdigest()

    def at(self, size: int) -> ClassificationTask:
        if size != self.size:
            raise RecipeError(f"a classification task has {self.size} px only, not {size}")
        return self

    def during(self, recipe: Recipe) -> ClassificationTask:
        return ClassificationTask(recipe, self.split)

    def batches(self, first_step: int, last_step: int, rank: int = 0, count: int = 1) -> Iterator[Batch]:
        run = self.recipe.run
        repeats = np.ones(len(self.split.training.labels))
        draws = stream.Stream(repeats, run.batch, run.seed, first_step, last_step, rank, count)
        return stream.load(_Views(self.split.training, self.recipe.augment), draws, _Collate(self.crop), run.workers)

    def errors(self, raw: Tensor, batch: Batch) -> Tensor:
        """Compute the (N,) cross-entropy losses."""
        return cross_entropy(raw, batch.targets["label"])

    def output(self, raw: Tensor) -> Tensor:
        """Return the softmax probabilities, which the paper compares."""
        return raw.float().softmax(1)

    def held_out(self, batch: int) -> Iterator[Batch]:
        return _in_order(self.split.validation, self.crop, batch)

    def evaluate(self, network: Network, sheet: Path | None = None) -> Score:
        return _score(network, _in_order(self.split.validation, self.crop, _BATCH))

    def test(self, network: Network) -> Score:
        """Evaluate a network on ``test_batch.bin``, which is not used for model selection."""
        return _score(network, _in_order(cifar10.read_test(self._folder), self.crop, _BATCH))


def _read(recipe: DataRecipe) -> Split:
    """Read the training batches and split them by a seeded shuffle that does not depend on other settings."""
    everything = cifar10.read_training(recipe.sources[0].path)
    order = np.random.default_rng(recipe.split_seed).permutation(len(everything.labels))
    held_out = round(recipe.validation * len(order))
    return Split(_pick(everything, np.sort(order[held_out:])), _pick(everything, np.sort(order[:held_out])))


def _pick(images: cifar10.LabeledImages, index: NDArray[np.int64]) -> cifar10.LabeledImages:
    return cifar10.LabeledImages(images.images[index], images.labels[index])


class _Views(Dataset[_View]):
    """Dataset of augmented images, indexed by ``stream.Draw``."""

    def __init__(self, images: cifar10.LabeledImages, recipe: AugmentRecipe) -> None:
        self._images, self._recipe = images, recipe

    def __getitem__(self, draw: stream.Draw) -> _View:
        rng, recipe = stream.generator(draw), self._recipe
        image = self._images.images[draw[0]]
        pad = round(recipe.shift * image.shape[0])
        x, y = rng.integers(0, 2 * pad + 1, 2)
        padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
        image = padded[y : y + image.shape[0], x : x + image.shape[1]]
        if rng.random() < recipe.flip:
            image = image[:, ::-1]
        return image, int(self._images.labels[draw[0]])


@dataclass(frozen=True, slots=True)
class _Collate:
    spec: CropSpec

    def __call__(self, views: list[_View]) -> Batch:
        images, labels = zip(*views, strict=True)
        return _batch(np.stack(images), np.array(labels), self.spec)


def _batch(images: Image, labels: NDArray[np.int64], spec: CropSpec) -> Batch:
    label = torch.from_numpy(labels)
    return Batch(torch.from_numpy(crop.normalize(images, spec)), torch.ones(len(labels)), {"label": label})


def _in_order(images: cifar10.LabeledImages, spec: CropSpec, batch: int) -> Iterator[Batch]:
    for start in range(0, len(images.labels), batch):
        yield _batch(images.images[start : start + batch], images.labels[start : start + batch], spec)


@torch.no_grad()
def _score(network: Network, batches: Iterator[Batch]) -> Score:
    training, device = network.training, next(network.parameters()).device
    network.eval()
    wrong, loss, seen = 0, 0.0, 0
    for batch in batches:
        on_device = batch.to(device)
        raw = network.raw(on_device.images)
        label = on_device.targets["label"]
        wrong += int((raw.argmax(1) != label).sum())
        loss += float(cross_entropy(raw, label).sum())
        seen += len(label)
    network.train(training)
    return Score({"error": 100 * wrong / seen, "cross_entropy": loss / seen})
