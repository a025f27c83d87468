"""Parity: the distance between the outputs of a network and of the one that it was made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose import crop, geometry, inference
from headpose.errors import DataError, WeightsError
from headpose.inference import OnnxPoseModel, PoseModel, create_session
from headpose.reading import Reading, concatenate
from headpose.types import Box, CropSpec, Image

_BATCH = 32

OUTPUT_LIMITS = {"region": 0.05, "covariance": 0.1, "face": 0.05}
"""Maximum mean difference of each optional output (``Parity.outputs``)."""


@dataclass(frozen=True, slots=True)
class Parity:
    """Geodesic distances between the rotations of two networks, and differences of their optional outputs.

    Attributes:
        mean: Mean over the faces, degrees.
        p99: 99th percentile over the faces, degrees.
        max: Maximum over the faces, degrees.
        faces: Number of faces.
        outputs: Mean difference of each optional output that both networks have: for ``region`` 1 - IoU, for
            ``covariance`` the relative difference of the uncertainty, for ``face`` that of the probability.
    """

    mean: float
    p99: float
    max: float
    faces: int
    outputs: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        also = "".join(f", {name} {value:.4f}" for name, value in self.outputs.items())
        return f"{self.mean:.4f} degrees on average (99th percentile {self.p99:.3f}, maximum {self.max:.3f}{also})"


def measure_parity(reference: NDArray[np.float64], candidate: NDArray[np.float64]) -> Parity:
    """Return the distances between two sets of rotations of the same faces.

    Args:
        reference: (N, 3, 3) rotation matrices, N at least 1.
        candidate: (N, 3, 3) rotation matrices.
    """
    distances = geometry.geodesic_degrees(reference, candidate)
    return Parity(float(distances.mean()), float(np.quantile(distances, 0.99)), float(distances.max()), len(distances))


def check_parity(reference: Path, candidate: Path, crops: Sequence[Image], limit_degrees: float) -> Parity:
    """Return the distances between two networks, both run by ONNX Runtime on the CPU, and check their mean.

    Only means are limited, those of the optional outputs by ``OUTPUT_LIMITS``: on single crops that hardly show a
    face, any network can be far off.

    Args:
        reference: ONNX file of the first network.
        candidate: ONNX file of the second network, with the same crop.
        crops: N held-out crops, (S, S, 3) uint8 BGR, N at least 1.
        limit_degrees: Maximum of the mean distance in degrees.

    Raises:
        WeightsError: A mean exceeds its limit, or the crops or outputs of the two networks differ.
        DataError: There are no crops.
        HeadPoseError: An output of a network is not a rotation.
    """
    first, second = (OnnxPoseModel(path, device="cpu", threads=1) for path in (reference, candidate))
    if first.crop != second.crop:
        raise WeightsError(f"{reference} and {candidate} crop faces differently: they cannot be compared")
    if first.outputs != second.outputs:
        raise WeightsError(f"{reference} and {candidate} have different outputs: they cannot be compared")
    parity = compare(read(first, crops), read(second, crops))
    if not parity.mean <= limit_degrees:
        raise WeightsError(
            f"{second.name} differs from {first.name} by {parity}, more than the limit of {limit_degrees:g}: "
            "give other or more calibration images, use a higher precision, or raise the limit"
        )
    for name, value in parity.outputs.items():
        if not value <= OUTPUT_LIMITS[name]:
            raise WeightsError(
                f"the output {name} of {second.name} differs from that of {first.name} by {value:.3f}, more than "
                f"{OUTPUT_LIMITS[name]:g}: give other or more calibration images, or use a higher precision"
            )
    return parity


def compare(reference: Reading, candidate: Reading) -> Parity:
    """Return the distances and differences between what two networks read off the same faces, at least one."""
    outputs = {}
    if reference.region is not None and candidate.region is not None:
        boxes = ([_box(region) for region in each] for each in (reference.region, candidate.region))
        outputs["region"] = 1 - float(np.mean([a.iou(b) for a, b in zip(*boxes, strict=True)]))
    if reference.covariance is not None and candidate.covariance is not None:
        before, after = map(geometry.expected_angle, (reference.covariance, candidate.covariance))
        outputs["covariance"] = float(np.mean(np.abs(after - before) / before))
    if reference.readable is not None and candidate.readable is not None:
        outputs["face"] = float(np.abs(reference.readable - candidate.readable).mean())
    return dataclasses.replace(measure_parity(reference.rotation, candidate.rotation), outputs=outputs)


def _box(region: NDArray[np.float64]) -> Box:
    (x, y), (width, height) = region[:2], region[2:]
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def predict(model: PoseModel, crops: Sequence[Image]) -> NDArray[np.float64]:
    """Return the (N, 3, 3) rotations of crops; see ``read``."""
    return read(model, crops).rotation


def read(model: PoseModel, crops: Sequence[Image]) -> Reading:
    """Return all outputs of a network for crops.

    Args:
        model: Network to run.
        crops: N crops, (S, S, 3) uint8 BGR, N at least 1.

    Raises:
        DataError: There are no crops.
    """
    if not len(crops):
        raise DataError("networks cannot be compared without faces: there is none, give at least one")
    parts = [np.stack(crops[start : start + _BATCH]) for start in range(0, len(crops), _BATCH)]
    return concatenate([inference.read(model, crop.normalize(part, model.crop)) for part in parts])


def predict_anyhow(path: Path, crops: Sequence[Image], spec: CropSpec) -> NDArray[np.float64]:
    """Return the rotations of crops as ``predict`` does, but replace matrices that are not rotations.

    Args:
        path: ONNX file of the network.
        crops: N crops, (S, S, 3) uint8 BGR, N at least 1.
        spec: Crop of the network.

    Returns:
        (N, 3, 3) rotation matrices, the nearest ones to the outputs.
    """
    session, _ = create_session(path, device="cpu", threads=1)
    outputs = [session.run(["rotation"], {"image": crop.normalize(picture[None], spec)})[0] for picture in crops]
    return geometry.nearest_rotation(np.nan_to_num(np.concatenate(outputs)))


def noise_pictures(count: int, size: int, seed: int = 0) -> list[Image]:
    """Return images of colored noise, coarse to fine, which replace faces where none are available.

    Args:
        count: Number of images.
        size: Side in pixels.
        seed: Random seed.

    Returns:
        (size, size, 3) uint8 images.
    """
    rng = np.random.default_rng(seed)
    grids = [rng.integers(0, 256, (side, side, 3), np.uint8) for side in rng.integers(2, max(3, size // 4), count)]
    return [np.asarray(cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8) for grid in grids]
