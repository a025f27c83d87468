"""Fine-tuning as a step of a compression: resumable, in a folder of its own, with a network as the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from headpose.compression import surgery
from headpose.compression.importance import Evidence
from headpose.compression.recipe import RunRecipe
from headpose.compression.weights_recipe import ConnectionsRecipe, ProductRecipe
from headpose.networks import checkpoint
from headpose.networks.network import Network
from headpose.recipes import provenance
from headpose.recipes.training import OptimiserRecipe, Recipe, SmallInput
from headpose.training.loop import BEST, LAST, Trainer
from headpose.training.protocols import Batch, Objective, Task

NETWORK = "network.safetensors"
"""File name of the result; the training is complete if it exists."""


@dataclasses.dataclass(frozen=True, slots=True)
class FineTuning:
    """Settings of one fine-tuning.

    Attributes:
        name: Name in the progress display.
        images: Number of training images.
        optimiser: Optimizer and learning rates.
        seed: Random seed of the order of the images.
        size: Side of the input in pixels; 0 for the size of the crop.
        growing: Parts of the training with a smaller input.
    """

    name: str
    images: int
    optimiser: OptimiserRecipe
    seed: int
    size: int = 0
    growing: tuple[SmallInput, ...] = ()


def stepwise(
    names: Sequence[str], recipe: ConnectionsRecipe | ProductRecipe, name: str, seed: int, passes: int = 1
) -> list[tuple[list[str], FineTuning]]:
    """Return the layers that each step changes, and the fine-tuning that follows.

    Args:
        names: Names of the layers, in network order.
        recipe: Schedule, numbers of images and optimizer.
        name: Name of the result, for the progress display.
        seed: Random seed of the compression.
        passes: Number of passes over the layers.
    """
    steps = ([list(names)] if recipe.schedule == "all" else [[each] for each in names]) * passes
    found = []
    for number, group in enumerate(steps, start=1):
        images = recipe.last_images if number == len(steps) else recipe.images
        title = f"{name}, step {number} of {len(steps)}"
        found.append((group, FineTuning(title, images, recipe.optimiser, seed + number)))
    return found


class FineTuner:
    """Fine-tuning of networks on one task, with a training recipe and settings shared by all fine-tunings."""

    def __init__(self, task: Task, training: Recipe, run: RunRecipe, changed_data: bool = False) -> None:
        """Create a fine-tuner.

        Args:
            task: Task with the training and validation data.
            training: Training recipe; a ``FineTuning`` replaces some of its settings.
            run: Settings that all fine-tunings share.
            changed_data: Whether a fine-tuning may resume on other data than it started with.
        """
        self.task, self.training, self.run, self.changed_data = task, training, run, changed_data

    def train(self, network: Network, tuning: FineTuning, folder: Path, objective: Objective | None = None) -> Network:
        """Train a network, resume from the last checkpoint, or load the result if the training is complete.

        Args:
            network: Network to train; changed in place.
            tuning: Settings of the training.
            folder: Folder of the training, with its log and finally ``NETWORK``.
            objective: Loss to minimize; None for the task's errors. It may have hooks on ``network``.

        Returns:
            The averaged weights with the lowest error on the held-out data, in eval mode, on the CPU.
        """
        result = folder / NETWORK
        if result.exists():
            return surgery.load(result)
        trainer = self.trainer(network, tuning, folder, objective)
        trainer.run()
        if trainer.processes.first:
            best = trainer.average.network
            checkpoint.load_weights(best, folder / BEST)
            surgery.save(best.cpu(), result, provenance.metadata(tuning.name, self.training.statement))
            (folder / LAST).unlink()  # the checkpoint is several times as large as the network and no longer needed
        trainer.processes.wait()
        return surgery.load(result)

    def trainer(
        self, network: Network, tuning: FineTuning, folder: Path, objective: Objective | None = None
    ) -> Trainer:
        """Return the trainer that ``train`` runs. It writes no file before it runs."""
        recipe = self.recipe(network, tuning)
        network.requires_grad_(True)  # averaged weights are frozen
        return Trainer(
            recipe,
            folder,
            (folder / LAST).exists(),
            task=self.task.during(recipe),
            network=network,
            objective=objective,
            changed_data=self.changed_data,
        )

    def evidence(self, task: Task, seed: int) -> Evidence:
        """Return the input of the importance criteria: the held-out data of a task and its loss."""

        def loss(network: Network, batch: Batch) -> Tensor:
            return (task.errors(network.raw(batch.images), batch) * batch.weights).sum() / batch.weights.sum()

        return Evidence(task.held_out(self.run.batch), loss, seed)

    def recipe(self, network: Network, tuning: FineTuning) -> Recipe:
        """Return the training recipe of a fine-tuning."""
        run, every = self.run, max(1, tuning.images)
        crop = self.training.crop
        return dataclasses.replace(
            self.training,
            name=tuning.name[:100].rstrip(" .") or self.training.name,
            network=network.spec,
            crop=dataclasses.replace(crop, size=tuning.size or crop.size),
            optimiser=tuning.optimiser,
            loss=dataclasses.replace(self.training.loss, likelihood_from=0.0),  # the rotation has been learned
            run=dataclasses.replace(
                self.training.run,
                images=tuning.images,
                growing=tuning.growing,
                batch=run.batch,
                seed=tuning.seed,
                ema=run.ema,
                bf16=run.bf16,
                threads=run.threads,
                workers=run.workers,
                checkpoint_images=min(20_000, every),
                validate_images=min(50_000, every),
            ),
        )
