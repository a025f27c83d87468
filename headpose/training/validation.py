"""Validation: errors of a network on held-out samples, the only basis of model selection."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headpose import crop, geometry, metrics
from headpose.datasets.negatives import Negative
from headpose.errors import InputError
from headpose.losses import box_iou, laplace_likelihood
from headpose.networks.resnet import HeadPoseNet
from headpose.reading import Reading
from headpose.recipes.training import AugmentRecipe
from headpose.training.augment import Augmenter
from headpose.training.data import Pictures
from headpose.training.negatives import held_out_crops
from headpose.training.protocols import Score
from headpose.types import CropSpec, Image, Sample

Reader = Callable[[Sequence[Image]], Reading]
"""Function from (S, S, 3) uint8 BGR crops to the outputs of a network for them."""


class Validator:
    """Evaluator with one unaugmented crop of each held-out sample.

    Attributes:
        spec: Crop settings.
        crops: N crops, (S, S, 3) uint8 BGR.
        labels: (N, 3, 3) rotations of the labels.
        weights: (N,) weights of the samples.
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
        self.weights = np.array([sample.weight for sample in samples])
        if not self.weights.sum() > 0:
            raise InputError("validation needs a sample with a weight above 0")

    def read(self, network: HeadPoseNet) -> Reading:
        """Read all outputs of the crops, not calibrated."""
        return read(network, self.crops, self.spec, self._batch)

    def score(self, predicted: NDArray[np.float64]) -> Score:
        """Compute the weighted mean errors of (N, 3, 3) predicted rotations in degrees.

        ``profile_geodesic`` is the error of the samples with |yaw| >= 60 degrees; NaN if there are none.
        """
        geodesic = geometry.geodesic_degrees(predicted, self.labels)
        euler = metrics.euler_mae(
            geometry.euler_from_rotation(predicted, "asin"),
            geometry.euler_from_rotation(self.labels, "asin"),
            self.weights,
        )
        profile = self.weights * (np.abs(geometry.euler_from_rotation(self.labels)[:, 0]) >= 60.0)
        yaw, pitch, roll = map(float, euler)
        return Score(
            {
                "geodesic": float(metrics.weighted_mean(geodesic, self.weights)),
                "mae": (yaw + pitch + roll) / 3,
                "yaw": yaw,
                "pitch": pitch,
                "roll": roll,
                "profile_geodesic": float(metrics.weighted_mean(geodesic, profile)) if profile.any() else math.nan,
            }
        )


class OutputValidator:
    """Evaluator of the optional outputs, with crops as the augmentation moves them, for ``region``, and negatives.

    The pixels of the moved crops are not augmented, and each crop always moves the same way.
    """

    def __init__(
        self, samples: Sequence[Sample], negatives: Sequence[Negative], spec: CropSpec, recipe: AugmentRecipe
    ) -> None:
        """Cut the crops.

        Args:
            samples: N held-out samples.
            negatives: Held-out negatives; may be empty.
            spec: Crop settings.
            recipe: Augmentation. Only its movements of the crop are used.
        """
        augmenter, pictures = Augmenter(movements(recipe), spec), Pictures(0)
        views = [
            augmenter(pictures.read(sample), sample.box, sample.rotation, np.random.default_rng(number))
            for number, sample in enumerate(samples)
        ]
        self._moved = [view.image for view in views]
        self._regions = torch.from_numpy(np.stack([view.region for view in views]))
        self._negatives = list(held_out_crops(negatives, spec))

    def figures(self, reader: Reader, reading: Reading, validator: Validator) -> dict[str, float]:
        """Compute the figures of the optional outputs that a network has, named in ``log.OTHER_UNITS``.

        ``region_iou``: mean IoU of the regions of moved crops. ``nll``: mean Laplace likelihood, nats; lower is better.
        ``face_accuracy``: mean of the shares of faces and of negatives that are recognised. ``face_auc``: area under
        the ROC curve of faces against negatives. The last two are NaN without negatives.

        Args:
            reader: Network, as a function from crops to its outputs, not calibrated.
            reading: Its outputs for the crops of ``validator``.
            validator: Validator of the same held-out samples.
        """
        figures, weights = {}, validator.weights
        if reading.region is not None:
            moved = torch.from_numpy(reader(self._moved).region)
            figures["region_iou"] = float(metrics.weighted_mean(box_iou(moved, self._regions).numpy(), weights))
        if reading.covariance is not None:
            errors = np.deg2rad(geometry.vector_from_rotation(np.swapaxes(reading.rotation, 1, 2) @ validator.labels))
            factors = torch.linalg.cholesky(torch.from_numpy(reading.covariance))
            likelihood = laplace_likelihood(torch.from_numpy(errors), factors)
            figures["nll"] = float(metrics.weighted_mean(likelihood.numpy(), weights))
        if reading.face is not None:
            others = self.negative_logits(reader)
            both = [(reading.face > 0).mean(), (others <= 0).mean() if len(others) else math.nan]
            figures["face_accuracy"] = float(np.mean(both))
            figures["face_auc"] = metrics.roc_auc(reading.face, others) if len(others) else math.nan
        return figures

    def negative_logits(self, reader: Reader) -> NDArray[np.float64]:
        """Return the (M,) logits ``face`` of the held-out negatives."""
        if not self._negatives:
            return np.zeros(0)
        found = reader(self._negatives).face
        assert found is not None
        return found


def movements(recipe: AugmentRecipe) -> AugmentRecipe:
    """Return the part of an augmentation that moves the crop: scale, shift, stretch and turns."""
    kept = ("scale", "shift", "stretch", "turn", "wide_turn", "wide_turn_degrees")
    names = [field.name for field in dataclasses.fields(recipe) if field.name not in (*kept, "motion_blur")]
    off: dict[str, Any] = dict.fromkeys(names, 0.0)
    return dataclasses.replace(recipe, **{**off, "share": 1.0})


def predict(network: HeadPoseNet, crops: Sequence[Image], spec: CropSpec, batch: int) -> NDArray[np.float64]:
    """Predict (N, 3, 3) rotations of (S, S, 3) uint8 BGR crops, in float32 and evaluation mode."""
    return read(network, crops, spec, batch).rotation


@torch.no_grad()
def read(network: HeadPoseNet, crops: Sequence[Image], spec: CropSpec, batch: int = 64) -> Reading:
    """Read all outputs, not calibrated, of N (S, S, 3) uint8 BGR crops, in float32 and evaluation mode."""
    training = network.training
    network.eval()
    device = next(network.parameters()).device
    parts = []
    for start in range(0, len(crops), batch):
        images = torch.from_numpy(crop.normalize(np.stack(crops[start : start + batch]), spec)).to(device)
        parts.append(network.read(images.contiguous(memory_format=torch.channels_last)))
    network.train(training)
    return Reading(
        **{name: torch.cat([part[name] for part in parts]).cpu().double().numpy() for name in network.spec.parts}
    )
