"""Recipes of the stages that change single weights: pruning of connections, and product quantization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from headpose import config
from headpose.coded import MOST_CODEWORDS
from headpose.compression.product import Codec
from headpose.compression.selection import Rule
from headpose.config import CLOSED, Flag, Name, Weight
from headpose.errors import RecipeError
from headpose.recipes.training import OptimiserRecipe

Images = Annotated[int, Field(strict=True, ge=0, le=10**12)]
Length = Annotated[int, Field(strict=True, ge=1, le=1024)]
Codewords = Annotated[int, Field(strict=True, ge=1, le=MOST_CODEWORDS)]
Schedule = Literal["all", "layerwise"]

FIRST, LAST = "first", "last"


@dataclass(frozen=True, slots=True, config=CLOSED)
class GuideRecipe:
    """Losses of a fine-tuning; by default only the loss on the labels.

    Attributes:
        features: Weight of the cosine distance between the network before and after, in the streams of the deeper half
            of the network, after each block; in a network without streams, in the deeper half of the layers that kept
            their width (ours).
        output: Weight of the cosine distance between the output vectors before and after.
        labels: Weight of the task's loss on the labels, as in the paper.
    """

    features: Weight = 0.0
    output: Weight = 0.0
    labels: Weight = 1.0


def without(names: Sequence[str], exempt: Sequence[str], section: str) -> list[str]:
    """Return the layers that are not exempt, in their order.

    Args:
        names: Names of all layers.
        exempt: Names of layers, ``first``, ``last``.
        section: Section of the recipe, for messages.

    Raises:
        RecipeError: An exempt name is no layer, or all layers are exempt.
    """
    left_out = {{FIRST: names[0], LAST: names[-1]}.get(name, name) for name in exempt}
    if unknown := sorted(left_out - set(names)):
        raise RecipeError(f"recipe: {section}: exempt: no layer {unknown[0]}; the layers are {', '.join(names)}")
    if not (left := [name for name in names if name not in left_out]):
        raise RecipeError(f"recipe: {section}: exempt names all layers: leave one out")
    return left


@dataclass(frozen=True, slots=True, config=CLOSED)
class ConnectionsRecipe:
    """A network with fewer connections: kernels of convolutions and weights of dense layers that are zero.

    Attributes:
        network: Network to prune: `baseline`, `teacher`, or the name of a student.
        importance: Criterion: `correlation` (Sun et al. 2016, Zeng et al. 2018), `l1`, `taylor` or `random`.
        rule: Connections that one step removes, of those that are left.
        exempt: Layers that are not pruned: names of layers, `first`, `last`.
        schedule: `all` prunes every layer in each step; `layerwise` one layer per step, in network order.
        steps: Number of steps; of passes over the network for `layerwise`.
        images: Number of training images after each step but the last.
        last_images: Number of training images after the last step.
        optimiser: Optimiser of the trainings.
        guide: Losses of the trainings.
    """

    network: Name
    importance: str = "correlation"
    rule: Annotated[Rule, config.table(Rule)] = Rule("share", 0.5)
    exempt: tuple[str, ...] = (FIRST, LAST)
    schedule: Schedule = "all"
    steps: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    images: Images = 10_000
    last_images: Images = 100_000
    optimiser: OptimiserRecipe = OptimiserRecipe(rate=2e-4, weight_decay=0.05, warmup=1_000)
    guide: GuideRecipe = field(default_factory=GuideRecipe)


@dataclass(frozen=True, slots=True, config=CLOSED)
class ProductRecipe:
    """A network stored by product quantization, and the training of its codewords.

    Attributes:
        network: Network to quantize: `baseline`, `teacher`, or the name of a student or of `connections`.
        codewords: Maximum number of codewords of a layer; at most a quarter of its vectors.
        length: Weights of a vector; 1 for scalar quantization.
        kernel_length: Weights of a vector in layers of 3x3 kernels; 1 for scalar quantization.
        signed: Whether codewords have signs (Stock et al. 2020). Otherwise they are absolute values, and each weight
            has a sign bit (Zeng et al. 2018).
        exempt: Layers that are not quantized: names of layers, `first`, `last`.
        schedule: `all` quantizes every layer at once; `layerwise` quantizes one layer after the other, in network
            order, and trains the whole network after each (Zeng et al. 2018).
        images: Number of training images after each layer but the last; only for `layerwise`.
        last_images: Number of training images when all layers are quantized.
        optimiser: Optimiser of the trainings.
        guide: Losses of the trainings.
    """

    network: Name
    codewords: Codewords = MOST_CODEWORDS
    length: Length = 4
    kernel_length: Length = 9
    signed: Flag = False
    exempt: tuple[str, ...] = (FIRST, LAST)
    schedule: Schedule = "all"
    images: Images = 2_000
    last_images: Images = 100_000
    optimiser: OptimiserRecipe = OptimiserRecipe(rate=2e-4, weight_decay=0.0, warmup=1_000)
    guide: GuideRecipe = field(default_factory=GuideRecipe)

    @property
    def codec(self) -> Codec:
        return Codec(self.codewords, self.length, self.kernel_length, self.signed)
