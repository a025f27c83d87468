"""Head-pose task: predict the rotation of a head from a crop of its face."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from headpose import crop, geometry
from headpose.errors import DataError
from headpose.evaluation import doubt
from headpose.losses import (
    binary_cross_entropy,
    euler_squared_error,
    generalized_iou_loss,
    geodesic_distance,
    laplace_likelihood,
)
from headpose.networks.network import Network
from headpose.networks.outputs import decode, scale_tril, split
from headpose.networks.resnet import HeadPoseNet
from headpose.networks.rotations import rotation_vectors
from headpose.reading import OPTIONAL_OUTPUTS, Calibration, Reading
from headpose.recipes.training import Recipe
from headpose.training import data
from headpose.training import negatives as places
from headpose.training import sampling as stream
from headpose.training.augment import Augmenter, View
from headpose.training.negatives import NegativeSplit
from headpose.training.picture import draw_predictions
from headpose.training.protocols import Batch, Score
from headpose.training.validation import OutputValidator, Reader, Validator, read
from headpose.types import CropSpec, Image, Sample

_Labeled = tuple[View, float, bool]  # a view, its weight in the loss, and whether it shows a face


class HeadPoseTask:
    """Head-pose ``Task``.

    Targets: ``rotation`` (N, 3, 3), ``euler`` (N, 3) as yaw, pitch, roll in radians, ``region`` (N, 4), and ``face``
    (N,), 1 for faces and 0 for negatives, whose other targets have no effect. Only negatives are 0: a face that is cut,
    covered or blurred remains a face, and its covariance says how well it can be read.
    """

    unit = "degrees"

    def __init__(self, recipe: Recipe, split: data.Split | None = None, negatives: NegativeSplit | None = None) -> None:
        """Read the data of a recipe.

        Args:
            recipe: Training recipe.
            split: Data of another run with the same sources. None reads the sources.
            negatives: Negatives of that run.

        Raises:
            DataError: A source cannot be read, or one side of the split is empty.
        """
        self.recipe, self.crop = recipe, recipe.crop
        self.split = data.read(recipe.data) if split is None else split
        faces = float(self.split.repeats.sum())
        self.negatives = places.read(recipe.data, faces) if negatives is None else negatives
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
        both = (self.split.sha256, self.negatives.sha256)
        return hashlib.sha256("".join(both).encode()).hexdigest() if self.negatives.sha256 else self.split.sha256

    @cached_property
    def validator(self) -> Validator:
        """Validator with the crops of the held-out faces."""
        return Validator(self.split.validation, self.crop, data.Pictures(0))

    @cached_property
    def output_validator(self) -> OutputValidator:
        """Validator of the optional outputs."""
        return OutputValidator(self.split.validation, self.negatives.validation, self.crop, self.recipe.augment)

    def at(self, size: int) -> HeadPoseTask:
        crop_spec = dataclasses.replace(self.recipe.crop, size=size)
        return self.during(dataclasses.replace(self.recipe, crop=crop_spec))

    def during(self, recipe: Recipe) -> HeadPoseTask:
        task = HeadPoseTask(recipe, self.split, self.negatives)
        if recipe.crop == self.crop:
            task.validator = self.validator  # avoids decoding the held-out images again
            if recipe.spec.outputs and recipe.augment == self.recipe.augment:
                task.output_validator = self.output_validator
        return task

    def batches(self, first_step: int, last_step: int, rank: int = 0, count: int = 1) -> Iterator[Batch]:
        run = self.recipe.run
        pictures = data.Pictures(self.recipe.data.cache_gib)
        augmenter = Augmenter(self.recipe.augment, self.crop)
        views = _Views(self.split.training, self.negatives, augmenter, pictures)
        repeats = np.concatenate([self.split.repeats, self.negatives.repeats])
        draws = stream.Stream(repeats, run.batch, run.seed, first_step, last_step, rank, count)
        return stream.load(views, draws, _Collate(self.crop), run.workers)

    def errors(self, raw: Tensor, batch: Batch) -> Tensor:
        """Compute the (N,) losses: geodesic distances in radians, or the squared angle errors of an Euler head.

        Weighted losses of the optional outputs are added (``recipes.loss``).
        """
        spec, weight, targets = self.recipe.spec, self.recipe.loss, batch.targets
        values, found = split(raw.float(), spec), decode(raw, spec)
        if spec.output == "6d":
            loss = geodesic_distance(found["rotation"], targets["rotation"])
        else:
            loss = euler_squared_error(values["rotation"], targets["euler"])
        if "region" in values and weight.region:
            loss = loss + weight.region * generalized_iou_loss(found["region"], targets["region"])
        if "covariance" in values and weight.likelihood and batch.progress >= weight.likelihood_from:
            with torch.no_grad():  # the rotation learns from the distance alone
                errors = rotation_vectors(found["rotation"].transpose(1, 2) @ targets["rotation"])
            loss = loss + weight.likelihood * laplace_likelihood(errors, scale_tril(values["covariance"]))
        if "face" in values:
            loss = loss * targets["face"] + weight.face * binary_cross_entropy(found["face"], targets["face"])
        return loss

    def output(self, raw: Tensor) -> Tensor:
        return raw

    def held_out(self, batch: int) -> Iterator[Batch]:
        collate, samples, crops = _Collate(self.crop), self.split.validation, self.validator.crops
        for start in range(0, len(samples), batch):
            some = zip(crops[start : start + batch], samples[start : start + batch], strict=True)
            yield collate([(_plain(view, sample, self.crop), sample.weight, True) for view, sample in some])

    def evaluate(self, network: Network, sheet: Path | None = None) -> Score:
        assert isinstance(network, HeadPoseNet)
        validator = self.validator
        reading = validator.read(network)
        if sheet is not None:
            draw_predictions(sheet, validator.crops, validator.spec, reading.rotation, validator.labels)
        return self.score(reading, self._reader(network))

    def score(self, reading: Reading, reader: Reader) -> Score:
        """Compute the figures of a network.

        Args:
            reading: Outputs of the network for ``validator.crops``, not calibrated.
            reader: The network; only called if it has optional outputs.
        """
        validator = self.validator
        figures = validator.score(reading.rotation).figures
        if any(getattr(reading, name) is not None for name in OPTIONAL_OUTPUTS):
            figures = figures | self.output_validator.figures(reader, reading, validator)
        return Score(figures)

    def calibration(self, network: HeadPoseNet) -> Calibration:
        """Fit the calibration of the optional outputs to the held-out faces and negatives."""
        if not {"covariance", "face"} & {*network.spec.outputs}:
            return Calibration()
        validator, others = self.validator, np.zeros(0)
        if "face" in network.spec.outputs:
            others = self.output_validator.negative_logits(self._reader(network))
        return doubt.calibrate(validator.read(network), validator.labels, validator.weights, others)

    def _reader(self, network: HeadPoseNet) -> Reader:
        return lambda crops: read(network, crops, self.crop)


def _plain(view: Image, sample: Sample, spec: CropSpec) -> View:
    return View(view, sample.rotation, crop.region_in_crop(sample.box, sample.box, spec))


class _Views(Dataset[_Labeled]):
    """Dataset of augmented crops, indexed by ``Draw``: the faces, then the negatives."""

    def __init__(
        self, samples: Sequence[Sample], negatives: NegativeSplit, augmenter: Augmenter, pictures: data.Pictures
    ) -> None:
        self._samples, self._augmenter, self._pictures = samples, augmenter, pictures
        self._negatives = places.NegativeViews(negatives.training, augmenter, pictures)
        self._weights = negatives.weights

    def __getitem__(self, draw: stream.Draw) -> _Labeled:
        if (index := draw[0] - len(self._samples)) >= 0:
            # The generator has the number in the whole stream, so that no two images share one.
            view = self._negatives.view(index, stream.generator(draw))
            return view, float(self._weights[index]), False
        sample = self._samples[draw[0]]
        picture = self._pictures.read(sample)
        view = self._augmenter(picture, sample.box, sample.rotation, stream.generator(draw))
        return view, sample.weight, True


@dataclass(frozen=True, slots=True)
class _Collate:
    spec: CropSpec

    def __call__(self, labeled: list[_Labeled]) -> Batch:
        views, weights, faces = zip(*labeled, strict=True)
        rotation, region = (np.stack([getattr(view, name) for view in views]) for name in ("rotation", "region"))
        euler = np.deg2rad(geometry.euler_from_rotation(rotation))
        targets = {"rotation": rotation, "euler": euler, "region": region, "face": np.array(faces)}
        return Batch(
            torch.from_numpy(crop.normalize(np.stack([view.image for view in views]), self.spec)),
            torch.tensor(weights, dtype=torch.float32),
            {name: torch.from_numpy(values.astype(np.float32)) for name, values in targets.items()},
        )
