"""Smoothing of poses and boxes: the One Euro filter (Casiez, Roussel and Vogel, CHI 2012) on SO(3) and on boxes."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import cv2
import numpy as np

from headpose import geometry
from headpose.errors import HeadPoseError
from headpose.geometry import Array
from headpose.types import Box, Face, HeadPose


@dataclass(frozen=True, slots=True)
class Smoothing:
    """Settings of the One Euro filter (Casiez, Roussel and Vogel, CHI 2012).

    A low-pass filter whose cut-off frequency rises with speed: it removes jitter from a still head and follows a fast
    one with little lag. The defaults come from ``scripts/measure_smoothing.py`` (table in docs/tracking.md).

    Attributes:
        still_hz: Cut-off frequency for a head at rest (the paper's mincutoff). Lower values remove more jitter.
        turn_hz: Increase of the cut-off frequency per degree per second of rotation (beta). Higher values reduce lag.
        move_hz: Increase of the cut-off frequency per face length per second of box motion (beta).
        speed_hz: Cut-off frequency of the filter applied to the speed (dcutoff).
    """

    still_hz: float = 1.0
    turn_hz: float = 0.2
    move_hz: float = 16.0
    speed_hz: float = 1.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, may_be_0 = getattr(self, field.name), field.name in ("turn_hz", "move_hz")
            if not (math.isfinite(value) and (value > 0 or (may_be_0 and value == 0))):
                wanted = "0 or more" if may_be_0 else "above 0"
                raise HeadPoseError(f"smoothing: {field.name} must be a number {wanted}, got {value}")


class SmoothPose:
    """Filter state of one face: rotation and box, each with its own speed estimate."""

    def __init__(self, pose: HeadPose, smoothing: Smoothing) -> None:
        self._turn = _Speed(smoothing, smoothing.turn_hz)
        self._move = _Speed(smoothing, smoothing.move_hz)
        self._measured = self._rotation = geometry.nearest_rotation(pose.rotation)
        self._measured_place = self._place = _place(pose.box)

    def update(self, pose: HeadPose, elapsed_s: float) -> HeadPose:
        """Return the smoothed pose.

        Args:
            pose: Measured pose.
            elapsed_s: Time since the previous measurement in seconds, above 0.
        """
        share = self._turn.share(_degrees(pose.rotation @ self._measured.T), elapsed_s)
        self._rotation = _turned(share * _degrees(pose.rotation @ self._rotation.T)) @ self._rotation
        place, length = _place(pose.box), max(pose.box.width, pose.box.height)
        share = self._move.share((place - self._measured_place) / length, elapsed_s)
        self._place = self._place + share * (place - self._place)
        self._measured, self._measured_place = pose.rotation, place
        x, y, width, height = map(float, self._place)
        box = Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return dataclasses.replace(pose, face=Face(box, pose.face.score), rotation=self._rotation)


class _Speed:
    """Speed estimate of the One Euro filter, and the filter weight that follows from it."""

    def __init__(self, smoothing: Smoothing, hz_by_speed: float) -> None:
        self._still_hz, self._speed_hz, self._hz_by_speed = smoothing.still_hz, smoothing.speed_hz, hz_by_speed
        self._speed: Array | float = 0.0

    def share(self, moved: Array, elapsed_s: float) -> float:
        """Return the weight of the new measurement, in (0, 1).

        Args:
            moved: (n,) change since the previous measurement, in degrees or face lengths.
            elapsed_s: Time since the previous measurement in seconds.
        """
        # The velocity is smoothed as a vector, so that jitter in opposite directions cancels.
        self._speed = self._speed + _low_pass(self._speed_hz, elapsed_s) * (moved / elapsed_s - self._speed)
        return _low_pass(self._still_hz + self._hz_by_speed * float(np.linalg.norm(self._speed)), elapsed_s)


def _low_pass(cutoff_hz: float, elapsed_s: float) -> float:
    """Return the weight of the newest value in a first-order low-pass filter."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff_hz * elapsed_s))


def _degrees(rotation: Array) -> Array:
    """Return the rotation vector: (3,) axis times angle in degrees."""
    return np.rad2deg(cv2.Rodrigues(rotation)[0].ravel())


def _turned(vector: Array) -> Array:
    """Return the (3, 3) rotation of a (3,) rotation vector in degrees."""
    return cv2.Rodrigues(np.deg2rad(vector))[0]


def _place(box: Box) -> Array:
    """Return (4,) center x, center y, width, height in pixels."""
    return np.array([*box.center, box.width, box.height])
