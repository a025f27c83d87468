"""Architecture of a network as plain data, which is stored beside the weights. It does not need torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass

from headpose import config
from headpose.config import CLOSED, Channels, Flag, Side
from headpose.errors import InputError
from headpose.reading import LANDMARKS

Block = Literal["basic", "bottleneck"]
Output = Literal["6d", "euler", "classes"]
OptionalOutput = Literal["region", "covariance", "face"]
PoolPadding = Literal["around", "end"]
StrideOn = Literal["3x3", "1x1"]

Stride = Annotated[int, Field(strict=True, ge=1, le=8)]

INNER_CONVOLUTIONS: dict[str, int] = {"basic": 1, "bottleneck": 2}
_POSE_VALUES: dict[str, int] = {"6d": 6, "euler": 3}
# In the order of the last layer's values. A covariance is a symmetric 3x3 matrix.
_OPTIONAL_VALUES: dict[OptionalOutput, int] = {"region": 4, "covariance": 6, "face": 1}


@dataclass(frozen=True, slots=True, config=CLOSED)
class StemSpec:
    """Stem: the first convolution, BatchNorm, ReLU, and an optional 3x3 max-pool with stride 2.

    Attributes:
        width: Number of channels.
        kernel: Side of the convolution's kernel, pixels.
        stride: Stride of the convolution.
        max_pool: Whether a max-pool follows the convolution.
        pool_padding: Padding of the max-pool: ``around``, one pixel on every side, as in torchvision; ``end``, only
            where the last window exceeds the map, as in Caffe and in VGGFace2's networks.
    """

    width: Channels
    kernel: Annotated[int, Field(strict=True, ge=1, le=31)] = 7
    stride: Stride = 2
    max_pool: Flag = True
    pool_padding: PoolPadding = "around"


@dataclass(frozen=True, slots=True, config=CLOSED)
class BlockSpec:
    """Residual block.

    Attributes:
        inner: Widths between its convolutions, one for a basic block and two for a bottleneck. Pruning may change them
            freely.
        out: Width of the residual stream after the block.
        stride: Stride of the block.
        projection: Whether the shortcut is a 1x1 convolution even if its shape allows the identity. Pruning may leave
            such a projection, which must be kept.
    """

    inner: tuple[Channels, ...]
    out: Channels
    stride: Stride = 1
    projection: Flag = False

    def projects(self, inputs: int) -> bool:
        """Return whether the shortcut from ``inputs`` channels is a 1x1 convolution rather than the identity."""
        return self.projection or self.stride != 1 or inputs != self.out


@dataclass(frozen=True, slots=True, config=CLOSED)
class ResNetSpec:
    """Residual network with arbitrary widths (He et al., "Deep Residual Learning", CVPR 2016).

    Attributes:
        block: ``basic`` (3x3, 3x3) or ``bottleneck`` (1x1, 3x3, 1x1).
        stem: Input layers.
        stages: Blocks of each stage, in the order of the parameter names (layer1.0, layer1.1, layer2.0, ...).
        head: Widths of the hidden dense layers; the paper's network has (512, 128).
        stride_on: Convolution of a bottleneck that has the stride: the 3x3, as in torchvision, or the first 1x1, as in
            the original and in VGGFace2's networks. Basic blocks ignore it.
        output: ``6d``, two columns of the rotation (Zhou et al., "On the Continuity of Rotation Representations",
            CVPR 2019), ``euler``, yaw, pitch and roll in radians, or ``classes``, the logits of a classifier.
        classes: Number of classes of a classifier; 0 for other networks.
        outputs: Optional outputs beside the rotation (see ``headpose.reading``), in any order.
    """

    block: Block
    stem: StemSpec
    stages: Annotated[tuple[tuple[BlockSpec, ...], ...], Field(max_length=8)]
    head: Annotated[tuple[Channels, ...], Field(max_length=16)] = ()
    output: Output = "6d"
    stride_on: StrideOn = "3x3"
    classes: Annotated[int, Field(strict=True, ge=0, le=65536)] = 0
    outputs: tuple[OptionalOutput, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.outputs)) < len(self.outputs):
            raise ValueError(f"outputs has each name once, got {list(self.outputs)}")
        if self.outputs and self.output == "classes":
            raise ValueError(f"outputs are those of a head pose network, got {list(self.outputs)} for a classifier")
        if self.stride_on == "1x1" and self.block == "basic":
            raise ValueError("stride_on is '3x3', or '1x1' for bottlenecks; got '1x1' and basic blocks")
        if (self.classes > 1) != (self.output == "classes"):
            raise ValueError(f"a classifier needs 2 classes or more, and nothing else has any: got {self.classes}")
        if not self.stages or not all(self.stages):
            raise ValueError("a network needs at least one stage, and every stage a block")
        wanted = INNER_CONVOLUTIONS[self.block]
        for block in self.blocks:
            if len(block.inner) != wanted:
                raise ValueError(f"a {self.block} block has {wanted} inner widths, got {list(block.inner)}")

    @property
    def blocks(self) -> tuple[BlockSpec, ...]:
        return tuple(block for stage in self.stages for block in stage)

    @property
    def parts(self) -> dict[str, int]:
        """Number of values of each output in the last dense layer, in their order there; ``rotation`` is the first."""
        optional: dict[str, int] = {name: count for name, count in _OPTIONAL_VALUES.items() if name in self.outputs}
        return {"rotation": _POSE_VALUES[self.output], **optional}

    @property
    def values(self) -> int:
        """Number of values of the last dense layer."""
        return self.classes if self.output == "classes" else sum(self.parts.values())

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON. Without optional outputs they are those that earlier versions read."""
        values = dataclasses.asdict(self)
        return values if self.outputs else {key: value for key, value in values.items() if key != "outputs"}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ResNetSpec:
        """Create a spec from the result of ``to_dict``.

        Raises:
            InputError: The values are not a valid spec.
        """
        return _read(cls, values)


