"""Face tracking: match the faces of each frame to those of earlier frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from headpose.errors import HeadPoseError
from headpose.smoothing import Smoothing, SmoothPose
from headpose.types import HeadPose

_SHORTEST_S = 1e-3  # minimum time between two frames: clocks of cameras and files sometimes stand still


_DEFAULT = Smoothing()


class FaceTracker:
    """Assign each face of a stream a stable track number; smooth its pose and box.

    Boxes are matched greedily to the last box of each track, highest intersection over union (IoU) first. Faces are
    not recognised: two faces that cross may swap their numbers.

    Example:
        >>> tracker = FaceTracker()
        >>> for frame in open_source("video.mp4"):
        ...     poses = tracker.update(estimator.estimate(frame.image), frame.time_s)
        ...     print([(pose.track, pose.euler) for pose in poses])
    """

    def __init__(
        self, smoothing: Smoothing | None = _DEFAULT, *, forget_s: float = 0.5, least_overlap: float = 0.2
    ) -> None:
        """Create a tracker without tracks.

        Args:
            smoothing: Filter settings. None assigns track numbers and leaves poses unchanged.
            forget_s: Time in seconds after which a track without a matching face is dropped. A face that returns later
                gets a new number.
            least_overlap: Minimum IoU to match a box to a track, in (0, 1].

        Raises:
            HeadPoseError: A setting is out of range.
        """
        if not forget_s > 0:
            raise HeadPoseError(f"forget_s must be above 0 seconds, got {forget_s}")
        if not 0 < least_overlap <= 1:
            raise HeadPoseError(f"least_overlap must lie in (0, 1], got {least_overlap}")
        self._smoothing, self._forget_s, self._least = smoothing, forget_s, least_overlap
        self._tracks: list[_Track] = []
        self._given = 0

    def update(self, poses: Sequence[HeadPose], time_s: float) -> list[HeadPose]:
        """Match the poses of the next frame to the tracks, and smooth them.

        Args:
            poses: Poses of one frame, from ``HeadPoseEstimator.estimate``. A pose with the number of a track continues
                that track.
            time_s: Time of the frame in seconds, as in ``Frame.time_s``. Frames must be in order of time.

        Returns:
            The poses in the same order, smoothed, with ``track`` set. Numbers start at 1, follow the order of
            appearance and are never reused.
        """
        self._tracks = [track for track in self._tracks if time_s - track.seen_s <= self._forget_s]
        owners = self._match(poses)
        result = []
        for pose, track in zip(poses, owners, strict=True):
            if track is None:
                self._given += 1
                track = _Track(self._given, pose, time_s, self._smoothing)
                self._tracks.append(track)
            result.append(track.update(pose, time_s))
        return result

    def _match(self, poses: Sequence[HeadPose]) -> list[_Track | None]:
        """Return the track of each pose, or None; each track at most once: by its number, then highest IoU first."""
        by_number = {track.number: track for track in self._tracks}
        owners = [by_number.pop(pose.track, None) if pose.track is not None else None for pose in poses]
        taken = {track.number for track in owners if track is not None}
        overlaps = [(track.box.iou(pose.box), i, track) for i, pose in enumerate(poses) for track in self._tracks]
        for overlap, i, track in sorted(overlaps, key=lambda each: -each[0]):
            if overlap >= self._least and owners[i] is None and track.number not in taken:
                owners[i] = track
                taken.add(track.number)
        return owners


class _Track:
    """One face: its last measured box and the state of its filters."""

    def __init__(self, number: int, pose: HeadPose, time_s: float, smoothing: Smoothing | None) -> None:
        self.number, self.box, self.seen_s = number, pose.box, time_s
        self._smooth = None if smoothing is None else SmoothPose(pose, smoothing)

    def update(self, pose: HeadPose, time_s: float) -> HeadPose:
        elapsed_s = max(time_s - self.seen_s, _SHORTEST_S)
        self.box, self.seen_s = pose.box, time_s
        if self._smooth is not None:
            pose = self._smooth.update(pose, elapsed_s)
        return dataclasses.replace(pose, track=self.number)
