"""Validation: errors of a network on held-out samples, the only basis of model selection."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from headpose import crop, geometry, metrics
from headpose.errors import InputError
from headpose.networks.resnet import HeadPoseNet
from headpose.training.data import Pictures
from headpose.training.protocols import Score
from headpose.types import CropSpec, Image, Sample


class Validator:
    """Evaluator with one unaugmented crop of each held-out sample.

    Attributes:
        spec: Crop settings.
        crops: N crops, (S, S, 3) uint8 BGR.
        labels: (N, 3, 3) rotations of the labels.
    """

    def __init__(self, samples: Sequence[Sample], spec: CropSpec, pictures: Pictures, batch: int = 64) -> None:
        """Cut the crops.

        Args:
            samples: N held-out samples.
            spec: Crop settings.
            pictures: Image reader.
            batch: Batch size of predictions.

        Raises:
            InputError: All weights are 0.
        """
        self.spec = spec
        self._batch = batch
        self.crops: list[Image] = [crop.cut(pictures.read(sample), sample.box, spec) for sample in samples]
        self.labels = np.stack([sample.rotation for sample in samples])
        self._weights = np.array([sample.weight for sample in samples])
        if not self._weights.sum() > 0:
            raise InputError("validation needs a sample with a weight above 0")

    def predict(self, network: HeadPoseNet) -> NDArray[np.float64]:
        """Predict the (N, 3, 3) rotations of the crops."""
        return predict(network, self.crops, self.spec, self._batch)

    def score(self, predicted: NDArray[np.float64]) -> Score:
        """Compute the weighted mean errors of (N, 3, 3) predicted rotations in degrees.

        ``profile_geodesic`` is the error of the samples with |yaw| >= 60 degrees; NaN if there are none.
        """
        geodesic = geometry.geodesic_degrees(predicted, self.labels)
        euler = metrics.euler_mae(
            geometry.euler_from_rotation(predicted, "asin"),
            geometry.euler_from_rotation(self.labels, "asin"),
            self._weights,
        )
        profile = self._weights * (np.abs(geometry.euler_from_rotation(self.labels)[:, 0]) >= 60.0)
        yaw, pitch, roll = map(float, euler)
        return Score(
            {
                "geodesic": float(metrics.weighted_mean(geodesic, self._weights)),
                "mae": (yaw + pitch + roll) / 3,
                "yaw": yaw,
                "pitch": pitch,
                "roll": roll,
                "profile_geodesic": float(metrics.weighted_mean(geodesic, profile)) if profile.any() else math.nan,
            }
        )


@torch.no_grad()
def predict(network: HeadPoseNet, crops: Sequence[Image], spec: CropSpec, batch: int) -> NDArray[np.float64]:
    """Predict (N, 3, 3) rotations of (S, S, 3) uint8 BGR crops, in float32 and evaluation mode."""
    training = network.training
    network.eval()
    device = next(network.parameters()).device
    rotations = []
    for start in range(0, len(crops), batch):
        images = torch.from_numpy(crop.normalise(np.stack(crops[start : start + batch]), spec)).to(device)
        rotations.append(network(images.contiguous(memory_format=torch.channels_last)).cpu().numpy())
    network.train(training)
    return np.concatenate(rotations).astype(np.float64)
