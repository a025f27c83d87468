"""Landmark task: predict the 68 points of a face from a crop of it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from headpose import crop
from headpose.datasets import duplicates, points, splits
from headpose.datasets.points import Landmarks, LandmarkSample
from headpose.errors import DataError
from headpose.evaluation import landmarks as evaluation
from headpose.losses import wing_loss
from headpose.networks.network import Network
from headpose.networks.outputs import landmarks as decode
from headpose.recipes.data import DataRecipe, SourceRecipe
from headpose.recipes.training import Recipe
from headpose.training import data, density
from headpose.training import sampling as stream
from headpose.training.augment import Augmenter, View, plain_view
from headpose.training.picture import draw_landmarks
from headpose.training.protocols import Batch, Score
from headpose.types import CropSpec, Image

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Split:
    """Training and validation faces.

    Attributes:
        training: Training faces; the weights of their samples are those of the sources.
        repeats: Mean number of draws of each training face per epoch.
        validation: Validation faces.
        sha256: SHA-256 of the relative image paths, boxes, landmarks and weights of all faces, in hexadecimal.
    """

    training: list[LandmarkSample]
    repeats: NDArray[np.float64]
    validation: list[LandmarkSample]
    sha256: str


class LandmarkTask:
    """Landmark ``Task``.

    Targets: ``landmarks`` (N, 68, 2) in sides of the crop, and ``known`` (N, 68), the weights of the points: 1 where a
    point is seen, less where it is covered, and 0 where there is none, which carries no loss.
    """

    unit = "% of the box"

    def __init__(self, recipe: Recipe, split: Split | None = None) -> None:
        """Read the data of a recipe.

        Args:
            recipe: Training recipe.
            split: Data of another run with the same sources. None reads the sources.

        Raises:
            DataError: A source cannot be read, or one side of the split is empty.
        """
        self.recipe, self.crop = recipe, recipe.crop
        self.split = read(recipe.data) if split is None else split
        self.examples = {"training": len(self.split.training), "validation": len(self.split.validation)}
        if not all(self.examples.values()):
            raise DataError(
                f"{self.examples['training']} faces to train on and {self.examples['validation']} to validate on: "
                "both are needed; add data or change data.validation"
            )

    @property
    def size(self) -> int:
        return self.crop.size

    @property
    def fingerprint(self) -> str:
        return self.split.sha256

    @cached_property
    def views(self) -> list[View]:
        """Held-out faces without augmentation."""
        pictures = data.Pictures(0)
        return [
            plain_view(pictures.read(face), face.sample.box, face.sample.rotation, self.crop, face.landmarks)
            for face in self.split.validation
        ]

    def at(self, size: int) -> LandmarkTask:
        return self.during(dataclasses.replace(self.recipe, crop=dataclasses.replace(self.recipe.crop, size=size)))

    def during(self, recipe: Recipe) -> LandmarkTask:
        task = LandmarkTask(recipe, self.split)
        if recipe.crop == self.crop:
            task.views = self.views  # avoids decoding the held-out images again
        return task

    def batches(self, first_step: int, last_step: int, rank: int = 0, count: int = 1) -> Iterator[Batch]:
        run = self.recipe.run
        augmenter = Augmenter(self.recipe.augment, self.crop)
        views = _Views(self.split.training, augmenter, data.Pictures(self.recipe.data.cache_gib))
        draws = stream.Stream(self.split.repeats, run.batch, run.seed, first_step, last_step, rank, count)
        return stream.load(views, draws, _Collate(self.crop), run.workers)

    def errors(self, raw: Tensor, batch: Batch) -> Tensor:
        """Compute the (N,) Wing losses of the known points, in sides of the crop."""
        return wing_loss(decode(raw.float()), batch.targets["landmarks"], batch.targets["known"])

    def output(self, raw: Tensor) -> Tensor:
        return raw

    def held_out(self, batch: int) -> Iterator[Batch]:
        collate, weights = _Collate(self.crop), [face.sample.weight for face in self.split.validation]
        for start in range(0, len(weights), batch):
            some = slice(start, start + batch)
            yield collate(list(zip(self.views[some], weights[some], strict=True)))

    def evaluate(self, network: Network, sheet: Path | None = None) -> Score:
        """Compute the figures of ``evaluation.landmarks``; the first one is the NME of all held-out faces."""
        views, labels = self.views, self.labels
        predicted = predict(network, [view.image for view in views], self.crop)
        if sheet is not None:
            worst = np.nanmean(evaluation.errors(predicted, labels), axis=1)
            draw_landmarks(sheet, [view.image for view in views], predicted, labels, worst)
        yaw = density.angles([face.sample for face in self.split.validation])[:, 0]
        return Score(evaluation.figures(predicted, labels, yaw))

    @property
    def labels(self) -> list[Landmarks]:
        """Landmarks of the held-out faces in sides of their crops."""
        return [view.landmarks for view in self.views if view.landmarks is not None]


@torch.no_grad()
def predict(network: Network, crops: Sequence[Image], spec: CropSpec) -> NDArray[np.float64]:
    """Predict (N, 68, 2) landmarks in sides of the crop of N (S, S, 3) uint8 BGR crops, in evaluation mode."""
    training, device = network.training, next(network.parameters()).device
    network.eval()
    found = []
    for start in range(0, len(crops), _BATCH):
        images = torch.from_numpy(crop.normalize(np.stack(crops[start : start + _BATCH]), spec)).to(device)
        found.append(decode(network.raw(images.contiguous(memory_format=torch.channels_last)).float()))
    network.train(training)
    return torch.cat(found).cpu().double().numpy()


def read(recipe: DataRecipe) -> Split:
    """Read all sources and split each of them by source photograph.

    Raises:
        DataError: A source cannot be read; see the readers.
        RecipeError: A source cannot reach its share of the draws.
    """
    lines: list[str] = []
    training: list[LandmarkSample] = []
    validation: list[LandmarkSample] = []
    sources: list[int] = []
    for number, source in enumerate(recipe.sources):
        train, held_out = splits.split(_faces(source), recipe.validation, recipe.split_seed)
        training += train
        validation += held_out
        sources += [number] * len(train)
        for side, faces in (("training", train), ("validation", held_out)):
            lines += [_describe(side, source, face) for face in faces]
    digest = hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape"))
    repeats = density.repeats(recipe, [face.sample for face in training], np.array(sources, np.int64))
    return Split(training, repeats, validation, digest.hexdigest())


def _faces(source: SourceRecipe) -> list[LandmarkSample]:
    """Read the faces of a source. Their weight is the source's: that of a manifest says how sure the pose is."""
    samples = [dataclasses.replace(sample, weight=source.weight) for sample in data.read_faces(source)]
    faces = points.join(samples, source.landmarks) if source.landmarks else points.of_mat(samples)
    if not source.near_duplicates:
        return faces
    grouped = duplicates.group_near_duplicates([face.sample for face in faces])
    return [dataclasses.replace(face, sample=sample) for face, sample in zip(faces, grouped, strict=True)]


