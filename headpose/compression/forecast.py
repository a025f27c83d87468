"""Forecast of the duration of a compression on this machine, stage by stage."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from headpose.compression import coding, sparsify, surgery
from headpose.compression.distillation import Distillation, compared_layers, guide, stage_tuning, student_spec
from headpose.compression.finetune import FineTuning
from headpose.compression.pipeline import Compression
from headpose.errors import WeightsError
from headpose.networks.build import build
from headpose.networks.network import Network
from headpose.training import forecast
from headpose.training.forecast import PartForecast


@dataclass(frozen=True, slots=True)
class StageForecast:
    """Forecast of one training of a compression.

    Attributes:
        name: Name of the stage.
        times: Maximum number of repetitions.
        parts: Parts of one repetition, one for each input size.
    """

    name: str
    times: int
    parts: list[PartForecast]

    @property
    def hours(self) -> float:
        return self.times * sum(part.hours for part in self.parts)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Forecast of a compression.

    Attributes:
        stages: Trainings, in order.
        pruned: Whether the teacher was available. Otherwise the unpruned network replaced all pruned ones.
    """

    stages: list[StageForecast]
    pruned: bool


def measure(compression: Compression, stages: Collection[str], students: list[str] | None = None) -> Forecast:
    """Time a few steps of each training on real batches, without writing a file.

    Args:
        compression: Compression to forecast. Completed parts in its folder are counted as well.
        stages: Names of the stages, as in ``headpose compress --only``.
        students: Names of the students; None for all.

    Raises:
        HeadPoseError: An input of the compression is missing or invalid.
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
        *(_of_weights(compression, "connections") if "connections" in stages else ()),
        *(_of_weights(compression, "product") if "encode" in stages else ()),
    ]
    return Forecast(found, pruned)


def text(found: Forecast) -> str:
    """Return the forecast as lines of text."""
    if not found.stages:
        return "nothing to train in these stages"
    width = max(len(stage.name) for stage in found.stages)
    lines = [
        f"{stage.name:<{width}}  {stage.times * part.images:>11,} images at {part.size:>3} px  "
        f"{part.trained:>6,.0f} images/s  {stage.times * part.hours:>7.2f} h"
        for stage in found.stages
        for part in stage.parts
    ]
    lines.append(
        f"{sum(stage.hours for stage in found.stages):.2f} hours in all, excluding importance, validation and report"
    )
    if not found.pruned:
        lines.append("measured on the unpruned network, as there is no teacher yet: the actual networks are faster")
    return "\n".join(lines)


def _pruning(compression: Compression, stages: Collection[str]) -> Iterator[StageForecast]:
    prune = compression.recipe.prune
    if compression.recipe.baseline.teacher or not {"prune", "control"} & {*stages}:
        return
    pruner = compression.pruner
    if prune.pooling == "stride" and "prune" in stages:
        tuning = FineTuning("strides", prune.pooling_images, prune.last_optimiser, 0)
        strided = surgery.stride_for_pooling(compression.baseline)
        yield StageForecast("strides in place of max-pools", 1, _time(compression, strided, tuning))
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


def _students(compression: Compression, teacher: Network, names: list[str] | None) -> Iterator[StageForecast]:
    tuner = compression.tuner
    for name, recipe in compression.students(names).items():
        layers = compared_layers(teacher.spec, recipe.layers)
        for number, stage in enumerate(recipe.stages, start=1):
            student = build(student_spec(teacher.spec, recipe))
            objective = Distillation(teacher, student, tuner.task, stage, layers, tuner.run.bf16)
            tuning = stage_tuning(tuner, recipe, name, number)
            yield StageForecast(tuning.name, 1, _time(compression, student, tuning, objective))


def _of_weights(compression: Compression, section: str) -> Iterator[StageForecast]:
    """Forecast the stages that change single weights: ``connections`` or ``product``."""
    tuner = compression.tuner
    for name, recipe in getattr(compression.recipe, section).items():
        try:
            whole = compression.source(recipe.network)
        except WeightsError:
            whole = compression.baseline
        plan = sparsify.tunings if section == "connections" else coding.tunings
        steps = [tuning for _, tuning in plan(whole, recipe, name, tuner.run.seed) if tuning.images]
        for tuning, times in ((steps[0], len(steps) - 1), (steps[-1], 1)) if steps else ():
            if times:
                network = surgery.prune(whole, {})
                objective = guide(whole, network, tuner.task, recipe.guide, tuner.run.bf16)
                yield StageForecast(tuning.name, times, _time(compression, network, tuning, objective))


def _time(
    compression: Compression, network: Network, tuning: FineTuning, objective: Distillation | None = None
) -> list[PartForecast]:
    """Time a few training steps. They change the network's weights."""
    trainer = compression.tuner.trainer(network, tuning, compression.folder / "forecast", objective)
    parts = forecast.measure(trainer).parts
    if objective is not None:
        objective.close()
    return parts
