"""An exponential moving average of a network's weights: what is validated and shipped."""

from __future__ import annotations

import copy

import torch

from headpose.networks.resnet import ResNet


class WeightAverage:
    """Keeps ``average = decay * average + (1 - decay) * weights`` in float32.

    The decay rises from 0 as (1 + step) / (10 + step), so that the random start is soon forgotten.
    BatchNorm's running statistics are averaged alike: they belong to the averaged weights.
    """

    def __init__(self, network: ResNet, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: ResNet, step: int) -> None:
        """Takes in the weights after step number ``step``, counted from 0 where the average is to begin."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = network.state_dict()
        floating = [(name, value) for name, value in self.network.state_dict().items() if value.is_floating_point()]
        torch._foreach_lerp_([value for _, value in floating], [current[name] for name, _ in floating], 1.0 - decay)
        for name, value in self.network.state_dict().items():
            if not value.is_floating_point():
                value.copy_(current[name])
