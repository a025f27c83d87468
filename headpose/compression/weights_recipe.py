"""Recipes of the stages that change single weights of a network: product quantization."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from headpose.coded import MOST_CODEWORDS
from headpose.compression.product import Codec
from headpose.config import CLOSED, Flag, Name, Weight
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


@dataclass(frozen=True, slots=True, config=CLOSED)
class ProductRecipe:
    """A network stored by product quantization, and the training of its codewords.

    Attributes:
        network: Network to quantise: `baseline`, `teacher`, or the name of a student.
        codewords: Maximum number of codewords of a layer; at most a quarter of its vectors.
        length: Weights of a vector; 1 for scalar quantisation.
        kernel_length: Weights of a vector in layers of 3x3 kernels; 1 for scalar quantisation.
        signed: Whether codewords have signs (Stock et al. 2020). Otherwise they are absolute values, and each weight
            has a sign bit (Zeng et al. 2018).
        exempt: Layers that are not quantised: names of layers, `first`, `last`.
        schedule: `all` quantises every layer at once; `layerwise` quantises one layer after the other, in network
            order, and trains the whole network after each (Zeng et al. 2018).
        images: Number of training images after each layer but the last; only for `layerwise`.
        last_images: Number of training images when all layers are quantised.
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
