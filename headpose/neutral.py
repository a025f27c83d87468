"""The neutral head pose: how a person sits when the face is at rest. Poses are then given relative to it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headpose import files, geometry
from headpose.errors import DataError, InputError
from headpose.types import HeadPose

RECENT_S = 1.0
"""A neutral pose is the mean over this time, in seconds."""
_EXACT = 1e-3  # maximum difference of R^T R from the identity in a file that a person may have edited


@dataclass(frozen=True, slots=True, eq=False)
class NeutralPose:
    """Neutral head pose of a person in front of a camera.

    Attributes:
        rotation: (3, 3) float64 rotation from head axes to camera axes. The identity, the default, changes nothing.
        place: Place of the head in centimeters (``HeadPose.place``); None if it is unknown.

    Example:
        >>> neutral = NeutralPose(geometry.rotation_from_euler((0, -12, 0)))  # a camera above the screen
        >>> pose = HeadPose(Face(Box(0, 0, 9, 9), 1.0), geometry.rotation_from_euler((0, 8, 0)))
        >>> print(f"{neutral.apply([pose])[0].pitch:.1f}")
        20.0
    """

    rotation: geometry.Array = dataclasses.field(default_factory=lambda: np.eye(3))
    place: tuple[float, float, float] | None = None

    @classmethod
    def of(cls, poses: Sequence[HeadPose]) -> NeutralPose:
        """Return the mean of some poses of one face, such as those of the last second.

        Raises:
            InputError: ``poses`` is empty.
        """
        if not poses:
            raise InputError("a neutral pose needs a face: look at the camera and try again")
        rotation = geometry.nearest_rotation(np.mean([pose.rotation for pose in poses], axis=0))
        places = [pose.place for pose in poses if pose.place is not None]
        x, y, z = map(float, np.mean(places, axis=0)) if places else (0.0, 0.0, 0.0)
        return cls(rotation, (x, y, z) if places else None)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> NeutralPose:
        """Read a file written by ``write``.

        Raises:
            DataError: The file is missing or damaged.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            rotation = np.array(values["rotation"], np.float64)
            place = values.get("place")
            place = None if place is None else tuple(map(float, place))
        except FileNotFoundError:
            raise DataError(f"{path} does not exist: press z in the window to save a neutral pose") from None
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            raise DataError(f"{path} is not a neutral pose: save it again with z in the window") from None
        fits = rotation.shape == (3, 3) and np.abs(rotation.T @ rotation - np.eye(3)).max() < _EXACT
        if not fits or np.linalg.det(rotation) < 0 or (place is not None and not _is_place(place)):
            raise DataError(f"{path} is not a neutral pose, its rotation or place is none: save it again")
        return cls(geometry.nearest_rotation(rotation), place)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the pose as JSON: ``rotation``, its ``yaw``, ``pitch``, ``roll`` in degrees, and ``place``.

        Raises:
            HeadPoseError: The file cannot be written.
        """
        yaw, pitch, roll = (round(float(angle), 6) for angle in geometry.euler_from_rotation(self.rotation))
        values = {"yaw": yaw, "pitch": pitch, "roll": roll, "rotation": self.rotation.tolist(), "place": self.place}
        files.check_text_name(path)
        files.write_text(path, json.dumps(values) + "\n")

    def apply(self, poses: Sequence[HeadPose]) -> list[HeadPose]:
        """Return the poses relative to this one (``geometry.relative_to``), with the same boxes.

        Places become differences in camera axes, where both are known.
        """
        return [
            dataclasses.replace(
                pose, rotation=geometry.relative_to(pose.rotation, self.rotation), place=self._moved(pose.place)
            )
            for pose in poses
        ]

    def _moved(self, place: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if place is None or self.place is None:
            return place
        (x, y, z), (x0, y0, z0) = place, self.place
        return x - x0, y - y0, z - z0


class RecentPoses:
    """The poses of the largest face over the last second, from which a neutral pose is made."""

    def __init__(self) -> None:
        """Start without poses."""
        self._poses: deque[tuple[float, HeadPose]] = deque()

    def add(self, poses: Sequence[HeadPose], time_s: float) -> None:
        """Add the poses of a frame, and forget older ones. Clear them if another face is the largest.

        Args:
            poses: Poses of the frame, with ``track`` where there is a tracker.
            time_s: Time of the frame in seconds. Frames must be in order of time.
        """
        while self._poses and time_s - self._poses[0][0] > RECENT_S:
            self._poses.popleft()
        if poses:
            largest = max(poses, key=lambda pose: pose.box.width * pose.box.height)
            if self._poses and self._poses[-1][1].track != largest.track:
                self._poses.clear()
            self._poses.append((time_s, largest))

    def neutral(self) -> NeutralPose:
        """Return the mean of the poses (``NeutralPose.of``).

        Raises:
            InputError: No face was seen in the last second.
        """
        return NeutralPose.of([pose for _, pose in self._poses])


def _is_place(place: Sequence[float]) -> bool:
    return len(place) == 3 and bool(np.isfinite(place).all())
