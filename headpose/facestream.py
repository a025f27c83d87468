"""Follow the faces of a video or a camera: the network finds each face again, the detector looks only now and then.

A network with the output ``region`` says where the face is in its crop. From frame to frame the region is predicted by
its speed and its angle by the last pose; one batch of crops gives the poses and the new regions of all faces. The
detector runs at the start, when a face is lost, and every ``detect_every`` frames for newcomers.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from headpose import crop, geometry, looking
from headpose.choices import DETECT_EVERY
from headpose.errors import InputError
from headpose.estimator import HeadPoseEstimator
from headpose.looking import Look
from headpose.smoothing import Smoothing
from headpose.tracking import FaceTracker
from headpose.types import Box, Face, HeadPose, Image, Region, check_image

_READABLE = 0.5  # probability below which a face is lost
_SEARCH_S = 0.1  # minimum time between two looks of the detector for a lost face or an empty scene
_SAME_FACE = 0.3  # IoU from which a box of the detector is a followed face
_INSIDE = 0.6  # share of the smaller of two boxes inside the other from which they are the same face
_DRIFTED = 0.5  # IoU with the box of the detector below which a followed face starts again from that box
_RETURNED = 0.2  # IoU with the place where a lost face would be now from which a newcomer is that face
_UNCONFIRMED = 2  # looks of the detector without a followed face, after which it is lost if the network cannot say so
_FARTHEST = 0.6  # shift of a face in one frame, in sides of its crop, from which the region is wrong
_GROWTH = 2.0  # likewise its growth
_LEAST_PX = 8.0  # smallest followed face
_LEAST_INSIDE = 0.25  # share of the box in the image below which a face has left
_NEW_SPEED = 0.6  # weight of the newest speed
_LONGEST_STEP_S = 0.5  # no prediction over longer gaps
_EDGE_ON = 0.3  # length of the head's up axis on the screen below which it says nothing about the angle


class FaceStream:
    """Poses of the faces in a stream of frames, numbered and, if wanted, smoothed.

    With a network without the output ``region`` the detector runs in every frame, as in ``HeadPoseEstimator.estimate``
    with a ``FaceTracker``.

    With one that has it, a frame costs one batch of the network. The detector looks for newcomers every
    ``detect_every`` frames, and for lost faces or faces in an empty scene at most ten times a second. A face is lost
    when the output ``face`` says that the crop shows none, or when its region is implausible. A face that is lost and
    found again within ``forget_s`` seconds where its last speed would have brought it keeps its number.

    Attributes:
        estimator: Network and detector. It may be replaced between two frames.
        measured: Poses of the last frame before smoothing, numbered.
        searches: Number of times that the detector has run.

    Example:
        >>> stream = FaceStream(HeadPoseEstimator())
        >>> with open_source("video.mp4") as video:
        ...     for frame in video:
        ...         print([(pose.track, pose.euler) for pose in stream.update(frame.image, frame.time_s)])
    """

    def __init__(
        self,
        estimator: HeadPoseEstimator,
        *,
        smoothing: Smoothing | None = None,
        detect_every: int = DETECT_EVERY,
        min_score: float = 0.0,
        forget_s: float = 0.5,
    ) -> None:
        """Create a stream without faces.

        Args:
            estimator: Network and detector. Its ``max_faces`` limits the number of faces.
            smoothing: Filter settings; None leaves poses as they are measured.
            detect_every: Number of frames between two looks of the detector for newcomers, 1 or more.
            min_score: Minimum score of the detector, in [0, 1].
            forget_s: Time in seconds after which a lost face is forgotten.

        Raises:
            HeadPoseError: A setting is out of range.
        """
        if isinstance(detect_every, bool) or not isinstance(detect_every, int | np.integer) or detect_every < 1:
            raise InputError(f"detect_every must be a whole number, 1 or more; got {detect_every!r}")
        self.estimator = estimator
        self.measured: list[HeadPose] = []
        self.searches = 0
        self._every, self._min_score, self._forget_s = int(detect_every), min_score, forget_s
        self._tracker = FaceTracker(smoothing, forget_s=forget_s)
        self._faces: list[_Followed] = []
        self._lost: list[_Followed] = []
        self._frames_since = 0
        self._searched_s = -math.inf

    def update(
        self, image: Image, time_s: float, refine: Callable[[list[HeadPose]], list[HeadPose]] | None = None
    ) -> list[HeadPose]:
        """Estimate the poses in the next frame.

        Args:
            image: (H, W, 3) uint8 BGR.
            time_s: Time of the frame in seconds, as in ``Frame.time_s``. Frames must be in order of time.
            refine: Function that changes the measured poses before they are smoothed, for example
                ``Camera.straightened``. It returns one pose for each, in the same order.

        Returns:
            One pose per face, with ``track`` set; numbers as those of ``FaceTracker``.

        Raises:
            ImageError: ``image`` is not (H, W, 3) uint8.
            HeadPoseError: The network or the detector fails.
        """
        check_image(image)
        self._frames_since += 1
        if "region" in getattr(self.estimator.model, "outputs", ()):
            self._follow(image, time_s)
            poses = self.estimator.with_landmarks(image, [face.pose for face in self._faces])
        else:
            self._faces, self._lost = [], []
            self.searches += 1
            poses = [pose for pose in self.estimator.estimate(image) if pose.score >= self._min_score]
        if refine is not None:
            poses = refine(poses)
        numbered = self._tracker.update(poses, time_s)
        for face, pose in zip(self._faces, numbered, strict=False):
            face.pose = dataclasses.replace(face.pose, track=pose.track)
        self.measured = [
            dataclasses.replace(pose, track=other.track) for pose, other in zip(poses, numbered, strict=True)
        ]
        return numbered

    def _follow(self, image: Image, time_s: float) -> None:
        """Read the followed faces and newcomers, and update both lists of faces."""
        self._lost = [face for face in self._lost if time_s - face.time_s <= self._forget_s]
        before, searched = self._faces, self._is_due(time_s)
        newcomers = self._search(image, time_s) if searched else []
        self._read(image, time_s, newcomers)
        gone = [face for face in before if face not in self._faces]
        if gone and not searched and time_s - self._searched_s >= _SEARCH_S - 1e-6:
            self._read(image, time_s, self._search(image, time_s), only_newcomers=True)
        found = {face.pose.track for face in self._faces}
        self._lost = [face for face in (*self._lost, *gone) if face.pose.track not in found]

    def _is_due(self, time_s: float) -> bool:
        """Return whether the detector looks in this frame, whatever the network sees."""
        if self._faces and self._frames_since >= self._every:
            return True
        return (not self._faces or bool(self._lost)) and time_s - self._searched_s >= _SEARCH_S - 1e-6

    def _search(self, image: Image, time_s: float) -> list[Face]:
        """Return the faces of the detector that are not followed; correct those that are followed."""
        self.searches += 1
        self._frames_since, self._searched_s = 0, time_s
        found = [face for face in self.estimator.detector.detect(image) if face.score >= self._min_score]
        newcomers = []
        confirmed: set[int] = set()
        for face in found:
            near = [(face.box.iou(other.region_at(time_s).bounds), index) for index, other in enumerate(self._faces)]
            overlap, index = max(near, default=(0.0, -1))
            followed = self._faces[index] if near else None
            if followed is not None and (
                overlap >= _SAME_FACE or _inside(face.box, followed.region_at(time_s).bounds) >= _INSIDE
            ):
                confirmed.add(index)
                followed.confirm(face, overlap)
            else:
                newcomers.append(face)
        for index, other in enumerate(self._faces):
            other.unconfirmed = 0 if index in confirmed else other.unconfirmed + 1
        return newcomers

    def _read(self, image: Image, time_s: float, newcomers: Sequence[Face], only_newcomers: bool = False) -> None:
        """Read followed faces and newcomers in one batch, and keep those that are faces."""
        spec, followed = self.estimator.model.crop, [] if only_newcomers else self._faces
        places = [face.region_at(time_s) for face in followed]
        looks = [Look(crop.cut(image, place, spec), place) for place in places]
        looks += [looking.look(image, face, spec) for face in newcomers]
        reading, seen = looking.read(self.estimator.model, looks)
        faces, least = [*(face.face for face in followed), *newcomers], self.estimator.min_confidence
        poses = looking.poses(faces, reading, seen, least)
        kept = list(self._faces) if only_newcomers else []
        for index, pose in enumerate(poses):
            old = followed[index] if index < len(followed) else None
            place, values = seen[index], None if reading.region is None else reading.region[index]
            region = None if values is None else self._region(values, place, pose, old)
            if region is None or not _plausible(region, place, image) or not _is_face(pose, old):
                continue
            pose = dataclasses.replace(pose, face=Face(region.bounds, pose.score, region))
            kept.append(self._returned(pose, time_s) if old is None else old.moved(pose, region, time_s))
        self._faces = self._without_duplicates(kept)

    def _region(
        self, values: geometry.Array, place: Box | Region, pose: HeadPose, old: _Followed | None
    ) -> Region | None:
        """Return the region of a face in the image, upright for its head; None if there is none."""
        turn = float(geometry.in_plane_angle(pose.rotation))
        if np.hypot(*pose.rotation[:2, 1]) < _EDGE_ON:
            turn = old.region.turn if old is not None else 0.0
        try:
            return crop.region_in_image(values, place, self.estimator.model.crop, turn)
        except InputError:
            return None

    def _returned(self, pose: HeadPose, time_s: float) -> _Followed:
        """Return a new face, with the number of a lost face if it is one."""
        places = [
            (pose.box.iou(face.region_at(time_s).bounds), pose.box.iou(face.pose.box), face) for face in self._lost
        ]
        overlap, face = max(((max(a, b), face) for a, b, face in places), key=lambda each: each[0], default=(0.0, None))
        if face is not None and overlap >= _RETURNED:
            self._lost.remove(face)
            pose = dataclasses.replace(pose, track=face.pose.track)
        region = pose.face.region
        assert region is not None
        return _Followed(pose, region, time_s)

    def _without_duplicates(self, faces: list[_Followed]) -> list[_Followed]:
        """Drop the one of two faces on one place that strayed farther from where it was expected; limit the number."""
        dropped: set[int] = set()
        for a, b in itertools.combinations(range(len(faces)), 2):
            if not dropped & {a, b} and _inside(faces[a].pose.box, faces[b].pose.box) >= _INSIDE:
                dropped.add(max((faces[a].strayed, a), (faces[b].strayed, b))[1])
        kept = [face for index, face in enumerate(faces) if index not in dropped]
        return kept[: self.estimator.max_faces]


class _Followed:
    """One face: its last pose and region, and their speed."""

    def __init__(self, pose: HeadPose, region: Region, time_s: float) -> None:
        self.pose, self.region, self.time_s = pose, region, time_s
        self.strayed = math.inf  # from the expected place, in face lengths: a new face gives way to a followed one
        self.unconfirmed = 0
        self._speed = np.zeros(3)  # center x and y in pixels a second, growth of the logarithm of the size a second

    @property
    def face(self) -> Face:
        return self.pose.face

    def region_at(self, time_s: float) -> Region:
        """Return where the face is expected to be."""
        elapsed = time_s - self.time_s
        if not 0.0 < elapsed <= _LONGEST_STEP_S:
            return self.region
        (x, y), longer = self.region.center, max(self.region.width, self.region.height)
        step = np.clip(self._speed[:2] * elapsed, -longer, longer)
        growth = math.exp(float(np.clip(self._speed[2] * elapsed, -0.3, 0.3)))
        center = (x + float(step[0]), y + float(step[1]))
        return Region(center, self.region.width * growth, self.region.height * growth, self.region.turn)

    def confirm(self, face: Face, overlap: float) -> None:
        """Take over the score of the detector; start again from its box if the region has drifted off."""
        self.pose = dataclasses.replace(self.pose, face=dataclasses.replace(self.pose.face, score=face.score))
        if overlap < _DRIFTED:
            self.region, self._speed = Region.of(face.box, self.region.turn), np.zeros(3)

    def moved(self, pose: HeadPose, region: Region, time_s: float) -> _Followed:
        """Store a new measurement, and return the face."""
        expected, elapsed = self.region_at(time_s), max(time_s - self.time_s, 1e-3)
        self.strayed = math.dist(expected.center, region.center) / max(region.width, region.height)
        growth = math.log(math.hypot(region.width, region.height) / math.hypot(self.region.width, self.region.height))
        speed = np.array([*np.subtract(region.center, self.region.center), growth]) / elapsed
        self._speed = self._speed + _NEW_SPEED * (speed - self._speed)
        self.pose, self.region, self.time_s = dataclasses.replace(pose, track=self.pose.track), region, time_s
        return self


def _is_face(pose: HeadPose, old: _Followed | None) -> bool:
    """Return whether a crop showed a face: the network says so, or else the detector has confirmed it lately."""
    if pose.readable is not None:
        return pose.readable >= _READABLE
    return old is None or old.unconfirmed < _UNCONFIRMED


def _plausible(region: Region, place: Box | Region, image: Image) -> bool:
    """Return whether a region can be the same face as the box or region that was cropped."""
    before = max(place.width, place.height)
    growth = max(region.width, region.height) / before
    box, (height, width) = region.bounds, image.shape[:2]
    inside = max(0.0, min(box.x2, width) - max(box.x1, 0)) * max(0.0, min(box.y2, height) - max(box.y1, 0))
    return (
        math.dist(region.center, place.center) <= _FARTHEST * before
        and 1 / _GROWTH <= growth <= _GROWTH
        and min(region.width, region.height) >= _LEAST_PX
        and inside >= _LEAST_INSIDE * box.width * box.height
    )


def _inside(a: Box, b: Box) -> float:
    """Return the intersection of two boxes as a share of the smaller one."""
    width, height = min(a.x2, b.x2) - max(a.x1, b.x1), min(a.y2, b.y2) - max(a.y1, b.y1)
    return max(0.0, width) * max(0.0, height) / min(a.width * a.height, b.width * b.height)
