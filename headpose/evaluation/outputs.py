"""Convert the outputs of third-party networks to angles in the convention of ``headpose.geometry``.

Each form is a frozen dataclass whose fields are the keys of the ``[output]`` table of an adapter file
(``headpose.evaluation.adapters``). Angles of a network are not normalized: a yaw of 95 is compared as 95, as its
authors do. Rotations are decoded with the asin branch, as in published code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike

from headpose import geometry
from headpose.errors import InputError
from headpose.geometry import Array

ANGLES = ("yaw", "pitch", "roll")

_PER_UNIT = {"degrees": 1.0, "radians": 180.0 / np.pi}
_FRAMES: dict[str, Callable[[ArrayLike], Array]] = {
    "headpose": lambda rotation: np.array(rotation, np.float64),
    "opencv": geometry.from_opencv,
    "mediapipe": geometry.from_mediapipe,
    "ros": geometry.from_ros,
}
_AXES = {"x": "pitch", "y": "yaw", "z": "roll"}


class Output(Protocol):
    """Interface of all forms.

    Attributes:
        tensors: Names of the network outputs, in the order of the arguments of ``decode``.
    """

    @property
    def tensors(self) -> tuple[str, ...]: ...

    def decode(self, values: Sequence[Array]) -> Array:
        """Convert network outputs to angles.

        Args:
            values: (N, ...) float64 for each of ``tensors``.

        Returns:
            (N, 3) yaw, pitch, roll in degrees.

        Raises:
            InputError: An output has another shape than the form needs.
        """
        ...


@dataclass(frozen=True, slots=True)
class Euler:
    """Euler angles.

    Attributes:
        tensors: One output with three values per face, or three outputs with one.
        order: Names of the angles in the order of the values.
        signs: Sign of each angle in that order: -1 if it grows in the opposite direction, otherwise 1.
        unit: Unit of the angles.
        composition: Order of the rotations, x for pitch, y for yaw, z for roll. "xyz", as in 300W-LP, is
            Rx(pitch) Ry(yaw) Rz(roll). Angles of other compositions are converted to "xyz".
    """

    tensors: tuple[str, ...]
    order: tuple[str, ...] = ANGLES
    signs: tuple[float, ...] = (1.0, 1.0, 1.0)
    unit: Literal["degrees", "radians"] = "degrees"
    composition: str = "xyz"

    def __post_init__(self) -> None:
        _check_angles(self.order, self.signs)
        if len(self.tensors) not in (1, 3):
            raise InputError(f"tensors must name one output of three angles or three of one, got {len(self.tensors)}")
        if self.unit not in _PER_UNIT:
            raise InputError(f"unit must be one of {', '.join(_PER_UNIT)}, got {self.unit!r}")
        if sorted(self.composition) != sorted(_AXES):
            raise InputError(f"composition must have x, y and z once each, got {self.composition!r}")

    def decode(self, values: Sequence[Array]) -> Array:
        angles = np.concatenate([_rows(value, 3 // len(self.tensors)) for value in values], 1)
        euler = _ordered(angles * _PER_UNIT[self.unit], self.order, self.signs)
        return euler if self.composition == "xyz" else _angles(_compose(euler, self.composition))


@dataclass(frozen=True, slots=True)
class Bins:
    """Scores of angle classes, decoded as the expectation of the softmax (Ruiz et al., "Hopenet", CVPRW 2018).

    Attributes:
        tensors: Three outputs with K scores per face.
        order: As in ``Euler``.
        signs: As in ``Euler``.
        step: Width of a class in degrees.
        first: Angle of the first class in degrees.
    """

    tensors: tuple[str, ...]
    step: float
    first: float
    order: tuple[str, ...] = ANGLES
    signs: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        _check_angles(self.order, self.signs)
        if len(self.tensors) != 3:
            raise InputError(f"tensors must name three outputs, got {len(self.tensors)}")
        if not self.step > 0:
            raise InputError(f"step must be above 0, got {self.step}")

    def decode(self, values: Sequence[Array]) -> Array:
        return _ordered(np.stack([self._expectation(value) for value in values], 1), self.order, self.signs)

    def _expectation(self, scores: Array) -> Array:
        scores = scores.reshape(len(scores), -1)
        shares = np.exp(scores - scores.max(1, keepdims=True))
        index = np.arange(scores.shape[1])
        return (shares / shares.sum(1, keepdims=True)) @ index * self.step + self.first


@dataclass(frozen=True, slots=True)
class Quaternion:
    """Quaternion of any length above 0.

    Attributes:
        tensors: One output with four values per face.
        order: Order of the components.
        frame: Axes of camera and head: headpose, opencv, mediapipe or ros (see ``headpose.geometry``).
    """

    tensors: tuple[str, ...]
    order: Literal["xyzw", "wxyz"] = "xyzw"
    frame: str = "headpose"

    def __post_init__(self) -> None:
        _check_single(self.tensors)
        _check_frame(self.frame)
        if self.order not in ("xyzw", "wxyz"):
            raise InputError(f"order must be xyzw or wxyz, got {self.order!r}")

    def decode(self, values: Sequence[Array]) -> Array:
        q = _rows(values[0], 4)
        x, y, z, w = np.moveaxis(q if self.order == "xyzw" else np.roll(q, -1, 1), 1, 0)
        length = (q**2).sum(1)
        if not (length > 0).all():
            raise InputError("a quaternion of length 0")
        s = 2.0 / length
        rows = [
            [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
            [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
            [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
        ]
        return _angles(_FRAMES[self.frame](np.stack([np.stack(row, -1) for row in rows], -2)))


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rotation matrix, exact up to rounding.

    Attributes:
        tensors: One output with nine values per face, row by row.
        frame: As in ``Quaternion``.
        transposed: The matrix maps camera axes to head axes.
    """

    tensors: tuple[str, ...]
    frame: str = "headpose"
    transposed: bool = False

    def __post_init__(self) -> None:
        _check_single(self.tensors)
        _check_frame(self.frame)

    def decode(self, values: Sequence[Array]) -> Array:
        matrices = _rows(values[0], 9).reshape(-1, 3, 3)
        given = np.swapaxes(matrices, 1, 2) if self.transposed else matrices
        return _angles(geometry.nearest_rotation(_FRAMES[self.frame](given)))


