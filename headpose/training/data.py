"""From a recipe's sources to batches.

Position k of the stream of samples is a function of the seed alone: its epoch, its sample and the
seed of its augmentation follow from k. A run that resumes at step s therefore sees what it would
have seen, whatever the number of loading processes, and nothing about the order is saved.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from headpose import crop, geometry
from headpose.datasets import duplicates, manifest, splits, w300lp
from headpose.images import read_image
from headpose.training.augment import Augmenter
from headpose.training.recipe import DataRecipe, Recipe, SourceRecipe
from headpose.types import CropSpec, Image, Sample

Draw = tuple[int, int, int]
"""Index of a sample, its epoch, and the seed of the run: all that its augmented picture depends on."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's data.

    Attributes:
        images: (N, 3, S, S) float32, normalised RGB.
        rotations: (N, 3, 3) float32.
        eulers: (N, 3) float32, yaw, pitch, roll of the rotations in radians.
        weights: (N,) float32, at least 0.
    """

    images: Tensor
    rotations: Tensor
    eulers: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(value.to(device, non_blocking=True) for value in self._values()))

    def split(self, parts: int) -> list[Batch]:
        """At most ``parts`` pieces, in order."""
        return [Batch(*values) for values in zip(*(value.chunk(parts) for value in self._values()), strict=True)]

    def _values(self) -> tuple[Tensor, ...]:
        return self.images, self.rotations, self.eulers, self.weights


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


class _Views(Dataset[tuple[Image, NDArray[np.float64], float]]):
    """Augmented crops by ``Draw``."""

    def __init__(self, samples: Sequence[Sample], augmenter: Augmenter, pictures: Pictures) -> None:
        self._samples, self._augmenter, self._pictures = samples, augmenter, pictures

    def __getitem__(self, draw: Draw) -> tuple[Image, NDArray[np.float64], float]:
        index, epoch, seed = draw
        sample = self._samples[index]
        rng = np.random.default_rng((seed, epoch, index))
        view, rotation = self._augmenter(self._pictures.read(sample), sample.box, sample.rotation, rng)
        return view, rotation, sample.weight


class Stream(Sampler[list[Draw]]):
    """Batches of draws from step ``first`` to step ``last``, endless epochs without a seam.

    Of each batch, process ``rank`` of ``count`` gets every ``count``-th draw: all of them together see
    what a single process would.
    """

    def __init__(
        self,
        repeats: NDArray[np.float64],
        batch: int,
        seed: int,
        first: int,
        last: int,
        rank: int = 0,
        count: int = 1,
    ) -> None:
        self._repeats, self._batch, self._seed = repeats, batch, seed
        self._first, self._last = first, last
        self._rank, self._count = rank, count

    def __len__(self) -> int:
        return max(0, self._last - self._first)

    def __iter__(self) -> Iterator[list[Draw]]:
        batch: list[Draw] = []
        made = 0
        for draw in self._draws(self._first * self._batch):
            if made == len(self):
                return
            batch.append(draw)
            if len(batch) == self._batch:
                yield batch[self._rank :: self._count]
                batch, made = [], made + 1

    def _draws(self, start: int) -> Iterator[Draw]:
        """Every draw from position ``start`` on."""
        # An epoch's length never varies, so that a position names its epoch without a replay.
        length = max(1, math.floor(self._repeats.sum()))
        epoch = start // length
        skip = start - epoch * length
        while True:
            for index in self._order(epoch, length)[skip:]:
                yield int(index), epoch, self._seed
            epoch, skip = epoch + 1, 0

    def _order(self, epoch: int, length: int) -> NDArray[np.int64]:
        """A shuffled epoch in which sample i stands ``repeats[i]`` times on average."""
        rng = np.random.default_rng((self._seed, epoch))
        # Systematic sampling: an even grid laid over the cumulated repeats, in random order.
        shuffled = rng.permutation(len(self._repeats))
        edges = np.cumsum(self._repeats[shuffled])
        marks = (rng.random() + np.arange(length)) * (edges[-1] / length)
        chosen = shuffled[np.minimum(np.searchsorted(edges, marks, side="right"), len(edges) - 1)]
        order: NDArray[np.int64] = rng.permutation(chosen)
        return order


def batches(
    recipe: Recipe, split: Split, spec: CropSpec, first_step: int, last_step: int, rank: int = 0, count: int = 1
) -> Iterator[Batch]:
    """The training batches of steps ``first_step`` to ``last_step`` (not included), inputs cut by ``spec``.

    With ``count`` processes, the share of process ``rank`` in each.
    """
    run = recipe.run
    views = _Views(split.training, Augmenter(recipe.augment, spec), Pictures(recipe.data.cache_gib))
    stream = Stream(split.repeats, run.batch, run.seed, first_step, last_step, rank, count)
    loader = DataLoader(
        views,
        batch_sampler=stream,
        num_workers=run.workers,
        collate_fn=_Collate(spec),
        worker_init_fn=_one_thread,
        multiprocessing_context="fork" if run.workers else None,
    )
    return iter(loader)


def _one_thread(_worker: int) -> None:
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)


@dataclass(frozen=True, slots=True)
class _Collate:
    spec: CropSpec

    def __call__(self, views: list[tuple[Image, NDArray[np.float64], float]]) -> Batch:
        images, rotations, weights = zip(*views, strict=True)
        labels = np.stack(rotations)
        return Batch(
            torch.from_numpy(crop.normalise(np.stack(images), self.spec)),
            torch.from_numpy(labels.astype(np.float32)),
            torch.from_numpy(np.deg2rad(geometry.euler_from_rotation(labels)).astype(np.float32)),
            torch.tensor(weights, dtype=torch.float32),
        )
