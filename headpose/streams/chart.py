"""The last ten seconds of one face: its history, and the chart of it in the window."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.draw import ANGLE_COLORS
from headpose.geometry import Array
from headpose.streams.senders import Selection
from headpose.types import Box, EulerAngles, HeadPose, Image

SPAN_S = 10.0
"""Time that a history and its chart cover, in seconds."""
_GAP_S = 1.0  # a longer gap interrupts the lines
_LIMITS = (30, 60, 90, 180)  # degrees at the ends of the axis
# Drawn and left out pixels of each line: the lines also differ for people who do not tell the colors apart.
_DASHES = {"yaw": (1, 0), "pitch": (8, 4), "roll": (2, 3)}
_FONT = cv2.FONT_HERSHEY_DUPLEX
_LIGHT, _GRID, _EMPTY = (255, 255, 255), (110, 110, 110), (200, 200, 200)


class _Point(NamedTuple):
    time_s: float
    track: int | None
    box: Box
    euler: EulerAngles

    def follows(self, before: _Point) -> bool:
        """Return whether a line connects the two. A face that is lost and found at once has another number."""
        same = self.track == before.track or self.box.iou(before.box) > 0.0
        return same and self.time_s - before.time_s <= _GAP_S


class History:
    """Yaw, pitch and roll of one face over the last ten seconds.

    It follows the largest face, and stays with a tracked one as long as that is seen.

    Example:
        >>> history = History()
        >>> history.add([HeadPose(Face(Box(0, 0, 9, 9), 1.0), geometry.rotation_from_euler((20, 5, 0)))], time_s=0.5)
        >>> history.limit
        30
    """

    def __init__(self) -> None:
        """Start without a face."""
        self.clear()

    def clear(self) -> None:
        """Forget everything, for example because the angles now refer to something else."""
        self._select = Selection("largest")
        self._points: deque[_Point] = deque()
        self._now_s = 0.0

    def add(self, poses: Sequence[HeadPose], time_s: float) -> None:
        """Add the poses of a frame.

        Args:
            poses: Poses of the frame, with ``track`` where there is a tracker.
            time_s: Time of the frame in seconds. Frames must be in order of time.
        """
        self._now_s = time_s
        while self._points and time_s - self._points[0].time_s > SPAN_S:
            self._points.popleft()
        self._points.extend(_Point(time_s, pose.track, pose.box, pose.euler) for pose in self._select(poses)[:1])

    @property
    def newest(self) -> EulerAngles | None:
        """Angles in the last frame in degrees; None if it shows no face."""
        point = self._points[-1] if self._points else None
        return point.euler if point is not None and point.time_s == self._now_s else None

    @property
    def limit(self) -> int:
        """End of an axis that shows all angles, from -limit to +limit: 30, 60, 90 or 180 degrees."""
        largest = max((abs(angle) for point in self._points for angle in point.euler), default=0.0)
        return next((limit for limit in _LIMITS if largest <= limit), _LIMITS[-1])

    @property
    def lines(self) -> list[Array]:
        """Unbroken stretches, oldest first: (N, 4) float64 seconds (0 is now), yaw, pitch and roll in degrees.

        A stretch ends where no face is seen for a second, and where a face in another place follows.
        """
        stretches: list[list[tuple[float, ...]]] = []
        before: _Point | None = None
        for point in self._points:
            if before is None or not point.follows(before):
                stretches.append([])
            stretches[-1].append((point.time_s - self._now_s, *point.euler))
            before = point
        return [np.array(stretch) for stretch in stretches]


def draw_chart(image: Image, history: History) -> None:
    """Draw a history on a darkened panel into the lower right corner of ``image``, in place.

    Args:
        image: (H, W, 3) uint8 BGR, contiguous.
        history: What to draw. Its newest angles stand above the lines.
    """
    height, width = image.shape[:2]
    scale = float(np.clip(min(height, width) / 1000, 0.45, 1.4))
    margin, row, axis = round(14 * scale), round(34 * scale), round(80 * scale)
    left, top = width - margin - min(width - 2 * margin, round(620 * scale)), height - margin - round(300 * scale)
    left, top = max(0, left), max(0, top)
    panel = image[top : height - margin, left : width - margin]
    panel[:] = panel // 3
    x0, x1 = left + axis, width - 2 * margin
    y0, y1 = top + row + 2 * margin, height - 2 * margin
    _write_angles(image, history.newest, (left + margin, top + row), scale)
    limit = history.limit
    for angle in (limit, 0, -limit):
        y = round((y0 + y1) / 2 - angle / limit * (y1 - y0) / 2)
        cv2.line(image, (x0, y), (x1, y), _GRID, 1)
        at = (left + margin, y + round(11 * scale))
        cv2.putText(image, f"{angle:+d}" if angle else "0", at, _FONT, 0.8 * scale, _LIGHT, 1, cv2.LINE_AA)
    for stretch in history.lines:
        for index, name in enumerate(ANGLE_COLORS, 1):
            y = (y0 + y1) / 2 - stretch[:, index] / limit * (y1 - y0) / 2
            x = x1 + stretch[:, 0] / SPAN_S * (x1 - x0)
            for dash in _dashes(x, y, *_DASHES[name]):
                cv2.polylines(image, [dash], False, ANGLE_COLORS[name], max(1, round(3 * scale)), cv2.LINE_AA)


def _write_angles(image: Image, euler: EulerAngles | None, at: tuple[int, int], scale: float) -> None:
    """Write the newest angles in the colors of their lines; without a face, only their names."""
    x, y = at
    for name, color in ANGLE_COLORS.items():
        text = name if euler is None else f"{name} {round(getattr(euler, name)):+d}"
        cv2.putText(image, text, (x, y), _FONT, 0.9 * scale, color if euler else _EMPTY, 1, cv2.LINE_AA)
        x += cv2.getTextSize("pitch +180 ", _FONT, 0.9 * scale, 1)[0][0]


def _dashes(x: Array, y: Array, drawn: int, left_out: int) -> Iterator[NDArray[np.int32]]:
    """Yield the dashes of a line as (N, 1, 2) int32 points. They start from its oldest point."""
    columns = np.arange(math.floor(x[0]), math.ceil(x[-1]) + 1)
    points = np.stack([columns, np.rint(np.interp(columns, x, y))], axis=1).astype(np.int32)[:, None]
    if not left_out:
        yield points
        return
    for start in range(0, len(points), drawn + left_out):
        yield points[start : start + drawn + 1]
