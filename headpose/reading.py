"""What a network reads off its crops, and the checks and the calibration of these values.

Every network has the output ``rotation``. Networks of contract 2 may have three more:

* ``region``: where the tight box of the 68 landmarks is in the crop;
* ``covariance``: how large the error of the rotation is expected to be, and about which axes;
* ``face``: whether the crop shows a face whose pose can be read.

A landmark network has the output ``landmarks`` alone (``headpose.landmarks``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headpose import geometry
from headpose.errors import HeadPoseError, InputError

F64 = NDArray[np.float64]

CONTRACT = 2
"""Latest version of the file contract that this package reads; files without a version have version 1."""

OPTIONAL_OUTPUTS: dict[str, tuple[int, ...]] = {"region": (4,), "covariance": (3, 3), "face": ()}
"""Optional outputs of a network, each with the shape of one face's value."""

LANDMARKS = 68
"""Number of landmarks of a face, those of 300W."""

# Maximum difference of R^T R from the identity: in fp32 arithmetic, and in fp16 or int8.
_EXACT, _ROUNDED = 1e-4, 0.1
_ASYMMETRIC = 1e-3  # maximum |S - S^T|, relative to the largest entry
_NEGATIVE = 1e-4  # rounding may move an eigenvalue this far below 0, relative to the largest
_FARTHEST = 100.0  # sides of the crop from its corner to a landmark: only a damaged network has more
_FLOOR = 1e-9  # such an eigenvalue is raised to this value, relative to the largest


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Outputs of a network for N crops, calibrated. The optional ones are None if the network lacks them.

    Attributes:
        rotation: (N, 3, 3) float64 rotations from head axes to camera axes (see ``headpose.geometry``).
        region: (N, 4) float64 tight boxes of the 68 landmarks as center x, center y, width and height, in the axes of
            the crop and in units of its side: the crop is [0, 1] x [0, 1], x to the right and y down, and (0, 0) is the
            outer corner of the first pixel. A box may extend outside of the crop; width and height are above 0.
        covariance: (N, 3, 3) float64 covariances of the error, radians squared, symmetric and positive definite. The
            error is the rotation vector d in head axes that turns the predicted rotation into the true one,
            ``R_true = R_predicted exp([d]x)``. Head axes turn with the head, so a rotation of the image in its plane
            does not change the covariance.
        face: (N,) float64 logits of "this crop shows a face whose pose can be read"; ``probability`` converts them.
    """

    rotation: F64
    region: F64 | None = None
    covariance: F64 | None = None
    face: F64 | None = None

    def __len__(self) -> int:
        """Return the number of crops, N."""
        return len(self.rotation)

    @property
    def readable(self) -> F64 | None:
        """(N,) probabilities in [0, 1] that the crop shows a readable face; None without ``face``."""
        return None if self.face is None else probability(self.face)


def concatenate(readings: Sequence[Reading]) -> Reading:
    """Join the readings of one network for several batches, at least one, in order."""
    names = ("rotation", *(name for name in OPTIONAL_OUTPUTS if getattr(readings[0], name) is not None))
    return Reading(**{name: np.concatenate([getattr(each, name) for each in readings]) for name in names})


@dataclass(frozen=True, slots=True)
class Calibration:
    """Constants that fit the optional outputs to held-out faces. The default values change nothing.

    Attributes:
        temperature: Factor on the covariance, above 0.
        face_temperature: Divisor of the logit ``face``, above 0 (Guo et al., "On Calibration of Modern Neural
            Networks", ICML 2017).
        face_bias: Summand of the logit after the division (Platt, "Probabilistic Outputs for Support Vector
            Machines", 1999).

    Raises:
        InputError: A value is not a number or out of range.
    """

    temperature: float = 1.0
    face_temperature: float = 1.0
    face_bias: float = 0.0

    def __post_init__(self) -> None:
        for name in ("temperature", "face_temperature", "face_bias"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or (name != "face_bias" and not value > 0):
                bound = "" if name == "face_bias" else " above 0"
                raise InputError(f"calibration {name.replace('_', '.')} must be a number{bound}, got {value!r}")

    def apply(self, outputs: Mapping[str, F64]) -> dict[str, F64]:
        """Return outputs by name, with ``covariance`` and ``face`` calibrated."""
        fitted = dict(outputs)
        if "covariance" in fitted:
            fitted["covariance"] = self.temperature * fitted["covariance"]
        if "face" in fitted:
            fitted["face"] = fitted["face"] / self.face_temperature + self.face_bias
        return fitted

    def to_dict(self) -> dict[str, Any]:
        """Return the object ``calibration`` of a network's metadata."""
        return {
            "temperature": self.temperature,
            "face": {"temperature": self.face_temperature, "bias": self.face_bias},
        }

    @classmethod
    def from_dict(cls, values: Any) -> Calibration:
        """Create the constants from the object ``calibration`` of a network's metadata; keys may be missing.

        Raises:
            InputError: The value is not such an object, or a key is unknown.
        """
        face = values.get("face", {}) if isinstance(values, dict) else None
        if not isinstance(face, dict) or set(values) - {"temperature", "face"} or set(face) - {"temperature", "bias"}:
            raise InputError("calibration must be an object with temperature and face, which has temperature and bias")
        return cls(values.get("temperature", 1.0), face.get("temperature", 1.0), face.get("bias", 0.0))


def probability(logit: F64) -> F64:
    """Convert logits of any shape to probabilities in [0, 1] (logistic function)."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(logit, np.float64))))


def checked(outputs: Mapping[str, NDArray[Any]], count: int, name: str) -> dict[str, F64]:
    """Check the outputs of a network, so that no angle is wrong, and repair the rounding of fp16 and int8.

    Args:
        outputs: Outputs by name: ``rotation`` and some of ``OPTIONAL_OUTPUTS``.
        count: Number of crops, N.
        name: Name of the network, for messages.

    Returns:
        The outputs as float64. Rotations are orthonormal, and covariances symmetric and positive definite.

    Raises:
        HeadPoseError: A shape is wrong, a value is not finite, a matrix is no rotation or no covariance, or a region
            has a width or height of 0 or less.
    """
    found = {key: np.asarray(value, np.float64) for key, value in outputs.items()}
    result = {"rotation": _rotations(found["rotation"], count, name)}
    for key, shape in OPTIONAL_OUTPUTS.items():
        if key not in found:
            continue
        values = found[key]
        if values.shape != (count, *shape) or not np.isfinite(values).all():
            raise HeadPoseError(
                f"model {name} returned no {key}: shape {list(values.shape)}, or a value that is not a number"
            )
        if key == "region" and not (values[:, 2:] > 0).all():
            raise HeadPoseError(f"model {name} returned no region: its width or height is not above 0")
        result[key] = _covariances(values, name) if key == "covariance" else values
    return result


def checked_landmarks(output: NDArray[Any], count: int, name: str) -> F64:
    """Check the output ``landmarks`` of a network.

    Args:
        output: Output of the network.
        count: Number of crops, N.
        name: Name of the network, for messages.

    Returns:
        (N, 68, 2) float64, x and y in sides of the crop; see ``Reading.region`` for its axes.

    Raises:
        HeadPoseError: The shape is wrong, a value is not finite, or a point is far from the crop.
    """
    if output.shape != (count, LANDMARKS, 2) or not (np.abs(output) <= _FARTHEST).all():  # also false for NaN
        raise HeadPoseError(
            f"model {name} returned no landmarks: shape {list(output.shape)}, or a point that is not near the crop"
        )
    return np.asarray(output, np.float64)


def _rotations(output: F64, count: int, name: str) -> F64:
    if output.shape != (count, 3, 3) or not np.isfinite(output).all():
        raise HeadPoseError(
            f"model {name} returned no rotation: shape {list(output.shape)}, or a value that is not a number"
        )
    departure = np.abs(np.swapaxes(output, -1, -2) @ output - np.eye(3)).max()
    if departure > _ROUNDED or (np.linalg.det(output) < 0).any():
        raise HeadPoseError(
            f"model {name} returned no rotation: the matrix is not orthonormal (off by {departure:.2g})"
        )
    return output if departure <= _EXACT else geometry.nearest_rotation(output)


def _covariances(output: F64, name: str) -> F64:
    largest = np.abs(output).max((1, 2))
    swapped = np.swapaxes(output, 1, 2)
    if (np.abs(output - swapped).max((1, 2)) > _ASYMMETRIC * largest).any():
        raise HeadPoseError(f"model {name} returned no covariance: the matrix is not symmetric")
    symmetric: F64 = (output + swapped) / 2
    values, vectors = np.linalg.eigh(symmetric)
    top = values[:, -1:]
    if not (top > 0).all() or (values < -_NEGATIVE * top).any():
        raise HeadPoseError(f"model {name} returned no covariance: the matrix is not positive definite")
    if (values >= _FLOOR * top).all():
        return symmetric
    raised = np.maximum(values, _FLOOR * top)
    return np.asarray((vectors * raised[:, None, :]) @ np.swapaxes(vectors, 1, 2))
