"""Training recipes: TOML files as frozen dataclasses. Unknown keys and values of a wrong type are errors."""

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
from headpose.networks.spec import PlainSpec, ResNetSpec, Spec, parameters
from headpose.recipes import overrides, provenance
from headpose.recipes.data import DataRecipe, Degrees, Seed, has_landmarks
from headpose.recipes.loss import LossRecipe
from headpose.recipes.network import NetworkRecipe, read_network
from headpose.types import CropSpec

Rate = Annotated[float, Field(strict=True, gt=0, le=100)]
Scale = Annotated[float, Field(strict=True, ge=0.1, le=10)]
Bound = Annotated[float, Field(strict=True, ge=-100, le=100)]
Sides = Annotated[float, Field(strict=True, ge=0, le=1)]
"""Length relative to the side of a square."""

_PACKAGE = "headpose.recipes"
_MOST_PARAMETERS = 500 * 10**6  # ONNX files are limited to 2 GB
_OUTPUTS: dict[str, tuple[str, ...]] = {
    "head-pose": ("6d", "euler"),
    "classification": ("classes",),
    "landmarks": ("landmarks",),
}
RESUMABLE = re.compile(r"run\.(threads|workers)|data\.cache_gib|data\.sources\.\d+\.(path|landmarks)")
"""Settings that may change when a run is resumed."""


