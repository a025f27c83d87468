"""Interfaces between the training loop, the compressor and the data: ``Task``, ``Batch``, ``Objective``, ``Score``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from headpose.errors import DataError
from headpose.files import write_text
from headpose.networks.network import Network
from headpose.recipes.training import Recipe


@dataclass(frozen=True, slots=True)
class Batch:
    """Training data of one step.

    Attributes:
        images: (N, 3, S, S) float32, normalized.
        weights: (N,) float32 weights of the images in the loss, >= 0.
        targets: Labels by name, (N, ...) each.
        progress: Share of the run that has passed, in [0, 1]; 1 outside of a run.
    """

    images: Tensor
    weights: Tensor
    targets: dict[str, Tensor]
    progress: float = 1.0

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to a device."""
        targets = {name: value.to(device, non_blocking=True) for name, value in self.targets.items()}
        images, weights = (value.to(device, non_blocking=True) for value in (self.images, self.weights))
        return Batch(images, weights, targets, self.progress)

    def split(self, parts: int) -> list[Batch]:
        """Split the batch into at most ``parts`` batches, in order."""
        images, weights = self.images.chunk(parts), self.weights.chunk(parts)
        targets = {name: value.chunk(parts) for name, value in self.targets.items()}
        return [
            Batch(images[i], weights[i], {name: chunks[i] for name, chunks in targets.items()}, self.progress)
            for i in range(len(images))
        ]


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of a network on held-out data.

    Attributes:
        figures: Errors by name. The first one is used for model selection; lower is better. Figures of the optional
            outputs (``log.OTHER_UNITS``) have other units, and of some of them higher is better.
    """

    figures: dict[str, float]

    @property
    def error(self) -> float:
        """Error used for model selection: the first figure."""
        return next(iter(self.figures.values()))


class Objective(Protocol):
    """Loss function of a training step."""

    def __call__(self, raw: Tensor, batch: Batch) -> Tensor:
        """Compute the (N,) losses of the (N, V) raw network outputs for a batch."""
        ...


class Task(Protocol):
    """Learning task: training data, loss and evaluation on held-out data."""

    @property
    def size(self) -> int:
        """Side of the network input in pixels."""
        ...

    @property
    def unit(self) -> str:
        """Unit of the error."""
        ...

    @property
    def examples(self) -> dict[str, int]:
        """Number of examples by side of the split: ``training`` and ``validation``."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the data and their split, in hexadecimal. A resumed run needs the same data."""
        ...

    def at(self, size: int) -> Task:
        """Return the task with another input size."""
        ...

    def during(self, recipe: Recipe) -> Task:
        """Return the task with the same data and split, and the batch size, seed, augmentation and crop of a recipe."""
        ...

    def batches(self, first_step: int, last_step: int, rank: int = 0, count: int = 1) -> Iterator[Batch]:
        """Yield the training batches of a range of steps.

        The batches depend only on the recipe, so a resumed run sees the same data as an uninterrupted one.

        Args:
            first_step: First step.
            last_step: End of the range, exclusive.
            rank: Rank of this process.
            count: Number of processes; each gets its part of every batch.
        """
        ...

    def errors(self, raw: Tensor, batch: Batch) -> Tensor:
        """Compute the supervised losses, as an ``Objective`` does."""
        ...

    def output(self, raw: Tensor) -> Tensor:
        """Return the (N, V) output vector that distillation compares (Aghli & Ribeiro, eq. 3)."""
        ...

    def held_out(self, batch: int) -> Iterator[Batch]:
        """Yield the held-out data in order, without augmentation, in batches of ``batch``."""
        ...

    def evaluate(self, network: Network, sheet: Path | None = None) -> Score:
        """Evaluate a network on the held-out data.

        Args:
            network: Network to evaluate.
            sheet: Image file that shows predictions, if the task supports it. None writes no file.
        """
        ...


def write_data(file: Path, task: Task) -> None:
    """Write the number of examples of a task and their hash to a JSON file, for ``check_data``."""
    write_text(file, json.dumps({**task.examples, "sha256": task.fingerprint}) + "\n")


def check_data(file: Path, task: Task) -> None:
    """Check that the data of a task are those that ``write_data`` recorded.

    Args:
        file: JSON file of ``write_data``. If it does not exist, nothing is checked. Files of early versions have no
            hash.
        task: Task to check.

    Raises:
        DataError: The data have changed, or the file is damaged.
    """
    remedy = "give a run that goes on the data that it began with, or add --changed-data"
    try:
        noted = json.loads(file.read_text("utf-8"))
        began = {side: int(noted[side]) for side in task.examples}
        sha256 = noted.get("sha256", task.fingerprint)
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"cannot read {file}, which says what the run began with ({error!r:.80}): {remedy}") from error
    if began != task.examples:
        then, now = (" and ".join(f"{n} for {side}" for side, n in counts.items()) for counts in (began, task.examples))
        raise DataError(f"the data have changed since the run began: {then} then, {now} now; {remedy}")
    if sha256 != task.fingerprint:
        raise DataError(
            "the data have changed since the run began: there are as many examples, but their pictures, boxes, labels "
            f"or weights are others; {remedy}"
        )
