"""What a network learns, apart from how: the seam between the training loop, the compressor and the data."""

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
from headpose.networks.resnet import ResNet
from headpose.recipes.training import Recipe


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's data.

    Attributes:
        images: (N, 3, S, S) float32, normalised.
        weights: (N,) float32, at least 0: of each image in the loss.
        targets: labels by name, (N, ...) each.
    """

    images: Tensor
    weights: Tensor
    targets: dict[str, Tensor]

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        targets = {name: value.to(device, non_blocking=True) for name, value in self.targets.items()}
        return Batch(self.images.to(device, non_blocking=True), self.weights.to(device, non_blocking=True), targets)

    def split(self, parts: int) -> list[Batch]:
        """At most ``parts`` pieces, in order."""
        images, weights = self.images.chunk(parts), self.weights.chunk(parts)
        targets = {name: value.chunk(parts) for name, value in self.targets.items()}
        return [
            Batch(images[i], weights[i], {name: chunks[i] for name, chunks in targets.items()})
            for i in range(len(images))
        ]


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of a network on held-out data, lower is better.

    Attributes:
        figures: by name. The first is ``error``, by which anything is chosen.
    """

    figures: dict[str, float]

    @property
    def error(self) -> float:
        return next(iter(self.figures.values()))


class Objective(Protocol):
    """What a step makes smaller."""

    def __call__(self, raw: Tensor, batch: Batch) -> Tensor:
        """(N, V) values of the network's head for the images of a batch -> (N,) losses."""
        ...


class Task(Protocol):
    """Data, loss and the error on held-out data."""

    @property
    def size(self) -> int:
        """Side of the input, pixels."""
        ...

    @property
    def unit(self) -> str:
        """Of the error."""
        ...

    @property
    def examples(self) -> dict[str, int]:
        """Numbers of examples by side of the split: ``training`` and ``validation``."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the data and their split, in hexadecimal: a run that goes on needs the same."""
        ...

    def at(self, size: int) -> Task:
        """The same with another input size."""
        ...

    def during(self, recipe: Recipe) -> Task:
        """The same data and split in another run: its batches, seed, augmentation and input size."""
        ...

    def batches(self, first_step: int, last_step: int, rank: int = 0, count: int = 1) -> Iterator[Batch]:
        """Training batches of the steps ``first_step`` to ``last_step`` (not included).

        With ``count`` processes, the share of process ``rank`` in each. A function of the recipe alone: a run
        that goes on sees what it would have seen.
        """
        ...

    def errors(self, raw: Tensor, batch: Batch) -> Tensor:
        """The loss by labels: an ``Objective``."""
        ...

    def output(self, raw: Tensor) -> Tensor:
        """The vector (N, V) in which a student's answer is compared with its teacher's (Aghli & Ribeiro, eq. 3)."""
        ...

    def held_out(self, batch: int) -> Iterator[Batch]:
        """The held-out data in order, without augmentation."""
        ...

    def evaluate(self, network: ResNet, sheet: Path | None = None) -> Score:
        """Scores a network on the held-out data; draws what it says into the picture ``sheet``, if the task can."""
        ...


def write_data(file: Path, task: Task) -> None:
    """Notes the numbers of a task's examples and their hash, for ``check_data``."""
    write_text(file, json.dumps({**task.examples, "sha256": task.fingerprint}) + "\n")


def check_data(file: Path, task: Task) -> None:
    """Compares a task's data with what ``write_data`` has noted; files of old have numbers alone.

    Raises:
        DataError: the data have changed, or the file is damaged.
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