@dataclass(frozen=True, slots=True, config=CLOSED)
class PlainLayerSpec:
    """Convolution, BatchNorm, ReLU, and an optional 2x2 max-pool with stride 2.

    Attributes:
        width: Number of channels.
        kernel: Side of the convolution's kernel, pixels, odd.
        stride: Stride of the convolution.
        max_pool: Whether a max-pool follows.
    """

    width: Channels
    kernel: Annotated[int, Field(strict=True, ge=1, le=31)] = 3
    stride: Stride = 1
    max_pool: Flag = False

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is odd, got {self.kernel}")


@dataclass(frozen=True, slots=True, config=CLOSED)
class PlainSpec:
    """Plain network in the manner of VGG (Simonyan & Zisserman, ICLR 2015): convolutions, then dense layers.

    The dense layers see every position of the last map, so the network fits one input size.

    Attributes:
        size: Side of the input, pixels.
        layers: Convolutions, in the order of the parameter names (conv1, conv2, ...).
        head: Widths of the hidden dense layers, each with a ReLU.
        output: ``landmarks``, x and y of 68 landmarks.
    """

    size: Side
    layers: Annotated[tuple[PlainLayerSpec, ...], Field(min_length=1, max_length=64)]
    head: Annotated[tuple[Channels, ...], Field(max_length=16)] = ()
    output: Literal["landmarks"] = "landmarks"

    @property
    def classes(self) -> int:
        """Number of classes: none."""
        return 0

    @property
    def outputs(self) -> tuple[OptionalOutput, ...]:
        """Optional outputs: none."""
        return ()

    @property
    def parts(self) -> dict[str, int]:
        """Number of values of each output in the last dense layer."""
        return {self.output: 2 * LANDMARKS}

    @property
    def values(self) -> int:
        """Number of values of the last dense layer."""
        return sum(self.parts.values())

    @property
    def sides(self) -> tuple[int, ...]:
        """Side of the map after each convolution and its max-pool, pixels."""
        sides, side = [], self.size
        for layer in self.layers:
            side = math.ceil(math.ceil(side / layer.stride) / (2 if layer.max_pool else 1))
            sides.append(side)
        return tuple(sides)

    @property
    def features(self) -> int:
        """Number of values of the last map, which the first dense layer reads."""
        return self.layers[-1].width * self.sides[-1] ** 2

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PlainSpec:
        """Create a spec from the result of ``to_dict``.

        Raises:
            InputError: The values are not a valid spec.
        """
        return _read(cls, values)


Spec: TypeAlias = ResNetSpec | PlainSpec
"""Architecture of a network of this package."""

_Kind = TypeVar("_Kind", ResNetSpec, PlainSpec)


def from_dict(values: dict[str, Any]) -> Spec:
    """Create the spec of a network from the result of its ``to_dict``.

    Raises:
        InputError: The values are not a valid spec.
    """
    return PlainSpec.from_dict(values) if is_plain(values) else ResNetSpec.from_dict(values)


