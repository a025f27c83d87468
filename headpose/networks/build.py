"""From a specification to a network with random weights."""

from __future__ import annotations

from typing import overload

from headpose.networks.network import Network
from headpose.networks.plain import PlainNet
from headpose.networks.resnet import HeadPoseNet, ResNet
from headpose.networks.spec import PlainSpec, ResNetSpec, Spec


@overload
def build(spec: ResNetSpec) -> ResNet: ...
@overload
def build(spec: PlainSpec) -> PlainNet: ...
def build(spec: Spec) -> Network:
    """Build the network of a spec with random weights: a ``PlainNet``, a classifier, or a ``HeadPoseNet``."""
    if isinstance(spec, PlainSpec):
        return PlainNet(spec)
    return ResNet(spec) if spec.output == "classes" else HeadPoseNet(spec)