@dataclass(frozen=True, slots=True, config=CLOSED)
class AugmentRecipe:
    """Augmentation of training faces. Probabilities of 0 and empty ranges disable a step.

    The corruptions of the robustness sets (25x25 motion-blur kernel, brightness -102, black 35x35 squares) are not
    used; blur kernels, brightness changes and occluders differ from them.

    Attributes:
        share: Share of the faces that are augmented; the others get the plain crop.
        scale: Range of the crop's side, in sides of the tight box; log-uniform.
        shift: Standard deviation of the crop's shift, in sides of the tight box.
        stretch: Standard deviation of the logarithm of the box's aspect ratio, which differs between detectors.
        turn: Standard deviation of the in-plane rotation, degrees.
        wide_turn: Probability of a uniform rotation within ±``wide_turn_degrees`` instead.
        wide_turn_degrees: Limit of that rotation, degrees.
        cut: Probability that the edge of the picture cuts the face; 0 to a half of the tight box is filled.
        flip: Probability of the mirror image.
        brightness: Probability of a change of brightness only, by up to a quarter of the range.
        shade: Probability of a brightness gradient across the picture.
        light: Probability of a change of brightness, contrast, gamma or color.
        grey: Probability of a black-and-white picture.
        blur: Probability of defocus or motion blur.
        motion_blur: Maximum length of motion blur, in sides of the crop.
        low_resolution: Probability of downscaling and upscaling.
        noise: Probability of sensor noise.
        jpeg: Probability of JPEG compression.
        occlude: Probability of colored rectangles that cover parts of the crop.
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
    """Optimizer and learning-rate schedule.

    Attributes:
        kind: Name of the optimiser.
        rate: Learning rate after the warm-up.
        weight_decay: Weight decay of convolutions and dense layers; biases and BatchNorm have none.
        momentum: Momentum of ``sgd``.
        schedule: ``htd`` is the hyperbolic-tangent decay of Hsueh et al. ("Stochastic Gradient
            Descent with Hyperbolic-Tangent Decay on Classification", WACV 2019), rate *
            (1 - tanh(L + (U - L) t / T)) / 2 with L, U = ``htd_bounds``; ``cosine`` decays to 0;
            ``steps`` divides the rate by 10 at each of ``drops``.
        htd_bounds: L and U of ``htd``.
        drops: Points of the run, as shares of it, at which ``steps`` divides the rate by 10.
        warmup: Number of images over which the rate rises from 0; a tenth of the run if the run is not longer.
        clip: Maximum norm of the gradient; 0 for no limit.
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
    """Part of a run with a smaller input than the model's, which trains faster.

    Attributes:
        size: Side of the input, pixels.
        until: Number of images, from the start of the run, after which this part ends.
    """

    size: Side
    until: Images


@dataclass(frozen=True, slots=True, config=CLOSED)
class RunRecipe:
    """Length of a run, batches, precision, and intervals of checkpoints and validations.

    Attributes:
        images: Number of images shown in the run.
        growing: Parts of the run with a smaller input than the crop's size, by ascending ``until``.
        batch: Images per step, of all processes together.
        accumulate: Number of parts into which a batch is split, for devices with little memory.
        frozen_norms: Whether BatchNorm uses its stored statistics and does not update them.
        seed: Random seed of the initial weights, the order of the images and the augmentation.
        ema: Decay per step of the moving average of the weights that is validated and exported; 0 for none.
        bf16: bfloat16 autocast; ``auto`` uses it if the GPU or CPU has instructions for it.
        checkpoint_images, validate_images: Number of images from one to the next.
        workers: Processes that load pictures, at most the number of processors; 0 loads in the training process.
        threads: Threads of the training process, at most the number of processors; 0 for torch's default.
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


@dataclass(frozen=True, slots=True, config=CLOSED)
class Recipe:
    """All settings of a training run.

    Attributes:
        name: Name of the network and of its files.
        license: License of the trained weights: ``permissive`` (any use), ``research-only`` or ``unknown``.
        data_note: Description of the training data; the network's file and card repeat these three keys.
        license_terms: Terms of use of the weights, as free text.
        network: Widths of the network, stage by stage or, for a network that has been pruned, block by block; or the
            layers of a plain network, for landmarks.
        task: What the network predicts: ``head-pose``, ``classification`` (output ``classes``) or ``landmarks``, the
            68 points of a face (a plain network).
    """

    name: Name
    license: License
    data_note: Text
    license_terms: Text
    data: DataRecipe
    network: Annotated[NetworkRecipe | ResNetSpec | PlainSpec, BeforeValidator(read_network)]
    crop: Annotated[CropSpec, config.table(CropSpec)]
    run: RunRecipe
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    task: Literal["head-pose", "classification", "landmarks"] = "head-pose"

    @property
    def spec(self) -> Spec:
        """Widths of the network."""
        return self.network.build() if isinstance(self.network, NetworkRecipe) else self.network

    @property
    def statement(self) -> provenance.Statement:
        """License and training data that the trained network will state."""
        return provenance.Statement(self.license, self.license_terms, self.data_note)

    def stating(self, statement: provenance.Statement) -> Recipe:
        """Return the recipe with another statement."""
        return dataclasses.replace(self, **dataclasses.asdict(statement))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)


def names() -> list[str]:
    """Return the names of the recipes of this package."""
    return list(config.packaged(_PACKAGE))


def load(name_or_path: str, changes: Sequence[str] = (), sources: Sequence[Mapping[str, Any]] = ()) -> Recipe:
    """Read a recipe. If its data are replaced, its statement is derived from the new data (see ``provenance``).

    Args:
        name_or_path: Name of a recipe of this package, TOML file, or ``recipe.json`` of a run.
        changes: Changes ``section.key=value`` with the value in TOML; a bare word is a string.
        sources: Sources that replace those of the recipe, applied before ``changes``; empty for none.

    Raises:
        RecipeError: The recipe does not exist, the file is damaged, or a key or value is invalid.
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
    """Return the recipe with the statement derived from its data.

    Args:
        recipe: Recipe.
        changed: As in ``provenance.of_sources``.
        said: As in ``provenance.of_sources``.
    """
    if recipe.task != "head-pose" and not changed:
        return recipe
    places = [(source.kind, source.path) for source in recipe.data.sources]
    return recipe.stating(provenance.of_sources(recipe.statement, places, changed=changed, said=said))


def load_saved(path: Path, changes: Sequence[str] = (), changed_data: bool = False) -> Recipe:
    """Read the recipe of a run that is resumed.

    Args:
        path: JSON file written from ``Recipe.to_json``.
        changes: Changes as for ``load``, restricted to ``RESUMABLE`` settings.
        changed_data: The data may have changed, so that sources with another path affect the statement.

    Raises:
        RecipeError: The file is damaged, or a change would affect the result of the run.
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
    return recipe  # a changed path alone means moved data; their hash is compared


def from_dict(values: Any) -> Recipe:
    """Create a recipe from plain values: parsed TOML, or the content of ``Recipe.to_json``."""
    recipe = config.parse(Recipe, values)
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    """Check rules that involve several settings."""
    run, scale, drops = recipe.run, recipe.augment.scale, recipe.optimiser.drops
    untils, size = [part.until for part in run.growing], parameters(recipe.spec)
    kinds = {source.kind for source in recipe.data.sources}
    by_pose = recipe.data.density.max_repeats or any(source.share for source in recipe.data.sources)
    rules = {
        f"network.output {recipe.spec.output!r} does not go with task {recipe.task!r}": recipe.spec.output
        in _OUTPUTS[recipe.task],
        f"a plain network has one input size: crop.size is network.size, {recipe.crop.size} here, and run.growing is "
        "empty": not isinstance(recipe.spec, PlainSpec) or (recipe.spec.size == recipe.crop.size and not run.growing),
        f"network has {size / 1e6:,.0f} M parameters, {_MOST_PARAMETERS / 1e6:,.0f} M are the most": size
        <= _MOST_PARAMETERS,
        f"run.growing: each until must be above the one before and below run.images, {run.images}; got {untils}; "
        "--set 'run.growing=[]' trains at one size": untils == sorted({*untils}) and untils[-1:] < [run.images],
        f"optimiser.drops ascend; got {list(drops)}": list(drops) == sorted({*drops}),
        "data.density and data.sources.N.share are for tasks with faces": not by_pose
        or recipe.task != "classification",
        "task 'landmarks' takes sources of kind 300w-lp, and of kind manifest with their landmarks; no other task has "
        "data.sources.N.landmarks": all(map(has_landmarks, recipe.data.sources))
        if recipe.task == "landmarks"
        else not any(source.landmarks for source in recipe.data.sources),
        "data.sources has negatives, which teach the output face alone: add it to network.outputs, or leave them out": (
            "negatives" not in kinds or recipe.task != "head-pose" or "face" in recipe.spec.outputs
        ),
        "data.sources has negatives and no faces": kinds != {"negatives"},
        f"augment.scale has the smaller number first; got {list(scale)}": scale[0] <= scale[1],
    }
    for rule, holds in rules.items():
        if not holds:
            raise RecipeError(f"recipe: {rule}")
