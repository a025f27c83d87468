"""Head pose and shoulder pose, and their densities by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from headpose import geometry
from headpose.geometry import Array
from headpose.synth.surface import F32, kernel
from headpose.types import EulerAngles

LARGEST = EulerAngles(yaw=99.0, pitch=60.0, roll=60.0)
"""Limits of the uniform part of the density ``people``, degrees. In its other part, pitch and roll reach 99 for yaws
near 90, where only their difference is defined."""

_NECK = EulerAngles(yaw=65.0, pitch=40.0, roll=30.0)  # limits of the neck; the shoulders turn by the rest
_EVEN = 0.25  # fraction of the heads with a uniform pose
_FURTHEST = 99.0
_FAR = EulerAngles(yaw=110.0, pitch=70.0, roll=45.0)  # limits of the camera's azimuth, elevation and roll
_BEHIND = EulerAngles(yaw=15.0, pitch=60.0, roll=45.0)  # the same for the back of the head, with yaw relative to 180
_LOWEST_CAMERA = -float(np.sin(np.deg2rad(40.0)))  # sine of the lowest elevation relative to the shoulders
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Pose:
    """Pose of the head and the neck.

    Attributes:
        euler: Pose of the head relative to the camera in degrees.
        neck: Pose of the head relative to the shoulders in degrees.
        down: (3,) unit vector of gravity in head axes; None if gravity points down in the image.
    """

    euler: EulerAngles
    neck: EulerAngles
    down: tuple[float, float, float] | None = None

    @property
    def rotation(self) -> Array:
        """(3, 3) float64 rotation from head axes to camera axes."""
        return geometry.rotation_from_euler(self.euler)

    @property
    def gravity(self) -> Array:
        """(3,) float64 unit vector of gravity in head axes."""
        return self.rotation.T @ [0.0, -1.0, 0.0] if self.down is None else np.array(self.down)

    @property
    def tilt(self) -> Array:
        """(3, 3) float64 smallest rotation from the axes of a level camera to those of this camera."""
        falls = self.rotation @ self.gravity
        axis = np.cross([0.0, -1.0, 0.0], falls)
        length = np.linalg.norm(axis)
        angle = np.arctan2(length, -falls[1])
        return np.asarray(cv2.Rodrigues(axis / length * angle if length > 1e-9 else np.zeros(3))[0], np.float64)


@dataclass(frozen=True, slots=True)
class Density:
    """Distribution of poses.

    Attributes:
        draw: Function that draws a pose.
        most_hidden: Maximum fraction of the facial outline that hair, hats and objects may cover; otherwise everything
            except the pose is drawn again.
        labeled: True if the images are labeled with a pose; otherwise they are negatives.
    """

    draw: Callable[[np.random.Generator], Pose]
    most_hidden: float
    labeled: bool = True


def draw_people(rng: np.random.Generator) -> Pose:
    """Draw a pose of the density ``people``.

    A quarter of the poses are uniform over +-99 degrees of yaw, +-60 of pitch and +-60 of roll. The others imitate
    people: the head turns about the vertical (a third normal with standard deviation 25, the rest uniform over +-99),
    nods (mean -3, standard deviation 12) and leans (standard deviation 8); the camera has a random elevation (standard
    deviation 10) and roll (standard deviation 8). Profiles are therefore mostly seen from their own height, with a
    small tilt.
    """
    return _draw_evenly(rng) if rng.random() < _EVEN else _draw_person(rng)


def _draw_evenly(rng: np.random.Generator) -> Pose:
    euler = EulerAngles(*(float(rng.uniform(-largest, largest)) for largest in LARGEST))
    share = rng.uniform([0.2, 0.5, 0.3], [1.1, 1.0, 1.0])
    spread = rng.normal(0, [8, 5, 4])
    neck = (np.clip(a * s + d, -m, m) for a, s, d, m in zip(euler, share, spread, _NECK, strict=True))
    return Pose(euler, EulerAngles(*map(float, neck)))


def _draw_person(rng: np.random.Generator) -> Pose:
    while True:
        turn = rng.normal(0, 25) if rng.random() < 1 / 3 else rng.uniform(-LARGEST.yaw, LARGEST.yaw)
        nod, lean = rng.normal([-3, 0], [12, 8])
        above, askew = rng.normal(0, [10, 8])
        twist = float(np.clip(turn * rng.uniform(0.2, 1.1), -_NECK.yaw, _NECK.yaw))
        neck = _chain([twist, 0, 0], [0, nod, 0], [0, 0, lean])
        shoulders = _chain([0, 0, askew], [0, above, 0], [turn - twist, 0, 0])
        euler = geometry.euler_from_rotation(shoulders @ neck)
        if abs(euler).max() <= _FURTHEST:
            return Pose(EulerAngles(*map(float, euler)), EulerAngles(*map(float, geometry.euler_from_rotation(neck))))


def draw_far(rng: np.random.Generator) -> Pose:
    """Draw a pose of the density ``far``: the camera is anywhere around the face.

    The direction from the head to the camera is uniform on the sphere within +-110 degrees of azimuth and +-70 of
    elevation, in head axes. The roll of the camera is uniform over +-45 degrees (``AugmentRecipe`` rotates crops
    further); without it, azimuth and elevation are the yaw and pitch of the label. Up to 0.6 of the elevation is a nod;
    the rest is the height of the camera, so gravity differs from the vertical of the image.
    """
    yaw = float(rng.uniform(-_FAR.yaw, _FAR.yaw))
    return _around(rng, yaw, _FAR)


def draw_back(rng: np.random.Generator) -> Pose:
    """Draw a pose of the density ``back``: like ``far``, with an azimuth within 15 degrees of the back of the head.

    The elevation is at most 60 degrees, so that at most 5 % of an uncovered face is visible (the edge of a cheek).
    """
    yaw = float(180 + rng.uniform(-_BEHIND.yaw, _BEHIND.yaw))
    return _around(rng, yaw, _BEHIND)


def _around(rng: np.random.Generator, yaw: float, limit: EulerAngles) -> Pose:
    """Draw a camera at an azimuth of ``yaw`` degrees, with an elevation that is uniform on the sphere."""
    highest = np.sin(np.deg2rad(limit.pitch))
    pitch = float(np.rad2deg(np.arcsin(rng.uniform(-highest, highest))))
    turned = geometry.rotation_from_euler([yaw, pitch, 0.0])
    rotation = geometry.turn_picture(turned, rng.uniform(-limit.roll, limit.roll))
    neck, down = _standing(rng, yaw, pitch, turned[2])
    euler = geometry.euler_from_rotation(rotation)
    return Pose(EulerAngles(*map(float, euler)), neck, (float(down[0]), float(down[1]), float(down[2])))


def _standing(rng: np.random.Generator, yaw: float, pitch: float, camera: Array) -> tuple[EulerAngles, Array]:
    """Return the pose of the neck and the direction of gravity in head axes, for upright shoulders.

    The elevation of the camera relative to the shoulders is at least -40 degrees if the limits of the neck allow it.

    Args:
        rng: Random generator.
        yaw: Azimuth of the camera around the head in degrees.
        pitch: Elevation of the camera in degrees.
        camera: (3,) direction to the camera in head axes.
    """
    short_way = (yaw + 180) % 360 - 180
    best = (-np.inf, EulerAngles(0.0, 0.0, 0.0), np.zeros(3))
    for _ in range(_TRIES):
        drawn = [short_way * rng.uniform(0, 0.6), pitch * rng.uniform(0, 0.6) + rng.normal(0, 6), rng.normal(0, 10)]
        neck = EulerAngles(*(float(np.clip(angle, -most, most)) for angle, most in zip(drawn, _NECK, strict=True)))
        down = geometry.rotation_from_euler(neck).T @ [0.0, -1.0, 0.0]
        best = max(best, (min(float(-down @ camera), _LOWEST_CAMERA), neck, down), key=lambda each: each[0])
        if best[0] == _LOWEST_CAMERA:
            break
    return best[1], best[2]


DENSITIES: Mapping[str, Density] = {
    "people": Density(draw_people, most_hidden=0.5),
    "far": Density(draw_far, most_hidden=0.9),
    "back": Density(draw_back, most_hidden=1.0, labeled=False),
}
"""Pose densities by name."""


def _chain(*turns: list[float]) -> Array:
    """Return the (3, 3) product of rotations, each given as yaw, pitch, roll in degrees; the last is applied first."""
    return np.linalg.multi_dot([geometry.rotation_from_euler(turn) for turn in turns])


@dataclass(frozen=True, slots=True, eq=False)
class Bend:
    """Deformation of the neck: vertices follow the head or the shoulders.

    Attributes:
        vector: (3,) float32 rotation vector of the head relative to the shoulders, radians.
        shoulders: (3, 3) float32 rotation from shoulder axes to camera axes.
        pivot: (3,) float32 point in head axes at which the neck bends.
        offset: (3,) float32 translation from the origin of the head to that of the camera axes.
    """

    vector: F32
    shoulders: F32
    pivot: F32
    offset: F32

    def __call__(self, vertices: F32, weight: F32) -> F32:
        """Transform (n, 3) vertices from head axes to camera axes.

        Args:
            vertices: (n, 3) positions in head axes.
            weight: (n,) fraction of the neck rotation that a vertex follows; 1 moves rigidly with the head.
        """
        return _bend(vertices, weight, self.vector, self.shoulders, self.pivot, self.offset)


def bend(pose: Pose, pivot: F32) -> Bend:
    """Return the deformation of a pose, for a neck that bends about ``pivot`` (3,) in head axes."""
    relative, rotation = geometry.rotation_from_euler(pose.neck), pose.rotation
    shoulders = (rotation @ relative.T).astype(np.float32)
    vector = np.deg2rad(geometry.vector_from_rotation(relative)).astype(np.float32)
    return Bend(vector, shoulders, pivot, (rotation @ pivot).astype(np.float32))


@kernel
def _bend(vertices: F32, weight: F32, vector: F32, shoulders: F32, pivot: F32, offset: F32) -> F32:
    result = np.empty_like(vertices)
    angle = np.sqrt(np.float64(vector[0]) ** 2 + np.float64(vector[1]) ** 2 + np.float64(vector[2]) ** 2) + 1e-12
    ax, ay, az = vector[0] / angle, vector[1] / angle, vector[2] / angle
    for i in range(vertices.shape[0]):
        x, y, z = vertices[i, 0] - pivot[0], vertices[i, 1] - pivot[1], vertices[i, 2] - pivot[2]
        turn = angle * weight[i]
        cosine, sine = np.cos(turn), np.sin(turn)
        along = (ax * x + ay * y + az * z) * (1 - cosine)
        bx = x * cosine + (ay * z - az * y) * sine + ax * along
        by = y * cosine + (az * x - ax * z) * sine + ay * along
        bz = z * cosine + (ax * y - ay * x) * sine + az * along
        for c in range(3):
            result[i, c] = shoulders[c, 0] * bx + shoulders[c, 1] * by + shoulders[c, 2] * bz + offset[c]
    return result