def _describe(side: str, source: SourceRecipe, face: LandmarkSample) -> str:
    labels = np.column_stack([face.landmarks.points, face.landmarks.known])
    return f"{data.describe(side, source, face.sample)} {hashlib.sha256(labels.tobytes()).hexdigest()}"


class _Views(Dataset[tuple[View, float]]):
    """Dataset of augmented crops, indexed by ``Draw``, each with its weight in the loss."""

    def __init__(self, faces: Sequence[LandmarkSample], augmenter: Augmenter, pictures: data.Pictures) -> None:
        self._faces, self._augmenter, self._pictures = faces, augmenter, pictures

    def __getitem__(self, draw: stream.Draw) -> tuple[View, float]:
        face = self._faces[draw[0]]
        sample, picture = face.sample, self._pictures.read(face)
        view = self._augmenter(picture, sample.box, sample.rotation, stream.generator(draw), face.landmarks)
        return view, sample.weight


@dataclass(frozen=True, slots=True)
class _Collate:
    spec: CropSpec

    def __call__(self, weighted: list[tuple[View, float]]) -> Batch:
        views, weights = zip(*weighted, strict=True)
        targets = {
            "landmarks": np.stack([view.landmarks.points for view in views]),
            "known": np.stack([view.landmarks.known for view in views]),
        }
        return Batch(
            torch.from_numpy(crop.normalize(np.stack([view.image for view in views]), self.spec)),
            torch.tensor(weights, dtype=torch.float32),
            {name: torch.from_numpy(values.astype(np.float32)) for name, values in targets.items()},
        )
