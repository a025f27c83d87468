"""Training as a step of something larger: into a folder, resumable, and a network comes back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import Tensor

from headpose.compression import surgery
from headpose.compression.importance import Evidence
from headpose.compression.recipe import RunRecipe
from headpose.networks import checkpoint
from headpose.networks.resnet import ResNet
from headpose.recipes import provenance
from headpose.recipes.training import OptimiserRecipe, Recipe, SmallInput
from headpose.training.loop import BEST, LAST, Trainer
from headpose.training.protocols import Batch, Objective, Task

NETWORK = "network.safetensors"
"""The result of a folder; once it is there, the work is done."""


@dataclasses.dataclass(frozen=True, slots=True)
class FineTuning:
    """What one training is.

    Attributes:
        name: shown while it runs.
        images: shown to the network.
        optimiser: and its rates.
        seed: of the order of the images.
        size: of the input, pixels; 0 for the crop's.
        growing: parts with a smaller input first.
    """

    name: str
    images: int
    optimiser: OptimiserRecipe
    seed: int
    size: int = 0
    growing: tuple[SmallInput, ...] = ()


class FineTuner:
    """Where networks are trained: one task, its training recipe, and settings that all fine-tunings share."""

    def __init__(self, task: Task, training: Recipe, run: RunRecipe, changed_data: bool = False) -> None:
        """``changed_data``: fine-tunings go on even if the data are others than those that they began with."""
        self.task, self.training, self.run, self.changed_data = task, training, run, changed_data

    def train(self, network: ResNet, tuning: FineTuning, folder: Path, objective: Objective | None = None) -> ResNet:
        """Trains a network, or goes on where the folder stands, or reads what was done before.

        Args:
            network: where it starts; changed in place.
            tuning: what is done.
            folder: of the training: its log, and in the end ``NETWORK``.
            objective: what to make smaller, if not the task's errors; it may watch ``network`` work.

        Returns:
            The average of the weights that did best on the held-out data, in eval mode, on the CPU.
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
            (folder / LAST).unlink()  # several times as large as the network, and of no further use
        trainer.processes.wait()
        return surgery.load(result)

    def trainer(self, network: ResNet, tuning: FineTuning, folder: Path, objective: Objective | None = None) -> Trainer:
        """The trainer of a fine-tuning, as ``train`` runs it. It writes nothing before it runs."""
        recipe = self.recipe(network, tuning)
        network.requires_grad_(True)  # an average of weights comes frozen
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
        """What importance may be judged by: the held-out data of a task and its loss."""

        def loss(network: ResNet, batch: Batch) -> Tensor:
            return (task.errors(network.raw(batch.images), batch) * batch.weights).sum() / batch.weights.sum()

        return Evidence(task.held_out(self.run.batch), loss, seed)

    def recipe(self, network: ResNet, tuning: FineTuning) -> Recipe:
        """The training recipe of a tuning."""
        run, every = self.run, max(1, tuning.images)
        crop = self.training.crop
        return dataclasses.replace(
            self.training,
            name=tuning.name[:100].rstrip(" .") or self.training.name,
            network=network.spec,
            crop=dataclasses.replace(crop, size=tuning.size or crop.size),
            optimiser=tuning.optimiser,
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
