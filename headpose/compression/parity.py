"""How far a network is from the one that it was made from."""

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
    """Geodesic distances between the rotations of two networks, degrees.

    Attributes:
        mean, p99, max: over the faces.
        faces: how many.
    """

    mean: float
    p99: float
    max: float
    faces: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} degrees in the mean (99th percentile {self.p99:.3f}, largest {self.max:.3f})"


def measure_parity(reference: NDArray[np.float64], candidate: NDArray[np.float64]) -> Parity:
    """The distances between two sets of (N, 3, 3) rotations of the same faces, N at least 1."""
    distances = geometry.geodesic_degrees(reference, candidate)
    return Parity(float(distances.mean()), float(np.quantile(distances, 0.99)), float(distances.max()), len(distances))


def check_parity(reference: Path, candidate: Path, crops: Sequence[Image], limit_degrees: float) -> Parity:
    """The distances between two networks, both run by ONNX Runtime on the processor.

    The mean is what is limited: single faces that are hardly faces can be far off in any network.

    Args:
        reference, candidate: networks with the same crop.
        crops: N of (S, S, 3) uint8 BGR, held out, N at least 1.
        limit_degrees: of the mean.

    Raises:
        WeightsError: the mean is above the limit, or the crops of the two differ.
        DataError: there are no crops.
        HeadPoseError: a network gives no rotation.
    """
    first, second = (OnnxPoseModel(path, device="cpu", threads=1) for path in (reference, candidate))
    if first.crop != second.crop:
        raise WeightsError(f"{reference} and {candidate} cut faces differently: they cannot be compared")
    parity = measure_parity(predict(first, crops), predict(second, crops))
    if not parity.mean <= limit_degrees:
        raise WeightsError(
            f"{second.name} differs from {first.name} by {parity}, more than {limit_degrees:g} allows: "
            "give other or more calibration images, keep it in a higher precision, or raise the limit"
        )
    return parity


def predict(model: PoseModel, crops: Sequence[Image]) -> NDArray[np.float64]:
    """(N, 3, 3) rotations of N crops, (S, S, 3) uint8 BGR each; N at least 1."""
    if not len(crops):
        raise DataError("networks are compared on one face at least, there is none")
    parts = [np.stack(crops[start : start + _BATCH]) for start in range(0, len(crops), _BATCH)]
    return np.concatenate([model.predict(crop.normalise(part, model.crop)) for part in parts])


def predict_anyhow(path: Path, crops: Sequence[Image], spec: CropSpec) -> NDArray[np.float64]:
    """As ``predict``, with the nearest rotations where a broken network gives other matrices."""
    session, _ = create_session(path, device="cpu", threads=1)
    outputs = [session.run(["rotation"], {"image": crop.normalise(picture[None], spec)})[0] for picture in crops]
    return geometry.nearest_rotation(np.nan_to_num(np.concatenate(outputs)))


def noise_pictures(count: int, size: int, seed: int = 0) -> list[Image]:
    """Pictures of coloured clouds, from coarse to fine: a stand-in for faces where there are none."""
    rng = np.random.default_rng(seed)
    grids = [rng.integers(0, 256, (side, side, 3), np.uint8) for side in rng.integers(2, max(3, size // 4), count)]
    return [np.asarray(cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8) for grid in grids]
