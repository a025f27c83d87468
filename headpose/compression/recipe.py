"""Compression recipes: a TOML file, parsed into frozen dataclasses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from headpose import config
from headpose.compression.codec import CODECS
from headpose.compression.connections import CRITERIA as CONNECTION_CRITERIA
from headpose.compression.importance import CRITERIA
from headpose.compression.quantization import LIMITS
from headpose.compression.selection import Rule
from headpose.compression.weights_recipe import ConnectionsRecipe, GuideRecipe, ProductRecipe
from headpose.config import (
    CLOSED,
    Batch,
    Channels,
    Decay,
    Flag,
    Images,
    Name,
    PathText,
    Processors,
    Share,
    Text,
    Weight,
)
from headpose.errors import RecipeError
from headpose.recipes import overrides
from headpose.recipes import training as recipe
from headpose.recipes.data import SourceRecipe
from headpose.recipes.training import OptimiserRecipe, Recipe, SmallInput

Seed = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]
"""Smaller than the maximum for a training, as the seed of a stage is the sum of two seeds and its number."""
Limit = Annotated[float, Field(strict=True, ge=0, le=10**6)]
Count = Annotated[int, Field(strict=True, ge=0, le=10**7)]
Divisor = Annotated[float, Field(strict=True, ge=1, le=10**4)]

_PACKAGE = "headpose.recipes.compress"
_HU = Rule("mean_plus_std", 1.0)
_FINE_TUNING = OptimiserRecipe(rate=2e-4, weight_decay=0.05, warmup=1_000)


@dataclass(frozen=True, slots=True, config=CLOSED)
class BaselineRecipe:
    """The network to compress.

    Attributes:
        recipe: Training recipe of the network: a name, a TOML file, or the ``recipe.json`` of its run. All stages
            use its data, crop and augmentation.
        weights: Weights of the network: a name (``headpose models``), an .onnx file or a .safetensors file.
        teacher: Weights of a pruned network, which replaces the pruning; empty to prune.
        changes: Changes to the training recipe, as for ``headpose train --set``.
        data: Sources in place of the training recipe's, before ``changes``.
    """

    recipe: PathText
    weights: PathText
    teacher: Text = ""
    changes: tuple[str, ...] = ()
    data: tuple[SourceRecipe, ...] = ()

    def training(self) -> Recipe:
        """Return the training recipe with ``data`` and ``changes`` applied.

        Raises:
            RecipeError: The recipe does not exist or is invalid.
        """
        loaded = recipe.load(self.recipe, self.changes, [dataclasses.asdict(source) for source in self.data])
        return recipe.restate(loaded, changed=False)


@dataclass(frozen=True, slots=True, config=CLOSED)
class StopRecipe:
    """Stop conditions of the pruning: a tolerance, and targets. The first target that is reached ends the pruning.

    Attributes:
        tolerance: Largest increase of the held-out error over the baseline's, in the task's unit; a step that
            exceeds it is undone and ends the pruning.
        megabytes: Target size of the stored weights, 10^6 bytes; 0 for none.
        macs: Target number of multiply-accumulates of one forward pass, millions; 0 for none.
        latency_ms: Target time of one picture with ONNX Runtime on this machine, one thread, ms; 0 for none.
    """

    tolerance: Limit = 1.0
    megabytes: Limit = 0.0
    macs: Limit = 0.0
    latency_ms: Limit = 0.0


@dataclass(frozen=True, slots=True, config=CLOSED)
class PruneRecipe:
    """Iterative pruning and fine-tuning.

    Attributes:
        importance: Criterion: ``apoz``, ``l1``, ``taylor``, ``correlation`` or ``random`` (docs/compression.md).
        rule: Channels that one step removes.
        schedule: ``all`` prunes every layer in each step, as in the paper; ``layerwise`` prunes one layer per step,
            in the order of the network, repeatedly (Zeng et al., Cognitive Computation 2018).
        groups: ``paper`` prunes the inner convolutions and the stem; ``stream`` also prunes the residual streams.
        pooling: ``keep`` keeps max-pools; ``stride`` first removes them and doubles the stride of the convolution
            before each, then trains the network (Zeng et al. 2018).
        pooling_images: Number of images of the training after that.
        protected: Groups that are not pruned.
        minimum: Minimum number of channels of each group.
        multiple: Multiple to which widths are rounded up, once, after the last accepted step; 1 in the paper.
        steps: Maximum number of steps.
        images: Number of images of the fine-tuning after each step.
        last_images: Number of images of the fine-tuning after the rounding.
        size: Side of the input during the steps, pixels; 0 for the crop's, as in the last fine-tuning.
        recalibration_images: Number of images for recomputing BatchNorm's statistics after each cut.
        scan: Shares of each layer that are removed separately, to measure its sensitivity (report only).
        scan_images: Number of held-out images for this measurement.
        optimiser: Optimiser of the fine-tuning after each step.
        last_optimiser: Optimiser of the last fine-tuning.
        guide: Losses of the last fine-tuning.
        codec: Storage of the weights: ``plain``, or ``half`` for float16.
        control: Whether a second network is pruned at random to the same widths, for comparison.
    """

    importance: str = "apoz"
    rule: Annotated[Rule, config.table(Rule)] = _HU
    schedule: Literal["all", "layerwise"] = "all"
    groups: Literal["paper", "stream"] = "paper"
    pooling: Literal["keep", "stride"] = "keep"
    pooling_images: Images = 200_000
    protected: tuple[str, ...] = ()
    minimum: Channels = 8
    multiple: Channels = 16
    steps: Annotated[int, Field(strict=True, ge=0, le=10**4)] = 16
    images: Images = 9_000
    last_images: Images = 200_000
    size: Annotated[int, Field(strict=True, ge=0, le=1024)] = 0
    recalibration_images: Annotated[int, Field(strict=True, ge=1, le=10**7)] = 2_048
    scan: Annotated[tuple[Share, ...], Field(max_length=100)] = (0.25, 0.5, 0.75)
    scan_images: Count = 256
    optimiser: OptimiserRecipe = _FINE_TUNING
    last_optimiser: OptimiserRecipe = _FINE_TUNING
    guide: GuideRecipe = field(default_factory=GuideRecipe)
    codec: str = "plain"
    control: Flag = False
    stop: StopRecipe = field(default_factory=StopRecipe)


@dataclass(frozen=True, slots=True, config=CLOSED)
class StageRecipe:
    """One stage of a student's training: its length and the weights of its losses.

    Attributes:
        images: Number of images shown in the stage.
        features: Weight of the cosine distance between the maps of teacher and student (Aghli & Ribeiro, eq. 3).
        output: Weight of the cosine distance between their output vectors; the paper's lambda.
        rotation: Weight of the geodesic distance between their rotations, radians (ours).
        labels: Weight of the task's loss on the labels.
        growing: Parts of the stage with a smaller input, by ascending ``until``.
    """

    images: Images
    features: Weight = 0.0
    output: Weight = 0.0
    rotation: Weight = 0.0
    labels: Weight = 0.0
    growing: tuple[SmallInput, ...] = ()
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)


HeadWidths = Annotated[tuple[Channels, ...], Field(max_length=16)]


def _head(values: Any, parse: ValidatorFunctionWrapHandler) -> Any:
    """Raise one error for the union that names all allowed values."""
    try:
        return parse(values)
    except ValidationError as error:
        reason = f"a list of widths from 1 to 65,536, or 'teacher'; got {values!r}"
        raise PydanticCustomError("rule", "{reason}", {"reason": reason}) from error


@dataclass(frozen=True, slots=True, config=CLOSED)
class StudentRecipe:
    """Architecture and training of a student.

    Attributes:
        stages: Stages of the training, in their order.
        ratio: Divisor of the teacher's residual streams; 32 in the paper, 2 for CIFAR.
        inner: Widths inside the blocks, one for each stage of the network; empty for the teacher's, block by block.
            ``features`` needs the teacher's widths in the layers that it compares.
        stem: Width of the stem; 0 for the teacher's, divided by ``ratio`` if an addition follows the stem.
        max_pool: Whether the stem has a max-pool; ``teacher`` for the teacher's setting.
        head: Widths of the hidden dense layers; ``teacher`` for the teacher's.
        layers: Number of prunable layers, from the last, that ``features`` compares; 9 in the paper (M).
        start: Initial weights: ``random``, as in the paper, or a criterion of ``prune.importance``, by which the
            teacher's streams are pruned to the student's widths (ours).
        seed: Random seed of the initial weights and the order of the images.
    """

    stages: Annotated[tuple[StageRecipe, ...], Field(min_length=1, max_length=100)]
    ratio: Divisor = 32.0
    inner: Annotated[tuple[Channels, ...], Field(max_length=8)] = ()
    stem: Annotated[int, Field(strict=True, ge=0, le=65536)] = 0
    max_pool: Literal["teacher", "yes", "no"] = "teacher"
    head: Annotated[HeadWidths | Literal["teacher"], WrapValidator(_head)] = "teacher"
    layers: Annotated[int, Field(strict=True, ge=1, le=10**4)] = 9
    start: str = "random"
    seed: Seed = 0


@dataclass(frozen=True, slots=True, config=CLOSED)
class QuantizeRecipe:
    """FP16 and INT8 variants.

    Attributes:
        students: Names of the students that are quantized.
        calibration_images: Number of training images that calibrate INT8's ranges.
    """

    students: tuple[str, ...] = ()
    calibration_images: Annotated[int, Field(strict=True, ge=1, le=10**6)] = 512


@dataclass(frozen=True, slots=True, config=CLOSED)
class RunRecipe:
    """Settings shared by all stages.

    Attributes:
        batch: Images per step.
        ema: Decay per step of the exponential moving average of the weights.
        seed: Random seed of the compression.
        threads: Number of threads of the process; 0 for torch's default.
        workers: Number of processes that load pictures; 0 loads in the main process.
        bf16: bfloat16 autocast; ``auto`` uses it if the GPU or CPU has instructions for it.
        latency: Whether the report times the networks on this machine.
    """

    batch: Batch = 64
    ema: Decay = 0.999
    seed: Seed = 0
    threads: Processors = 0
    workers: Processors = 0
    bf16: Literal["auto", "on", "off"] = "auto"
    latency: Flag = True


@dataclass(frozen=True, slots=True, config=CLOSED)
class CompressionRecipe:
    """All settings of a compression.

    Attributes:
        name: Name of the run; the pruned network is called ``teacher``.
        students: Students by name, trained in this order.
        connections: Networks with fewer connections, by name.
        product: Networks stored by product quantization, by name.
    """

    name: Name
    baseline: BaselineRecipe
    prune: PruneRecipe = field(default_factory=PruneRecipe)
    students: dict[Name, StudentRecipe] = field(default_factory=dict)
    connections: dict[Name, ConnectionsRecipe] = field(default_factory=dict)
    product: dict[Name, ProductRecipe] = field(default_factory=dict)
    quantize: QuantizeRecipe = field(default_factory=QuantizeRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)


def names() -> list[str]:
    """Return the names of the compression recipes in the package."""
    return list(config.packaged(_PACKAGE))


def load(
    name_or_path: str, changes: Sequence[str] = (), sources: Sequence[Mapping[str, Any]] = ()
) -> CompressionRecipe:
    """Read a compression recipe.

    Args:
        name_or_path: Name of a recipe in the package, or path of a TOML file.
        changes: Changes of the form ``section.key=value``, with the value in TOML; a bare word is a string.
        sources: Values of ``baseline.data``, applied before ``changes``; empty to keep those of the recipe.

    Raises:
        RecipeError: The recipe does not exist, is not valid TOML, or has an unknown key, a wrong type or a value out of
            range.
    """
    values = config.read_file(name_or_path, config.packaged(_PACKAGE))
    if sources and isinstance(table := values.setdefault("baseline", {}), dict):
        table["data"] = [dict(source) for source in sources]
    for change in changes:
        overrides.apply(values, change)
    return from_dict(values)


def from_dict(values: Any) -> CompressionRecipe:
    """Return a recipe from plain values: parsed TOML, or the parsed JSON of ``CompressionRecipe.to_json``.

    Raises:
        RecipeError: A value is missing, unknown or invalid.
    """
    parsed = config.parse(CompressionRecipe, values)
    _check(parsed)
    return parsed


def _check(parsed: CompressionRecipe) -> None:
    """Check the rules that depend on names or on several settings.

    Raises:
        RecipeError: A rule is violated.
    """
    prune, guide, students = parsed.prune, parsed.prune.guide, parsed.students
    rules = {
        f"prune.importance must be one of {', '.join(CRITERIA)}; got {prune.importance!r}": prune.importance
        in CRITERIA,
        f"prune.codec must be one of {', '.join(CODECS)}; got {prune.codec!r}": prune.codec in CODECS,
        f"prune.size must be 0, or from 8 to 1,024; got {prune.size}": not 0 < prune.size < 8,
        "prune.guide needs a loss: features, output or labels above 0": any(
            (guide.features, guide.output, guide.labels)
        ),
        "prune.guide.features compares streams, which prune.groups = 'stream' prunes: leave one of them out": not (
            guide.features and prune.groups == "stream"
        ),
    }
    for name, student in students.items():
        start = f"students.{name}.start must be one of {', '.join(CRITERIA)}; got {student.start!r}"
        rules[start] = student.start in CRITERIA
        rules[f"students.{name} is the name of another network: choose another name"] = name not in _taken(parsed)
        for number, stage in enumerate(student.stages):
            loss = f"students.{name}.stages.{number} needs a loss: features, output, rotation or labels above 0"
            rules[loss] = any((stage.features, stage.output, stage.rotation, stage.labels))
    rules |= _rules_of_weights(parsed)
    for name in parsed.quantize.students:
        rules[f"quantize.students: no student {name!r}; the recipe has {', '.join(students) or 'none'}"] = (
            name in students
        )
    for rule, holds in rules.items():
        if not holds:
            raise RecipeError(f"recipe: {rule}")


def _taken(parsed: CompressionRecipe) -> set[str]:
    """Return the names of the networks that a compression writes in addition to its students."""
    variants = {f"{name}-{precision}" for name in parsed.quantize.students for precision in LIMITS}
    return {"baseline", "strided", "teacher", "teacher-random", *variants}


def _rules_of_weights(parsed: CompressionRecipe) -> dict[str, bool]:
    """Return the rules of the stages that change single weights."""
    sources, rules = ["baseline", "teacher", *parsed.students], {}
    sections: dict[str, Mapping[str, ConnectionsRecipe | ProductRecipe]] = {
        "connections": parsed.connections,
        "product": parsed.product,
    }
    taken = {*_taken(parsed), *parsed.students}
    for section, networks in sections.items():
        for name, each in networks.items():
            known, guide = f"{section}.{name}.network must be one of {', '.join(sources)}", each.guide
            rules[f"{known}; got {each.network!r}"] = each.network in sources
            rules[f"{section}.{name} is the name of another network: choose another name"] = name not in taken
            loss = f"{section}.{name}.guide needs a loss: features, output or labels above 0"
            rules[loss] = any((guide.features, guide.output, guide.labels))
            if isinstance(each, ConnectionsRecipe):
                criteria = f"{section}.{name}.importance must be one of {', '.join(CONNECTION_CRITERIA)}"
                rules[f"{criteria}; got {each.importance!r}"] = each.importance in CONNECTION_CRITERIA
        sources += networks
        taken |= {*networks}
    return rules
