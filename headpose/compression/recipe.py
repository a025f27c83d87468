"""Compression recipes: a TOML file -> frozen dataclasses, read as training recipes are."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from headpose.compression.codec import CODECS
from headpose.compression.importance import CRITERIA
from headpose.compression.selection import Rule
from headpose.errors import RecipeError
from headpose.training import config, overrides, recipe
from headpose.training.recipe import OptimiserRecipe, Recipe, SmallInput

_PACKAGE = "headpose.recipes.compress"
_HU = Rule("mean_plus_std", 1.0)
_FINE_TUNING = OptimiserRecipe(rate=2e-4, weight_decay=0.05, warmup=1_000)


@dataclass(frozen=True, slots=True)
class BaselineRecipe:
    """The network to compress.

    Attributes:
        recipe: of its training: a name, a TOML file, or the ``recipe.json`` of its run. Data, crop and
            augmentation of everything that follows are its.
        weights: a name of the manifest, an .onnx or a .safetensors file.
        teacher: a network that has been pruned already, named as ``weights``: it is taken, and nothing is pruned.
        changes: to the training recipe, as for ``headpose train --set``.
    """

    recipe: str
    weights: str
    teacher: str = ""
    changes: tuple[str, ...] = ()

    def training(self) -> Recipe:
        """The training recipe, changed; RecipeError if there is none."""
        return recipe.load(self.recipe, self.changes)


@dataclass(frozen=True, slots=True)
class StopRecipe:
    """When pruning has gone far enough, or too far. A target of 0 is none; the first one reached ends it.

    Attributes:
        tolerance: how much larger the held-out error may be than the baseline's, in the task's unit; a step
            that exceeds it is taken back, and ends the pruning.
        megabytes: target, of the stored weights, 10^6 bytes.
        macs: target, multiply-accumulates of one forward pass, millions.
        latency_ms: target, of one picture through ONNX Runtime on this machine, one thread.
    """

    tolerance: float = 1.0
    megabytes: float = 0.0
    macs: float = 0.0
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class GuideRecipe:
    """What the last fine-tuning of a pruned network makes smaller; labels alone unless said otherwise.

    Attributes:
        features: weight of the cosine distance between pruned and unpruned, in the streams of the deeper half of the
            network, after each block (ours).
        output: weight of that between the output vectors.
        labels: weight of the task's own loss; the paper's.
    """

    features: float = 0.0
    output: float = 0.0
    labels: float = 1.0


@dataclass(frozen=True, slots=True)
class PruneRecipe:
    """Iterated pruning and fine-tuning.

    Attributes:
        importance: a criterion of ``importance.CRITERIA``.
        rule: which channels go in one step.
        schedule: ``all``, every layer in each step, as the paper does; ``layerwise``, one layer a step, in
            the order of the network and over again (Zeng et al., Cognitive Computation 2018).
        groups: ``paper``, the inner convolutions and the stem; ``stream``, the residual streams as well.
        protected: groups that are left alone.
        minimum: channels that every group keeps.
        multiple: to which widths are rounded, once, on the last good step; the paper's is 1.
        steps: at most.
        images: of fine-tuning after each step; ``last_images`` after the rounding.
        size: of the input during the steps, pixels; 0 for the crop's. The last fine-tuning has the crop's.
        recalibration_images: from which BatchNorm's statistics are taken anew after each cut.
        scan: shares of each layer that are removed alone, to see what the network feels (report only).
        scan_images: held-out images on which it is seen.
        optimiser, last_optimiser: of the fine-tunings.
        guide: what the last of them learns from.
        codec: how weights are stored, of ``codec.CODECS``.
        control: prunes at random to the same widths, step by step, beside it.
    """

    importance: str = "apoz"
    rule: Rule = _HU
    schedule: Literal["all", "layerwise"] = "all"
    groups: Literal["paper", "stream"] = "paper"
    protected: tuple[str, ...] = ()
    minimum: int = 8
    multiple: int = 16
    steps: int = 16
    images: int = 9_000
    last_images: int = 200_000
    size: int = 0
    recalibration_images: int = 2_048
    scan: tuple[float, ...] = (0.25, 0.5, 0.75)
    scan_images: int = 256
    optimiser: OptimiserRecipe = _FINE_TUNING
    last_optimiser: OptimiserRecipe = _FINE_TUNING
    guide: GuideRecipe = field(default_factory=GuideRecipe)
    codec: str = "plain"
    control: bool = False
    stop: StopRecipe = field(default_factory=StopRecipe)


@dataclass(frozen=True, slots=True)
class StageRecipe:
    """One stage of a student's training: what its loss is made of, and for how long.

    Attributes:
        images: shown in it.
        features: weight of the cosine distance between the maps of teacher and student (Aghli & Ribeiro, eq. 3).
        output: weight of the cosine distance between their output vectors; the paper's lambda.
        rotation: weight of the geodesic distance between their rotations, radians (ours).
        labels: weight of the task's own loss.
        growing: parts with a smaller input first.
    """

    images: int
    features: float = 0.0
    output: float = 0.0
    rotation: float = 0.0
    labels: float = 0.0
    growing: tuple[SmallInput, ...] = ()
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)


@dataclass(frozen=True, slots=True)
class StudentRecipe:
    """A small network and how it learns.

    Attributes:
        stages: one after the other.
        ratio: by which the teacher's residual streams are divided; the paper's is 32, for CIFAR 2.
        inner: widths inside the blocks, one for each stage of the network; empty for the teacher's own, block
            by block, which ``features`` needs in the layers that are compared.
        stem: width; 0 for the teacher's, divided by ``ratio`` if an addition meets its output.
        max_pool: whether the stem has one; ``teacher`` for what the teacher has.
        head: widths of the hidden dense layers; ``teacher`` for what the teacher has.
        layers: how many of the last prunable layers are compared; the paper's M is 9.
        start: ``random`` weights, the paper's; or the teacher's, its streams pruned to the student's widths by a
            criterion of ``importance.CRITERIA`` (ours).
        seed: of the weights and the order of the images.
    """

    stages: tuple[StageRecipe, ...]
    ratio: float = 32.0
    inner: tuple[int, ...] = ()
    stem: int = 0
    max_pool: Literal["teacher", "yes", "no"] = "teacher"
    head: tuple[int, ...] | Literal["teacher"] = "teacher"
    layers: int = 9
    start: str = "random"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class QuantizeRecipe:
    """FP16 and INT8 variants.

    Attributes:
        students: whose; others stay in float32.
        calibration_images: training images from which INT8's ranges are taken.
    """

    students: tuple[str, ...] = ()
    calibration_images: int = 512


@dataclass(frozen=True, slots=True)
class RunRecipe:
    """What all stages share.

    Attributes:
        batch: images a step.
        ema: decay of the average of the weights, a step.
        seed: of everything that is drawn.
        threads: of the process; 0 leaves torch's choice.
        workers: processes that load pictures.
        bf16: as in training.
        latency: whether variants are timed; the report's figures are of this machine.
    """

    batch: int = 64
    ema: float = 0.999
    seed: int = 0
    threads: int = 0
    workers: int = 0
    bf16: Literal["auto", "on", "off"] = "auto"
    latency: bool = True


@dataclass(frozen=True, slots=True)
class CompressionRecipe:
    """Everything that decides a compression.

    Attributes:
        name: of the run; the pruned network is called ``teacher``.
        students: by name, trained in this order.
    """

    name: str
    baseline: BaselineRecipe
    prune: PruneRecipe = field(default_factory=PruneRecipe)
    students: dict[str, StudentRecipe] = field(default_factory=dict)
    quantize: QuantizeRecipe = field(default_factory=QuantizeRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)


def names() -> list[str]:
    """Names of the compression recipes that come with the package."""
    return list(config.packaged(_PACKAGE))


def load(name_or_path: str, changes: Sequence[str] = ()) -> CompressionRecipe:
    """Reads a compression recipe.

    Args:
        name_or_path: of a recipe of the package, or a TOML file.
        changes: ``section.key=value`` with the value in TOML; a bare word is taken as a string.

    Raises:
        RecipeError: no such recipe, broken TOML, an unknown key, a wrong type, a value out of range.
    """
    values = config.read_file(name_or_path, config.packaged(_PACKAGE))
    for change in changes:
        overrides.apply(values, change)
    return from_dict(values)


def from_dict(values: dict[str, Any]) -> CompressionRecipe:
    """A recipe from plain values: parsed TOML, or ``CompressionRecipe.to_json`` read back."""
    parsed = config.parse(CompressionRecipe, values)
    _check(parsed)
    return parsed


def _check(parsed: CompressionRecipe) -> None:
    prune, run, stop = parsed.prune, parsed.run, parsed.prune.stop
    guide = dataclasses.astuple(prune.guide)
    stages = [stage for student in parsed.students.values() for stage in student.stages]
    weights = [(s.features, s.output, s.rotation, s.labels) for s in stages]
    rules = {
        f"prune.importance is one of {', '.join(CRITERIA)}": prune.importance in CRITERIA,
        f"prune.codec is one of {', '.join(CODECS)}": prune.codec in CODECS,
        "prune: minimum, multiple, images, last_images and recalibration_images are 1 or more": min(
            prune.minimum, prune.multiple, prune.images, prune.last_images, prune.recalibration_images
        )
        >= 1,
        "prune.steps and prune.scan_images are 0 or more": min(prune.steps, prune.scan_images) >= 0,
        "prune.guide has a loss, and no weight below 0": min(guide) >= 0 and max(guide) > 0,
        "prune.guide.features compares streams, which prune.groups = 'stream' prunes: leave one of them out": not (
            prune.guide.features and prune.groups == "stream"
        ),
        "prune.scan: shares between 0 and 1": all(0 < share < 1 for share in prune.scan),
        "prune.stop: nothing below 0": min(stop.tolerance, stop.megabytes, stop.macs, stop.latency_ms) >= 0,
        "run: batch is 1 or more, ema at least 0 and below 1": run.batch >= 1 and 0 <= run.ema < 1,
        "students: each has a stage": all(student.stages for student in parsed.students.values()),
        "students: ratio and layers are 1 or more": all(
            min(student.ratio, student.layers) >= 1 for student in parsed.students.values()
        ),
        f"students: start is one of {', '.join(CRITERIA)}": all(s.start in CRITERIA for s in parsed.students.values()),
        "students: a stage shows 1 image or more": all(stage.images >= 1 for stage in stages),
        "students: a stage has a loss, and no weight below 0": all(min(w) >= 0 and max(w) > 0 for w in weights),
        "students: 'teacher' and 'baseline' are other networks": not {"teacher", "baseline"} & {*parsed.students},
        "quantize.students are among the students": {*parsed.quantize.students} <= {*parsed.students},
    }
    for rule, holds in rules.items():
        if not holds:
            raise RecipeError(f"recipe: {rule}")