@dataclass(frozen=True, slots=True)
class FaceModel:
    """Parameters of a 3D face model that start with a scaled rotation and a translation.

    The first twelve values are a (3, 4) matrix in image axes with y up. Its rows are s r1 | tx, s r2 | ty and an unused
    row; r3 is r1 x r2 (Guo et al., "Towards Fast, Accurate and Stable 3D Dense Face Alignment", ECCV 2020).

    Attributes:
        tensors: One output with at least twelve values per face.
        mean: Twelve offsets; a parameter is value * std + mean.
        std: Twelve factors.
    """

    tensors: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_single(self.tensors)
        if len(self.mean) != 12 or len(self.std) != 12:
            raise InputError(f"mean and std need 12 numbers each, got {len(self.mean)} and {len(self.std)}")

    def decode(self, values: Sequence[Array]) -> Array:
        first = values[0].reshape(len(values[0]), -1)[:, :12]
        rows = (_rows(first, 12) * self.std + self.mean).reshape(-1, 3, 4)[:, :2, :3]
        r1, r2 = np.moveaxis(rows / np.linalg.norm(rows, axis=-1, keepdims=True), 1, 0)
        # r1 and r2 are not exactly orthogonal; the authors' code does not correct this either.
        return _angles(np.stack([r1, r2, np.cross(r1, r2)], 1))


FORMS: dict[str, type[Output]] = {
    "euler": Euler,
    "bins": Bins,
    "quaternion": Quaternion,
    "matrix": Matrix,
    "face-model": FaceModel,
}
"""Forms by their name in adapter files."""


def _check_angles(order: tuple[str, ...], signs: tuple[float, ...]) -> None:
    if sorted(order) != sorted(ANGLES):
        raise InputError(f"order must have yaw, pitch and roll once each, got {', '.join(order)}")
    if len(signs) != 3 or any(abs(sign) != 1 for sign in signs):
        raise InputError(f"signs must be three of 1 and -1, got {list(signs)}")


def _check_single(tensors: tuple[str, ...]) -> None:
    if len(tensors) != 1:
        raise InputError(f"tensors must name one output, got {len(tensors)}")


def _check_frame(frame: str) -> None:
    if frame not in _FRAMES:
        raise InputError(f"frame must be one of {', '.join(_FRAMES)}, got {frame!r}")


def _rows(values: Array, count: int) -> Array:
    """Reshape (N, ...) to (N, count); raise InputError if the size does not match."""
    rows = values.reshape(len(values), -1)
    if rows.shape[1] != count:
        raise InputError(f"{count} values a face are needed, it has {rows.shape[1]}")
    return rows


def _ordered(angles: Array, order: tuple[str, ...], signs: tuple[float, ...]) -> Array:
    """Reorder (N, 3) angles to yaw, pitch, roll and apply their signs."""
    return (angles * signs)[:, [order.index(name) for name in ANGLES]]


def _angles(rotations: Array) -> Array:
    return geometry.euler_from_rotation(rotations, "asin")


def _compose(euler: Array, composition: str) -> Array:
    """Return the product of the three single-axis rotations in the order of the letters."""
    product = np.broadcast_to(np.eye(3), (len(euler), 3, 3))
    for axis in composition:
        alone = euler * [name == _AXES[axis] for name in ANGLES]
        product = product @ geometry.rotation_from_euler(alone)
    return product
