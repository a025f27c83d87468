"""The webcams of the visitors of the web page: their streams, neutral poses and the last ten seconds."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from headpose.estimator import Estimators
from headpose.neutral import NeutralPose, RecentPoses
from headpose.streams.chart import History
from headpose.streams.uploads import LEFT_AFTER_S, Settings, page_stream
from headpose.types import HeadPose, Image

CHART_EVERY_S = 1.0
"""Time between two charts: the browser needs longer for one than for a picture."""


class Seen(NamedTuple):
    """What is known of a frame.

    Attributes:
        poses: Poses as estimated, for the drawing, from left to right: the order by score changes from frame to frame,
            and the drawn numbers would change with it. They have no ``track``.
        reported: The same, relative to the neutral pose if there is one.
        history: The last ten seconds of the reported angles; None where the chart is not due yet.
    """

    poses: list[HeadPose]
    reported: list[HeadPose]
    history: History | None


class Webcams:
    """The streams of the visitors who send webcam frames, one for each visitor and settings."""

    def __init__(self, estimators: Estimators) -> None:
        """Create no stream yet; the networks and the detector are those of ``estimators``."""
        self._estimators = estimators
        self._streams: dict[object, _Stream] = {}
        self._lock = threading.Lock()

    def update(self, visitor: object, image: Image, settings: Settings, neutral: NeutralPose | None = None) -> Seen:
        """Return the poses in the next frame of a visitor. Streams without a frame for 5 seconds are dropped.

        Args:
            visitor: Who sends the frame.
            image: (H, W, 3) uint8 BGR.
            settings: Settings of the page.
            neutral: The visitor's neutral pose; None for absolute poses.

        Raises:
            HeadPoseError: The network cannot be loaded, or estimation fails.
        """
        now = time.monotonic()
        with self._lock:
            self._streams = {key: each for key, each in self._streams.items() if now - each.seen_s < LEFT_AFTER_S}
            stream = self._streams.get(visitor)
            if stream is None or stream.settings[1:] != settings[1:]:  # the style does not matter
                stream = _Stream(settings, page_stream(self._estimators, settings))
            stream.seen_s = now = time.monotonic()  # loading a network takes a while
            self._streams[visitor] = stream
        return stream.update(image, now, neutral)

    def neutral(self, visitor: object) -> NeutralPose:
        """Return the mean pose of a visitor's largest face over the last second.

        Raises:
            InputError: No face was seen.
        """
        with self._lock:
            stream = self._streams.get(visitor)
        return NeutralPose.of([]) if stream is None else stream.neutral()


class _Stream:
    """The stream of one visitor. Requests of one visitor may overlap."""

    def __init__(self, settings: Settings, estimate: Callable[[Image, float], list[HeadPose]]) -> None:
        self.settings, self.seen_s = settings, 0.0
        self._estimate = estimate
        self._neutral: NeutralPose | None = None
        self._recent, self._history, self._charted_s = RecentPoses(), History(), 0.0
        self._lock = threading.Lock()

    def update(self, image: Image, now_s: float, neutral: NeutralPose | None) -> Seen:
        with self._lock:
            poses = self._estimate(image, now_s)
            self._recent.add(poses, now_s)
            if neutral is not self._neutral:
                self._neutral = neutral
                self._history.clear()
            reported = poses if neutral is None else neutral.apply(poses)
            self._history.add(reported, now_s)
            due = now_s - self._charted_s >= CHART_EVERY_S
            if due:
                self._charted_s = now_s
            return Seen(_numbered(poses), _numbered(reported), self._history if due else None)

    def neutral(self) -> NeutralPose:
        with self._lock:
            return self._recent.neutral()


def _numbered(poses: Sequence[HeadPose]) -> list[HeadPose]:
    """Return the poses from left to right, to be numbered by their places."""
    ordered = sorted(poses, key=lambda pose: pose.box.center[0])
    return [dataclasses.replace(pose, track=None) for pose in ordered]
