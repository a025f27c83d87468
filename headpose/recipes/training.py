"""Recipes: a TOML file -> frozen dataclasses. An unknown key, or a value of the wrong type, is an error."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from headpose import config, licenses
from headpose.config import (
    CLOSED,
    Batch,
    Channels,
    Decay,
    Flag,
    Images,
    Name,
    Probability,
    Processors,
    Share,
    Side,
    Text,
)
from headpose.errors import RecipeError
from headpose.licenses import License
from headpose.networks.spec import Block, Output, ResNetSpec, StemSpec, StrideOn, parameters, resnet
from headpose.recipes import overrides, provenance
from headpose.recipes.data import DataRecipe, Degrees, Seed
from headpose.types import CropSpec

Rate = Annotated[float, Field(strict=True, gt=0, le=100)]
Scale = Annotated[float, Field(strict=True, ge=0.1, le=10)]
Bound = Annotated[float, Field(strict=True, ge=-100, le=100)]
Sides = Annotated[float, Field(strict=True, ge=0, le=1)]
"""A length in sides of a square."""

_PACKAGE = "headpose.recipes"
_MOST_PARAMETERS = 500 * 10**6  # an ONNX file ends at 2 GB
RESUMABLE = re.compile(r"run\.(threads|workers)|data\.cache_gib|data\.sources\.\d+\.path")
"""Settings that a run may change when it goes on."""


@dataclass(frozen=True, slots=True, config=CLOSED)
class NetworkRecipe:
    """Arguments of ``spec.resnet``, one list value for each stage.

    Attributes:
        block: ``basic`` has two 3x3 convolutions, ``bottleneck`` 1x1, 3x3 and 1x1.
        depths: number of blocks in each stage.
        inner: channels inside the blocks of each stage.
        out: channels of the residual stream in each stage.
        stem: the first convolution.
        first_stride: stride of the first stage; all later stages have a stride of 2.
        head: widths of hidden dense layers after the average pool.
        output: ``6d`` (a rotation), ``euler`` (three angles), or ``classes`` of a classifier.
        stride_on: convolution of a bottleneck block that has the stride.
        classes: number of classes of a classifier; 0 for other networks.
    """

    block: Block
    depths: Annotated[tuple[Annotated[int, Field(strict=True, ge=1, le=1000)], ...], Field(max_length=8)]
    inner: tuple[Channels, ...]
    out: tuple[Channels, ...]
    stem: StemSpec
    first_stride: Annotated[int, Field(strict=True, ge=1, le=8)] = 1
    head: Annotated[tuple[Channels, ...], Field(max_length=16)] = ()
    output: Output = "6d"
    stride_on: StrideOn = "3x3"
    classes: Annotated[int, Field(strict=True, ge=0, le=65536)] = 0

    def __post_init__(self) -> None:
        self.build()  # a ValueError now, not when the network is made

    def build(self) -> ResNetSpec:
        return resnet(**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})


@dataclass(frozen=True, slots=True, config=CLOSED)
class AugmentRecipe:
    """What training does to a face. Probabilities of 0 and empty ranges switch a step off.

    The corruptions of the robustness sets (a 25x25 motion-blur kernel, brightness minus 102, black
    35x35 squares) are not among them: blur kernels, darkness and occluders are others.

    Attributes:
        share: share of the faces that are augmented; the others get the plain crop.
        scale: range of the crop's side, in sides of the tight box; log-uniform.
        shift: standard deviation of the crop's shift, in sides of the tight box.
        stretch: standard deviation of the logarithm of the box's aspect ratio, which differs between detectors.
        turn: standard deviation of the in-plane rotation, degrees.
        wide_turn: probability of a uniform rotation within ±``wide_turn_degrees`` instead.
        wide_turn_degrees: limit of that rotation, degrees.
        cut: probability that the edge of the picture cuts the face; 0 to a half of the tight box is filled.
        flip: probability of the mirror image.
        brightness: probability of a change of brightness only, by up to a quarter of the range.
        shade: probability of a brightness gradient across the picture.
        light: probability of a change of brightness, contrast, gamma or colour.
        grey: probability of a black-and-white picture.
        blur: probability of defocus or motion blur.
        motion_blur: maximum length of motion blur, in sides of the crop.
        low_resolution: probability of downscaling and upscaling.
        noise: probability of sensor noise.
        jpeg: probability of JPEG compression.
        occlude: probability of coloured rectangles that cover parts of the crop.
    """

    share: Probability = 1.0
    scale: tuple[Scale, Scale] = (1.1, 1.65)
    shift: Sides = 0.04
    stretch: Annotated[float, Field(strict=True, ge=0, le=2)] = 0.05
    turn: Degrees = 12.0
    wide_turn: Probability = 0.1
    wide_turn_degrees: Degrees = 45.0
    cut: Probability = 0.0
    flip: Probability = 0.5
    brightness: Probability = 0.0
    shade: Probability = 0.0
    light: Probability = 0.8
    grey: Probability = 0.1
    blur: Probability = 0.25
    motion_blur: Annotated[float, Field(strict=True, ge=0, le=0.5)] = 0.125
    low_resolution: Probability = 0.15
    noise: Probability = 0.15
    jpeg: Probability = 0.2
    occlude: Probability = 0.3


@dataclass(frozen=True, slots=True, config=CLOSED)
class OptimiserRecipe:
    """The optimiser and its learning rate over the run.

    Attributes:
        kind: name of the optimiser.
        rate: learning rate after the warm-up.
        weight_decay: weight decay of convolutions and dense layers; biases and BatchNorm have none.
        momentum: momentum of ``sgd``.
        schedule: ``htd`` is the hyperbolic-tangent decay of Hsueh et al. ("Stochastic Gradient
            Descent with Hyperbolic-Tangent Decay on Classification", WACV 2019), rate *
            (1 - tanh(L + (U - L) t / T)) / 2 with L, U = ``htd_bounds``; ``cosine`` decays to 0;
            ``steps`` divides the rate by 10 at each of ``drops``.
        htd_bounds: L and U of ``htd``.
        drops: points of the run, as shares of it, at which ``steps`` divides the rate by 10.
        warmup: number of images over which the rate rises from 0; a tenth of the run if the run is not longer.
        clip: maximum norm of the gradient; 0 for no limit.
    """

    kind: Literal["adamw", "adam", "sgd"] = "adamw"
    rate: Rate = 2e-3
    weight_decay: Annotated[float, Field(strict=True, ge=0, le=100)] = 0.02
    momentum: Decay = 0.9
    schedule: Literal["cosine", "htd", "steps"] = "cosine"
    htd_bounds: tuple[Bound, Bound] = (-6.0, 3.0)
    drops: Annotated[tuple[Share, ...], Field(max_length=100)] = ()
    warmup: Annotated[int, Field(strict=True, ge=0, le=10**12)] = 20_000
    clip: Annotated[float, Field(strict=True, ge=0, le=10**6)] = 1.0


@dataclass(frozen=True, slots=True, config=CLOSED)
class SmallInput:
    """A part of a run whose input is smaller than the model's: cheap images first.

    Attributes:
        size: side of the input, pixels.
        until: number of images, from the start of the run, after which this part ends.
    """

    size: Side
    until: Images


@dataclass(frozen=True, slots=True, config=CLOSED)
class RunRecipe:
    """How long, and how often what is written.

    Attributes:
        images: number of images shown in the run.
        growing: parts of the run with a smaller input than the crop's size, by ascending ``until``.
        batch: images per step, of all processes together.
        accumulate: number of parts into which a batch is split, for devices with little memory.
        frozen_norms: whether BatchNorm uses its stored statistics and does not update them.
        seed: random seed of the initial weights, the order of the images and the augmentation.
        ema: decay per step of the moving average of the weights that is validated and exported; 0 for none.
        bf16: bfloat16 autocast; ``auto`` uses it if the GPU or CPU has instructions for it.
        checkpoint_images, validate_images: number of images from one to the next.
        workers: processes that load pictures, at most the number of processors; 0 loads in the training process.
        threads: threads of the training process, at most the number of processors; 0 for torch's default.
    """

    images: Images
    growing: Annotated[tuple[SmallInput, ...], Field(max_length=100)] = ()
    batch: Batch = 64
    accumulate: Batch = 1
    frozen_norms: Flag = False
    seed: Seed = 0
    ema: Decay = 0.999
    bf16: Literal["auto", "on", "off"] = "auto"
    checkpoint_images: Images = 20_000
    validate_images: Images = 50_000
    workers: Processors = 0
    threads: Processors = 0


def _network(values: Any) -> Any:
    """Says of a network that is wrong what is wrong with it, where a union only says that nothing in it fits."""
    if isinstance(values, ResNetSpec):
        return values
    by_blocks = isinstance(values, dict) and "stages" in values
    return config.read(ResNetSpec if by_blocks else NetworkRecipe, values)


@dataclass(frozen=True, slots=True, config=CLOSED)
class Recipe:
    """Everything that decides a training run.

    Attributes:
        name: name of the network and of its files.
        license: license of the trained weights: ``permissive`` (any use), ``research-only`` or ``unknown``.
        data_note: description of the training data; the network's file and card repeat these three keys.
        license_terms: terms of use of the weights, as free text.
        network: widths of the network, stage by stage or, for a network that has been pruned, block by block.
        task: what the network predicts; a classifier has the output ``classes``.
    """

    name: Name
    license: License
    data_note: Text
    license_terms: Text
    data: DataRecipe
    network: Annotated[NetworkRecipe | ResNetSpec, BeforeValidator(_network)]
    crop: Annotated[CropSpec, config.table(CropSpec)]
    run: RunRecipe
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)
    task: Literal["head-pose", "classification"] = "head-pose"

    @property
    def spec(self) -> ResNetSpec:
        """Widths of the network."""
        return self.network if isinstance(self.network, ResNetSpec) else self.network.build()

    @property
    def statement(self) -> provenance.Statement:
        """What the trained network will say of its origin."""
        return provenance.Statement(self.license, self.license_terms, self.data_note)

    def stating(self, statement: provenance.Statement) -> Recipe:
        """The same with another statement."""
        return dataclasses.replace(self, **dataclasses.asdict(statement))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)


def names() -> list[str]:
    """Names of the recipes that come with the package."""
    return list(config.packaged(_PACKAGE))


def load(name_or_path: str, changes: Sequence[str] = (), sources: Sequence[Mapping[str, Any]] = ()) -> Recipe:
    """Reads a recipe. Its statement is of the data that it names: with others it is theirs (``provenance``).

    Args:
        name_or_path: of a recipe of the package, a TOML file, or the ``recipe.json`` of a run.
        changes: ``section.key=value`` with the value in TOML; a bare word is taken as a string.
        sources: in place of the recipe's own, if there are any; before ``changes``.

    Raises:
        RecipeError: no such recipe, a broken file, an unknown key, a wrong type, a value out of range.
    """
    values = licenses.with_current_keys(config.read_file(name_or_path, config.packaged(_PACKAGE)))
    own = copy.deepcopy(values.get("data"))
    if sources:
        table = values.setdefault("data", {})
        if isinstance(table, dict):
            table["sources"] = [dict(source) for source in sources]
    for change in changes:
        overrides.apply(values, licenses.with_current_key(change))
    recipe = from_dict(values)
    changed = provenance.places(own) != provenance.places(dataclasses.asdict(recipe.data))
    return restate(recipe, changed=True, said=provenance.said(changes)) if changed else recipe


def restate(recipe: Recipe, *, changed: bool, said: Collection[str] = ()) -> Recipe:
    """The recipe with the statement of the data that are there now, for work that is about to read them.

    ``changed`` and ``said``: see ``provenance.of_sources``.
    """
    if recipe.task != "head-pose" and not changed:
        return recipe
    places = [(source.kind, source.path) for source in recipe.data.sources]
    return recipe.stating(provenance.of_sources(recipe.statement, places, changed=changed, said=said))


def load_saved(path: Path, changes: Sequence[str] = (), changed_data: bool = False) -> Recipe:
    """The recipe of a run that goes on: what ``Recipe.to_json`` wrote, with settings that change no result.

    Args:
        path: the JSON file.
        changes: as for ``load``, of ``RESUMABLE`` settings alone.
        changed_data: whether the data may be others: sources with another path then count into its statement.

    Raises:
        RecipeError: the file is damaged, or a setting would make it another run.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"cannot read the recipe of the run, {path}: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"cannot read the recipe of the run, {path}: an object is wanted")
    own = copy.deepcopy(values.get("data"))
    for change in changes:
        if not RESUMABLE.fullmatch(change.partition("=")[0]):
            raise RecipeError(
                f"--set {change} would make it another run: leave it out, or start a run in another folder; "
                "a run that goes on can change its threads, workers, cache and where its data lie"
            )
        overrides.apply(values, change)
    try:
        recipe = from_dict(licenses.with_current_keys(values))
    except RecipeError as error:
        raise RecipeError(f"{path}: {str(error).removeprefix('recipe: ')}") from error
    if changed_data and provenance.places(own) != provenance.places(dataclasses.asdict(recipe.data)):
        began = provenance.Origin("before", "", recipe.statement)
        return recipe.stating(provenance.combine(restate(recipe, changed=True).statement, began))
    return recipe  # other paths alone are the same data elsewhere: their hash is compared


def from_dict(values: Any) -> Recipe:
    """A recipe from plain values: parsed TOML, or ``Recipe.to_json`` read back."""
    recipe = config.parse(Recipe, values)
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    """What no setting can say of itself alone."""
    run, scale, drops = recipe.run, recipe.augment.scale, recipe.optimiser.drops
    untils, size = [part.until for part in run.growing], parameters(recipe.spec)
    by_pose = recipe.data.density.max_repeats or any(source.share for source in recipe.data.sources)
    rules = {
        f"network.output {recipe.spec.output!r} does not go with task {recipe.task!r}": (
            recipe.spec.output == "classes"
        )
        == (recipe.task == "classification"),
        f"network has {size / 1e6:,.0f} M parameters, {_MOST_PARAMETERS / 1e6:,.0f} M are the most": size
        <= _MOST_PARAMETERS,
        f"run.growing: until ascends, below run.images, {run.images}; got {untils}; --set 'run.growing=[]' "
        "trains at one size": untils == sorted({*untils}) and untils[-1:] < [run.images],
        f"optimiser.drops ascend; got {list(drops)}": list(drops) == sorted({*drops}),
        "data.density and data.sources.N.share are for task 'head-pose'": not by_pose or recipe.task == "head-pose",
        f"augment.scale has the smaller number first; got {list(scale)}": scale[0] <= scale[1],
    }
    for rule, holds in rules.items():
        if not holds:
            raise RecipeError(f"recipe: {rule}")
