"""Residual networks with arbitrary widths, built from a ``ResNetSpec``.

Parameters are named as in torchvision (conv1, bn1, layer1.0.conv1, layer1.0.downsample.0, ...), so that published
ResNet weights match by name; the dense layers are head.0, head.1, ....
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headpose.errors import InputError
from headpose.networks.convolution import Conv2d
from headpose.networks.network import Network, dense_layers, quiet_last
from headpose.networks.outputs import decode
from headpose.networks.spec import BlockSpec, ResNetSpec, StemSpec, StrideOn


class BasicBlock(nn.Module):
    """Residual block with two 3x3 convolutions."""

    def __init__(self, inputs: int, spec: BlockSpec) -> None:
        super().__init__()
        (inner,) = spec.inner
        self.conv1, self.bn1 = Conv2d(inputs, inner, 3, spec.stride), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = Conv2d(inner, spec.out, 3), nn.BatchNorm2d(spec.out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, spec)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """Residual block with 1x1, 3x3 and 1x1 convolutions."""

    def __init__(self, inputs: int, spec: BlockSpec, stride_on: StrideOn = "3x3") -> None:
        super().__init__()
        first, second = spec.inner
        strides = (1, spec.stride) if stride_on == "3x3" else (spec.stride, 1)
        self.conv1, self.bn1 = Conv2d(inputs, first, 1, strides[0]), nn.BatchNorm2d(first)
        self.conv2, self.bn2 = Conv2d(first, second, 3, strides[1]), nn.BatchNorm2d(second)
        self.conv3, self.bn3 = Conv2d(second, spec.out, 1), nn.BatchNorm2d(spec.out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, spec)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(inputs: int, spec: BlockSpec) -> nn.Sequential | None:
    if not spec.projects(inputs):
        return None
    return nn.Sequential(Conv2d(inputs, spec.out, 1, spec.stride), nn.BatchNorm2d(spec.out))


def _block(inputs: int, block: BlockSpec, spec: ResNetSpec) -> nn.Module:
    return BasicBlock(inputs, block) if spec.block == "basic" else Bottleneck(inputs, block, spec.stride_on)


def _pool(spec: StemSpec) -> nn.Module:
    if not spec.max_pool:
        return nn.Identity()
    return nn.MaxPool2d(3, 2, padding=1) if spec.pool_padding == "around" else nn.MaxPool2d(3, 2, ceil_mode=True)


class ResNet(Network):
    """Residual network from (N, 3, S, S) float32 images to (N, V) values: logits, or values that encode a rotation."""

    spec: ResNetSpec

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__(spec)
        self.conv1 = Conv2d(3, spec.stem.width, spec.stem.kernel, spec.stem.stride)
        self.bn1 = nn.BatchNorm2d(spec.stem.width)
        self.maxpool = _pool(spec.stem)
        width = spec.stem.width
        self.stages = [f"layer{i + 1}" for i in range(len(spec.stages))]
        for name, stage in zip(self.stages, spec.stages, strict=True):
            blocks: list[nn.Module] = []
            for block in stage:
                blocks.append(_block(width, block, spec))
                width = block.out
            self.add_module(name, nn.Sequential(*blocks))
        self.head = dense_layers(width, spec)
        self._initialize()

    def features(self, images: Tensor) -> Tensor:
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock):
                nn.init.zeros_(module.bn2.weight)  # each block starts as the identity (Goyal et al. 2017)
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)
        last = quiet_last(self.head)
        if self.spec.output == "6d":  # start with the identity instead of a random rotation
            with torch.no_grad():
                last.bias[:6] = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])


class HeadPoseNet(ResNet):
    """Head-pose network: (N, 3, S, S) float32 images, normalized by its CropSpec, to (N, 3, 3) float32 rotations."""

    def __init__(self, spec: ResNetSpec) -> None:
        if spec.output == "classes":
            raise InputError("a classifier's output is no rotation")
        super().__init__(spec)

    def forward(self, images: Tensor) -> Tensor:
        return self.read(images)["rotation"]

    def read(self, images: Tensor) -> dict[str, Tensor]:
        """Compute all outputs by name; see ``outputs.decode``."""
        return decode(self.raw(images), self.spec)
