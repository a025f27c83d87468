"""Plain networks, convolutions and dense layers in one row, built from a ``PlainSpec``.

Parameters are named conv1, bn1, conv2, bn2, ... and head.0, head.1, ...; the max-pool after convolution i is pool{i}.
"""

from __future__ import annotations

from torch import Tensor, nn

from headpose.networks.convolution import Conv2d
from headpose.networks.network import Network, dense_layers, quiet_last
from headpose.networks.outputs import decode
from headpose.networks.spec import PlainSpec


class PlainNet(Network):
    """Plain network from (N, 3, S, S) float32 images, normalized by its CropSpec, to (N, 68, 2) landmarks."""

    spec: PlainSpec

    def __init__(self, spec: PlainSpec) -> None:
        super().__init__(spec)
        width = 3
        for i, layer in enumerate(spec.layers, start=1):
            self.add_module(f"conv{i}", Conv2d(width, layer.width, layer.kernel, layer.stride))
            self.add_module(f"bn{i}", nn.BatchNorm2d(layer.width))
            # As large as the map of a convolution with stride 2, so that one can replace the other.
            self.add_module(f"pool{i}", nn.MaxPool2d(2, 2, ceil_mode=True) if layer.max_pool else nn.Identity())
            width = layer.width
        self.head = dense_layers(spec.features, spec)
        self._initialize()

    def features(self, images: Tensor) -> Tensor:
        x = images
        for i in range(1, len(self.spec.layers) + 1):
            x = self.relu(self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x)))
            x = self.get_submodule(f"pool{i}")(x)
        return x.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.read(images)["landmarks"]

    def read(self, images: Tensor) -> dict[str, Tensor]:
        """Compute all outputs by name; see ``outputs.decode``."""
        return decode(self.raw(images), self.spec)

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        quiet_last(self.head)
