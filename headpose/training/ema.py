"""Exponential moving average (EMA) of the weights. The averaged network is validated and exported."""

from __future__ import annotations

import copy

import torch

from headpose.networks.network import Network


class WeightAverage:
    """Exponential moving average ``average = decay * average + (1 - decay) * weights`` in float32.

    The decay is at most (1 + step) / (10 + step), so that the random initialization loses its influence quickly. The
    running statistics of BatchNorm are averaged too.

    Attributes:
        decay: Final decay per step, in [0, 1).
        network: Averaged network, in evaluation mode.
    """

    def __init__(self, network: Network, decay: float) -> None:
        """Start the average with a copy of ``network``."""
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: Network, step: int) -> None:
        """Update the average.

        Args:
            network: Network with the current weights.
            step: Number of updates since the start of the average.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        current = network.state_dict()
        floating = [(name, value) for name, value in self.network.state_dict().items() if value.is_floating_point()]
        torch._foreach_lerp_([value for _, value in floating], [current[name] for name, _ in floating], 1.0 - decay)
        for name, value in self.network.state_dict().items():
            if not value.is_floating_point():
                value.copy_(current[name])
