"""Head-pose task: predict the rotation of a head from a crop of its face."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from headpose import crop, geometry
from headpose.errors import DataError
from headpose.losses import euler_squared_error, geodesic_distance
from headpose.networks.resnet import HeadPoseNet, ResNet, rotations
from headpose.recipes.training import Recipe
from headpose.training import data
from headpose.training import sampling as stream
from headpose.training.augment import Augmenter
from headpose.training.picture import draw_predictions
from headpose.training.protocols import Batch, Score
from headpose.training.validation import Validator
from headpose.types import CropSpec, Image, Sample

_View = tuple[Image, NDArray[np.float64], float]


class HeadPoseTask:
    """Head-pose ``Task``. Targets: ``rotation`` (N, 3, 3), and ``euler`` (N, 3) as yaw, pitch, roll in radians."""

    unit = "degrees"

    def __init__(self, recipe: Recipe, split: data.Split | None = None) -> None:
        """Read the data of a recipe.

        Args:
            recipe: Training recipe.
            split: Data of another run with the same sources. None reads the sources.

        Raises:
            DataError: A source cannot be read, or one side of the split is empty.
        """
        self.recipe, self.crop = recipe, recipe.crop
        self.split = data.read(recipe.data) if split is None else split
        self.examples = {"training": len(self.split.training), "validation": len(self.split.validation)}
        if not all(self.examples.values()):
            raise DataError(
                f"{self.examples['training']} faces to train on and {self.examples['validation']} to validate on: "
                "both are needed; add data or change data.validation"
            )
        for side, samples in (("train", self.split.training), ("validate", self.split.validation)):
            if not any(sample.weight for sample in samples):
                raise DataError(f"all {len(samples)} faces to {side} on have the weight 0: give some a weight above 0")

    @property
    def size(self) -> int:
        return self.crop.size

    @property
    def fingerprint(self) -> str:
        return self.split.sha256

    @cached_property
    def validator(self) -> Validator:
        """Validator with the crops of the held-out faces."""
        return Validator(self.split.validation, self.crop, data.Pictures(0))

    def at(self, size: int) -> HeadPoseTask:
        crop_spec = dataclasses.replace(self.recipe.crop, size=size)
        return self.during(dataclasses.replace(self.recipe, crop=crop_spec))

    def during(self, recipe: Recipe) -> HeadPoseTask:
        task = HeadPoseTask(recipe, self.split)
        if recipe.crop == self.crop:
            task.validator = self.validator  # avoids decoding the held-out images again
        return task

    def batches(self, first_step: int, last_step: int, rank: int = 0, count: int = 1) -> Iterator[Batch]:
        run = self.recipe.run
        pictures = data.Pictures(self.recipe.data.cache_gib)
        views = _Views(self.split.training, Augmenter(self.recipe.augment, self.crop), pictures)
        draws = stream.Stream(self.split.repeats, run.batch, run.seed, first_step, last_step, rank, count)
        return stream.load(views, draws, _Collate(self.crop), run.workers)

    def errors(self, raw: Tensor, batch: Batch) -> Tensor:
        """Compute the (N,) geodesic distances in radians, or the squared angle errors of an Euler head."""
        if raw.shape[1] == 6:
            return geodesic_distance(rotations(raw, "6d"), batch.targets["rotation"])
        return euler_squared_error(raw, batch.targets["euler"])

    def output(self, raw: Tensor) -> Tensor:
        return raw

    def held_out(self, batch: int) -> Iterator[Batch]:
        collate, samples, crops = _Collate(self.crop), self.split.validation, self.validator.crops
        for start in range(0, len(samples), batch):
            some = zip(crops[start : start + batch], samples[start : start + batch], strict=True)
            yield collate([(view, sample.rotation, sample.weight) for view, sample in some])

    def evaluate(self, network: ResNet, sheet: Path | None = None) -> Score:
        assert isinstance(network, HeadPoseNet)
        validator = self.validator
        predicted = validator.predict(network)
        if sheet is not None:
            draw_predictions(sheet, validator.crops, validator.spec, predicted, validator.labels)
        return validator.score(predicted)


class _Views(Dataset[_View]):
    """Dataset of augmented crops, indexed by ``Draw``."""

    def __init__(self, samples: Sequence[Sample], augmenter: Augmenter, pictures: data.Pictures) -> None:
        self._samples, self._augmenter, self._pictures = samples, augmenter, pictures

    def __getitem__(self, draw: stream.Draw) -> _View:
        sample = self._samples[draw[0]]
        picture = self._pictures.read(sample)
        view, rotation = self._augmenter(picture, sample.box, sample.rotation, stream.generator(draw))
        return view, rotation, sample.weight


@dataclass(frozen=True, slots=True)
class _Collate:
    spec: CropSpec

    def __call__(self, views: list[_View]) -> Batch:
        images, labels, weights = zip(*views, strict=True)
        rotation = np.stack(labels)
        euler = np.deg2rad(geometry.euler_from_rotation(rotation))
        return Batch(
            torch.from_numpy(crop.normalise(np.stack(images), self.spec)),
            torch.tensor(weights, dtype=torch.float32),
            {
                "rotation": torch.from_numpy(rotation.astype(np.float32)),
                "euler": torch.from_numpy(euler.astype(np.float32)),
            },
        )
