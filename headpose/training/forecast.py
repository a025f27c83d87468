"""Forecast of a training run: size of the network, sampling of the data, speed and duration."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from headpose.networks.spec import macs, parameters
from headpose.training import data, density
from headpose.training.loop import Trainer
from headpose.training.protocols import Task
from headpose.training.tasks.head_pose import HeadPoseTask

_WARM_UP, _TIMED = 1, 3  # steps; the first one initializes kernels and fills the image cache
_YAWS = np.arange(0, 91, 15)  # degrees: lower edges of the columns of ``sampling``


@dataclass(frozen=True, slots=True)
class PartForecast:
    """Forecast of one part of a run.

    Attributes:
        size: Input size in pixels.
        images: Number of remaining images of this part.
        macs: Multiply-accumulates of one forward pass.
        loaded: Speed of the data loader alone, images/s.
        trained: Speed of training, including loading, images/s.
    """

    size: int
    images: int
    macs: int
    loaded: float
    trained: float

    @property
    def hours(self) -> float:
        return self.images / self.trained / 3600


@dataclass(frozen=True, slots=True)
class Forecast:
    """Forecast of a run: number of trained parameters, and its parts."""

    parameters: int
    parts: list[PartForecast]


def measure(trainer: Trainer) -> Forecast:
    """Time a few steps of each part on real batches. This changes the weights, so discard the trainer afterwards."""
    spec, batch = trainer.network.spec, trainer.recipe.run.batch
    parts, first = [], trainer.progress.step
    for part in tqdm(trainer.parts(), "timing", unit="part", leave=False, disable=None):
        if part.last_step <= first:
            continue
        task = trainer.task.at(part.size)
        loaded = _images_per_second(trainer, task, train=False)
        trained = _images_per_second(trainer, task, train=True)
        images = (part.last_step - first) * batch
        parts.append(PartForecast(part.size, images, macs(spec, part.size), loaded, trained))
        first = part.last_step
    return Forecast(parameters(spec), parts)


def text(forecast: Forecast) -> str:
    """Format the forecast as lines of text."""
    lines = [f"{forecast.parameters / 1e6:.2f} M parameters, {4e-6 * forecast.parameters:.1f} MB in fp32"]
    lines += [
        f"{part.images:>10,} images at {part.size:>3} px: {part.macs / 1e6:,.0f} M MACs, loader {part.loaded:.0f} "
        f"images/s, training {part.trained:.0f} images/s, {part.hours:.1f} h"
        for part in forecast.parts
    ]
    return "\n".join([*lines, f"{sum(part.hours for part in forecast.parts):.1f} hours in all, validation apart"])


def sampling(task: HeadPoseTask) -> str:
    """Format the sampling as a table: shares of the draws by source and |yaw|, and the most frequent face per source.

    ``unseen`` is the share of faces of a source that are drawn less than once on average during the run.
    """
    split, recipe = task.split, task.recipe
    # An epoch as in ``density``: of faces. Negatives come on top.
    epoch, sources = float(split.repeats.sum()), data.faces_only(recipe.data).sources
    others = float(task.negatives.repeats.sum())
    epochs = recipe.run.images / (epoch + others)
    in_run = split.repeats * epochs
    column = np.digitize(np.abs(density.angles(split.training)[:, 0]), _YAWS) - 1
    names = ["faces", "draws", *(f"{low}-{low + 15}" for low in _YAWS[:-1]), f"{_YAWS[-1]}+", "unseen"]
    lines = [
        f"{len(in_run):,} faces; an epoch has {epoch:,.0f} draws, the run {epochs:.1f} epochs",
        "faces and draws by source, draws by |yaw| in degrees, %; unseen: faces that the run draws less than once, %;",
        "most: draws of one face in an epoch, and in the run",
        "".join(f"{name:>7}" for name in names) + "    most, in the run",
    ]
    rows = [(source.path, split.sources == number) for number, source in enumerate(sources)]
    for name, inside in [*rows, ("all", split.sources < len(sources))]:
        shares = np.bincount(column[inside], split.repeats[inside], minlength=len(_YAWS)) / epoch
        unseen = (in_run[inside] < 1).mean() if inside.any() else 0.0
        cells = _percent(inside.mean(), shares.sum(), *shares, unseen)
        most = (each[inside].max(initial=0.0) for each in (split.repeats, in_run))
        lines.append(f"{cells}{next(most):8.2f}{next(most):12.1f}  {name}")
    faces = np.bincount(column, minlength=len(_YAWS)) / len(column)
    lines.append(f"{_percent(1.0, 1.0, *faces)}{'':27}  all, each face drawn equally often")
    if others:
        share, count = others / (epoch + others), len(task.negatives.training)
        lines.append(f"{share:.1%} of all draws are negatives: {count:,} pictures without a face")
    return "\n".join(lines)


def _percent(*shares: float) -> str:
    return "".join(f"{100 * share:7.1f}" for share in shares)


def _images_per_second(trainer: Trainer, task: Task, train: bool) -> float:
    started = 0.0
    stream = task.batches(0, _WARM_UP + _TIMED)
    for number, batch in enumerate(itertools.chain(stream, [None])):
        if number == _WARM_UP:
            started = time.perf_counter()
        if train and batch is not None:
            trainer.step(batch)
    return _TIMED * trainer.recipe.run.batch / (time.perf_counter() - started)
