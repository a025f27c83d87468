"""Recipes: a TOML file -> frozen dataclasses. An unknown key, or a value of the wrong type, is an error."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from headpose.errors import RecipeError
from headpose.training import config, overrides
from headpose.training.spec import Block, Output, ResNetSpec, StemSpec, StrideOn, resnet
from headpose.types import CropSpec

Range = tuple[float, float]
_PACKAGE = "headpose.recipes"
_PROBABILITIES = (
    "share",
    "wide_turn",
    "flip",
    "brightness",
    "shade",
    "light",
    "grey",
    "blur",
    "low_resolution",
    "noise",
    "jpeg",
    "occlude",
)
RESUMABLE = re.compile(r"run\.(threads|workers)|data\.cache_gib|data\.sources\.\d+\.path")
"""Settings that a run may change when it goes on."""


@dataclass(frozen=True, slots=True)
class SourceRecipe:
    """One set of training faces.

    Attributes:
        kind: ``300w-lp`` (a folder in 300W-LP's layout), ``manifest`` (a CSV file), or for a classifier
            ``cifar-10`` (a folder in the layout of CIFAR-10's binary version).
        path: the folder or the file; relative to the working directory.
        weight: multiplies the weights of its samples in the loss.
        repeat: how often an epoch passes over it; 0.5 shows every other sample, chosen anew each epoch.
        near_duplicates: group near-duplicate pictures (perceptual hash) so that none of them is on
            both sides of the split; for sets that do not name their source photographs.
    """

    kind: Literal["300w-lp", "manifest", "cifar-10"]
    path: str
    weight: float = 1.0
    repeat: float = 1.0
    near_duplicates: bool = False


@dataclass(frozen=True, slots=True)
class DataRecipe:
    """The examples, and the share of source photographs that is held out to validate on."""

    sources: tuple[SourceRecipe, ...]
    validation: float = 0.08
    split_seed: int = 0
    cache_gib: float = 2.0


@dataclass(frozen=True, slots=True)
class NetworkRecipe:
    """Arguments of ``spec.resnet``, one list value for each stage."""

    block: Block
    depths: tuple[int, ...]
    inner: tuple[int, ...]
    out: tuple[int, ...]
    stem: StemSpec
    first_stride: int = 1
    head: tuple[int, ...] = ()
    output: Output = "6d"
    stride_on: StrideOn = "3x3"
    classes: int = 0

    def __post_init__(self) -> None:
        self.build()  # a ValueError now, not when the network is made

    def build(self) -> ResNetSpec:
        return resnet(**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})


@dataclass(frozen=True, slots=True)
class AugmentRecipe:
    """What training does to a face. Probabilities of 0 and empty ranges switch a step off.

    The corruptions of the robustness sets (a 25x25 motion-blur kernel, brightness minus 102, black
    35x35 squares) are not among them: blur kernels, darkness and occluders are others.

    Attributes:
        share: of the faces that anything is done to; the others are cut plainly.
        scale: of the crop, in tight boxes; drawn evenly on a logarithmic scale.
        shift: standard deviation of the crop's centre, in sides of the tight box.
        stretch: standard deviation of the log of the box's aspect ratio: detectors disagree on it.
        turn: standard deviation of the in-plane turn, degrees.
        wide_turn: probability of an even draw from +-``wide_turn_degrees`` instead.
        flip: probability of the mirror image.
        brightness: probability of a change of brightness alone, by up to a quarter of the range.
        shade: probability of light that falls off to one side, by the picture and not by the face's shape.
        light: probability of a change of brightness, contrast, gamma or colour.
        grey: probability of a black-and-white picture.
        blur: probability of defocus or motion blur.
        motion_blur: longest motion blur, in sides of the crop.
        low_resolution: probability of losing pixels.
        noise: probability of sensor noise.
        jpeg: probability of JPEG compression.
        occlude: probability of covering parts with coloured rectangles.
    """

    share: float = 1.0
    scale: Range = (1.1, 1.65)
    shift: float = 0.04
    stretch: float = 0.05
    turn: float = 12.0
    wide_turn: float = 0.1
    wide_turn_degrees: float = 45.0
    flip: float = 0.5
    brightness: float = 0.0
    shade: float = 0.0
    light: float = 0.8
    grey: float = 0.1
    blur: float = 0.25
    motion_blur: float = 0.125
    low_resolution: float = 0.15
    noise: float = 0.15
    jpeg: float = 0.2
    occlude: float = 0.3


@dataclass(frozen=True, slots=True)
class OptimiserRecipe:
    """The optimiser and its learning rate over the run.

    Attributes:
        schedule: ``htd`` is the hyperbolic-tangent decay of Hsueh et al. ("Stochastic Gradient
            Descent with Hyperbolic-Tangent Decay on Classification", WACV 2019), rate *
            (1 - tanh(L + (U - L) t / T)) / 2 with L, U = ``htd_bounds``; ``cosine`` falls to 0;
            ``steps`` divides the rate by 10 at each of ``drops``, shares of the run.
        warmup: images over which the rate rises from 0.
        clip: largest norm of the gradient; 0 for none.
    """

    kind: Literal["adamw", "adam", "sgd"] = "adamw"
    rate: float = 2e-3
    weight_decay: float = 0.02
    momentum: float = 0.9
    schedule: Literal["cosine", "htd", "steps"] = "cosine"
    htd_bounds: Range = (-6.0, 3.0)
    drops: tuple[float, ...] = ()
    warmup: int = 20_000
    clip: float = 1.0


@dataclass(frozen=True, slots=True)
class SmallInput:
    """A part of a run whose input is smaller than the model's: cheap images first.

    Attributes:
        size: side of the input, pixels.
        until: the part ends when this many images have been shown.
    """

    size: int
    until: int


@dataclass(frozen=True, slots=True)
class RunRecipe:
    """How long, and how often what is written.

    Attributes:
        images: shown in all.
        growing: parts with a smaller input before the crop's own size, by ascending ``until``.
        batch: images a step, of all processes together.
        accumulate: parts in which a batch goes through the network, for a device whose memory is small.
        frozen_norms: BatchNorm keeps the statistics that it has and uses them, as in a network that is done.
        seed: of the initial weights, the order and the augmentation.
        ema: decay of the average of the weights, a step; 0 for none. It is what is validated and exported.
        bf16: ``auto`` uses bfloat16 autocast where the GPU or the CPU computes in it.
        checkpoint_images, validate_images: interval of each.
        workers: processes that load pictures; 0 loads in the training process.
        threads: of the training process; 0 leaves torch's choice.
    """

    images: int
    growing: tuple[SmallInput, ...] = ()
    batch: int = 64
    accumulate: int = 1
    frozen_norms: bool = False
    seed: int = 0
    ema: float = 0.999
    bf16: Literal["auto", "on", "off"] = "auto"
    checkpoint_images: int = 20_000
    validate_images: int = 50_000
    workers: int = 0
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a training run.

    Attributes:
        name: of the model.
        lane: ``clean`` or ``research``, and ``data``, ``licence``: what the model's card will say.
        network: its widths, stage by stage or, for a network that has been pruned, block by block.
        task: what is learnt; a classifier's network has the output ``classes``.
    """

    name: str
    lane: Literal["clean", "research"]
    data_note: str
    licence: str
    data: DataRecipe
    network: NetworkRecipe | ResNetSpec
    crop: CropSpec
    run: RunRecipe
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)
    task: Literal["head-pose", "classification"] = "head-pose"

    @property
    def spec(self) -> ResNetSpec:
        """Widths of the network."""
        return self.network if isinstance(self.network, ResNetSpec) else self.network.build()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)


def names() -> list[str]:
    """Names of the recipes that come with the package."""
    return list(config.packaged(_PACKAGE))


def load(name_or_path: str, changes: Sequence[str] = ()) -> Recipe:
    """Reads a recipe.

    Args:
        name_or_path: of a recipe of the package, a TOML file, or the ``recipe.json`` of a run.
        changes: ``section.key=value`` with the value in TOML; a bare word is taken as a string.

    Raises:
        RecipeError: no such recipe, a broken file, an unknown key, a wrong type, a value out of range.
    """
    values = config.read_file(name_or_path, config.packaged(_PACKAGE))
    for change in changes:
        overrides.apply(values, change)
    return from_dict(values)


def load_saved(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe of a run that goes on: what ``Recipe.to_json`` wrote, with settings that change no result.

    Args:
        path: the JSON file.
        changes: as for ``load``, of ``RESUMABLE`` settings alone.

    Raises:
        RecipeError: the file is damaged, or a setting would make it another run.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot read the recipe of the run, {path}: {error}") from error
    for change in changes:
        if not RESUMABLE.fullmatch(change.partition("=")[0]):
            raise RecipeError(
                f"--set {change} would make it another run: leave it out, or start anew in another folder; "
                "a run that goes on can change its threads, workers, cache and where its data lie"
            )
        overrides.apply(values, change)
    return from_dict(values)


def from_dict(values: dict[str, Any]) -> Recipe:
    """A recipe from plain values: parsed TOML, or ``Recipe.to_json`` read back."""
    network = values.get("network")
    if isinstance(network, dict):  # dacite says of a union only that nothing in it fits
        values = {**values, "network": config.parse(ResNetSpec if "stages" in network else NetworkRecipe, network)}
    recipe = config.parse(Recipe, values)
    if (recipe.spec.output == "classes") != (recipe.task == "classification"):
        raise RecipeError(f"recipe: network.output {recipe.spec.output!r} does not go with task {recipe.task!r}")
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    run, augment, data = recipe.run, recipe.augment, recipe.data
    untils = tuple(part.until for part in run.growing)
    rules = {
        "data.sources needs at least one entry": bool(data.sources),
        "data.validation is a share above 0 and below 1": 0 < data.validation < 1,
        "data.sources: weight and repeat are above 0": all(s.weight > 0 and s.repeat > 0 for s in data.sources),
        "run.images, run.batch and run.accumulate are above 0": min(run.images, run.batch, run.accumulate) > 0,
        "run.checkpoint_images and run.validate_images are above 0": min(run.checkpoint_images, run.validate_images)
        > 0,
        "run.growing: until ascends, below run.images": list(untils) == sorted({*untils})
        and untils[-1:] < (run.images,),
        "run.growing: size is 8 to 1024 pixels": all(8 <= part.size <= 1024 for part in run.growing),
        "run.ema is at least 0 and below 1": 0 <= run.ema < 1,
        "optimiser.rate is above 0": recipe.optimiser.rate > 0,
        "optimiser.drops: shares of the run, ascending": list(recipe.optimiser.drops)
        == sorted({*recipe.optimiser.drops})
        and all(0 < drop < 1 for drop in recipe.optimiser.drops),
        "augment.scale is two numbers above 0, the smaller first": 0 < augment.scale[0] <= augment.scale[1],
        "augment.motion_blur is between 0 and 0.5": 0 <= augment.motion_blur <= 0.5,
        "augment: probabilities are between 0 and 1": all(0 <= getattr(augment, name) <= 1 for name in _PROBABILITIES),
    }
    for rule, holds in rules.items():
        if not holds:
            raise RecipeError(f"recipe: {rule}")
