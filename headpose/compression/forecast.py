"""How long a compression will take on this machine, stage by stage: before it starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from headpose.compression import surgery
from headpose.compression.distillation import Distillation, compared_layers, stage_tuning, student_spec
from headpose.compression.finetune import FineTuning
from headpose.compression.pipeline import Compression
from headpose.errors import WeightsError
from headpose.networks.resnet import ResNet, build
from headpose.training import forecast
from headpose.training.forecast import PartForecast


@dataclass(frozen=True, slots=True)
class StageForecast:
    """One training of a compression.

    Attributes:
        name: of the stage.
        times: how often it is done, at most.
        parts: of each of them, one for each size of the input.
    """

    name: str
    times: int
    parts: list[PartForecast]

    @property
    def hours(self) -> float:
        return self.times * sum(part.hours for part in self.parts)


@dataclass(frozen=True, slots=True)
class Forecast:
    """A compression that has not been made.

    Attributes:
        stages: its trainings, in order.
        pruned: whether the teacher was at hand; otherwise the unpruned network stood in for every pruned one.
    """

    stages: list[StageForecast]
    pruned: bool


def measure(compression: Compression, stages: Collection[str], students: list[str] | None = None) -> Forecast:
    """Times a few steps of each training on real batches; writes nothing.

    Args:
        compression: what is to be done. Parts that its folder holds already are counted as well.
        stages: those of ``headpose compress --only``.
        students: only these, if any are named.

    Raises:
        HeadPoseError: what ``Compression`` would raise.
    """
    try:
        teacher, pruned = compression.teacher(), True
    except WeightsError:
        if compression.recipe.baseline.teacher:
            raise
        teacher, pruned = compression.baseline, False
    found = [
        *_pruning(compression, stages),
        *(_students(compression, teacher, students) if "distill" in stages else ()),
    ]
    return Forecast(found, pruned)


def text(found: Forecast) -> str:
    """The forecast in lines."""
    if not found.stages:
        return "nothing to train in these stages"
    width = max(len(stage.name) for stage in found.stages)
    lines = [
        f"{stage.name:<{width}}  {stage.times * part.images:>11,} images at {part.size:>3} px  "
        f"{part.trained:>6,.0f} images/s  {stage.times * part.hours:>7.2f} h"
        for stage in found.stages
        for part in stage.parts
    ]
    lines.append(f"{sum(stage.hours for stage in found.stages):.2f} hours in all, judging, validation and report apart")
    if not found.pruned:
        lines.append("measured on the unpruned network, as the teacher is not made yet: what is pruned is faster")
    return "\n".join(lines)


def _pruning(compression: Compression, stages: Collection[str]) -> Iterator[StageForecast]:
    prune = compression.recipe.prune
    if compression.recipe.baseline.teacher or not {"prune", "control"} & {*stages}:
        return
    pruner = compression.pruner
    network = surgery.prune(compression.baseline, {})
    steps = _time(compression, network, pruner.tuning(1)) if prune.steps else []
    network = surgery.prune(compression.baseline, {})
    objective = pruner.objective(network)
    last = _time(compression, network, pruner.last_tuning(), objective)
    kinds = [("prune", "prune" in stages), ("control", "control" in stages and prune.control)]
    for name in (name for name, wanted in kinds if wanted):
        if steps:
            yield StageForecast(f"{name}, up to {prune.steps} steps", prune.steps, steps)
        yield StageForecast(f"{name}, last fine-tuning", 1, last)


def _students(compression: Compression, teacher: ResNet, names: list[str] | None) -> Iterator[StageForecast]:
    tuner = compression.tuner
    for name, recipe in compression.students(names).items():
        layers = compared_layers(teacher.spec, recipe.layers)
        for number, stage in enumerate(recipe.stages, start=1):
            student = build(student_spec(teacher.spec, recipe))
            objective = Distillation(teacher, student, tuner.task, stage, layers, tuner.run.bf16)
            tuning = stage_tuning(tuner, recipe, name, number)
            yield StageForecast(tuning.name, 1, _time(compression, student, tuning, objective))


def _time(
    compression: Compression, network: ResNet, tuning: FineTuning, objective: Distillation | None = None
) -> list[PartForecast]:
    """Trains a network for a few steps, which moves its weights."""
    trainer = compression.tuner.trainer(network, tuning, compression.folder / "forecast", objective)
    parts = forecast.measure(trainer).parts
    if objective is not None:
        objective.close()
    return parts
