"""Faces over time: which face of a frame is which of the frames before."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from headpose.errors import HeadPoseError
from headpose.smoothing import Smoothing, SmoothPose
from headpose.types import Box, HeadPose

_SHORTEST_S = 1e-3  # between frames: clocks of cameras and files stand still at times


_DEFAULT = Smoothing()


class FaceTracker:
    """Gives each face of a stream a number that stays, and calms its pose and its box.

    A face is the same as one of the frame before, or of up to ``forget_s`` before, if their boxes overlap most. Two
    faces that cross may swap their numbers: nothing looks at who they are.

    Example:
        >>> tracker = FaceTracker()
        >>> for frame in open_source("video.mp4"):
        ...     poses = tracker.update(estimator.estimate(frame.image), frame.time_s)
        ...     print([(pose.track, pose.euler) for pose in poses])
    """

    def __init__(
        self, smoothing: Smoothing | None = _DEFAULT, *, forget_s: float = 0.5, least_overlap: float = 0.2
    ) -> None:
        """Args:
            smoothing: None gives numbers only and leaves poses as they are.
            forget_s: seconds without being seen after which a face that comes back is a new one.
            least_overlap: of the boxes of one face in following frames, intersection over union.

        Raises:
            HeadPoseError: a setting is out of its range.
        """
        if not forget_s > 0:
            raise HeadPoseError(f"forget_s must be above 0 seconds, got {forget_s}")
        if not 0 < least_overlap <= 1:
            raise HeadPoseError(f"least_overlap must lie in (0, 1], got {least_overlap}")
        self._smoothing, self._forget_s, self._least = smoothing, forget_s, least_overlap
        self._tracks: list[_Track] = []
        self._given = 0

    def update(self, poses: Sequence[HeadPose], time_s: float) -> list[HeadPose]:
        """Takes the poses of a frame.

        Args:
            poses: of one frame, from ``HeadPoseEstimator.estimate``.
            time_s: of the frame, seconds, as ``Frame.time_s``. Frames come in order.

        Returns:
            The same faces in the same order, each with its ``track`` (1, 2, ... in the order of appearance, never
            given twice), smoothed.
        """
        self._tracks = [track for track in self._tracks if time_s - track.seen_s <= self._forget_s]
        owners = self._match([pose.box for pose in poses])
        result = []
        for pose, track in zip(poses, owners, strict=True):
            if track is None:
                self._given += 1
                track = _Track(self._given, pose, time_s, self._smoothing)
                self._tracks.append(track)
            result.append(track.update(pose, time_s))
        return result

    def _match(self, boxes: Sequence[Box]) -> list[_Track | None]:
        """The track of each box, best overlaps first, no track twice."""
        overlaps = [(track.box.iou(box), i, track) for i, box in enumerate(boxes) for track in self._tracks]
        owners: list[_Track | None] = [None] * len(boxes)
        taken: set[int] = set()
        for overlap, i, track in sorted(overlaps, key=lambda each: -each[0]):
            if overlap >= self._least and owners[i] is None and track.number not in taken:
                owners[i] = track
                taken.add(track.number)
        return owners


class _Track:
    """One face: where it was measured last, and where its filters have it."""

    def __init__(self, number: int, pose: HeadPose, time_s: float, smoothing: Smoothing | None) -> None:
        self.number, self.box, self.seen_s = number, pose.box, time_s
        self._smooth = None if smoothing is None else SmoothPose(pose, smoothing)

    def update(self, pose: HeadPose, time_s: float) -> HeadPose:
        elapsed_s = max(time_s - self.seen_s, _SHORTEST_S)
        self.box, self.seen_s = pose.box, time_s
        if self._smooth is not None:
            pose = self._smooth.update(pose, elapsed_s)
        return dataclasses.replace(pose, track=self.number)