def is_plain(values: Any) -> bool:
    """Return whether values are those of a ``PlainSpec`` rather than of another network."""
    return isinstance(values, dict) and "layers" in values


def _read(kind: type[_Kind], values: dict[str, Any]) -> _Kind:
    try:
        return config.read(kind, values)
    except ValidationError as error:
        raise InputError(config.line(kind, error)) from error


def resnet(
    block: Block,
    depths: Sequence[int],
    inner: Sequence[int],
    out: Sequence[int],
    stem: StemSpec,
    first_stride: int = 1,
    head: Sequence[int] = (),
    output: Output = "6d",
    stride_on: StrideOn = "3x3",
    classes: int = 0,
    outputs: Sequence[OptionalOutput] = (),
) -> ResNetSpec:
    """Create a spec whose blocks are equal within a stage. Every stage except the first has a stride of 2.

    The arguments are those of ``NetworkRecipe``. ResNet-50 is ``resnet("bottleneck", (3, 4, 6, 3),
    (64, 128, 256, 512), (256, 512, 1024, 2048), StemSpec(64))``.
    """
    if not len(depths) == len(inner) == len(out):
        raise InputError("depths, inner and out need one value for each stage")
    repeat = INNER_CONVOLUTIONS[block]
    stages = tuple(
        tuple(
            BlockSpec((inner[i],) * repeat, out[i], (first_stride if i == 0 else 2) if j == 0 else 1)
            for j in range(depths[i])
        )
        for i in range(len(depths))
    )
    return ResNetSpec(block, stem, stages, tuple(head), output, stride_on, classes, tuple(outputs))


def parameters(spec: Spec) -> int:
    """Count the trained parameters of convolutions, BatchNorm layers and dense layers."""
    return sum(count for count, _ in _layers(spec, 0))


def macs(spec: Spec, size: int) -> int:
    """Count the multiply-accumulates of convolutions and dense layers for a size x size image.

    Raises:
        InputError: A plain network does not fit this size.
    """
    if isinstance(spec, PlainSpec) and size != spec.size:
        raise InputError(f"this network takes {spec.size} px only, not {size}")
    return sum(work for _, work in _layers(spec, size))


def _layers(spec: Spec, size: int) -> list[tuple[int, int]]:
    """Return (parameters, MACs) of each layer."""
    layers, width = _plain_convolutions(spec) if isinstance(spec, PlainSpec) else _residual_convolutions(spec, size)
    for dense in (*spec.head, spec.values):
        layers.append((width * dense + dense, width * dense if size else 0))
        width = dense
    return layers


def _convolution(inputs: int, outputs: int, kernel: int, side: int) -> tuple[int, int]:
    weights = inputs * outputs * kernel * kernel
    return weights + 2 * outputs, weights * side * side


def _plain_convolutions(spec: PlainSpec) -> tuple[list[tuple[int, int]], int]:
    """Return (parameters, MACs) of each convolution, and the number of values that the dense layers read."""
    layers, width, side = [], 3, spec.size
    for layer, after in zip(spec.layers, spec.sides, strict=True):
        layers.append(_convolution(width, layer.width, layer.kernel, math.ceil(side / layer.stride)))
        width, side = layer.width, after
    return layers, spec.features


def _residual_convolutions(spec: ResNetSpec, size: int) -> tuple[list[tuple[int, int]], int]:
    """Return (parameters, MACs) of each convolution, and the number of values that the dense layers read."""
    side = math.ceil(size / spec.stem.stride)
    layers = [_convolution(3, spec.stem.width, spec.stem.kernel, side)]
    if spec.stem.max_pool:
        side = math.ceil(side / 2) if spec.stem.pool_padding == "around" else math.ceil((side - 3) / 2) + 1
    width = spec.stem.width
    for block in spec.blocks:
        after = math.ceil(side / block.stride)
        if spec.block == "basic":
            layers.append(_convolution(width, block.inner[0], 3, after))
            layers.append(_convolution(block.inner[0], block.out, 3, after))
        else:
            layers.append(_convolution(width, block.inner[0], 1, after if spec.stride_on == "1x1" else side))
            layers.append(_convolution(block.inner[0], block.inner[1], 3, after))
            layers.append(_convolution(block.inner[1], block.out, 1, after))
        if block.projects(width):
            layers.append(_convolution(width, block.out, 1, after))
        width, side = block.out, after
    return layers, width
