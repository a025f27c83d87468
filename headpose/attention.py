"""Who looks at the camera: events when a face looks away, comes back, is lost or found, and a filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headpose import geometry
from headpose.errors import InputError
from headpose.types import HeadPose

EventKind = Literal["found", "away", "back", "lost"]


@dataclass(frozen=True, slots=True)
class AttentionSettings:
    """When a face counts as looking away.

    Attributes:
        away: Angle in degrees between the nose and the direction to the camera beyond which a face looks away, above 0
            and below 180.
        after_s: Time in seconds for which it must look away before the event, 0 or more.
        back: Angle in degrees below which it looks at the camera again, above 0 and at most ``away``. None means 80 %
            of ``away``. Between the two angles nothing changes (hysteresis).
        lost_s: Time in seconds without the face after which it is lost, above 0.

    Raises:
        InputError: A value is out of range.
    """

    away: float = 30.0
    after_s: float = 1.5
    back: float | None = None
    lost_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.away < 180:
            raise InputError(f"away must be an angle above 0 and below 180 degrees, got {self.away}")
        if not 0 <= self.after_s < float("inf"):
            raise InputError(f"after must be 0 seconds or more, got {self.after_s}")
        if self.back is not None and not 0 < self.back <= self.away:
            raise InputError(f"back must be an angle above 0 and at most {self.away:g} degrees, got {self.back}")
        if not 0 < self.lost_s < float("inf"):
            raise InputError(f"lost must be above 0 seconds, got {self.lost_s}")


@dataclass(frozen=True, slots=True)
class Event:
    """Change of a face's attention.

    Attributes:
        kind: ``found`` (a new face), ``away``, ``back`` or ``lost``.
        track: Track number of the face.
        time_s: Time in seconds at which the event was known.
        since_s: Time in seconds at which the change began: when the face turned away, or was seen last.
        angle: Angle in degrees between the nose and the direction to the camera; None for a lost face.
    """

    kind: EventKind
    track: int
    time_s: float
    since_s: float
    angle: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the event as a dictionary for ``json.dumps``: event, track, time_s, since_s and angle."""
        return {
            "event": self.kind,
            "track": self.track,
            "time_s": round(self.time_s, 6),
            "since_s": round(self.since_s, 6),
            "angle": None if self.angle is None else round(self.angle, 3),
        }


class Attention:
    """Turn the tracked poses of a stream into events.

    Example:
        >>> attention = Attention(AttentionSettings(away=30, after_s=1.5))
        >>> for frame in open_source("video.mp4"):
        ...     for event in attention.update(tracker.update(estimator(frame.image), frame.time_s), frame.time_s):
        ...         print(event.kind, event.track, event.time_s)
    """

    def __init__(self, settings: AttentionSettings | None = None) -> None:
        """Start without faces; None uses the default settings."""
        self._settings = settings or AttentionSettings()
        self._back = self._settings.back or 0.8 * self._settings.away
        self._faces: dict[int, _State] = {}

    def update(self, poses: Sequence[HeadPose], time_s: float) -> list[Event]:
        """Return the events of the next frame.

        Args:
            poses: Poses of the frame with track numbers, from a tracker.
            time_s: Time of the frame in seconds. Frames must be in order of time.

        Raises:
            InputError: A pose has no track number.
        """
        events = []
        for pose in poses:
            if pose.track is None:
                raise InputError("events need faces with track numbers: use a tracker")
            angle = float(geometry.facing_degrees(pose.rotation))
            state = self._faces.get(pose.track)
            if state is None:
                state = self._faces[pose.track] = _State(time_s)
                events.append(Event("found", pose.track, time_s, time_s, angle))
            kind, since_s = self._turned(state, angle, time_s)
            if kind is not None:
                events.append(Event(kind, pose.track, time_s, since_s, angle))
            state.seen_s = time_s
        for track, state in list(self._faces.items()):
            if time_s - state.seen_s >= self._settings.lost_s:
                events.append(Event("lost", track, time_s, state.seen_s, None))
                del self._faces[track]
        return events

    def _turned(self, state: _State, angle: float, time_s: float) -> tuple[EventKind | None, float]:
        """Update the state of one face; return the event, if there is one, and when the change began."""
        if angle < self._back:
            was_away, state.away, state.turned_s = state.away, False, None
            return ("back" if was_away else None), time_s
        if state.away or angle <= self._settings.away:  # between the two angles nothing changes
            return None, time_s
        if state.turned_s is None:
            state.turned_s = time_s
        if time_s - state.turned_s < self._settings.after_s:
            return None, time_s
        state.away = True
        return "away", state.turned_s


@dataclass(slots=True)
class _State:
    """Attention of one face.

    Attributes:
        seen_s: Time at which the face was seen last.
        turned_s: Time at which it turned beyond ``away``; None while it looks at the camera.
        away: The event ``away`` has been given.
    """

    seen_s: float
    turned_s: float | None = None
    away: bool = False


def frontal(poses: Sequence[HeadPose], degrees: float) -> list[HeadPose]:
    """Return the poses of faces that look at the camera.

    Args:
        poses: Poses of one image.
        degrees: Maximum angle between the nose and the direction to the camera.
    """
    return [pose for pose in poses if geometry.facing_degrees(pose.rotation) <= degrees]
