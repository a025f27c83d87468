"""What all networks of this package have in common: a specification, and raw values in the last dense layer."""

from __future__ import annotations

import abc
import itertools

from torch import Tensor, nn

from headpose.networks.spec import Spec


class Network(nn.Module, abc.ABC):
    """Network from (N, 3, S, S) float32 images to the (N, V) values of its last dense layer, V = ``spec.values``.

    Attributes:
        spec: Specification of the network.
        head: Dense layers, with a ReLU between them.
        relu: Activation of all layers.
    """

    head: nn.ModuleList

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.relu = nn.ReLU(inplace=True)

    @abc.abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Compute the (N, F) values that the first dense layer reads."""

    def raw(self, images: Tensor) -> Tensor:
        """Compute the (N, V) raw output: the logits of a classifier, or the values of all outputs (``spec.parts``)."""
        x = self.features(images)
        for layer in self.head[:-1]:
            x = self.relu(layer(x))
        last: Tensor = self.head[-1](x)
        return last

    def forward(self, images: Tensor) -> Tensor:
        return self.raw(images)


def dense_layers(inputs: int, spec: Spec) -> nn.ModuleList:
    """Create the dense layers of a network: those of ``spec.head``, and the last one.

    Args:
        inputs: Number of values that the first one reads.
        spec: Specification of the network.
    """
    return nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise((inputs, *spec.head, spec.values)))


def quiet_last(head: nn.ModuleList) -> nn.Linear:
    """Let a network start with values near 0: give the last layer small weights and no bias, and return it."""
    last = head[-1]
    assert isinstance(last, nn.Linear)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    return last
