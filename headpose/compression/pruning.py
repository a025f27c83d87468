"""Iterative pruning: rank, prune, recalibrate, fine-tune, validate, and undo a step that exceeds the tolerance."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from headpose.compression import channels, surgery
from headpose.compression.codec import CODECS
from headpose.compression.distillation import Distillation, guide
from headpose.compression.finetune import FineTuner, FineTuning
from headpose.compression.importance import CRITERIA
from headpose.compression.measure import latency_of, size_of
from headpose.compression.recipe import PruneRecipe
from headpose.compression.selection import Removal, removals, round_widths, select
from headpose.compression.steps import Step, read_json, read_step
from headpose.errors import RecipeError
from headpose.files import write_text
from headpose.networks.network import Network
from headpose.training.loop import contiguous_state
from headpose.training.protocols import Batch, Score, Task

STEP, SCAN, ROUNDED = "step.json", "scan.json", "rounded"


@dataclass(slots=True)
class Pruner:
    """Pruning of one network in one folder: ``step-01``, ``step-02``, ... and ``rounded``, each resumable.

    Attributes:
        tuner: Task and settings of the fine-tunings.
        baseline: Network to prune; not changed.
        recipe: Settings of the pruning.
        folder: Folder of the pruning.
        leader: Steps of another pruning. Each step then keeps as many channels of each layer as the leader's step.
    """

    tuner: FineTuner
    baseline: Network
    recipe: PruneRecipe
    folder: Path
    leader: list[Step] | None = None
    _task: Task = field(init=False)

    def __post_init__(self) -> None:
        size = self.recipe.size
        self._task = self.tuner.task.at(size) if size else self.tuner.task
        known = channels.widths(self.baseline.spec)
        if unknown := [name for name in self.recipe.protected if name not in known]:
            raise RecipeError(f"recipe: prune.protected: no group {unknown[0]}; the groups are {', '.join(known)}")

    @property
    def names(self) -> list[str]:
        """Names of the groups that may lose channels, in network order."""
        allowed = channels.prunable(self.baseline.spec, self.recipe.groups)
        return [name for name in allowed if name not in self.recipe.protected]

    def run(self) -> Network:
        """Prune, round the widths, and fine-tune for the last time. Return the network in eval mode."""
        steps = self.steps()
        accepted = [step for step in steps if step.accepted]
        keep, network = self._rounded(accepted)
        objective = self.objective(network)
        network = self.tuner.train(network, self.last_tuning(), self.folder / ROUNDED, objective)
        if objective is not None:
            objective.close()
        write_text(self.folder / ROUNDED / "kept.json", json.dumps({k: v.tolist() for k, v in keep.items()}))
        return network

    def tuning(self, number: int) -> FineTuning:
        """Return the settings of the fine-tuning of a step; ``number`` starts at 1."""
        seed = self.tuner.run.seed + number
        return FineTuning(f"step {number}", self.recipe.images, self.recipe.optimiser, seed, self._task.size)

    def last_tuning(self) -> FineTuning:
        """Return the settings of the fine-tuning after the rounding."""
        seed = self.tuner.run.seed + 1000
        return FineTuning("last fine-tuning", self.recipe.last_images, self.recipe.last_optimiser, seed)

    def objective(self, network: Network) -> Distillation | None:
        """Return the objective of the last fine-tuning; see ``distillation.guide``."""
        return guide(self.baseline, network, self.tuner.task, self.recipe.guide, self.tuner.run.bf16)

    def steps(self) -> list[Step]:
        """Return all steps, the baseline first. Steps missing in the folder are made. The last may not be accepted."""
        self.folder.mkdir(parents=True, exist_ok=True)
        steps = [self._baseline_step()]
        network = self.baseline
        with tqdm(total=self._most(), desc=self.folder.name, unit="step") as bar:
            for number in range(1, self._most() + 1):
                if steps[-1].reached or not steps[-1].accepted:
                    break
                done = self._read(number)
                step = done or self._make(network, steps)
                if step is None:
                    break
                steps.append(step)
                network = surgery.load(self._step_folder(number) / "network.safetensors")
                bar.update()
                bar.set_postfix_str(f"{step.bytes / 1e6:.1f} MB, {step.error:.2f} {self._task.unit}")
        return steps

    def scan(self) -> dict[str, dict[str, float]]:
        """Measure the loss on held-out data after removing a share of one layer, without fine-tuning.

        Returns:
            Group -> share -> ratio to the loss of the unpruned network. It is also stored in ``scan.json``.
        """
        file = self.folder / SCAN
        if file.exists():
            return read_json(file)
        self.folder.mkdir(parents=True, exist_ok=True)
        batches = self._scan_batches()
        importance = self._importance(self.baseline, self.names, 0)
        whole = self._loss(self.baseline, batches)
        found: dict[str, dict[str, float]] = {}
        for name in tqdm(self.names, "sensitivity", unit="layer", leave=False):
            order = importance[name].argsort(descending=True)
            found[name] = {}
            for share in self.recipe.scan:
                left = max(1, round(len(order) * (1 - share)))
                cut = surgery.prune(self.baseline, {name: order[:left].sort().values})
                found[name][f"{share:g}"] = self._loss(cut, batches) / whole
        write_text(file, json.dumps(found, indent=1))
        return found

    def _most(self) -> int:
        """Return the maximum number of steps."""
        return len(self.leader) - 1 if self.leader else self.recipe.steps

    def _baseline_step(self) -> Step:
        """Return step 0, the unpruned network."""
        done = self._read(0)
        if done:
            return done
        score = self._task.evaluate(self.baseline)
        kept = {name: list(range(width)) for name, width in channels.widths(self.baseline.spec).items()}
        return self._write(0, kept, {}, score.error, score, self.baseline, score.error)

    def _make(self, network: Network, steps: list[Step]) -> Step | None:
        """Make the next step. Return None if no channel can be removed."""
        number, before = len(steps), steps[-1]
        names = self._names_of(number)
        importance = self._importance(network, names, number)
        keep = self._select(importance, number)
        if all(len(indices) == len(importance[name]) for name, indices in keep.items()):
            return None
        kept = {name: numbers.tolist() for name, numbers in surgery.compose(before.keep, keep).items()}
        gone = removals(before.keep, keep, importance, number)
        removed = {name: {i: each.importance for i, each in found.items()} for name, found in gone.items() if found}
        cut = surgery.prune(network, keep)
        surgery.recalibrate(cut, self._recalibration_images(number))
        cut_error = self._task.evaluate(cut).error
        trained = self.tuner.train(cut, self.tuning(number), self._step_folder(number))
        codec = CODECS[self.recipe.codec]
        trained.load_state_dict(codec.decode(codec.encode(trained.state_dict())), strict=False)
        return self._write(number, kept, removed, cut_error, self._task.evaluate(trained), trained, steps[0].error)

    def _names_of(self, number: int) -> list[str]:
        """Return the names of the groups that a step prunes."""
        names = self.names
        return names if self.recipe.schedule == "all" else [names[(number - 1) % len(names)]]

    def _select(self, importance: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        if self.leader is None:
            return select(importance, self.recipe.rule, self.recipe.minimum)
        widths = self.leader[number].widths
        return {
            name: values.argsort(descending=True)[: widths[name]].sort().values for name, values in importance.items()
        }

    def _rounded(self, accepted: list[Step]) -> tuple[dict[str, Tensor], Network]:
        """Return the channels of the last accepted step with rounded widths, and the network with these channels.

        Channels that the rounding restores have the weights that they had before their removal.
        """
        last, axes = accepted[-1], channels.axes(self.baseline.spec)
        repeats = channels.repeats(self.baseline.spec)
        removed: dict[str, dict[int, Removal]] = {}
        state = {k: v for k, v in self.baseline.state_dict().items() if k in axes}
        for step in accepted[1:]:
            for name, found in step.removed.items():
                removed.setdefault(name, {}).update({i: Removal(step.number, value) for i, value in found.items()})
            network = surgery.load(self._step_folder(step.number) / "network.safetensors")
            state = surgery.scatter_state(state, contiguous_state(network), axes, step.keep, repeats)
        prunable = {name: indices for name, indices in last.keep.items() if name in self.names}
        keep = round_widths(prunable, removed, self.recipe.multiple, channels.widths(self.baseline.spec))
        full = surgery.prune(self.baseline, {})
        full.load_state_dict(state, strict=False)
        network = surgery.prune(full, keep)
        surgery.recalibrate(network, self._recalibration_images(1000, self.tuner.task))
        return keep, network

    def _importance(self, network: Network, names: list[str], number: int) -> dict[str, Tensor]:
        evidence = self.tuner.evidence(self._task, self.tuner.run.seed + number)
        return CRITERIA[self.recipe.importance](network, names, evidence)

    def _recalibration_images(self, number: int, task: Task | None = None) -> Iterator[Tensor]:
        """Return an iterator over batches of training images, augmented as in training."""
        task = task or self._task
        batch = self.tuner.run.batch
        tuning = FineTuning("", 1, self.recipe.optimiser, self.tuner.run.seed + 2000 + number, task.size)
        stream = task.during(self.tuner.recipe(self.baseline, tuning))
        steps = math.ceil(self.recipe.recalibration_images / batch)
        return (each.images for each in stream.batches(0, steps))

    def _scan_batches(self) -> list[Batch]:
        """Return evenly spaced held-out batches with about ``scan_images`` images in total."""
        size, total = 32, self._task.examples["validation"]
        every = max(1, total // max(1, self.recipe.scan_images))
        return list(itertools.islice(self._task.held_out(size), 0, None, every))

    @torch.no_grad()
    def _loss(self, network: Network, batches: list[Batch]) -> float:
        network.eval()
        errors = torch.cat([self._task.errors(network.raw(batch.images), batch) * batch.weights for batch in batches])
        return float(errors.sum() / sum(float(batch.weights.sum()) for batch in batches))

    def _write(
        self,
        number: int,
        kept: dict[str, list[int]],
        removed: dict[str, dict[int, float]],
        cut_error: float,
        score: Score,
        network: Network,
        baseline_error: float,
    ) -> Step:
        stop, whole = self.recipe.stop, self.tuner.task
        size = size_of(network, whole.size, self.recipe.codec)
        latency = latency_of(network, self.tuner.training.crop) if stop.latency_ms else math.nan
        targets = {
            "megabytes": bool(stop.megabytes) and size.bytes <= stop.megabytes * 1e6,
            "macs": bool(stop.macs) and size.macs <= stop.macs * 1e6,
            "latency": bool(stop.latency_ms) and latency <= stop.latency_ms,
        }
        step = Step(
            number,
            kept,
            removed,
            cut_error,
            score.figures,
            size.parameters,
            size.macs,
            size.bytes,
            latency,
            # A control follows the widths of its leader, whatever its error.
            self.leader is not None or score.error <= baseline_error + stop.tolerance,
            next((name for name, reached in targets.items() if reached), "") if self.leader is None else "",
        )
        folder = self._step_folder(number)
        folder.mkdir(exist_ok=True)
        write_text(folder / STEP, json.dumps(dataclasses.asdict(step)))
        return step

    def _read(self, number: int) -> Step | None:
        file = self._step_folder(number) / STEP
        return read_step(file) if file.exists() else None

    def _step_folder(self, number: int) -> Path:
        return self.folder / f"step-{number:02d}"
