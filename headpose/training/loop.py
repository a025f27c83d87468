"""Training loop: resumable, with the same samples in the same order for any number of processes."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import torch
from pydantic import ConfigDict, Field, ValidationError
from pydantic import dataclasses as pydantic_dataclasses
from torch import Tensor
from tqdm import tqdm

from headpose import config
from headpose.errors import DataError, RecipeError
from headpose.files import sha256_of, write_text
from headpose.networks import checkpoint
from headpose.networks.build import build
from headpose.networks.network import Network
from headpose.networks.pretrained import Match, initialize
from headpose.recipes import provenance
from headpose.recipes.training import Recipe
from headpose.training import distributed, log, schedule, tasks
from headpose.training.ema import WeightAverage
from headpose.training.precision import autocast
from headpose.training.protocols import Batch, Objective, Score, Task, check_data, write_data

LAST, BEST, RECIPE, SPLIT = "last.pt", "best.safetensors", "recipe.json", "split.json"
INIT = "init.json"
PICTURE = "predictions.jpg"


Steps = Annotated[int, Field(strict=True, ge=0, le=10**12)]


@pydantic_dataclasses.dataclass(slots=True, config=ConfigDict(extra="forbid"))
class Progress:
    """Progress of a run: the part of a checkpoint that is not tensors."""

    step: Steps = 0
    best_error: Annotated[float, Field(strict=True)] = math.inf
    best_step: Steps = 0
    size: Annotated[int, Field(strict=True, ge=0, le=1024)] = 0
    """Input size in pixels for which ``best_error`` is the best error."""
    loss_sum: Annotated[float, Field(strict=True, allow_inf_nan=False)] = 0.0
    """Sum of the losses since the last validation."""
    loss_steps: Steps = 0
    """Number of steps since the last validation."""


@dataclass(frozen=True, slots=True)
class Part:
    """Part of a run with one input size in pixels: the steps from ``first_step`` to ``last_step`` (exclusive)."""

    size: int
    first_step: int
    last_step: int


class Trainer:
    """Training run in a folder.

    The folder contains ``recipe.json`` (resolved recipe), ``environment.txt`` (revision and versions), ``split.json``
    (number of faces and their hash), ``init.json`` (initial weights, if any), ``log.csv``, ``predictions.jpg`` (last
    validation), ``last.pt`` (checkpoint) and ``best.safetensors`` (averaged weights with the lowest validation error).
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        resume: bool = False,
        *,
        task: Task | None = None,
        network: Network | None = None,
        objective: Objective | None = None,
        changed_data: bool = False,
    ) -> None:
        """Prepare a run, or resume one from its checkpoint.

        Args:
            recipe: Recipe of the run.
            folder: Folder of the run; created when training starts.
            resume: Continue from the checkpoint in ``folder``.
            task: Task of the recipe. None reads the data of the recipe.
            network: Network to train, with its initial weights. None creates one with random weights.
            objective: Loss function. None uses the supervised loss of the task.
            changed_data: Resume even if the data have changed since the run began.

        Raises:
            DataError: The data, the folder or the checkpoint cannot be used.
            RecipeError: The recipe does not fit the data or the number of processes.
        """
        warmup, images = recipe.optimiser.warmup, recipe.run.images
        recipe = dataclasses.replace(recipe, optimiser=schedule.fitted(recipe.optimiser, images))
        self.recipe, self.folder = recipe, folder
        distributed.prepare_process(recipe.run.threads)
        self.processes = distributed.join()
        if recipe.run.batch < self.processes.count:
            raise RecipeError(f"run.batch is {recipe.run.batch}: {self.processes.count} processes need one image each")
        self._check_folder(resume)
        self._whole_task = tasks.of(recipe) if task is None else task
        if resume and not changed_data:
            check_data(folder / SPLIT, self._whole_task)
        torch.manual_seed(recipe.run.seed)
        self.network = build(recipe.spec) if network is None else network
        self.network.to(self.processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._shared = distributed.SharedNetwork(self.network, self.processes)
        self._objective = self._whole_task.errors if objective is None else objective
        self.average = WeightAverage(self.network, recipe.run.ema)
        self.optimiser = _optimiser(recipe, self.network)
        self.progress = Progress()
        self._origin: dict[str, str] = {}
        if resume:
            self._restore()
        self.log = log.Log(folder / log.FILE, keep_below=self.progress.step)
        self.task = self._task(self.part().size)
        if (now := recipe.optimiser.warmup) != warmup and self.processes.first and not resume:
            told = f"{recipe.name}: the run of {images:,} images is no longer than optimiser.warmup, {warmup:,} images"
            tqdm.write(f"{told}: shortened to {now:,}", file=sys.stderr)

    @property
    def steps(self) -> int:
        """Number of steps of the whole run."""
        return math.ceil(self.recipe.run.images / self.recipe.run.batch)

    @property
    def parent(self) -> str:
        """Name of the network whose weights initialized the run; "" if there is none.

        Raises:
            DataError: ``init.json`` is damaged.
        """
        if not self._origin and (self.folder / INIT).exists():
            try:
                stored = json.loads((self.folder / INIT).read_text("utf-8"))
                self._origin = {key: str(stored[key]) for key in ("file", "sha256")}
                self._origin["name"] = str(stored.get("name", Path(stored["file"]).name))
            except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise DataError(f"{self.folder / INIT}, which says what the run began with, is damaged") from error
        return self._origin.get("name", "")

    def start_from(self, file: Path, name: str = "") -> Match:
        """Initialize the network from a weight file, before the first step; see ``pretrained.initialize``.

        Args:
            file: Weight file.
            name: Name of the network in the file. "" uses the file name.
        """
        match = initialize(self.network, file)
        self._origin = {"file": str(file), "sha256": sha256_of(file), "name": name or file.name}
        self.average = WeightAverage(self.network, self.recipe.run.ema)
        return match

    def run(self) -> Score | None:
        """Train to the end.

        Returns:
            Last validation of the averaged weights in the process of rank 0, None in the others.
        """
        result = None
        if self.progress.step == 0 and self.processes.first:
            self._describe()
        elif self.processes.first:
            write_data(self.folder / SPLIT, self._whole_task)
        bar = tqdm(
            total=self.steps,
            initial=self.progress.step,
            unit="step",
            desc=self.recipe.name,
            disable=not self.processes.first,
        )
        with bar:
            while self.progress.step < self.steps:
                result = self._run_part(self.part(), bar)
        if result is None and self.processes.first:  # the resumed run had already ended
            result = self.task.evaluate(self.average.network)
        return result

    def _run_part(self, part: Part, bar: tqdm[NoReturn]) -> Score | None:
        """Train to the end of a part; return its last validation, or None."""
        run, result = self.recipe.run, None
        every_check = max(1, run.checkpoint_images // run.batch)
        every_validation = max(1, run.validate_images // run.batch)
        if self.progress.size != part.size:  # the best weights of a smaller input size do not count
            self.progress.size, self.progress.best_error = part.size, math.inf
        if self.task.size != part.size:
            self.task = self._task(part.size)
        me = self.processes
        for batch in self.task.batches(self.progress.step, part.last_step, me.rank, me.count):
            self.step(batch)
            bar.update()
            step = self.progress.step
            if not me.first:
                continue
            if step % every_validation == 0 or step == part.last_step:
                result = self._validate()
                bar.set_postfix_str(f"validation {result.error:.2f} {self.task.unit}")
            # Also save at each validation, so that the log is never far ahead of the checkpoint.
            if step % every_check == 0 or step % every_validation == 0 or step == part.last_step:
                self._save()
        return result

    def part(self) -> Part:
        """Return the part of the next step; the last part if the run has ended."""
        parts = self.parts()
        return next((part for part in parts if self.progress.step < part.last_step), parts[-1])

    def parts(self) -> list[Part]:
        """Return the parts of the run in order."""
        run = self.recipe.run
        sizes = [*(part.size for part in run.growing), self.recipe.crop.size]
        ends = [*(math.ceil(part.until / run.batch) for part in run.growing), self.steps]
        return [Part(*part) for part in zip(sizes, [0, *ends[:-1]], ends, strict=True)]

    def _describe(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot use the folder {self.folder}: {error.strerror}") from error
        write_text(self.folder / RECIPE, self.recipe.to_json())
        write_text(self.folder / "environment.txt", _environment())
        write_data(self.folder / SPLIT, self._whole_task)
        if self._origin:
            write_text(self.folder / INIT, json.dumps(self._origin) + "\n")
        else:  # left by an earlier run
            (self.folder / INIT).unlink(missing_ok=True)

    def _task(self, size: int) -> Task:
        whole = self._whole_task
        return whole if size == whole.size else whole.at(size)

    def step(self, batch: Batch) -> None:
        """Train on one batch and update the average of the weights."""
        seen = self.progress.step * self.recipe.run.batch
        for group in self.optimiser.param_groups:
            group["lr"] = schedule.rate(self.recipe.optimiser, seen, self.recipe.run.images)
        self._train_mode()
        batch = dataclasses.replace(batch.to(self.processes.device), progress=seen / self.recipe.run.images)
        weight = self.processes.total(batch.weights.sum()).clamp(min=1e-6)
        loss = torch.zeros_like(weight)
        self.optimiser.zero_grad(set_to_none=True)
        parts = batch.split(self.recipe.run.accumulate)
        for number, part in enumerate(parts, start=1):
            with self._shared.quiet(number < len(parts)):
                share = (self._errors(part) * part.weights).sum() / weight
                self._shared.backward(share)
            loss += share.detach()
        if self.recipe.optimiser.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimiser.clip)
        self.optimiser.step()
        # Restart the average for each input size: the statistics of a smaller size do not fit.
        self.average.update(self.network, self.progress.step - self.part().first_step)
        self._count(float(self.processes.total(loss)))

    def _count(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise RecipeError(
                f"the loss is {loss} at step {self.progress.step}: lower optimiser.rate, "
                "then start again from the last checkpoint with --resume"
            )
        self.progress.step += 1
        self.progress.loss_sum += loss
        self.progress.loss_steps += 1

    def _train_mode(self) -> None:
        self.network.train()
        if self.recipe.run.frozen_norms:
            for module in self.network.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eval()

    def _errors(self, batch: Batch) -> Tensor:
        """Compute the (N,) losses of a batch."""
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with autocast(self.recipe.run.bf16, images.device):
            raw = self._shared.raw(images)
        return self._objective(raw, batch)

    def _validate(self) -> Score:
        progress = self.progress
        result = self.task.evaluate(self.average.network, self.folder / PICTURE)
        self.log.add(
            log.Row(
                step=progress.step,
                images=progress.step * self.recipe.run.batch,
                rate=self.optimiser.param_groups[0]["lr"],
                loss=progress.loss_sum / max(1, progress.loss_steps),
                figures=result.figures,
            )
        )
        progress.loss_sum, progress.loss_steps = 0.0, 0
        if result.error < progress.best_error:
            progress.best_error, progress.best_step = result.error, progress.step
            about = provenance.metadata(self.recipe.name, self.recipe.statement, self.parent)
            checkpoint.save_weights(self.folder / BEST, contiguous_state(self.average.network), about)
        return result

    def _save(self) -> None:
        state = {
            "progress": dataclasses.asdict(self.progress),
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        checkpoint.save(self.folder / LAST, state)

    def _restore(self) -> None:
        state = checkpoint.load(self.folder / LAST)
        try:
            self.network.load_state_dict(state["network"])
            self.average.network.load_state_dict(state["average"])
            settings = [dict(group) for group in self.optimiser.param_groups]
            self.optimiser.load_state_dict(state["optimiser"])
            for group, ours in zip(self.optimiser.param_groups, settings, strict=True):
                group.update(ours)  # settings come from the recipe, not from the checkpoint
            self.progress = config.read(Progress, state["progress"])
            self._check_state()
        except ValidationError as error:
            first = config.line(Progress, error)
            raise DataError(f"{self.folder / LAST} is damaged: progress.{first}") from error
        except Exception as error:  # values of a wrong type make torch raise nearly anything
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{self.folder / LAST} does not fit this recipe: {first}") from error

    def _check_state(self) -> None:
        """Raise ValueError for invalid values that torch accepts."""
        if self.progress.step > self.steps:
            raise ValueError(f"it is at step {self.progress.step} of {self.steps}")
        kept: list[tuple[str, Tensor]] = [
            *self.network.state_dict().items(),
            *self.average.network.state_dict().items(),
        ]
        for parameter, values in self.optimiser.state.items():
            for name, value in values.items():
                if not isinstance(value, Tensor) or value.shape not in (parameter.shape, torch.Size()):
                    raise ValueError(f"the optimiser's {name} is not a tensor of the shape {tuple(parameter.shape)}")
                kept.append((f"the optimiser's {name}", value))
        for name, value in kept:
            if not bool(value.isfinite().all()):
                raise ValueError(f"{name} has values that are not finite")

    def _check_folder(self, resume: bool) -> None:
        last = self.folder / LAST
        try:
            last.lstat()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, ValueError) as error:
            raise DataError(f"cannot use the folder {self.folder}: {error}") from error
        if resume and not last.is_file():
            raise DataError(f"nothing to resume: {last} does not exist; start without --resume")
        if not resume and last.exists():
            raise DataError(f"{self.folder} holds a run already: add --resume, or give another folder with --out")


def contiguous_state(network: Network) -> dict[str, Tensor]:
    """Return the state dict without BatchNorm's step counters, ready for safetensors."""
    return {
        name: value.detach().contiguous().clone()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def _optimiser(recipe: Recipe, network: Network) -> torch.optim.Optimizer:
    """Create the optimizer. Weight decay applies to convolution and dense weights, not to BatchNorm and biases."""
    settings = recipe.optimiser
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if settings.kind == "adamw":
        return torch.optim.AdamW(groups, lr=settings.rate)
    if settings.kind == "adam":
        return torch.optim.Adam(groups, lr=settings.rate)
    return torch.optim.SGD(groups, lr=settings.rate, momentum=settings.momentum)


def _environment() -> str:
    try:
        revision = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        revision = "not a checkout"
    return f"revision {revision}\ntorch {torch.__version__}\npython {platform.python_version()}\n"
