"""Network section of a recipe: the widths of a residual network, stage by stage."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from headpose import config
from headpose.config import CLOSED, Channels
from headpose.networks.spec import (
    Block,
    OptionalOutput,
    Output,
    PlainSpec,
    ResNetSpec,
    StemSpec,
    StrideOn,
    is_plain,
    resnet,
)


@dataclass(frozen=True, slots=True, config=CLOSED)
class NetworkRecipe:
    """Network of a recipe: the arguments of ``spec.resnet``, with one list value per stage.

    Attributes:
        block: ``basic`` has two 3x3 convolutions, ``bottleneck`` 1x1, 3x3 and 1x1.
        depths: Number of blocks in each stage.
        inner: Channels inside the blocks of each stage.
        out: Channels of the residual stream in each stage.
        stem: The first convolution.
        first_stride: Stride of the first stage; all later stages have a stride of 2.
        head: Widths of hidden dense layers after the average pool.
        output: ``6d`` (a rotation), ``euler`` (three angles), or ``classes`` of a classifier.
        stride_on: Convolution of a bottleneck block that has the stride.
        classes: Number of classes of a classifier; 0 for other networks.
        outputs: Optional outputs beside the rotation: ``region`` (the tight box in the crop), ``covariance`` (of the
            rotation's error) and ``face`` (whether the crop shows a readable face; needs a source of ``negatives``).
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
    outputs: Annotated[tuple[OptionalOutput, ...], Field(max_length=3)] = ()

    def __post_init__(self) -> None:
        self.build()  # raises ValueError early

    def build(self) -> ResNetSpec:
        return resnet(**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})


def read_network(values: Any) -> Any:
    """Validate a network, so that errors name the wrong setting instead of all types of a union."""
    if isinstance(values, ResNetSpec | PlainSpec):
        return values
    if is_plain(values):
        return config.read(PlainSpec, values)
    by_blocks = isinstance(values, dict) and "stages" in values
    return config.read(ResNetSpec if by_blocks else NetworkRecipe, values)
