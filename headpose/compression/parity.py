"""Parity: the distance between the rotations of a network and of the one that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose import crop, geometry
from headpose.errors import DataError, WeightsError
from headpose.inference import OnnxPoseModel, PoseModel, create_session
from headpose.types import CropSpec, Image

_BATCH = 32


@dataclass(frozen=True, slots=True)
class Parity:
    """Geodesic distances between the rotations of two networks.

    Attributes:
        mean: Mean over the faces, degrees.
        p99: 99th percentile over the faces, degrees.
        max: Maximum over the faces, degrees.
        faces: Number of faces.
    """

    mean: float
    p99: float
    max: float
    faces: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} degrees on average (99th percentile {self.p99:.3f}, maximum {self.max:.3f})"


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

    Only the mean is limited: on single crops that hardly show a face, any network can be far off.

    Args:
        reference: ONNX file of the first network.
        candidate: ONNX file of the second network, with the same crop.
        crops: N held-out crops, (S, S, 3) uint8 BGR, N at least 1.
        limit_degrees: Maximum of the mean distance in degrees.

    Raises:
        WeightsError: The mean exceeds the limit, or the crops of the two networks differ.
        DataError: There are no crops.
        HeadPoseError: An output of a network is not a rotation.
    """
    first, second = (OnnxPoseModel(path, device="cpu", threads=1) for path in (reference, candidate))
    if first.crop != second.crop:
        raise WeightsError(f"{reference} and {candidate} crop faces differently: they cannot be compared")
    parity = measure_parity(predict(first, crops), predict(second, crops))
    if not parity.mean <= limit_degrees:
        raise WeightsError(
            f"{second.name} differs from {first.name} by {parity}, more than the limit of {limit_degrees:g}: "
            "give other or more calibration images, use a higher precision, or raise the limit"
        )
    return parity


def predict(model: PoseModel, crops: Sequence[Image]) -> NDArray[np.float64]:
    """Return the rotations of crops.

    Args:
        model: Network to run.
        crops: N crops, (S, S, 3) uint8 BGR, N at least 1.

    Returns:
        (N, 3, 3) rotation matrices.

    Raises:
        DataError: There are no crops.
    """
    if not len(crops):
        raise DataError("networks cannot be compared without faces: there is none, give at least one")
    parts = [np.stack(crops[start : start + _BATCH]) for start in range(0, len(crops), _BATCH)]
    return np.concatenate([model.predict(crop.normalise(part, model.crop)) for part in parts])


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
    outputs = [session.run(["rotation"], {"image": crop.normalise(picture[None], spec)})[0] for picture in crops]
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
