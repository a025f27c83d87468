"""The best pictures of each person in a video: frontal and sharp."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from headpose import files
from headpose.crop import cut
from headpose.errors import HeadPoseError, InputError
from headpose.images import write_image
from headpose.streams import Frame
from headpose.types import CropSpec, HeadPose, Image

_FACE = CropSpec(size=112, scale=1.0)  # the crop whose sharpness is measured: small faces, enlarged, count as unsharp
_SHARP = 100.0  # variance of the Laplacian at which a face is half sharp
_MARGIN = 0.6  # of the longer side of the tight box, around it in the saved picture: the whole head
COLUMNS = ("file", "track", "place", "frame", "time_s", "quality", "frontality", "sharpness", "yaw", "pitch", "roll")
"""Columns of best.csv."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Picture of a face.

    Attributes:
        picture: (H, W, 3) uint8 BGR: the head, cut out of the frame.
        pose: Its pose, with a track number.
        frame: Number of the frame.
        time_s: Time of the frame in seconds.
        frontality: Product of the squared cosines of yaw, pitch and roll, in [0, 1].
        sharpness: Variance of the Laplacian of the face at 112 x 112 pixels.
    """

    picture: Image
    pose: HeadPose
    frame: int
    time_s: float
    frontality: float
    sharpness: float

    @property
    def quality(self) -> float:
        """Quality in [0, 1): frontality times ``sharpness / (sharpness + 100)``."""
        return self.frontality * self.sharpness / (self.sharpness + _SHARP)


def sharpness(image: Image, pose: HeadPose) -> float:
    """Return the variance of the Laplacian of a face, cut out at 112 x 112 pixels and gray.

    Args:
        image: (H, W, 3) uint8 BGR.
        pose: Pose of the face.
    """
    grey = cv2.cvtColor(cut(image, pose.box, _FACE), cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def frontality(pose: HeadPose) -> float:
    """Return the product of the squared cosines of yaw, pitch and roll, 0 beyond 90 degrees."""
    return math.prod(max(0.0, math.cos(math.radians(angle))) ** 2 for angle in pose.euler)


class BestPictures:
    """Collect the best pictures of each tracked person. Memory is bounded by ``count`` pictures per track.

    Example:
        >>> best = BestPictures(count=5)
        >>> for frame in open_source("video.mp4"):
        ...     best.add(frame, tracker.update(estimator(frame.image), frame.time_s))
        >>> best.write("people")
    """

    def __init__(self, count: int = 5, *, gap_s: float = 0.5) -> None:
        """Start without pictures.

        Args:
            count: Number of pictures per person, 1 or more.
            gap_s: Least time in seconds between two pictures of a person, 0 or more.

        Raises:
            InputError: A value is out of range.
        """
        if count < 1:
            raise InputError(f"the number of pictures must be 1 or more, got {count}")
        if not 0 <= gap_s < math.inf:
            raise InputError(f"the gap must be 0 seconds or more, got {gap_s}")
        self._count, self._gap_s = count, gap_s
        self._kept: dict[int, list[Candidate]] = {}

    def add(self, frame: Frame, poses: Sequence[HeadPose]) -> None:
        """Consider the faces of the next frame; InputError if a pose has no track number."""
        for pose in poses:
            if pose.track is None:
                raise InputError("the best pictures of a person need track numbers: use a tracker")
            kept = self._kept.setdefault(pose.track, [])
            frontal, sharp = frontality(pose), sharpness(frame.image, pose)
            near = [other for other in kept if abs(other.time_s - frame.time_s) < self._gap_s]
            candidate = Candidate(np.empty((0, 0, 3), np.uint8), pose, frame.index, frame.time_s, frontal, sharp)
            rivals = near or (kept if len(kept) >= self._count else [])
            if rivals and candidate.quality <= min(other.quality for other in rivals):
                continue
            if near and candidate.quality <= max(other.quality for other in near):
                continue
            kept[:] = [other for other in kept if other not in near]
            kept.append(Candidate(_head(frame.image, pose), pose, frame.index, frame.time_s, frontal, sharp))
            kept.sort(key=lambda each: -each.quality)
            del kept[self._count :]

    def results(self) -> dict[int, list[Candidate]]:
        """Return the pictures of each track number, best first."""
        return {track: list(kept) for track, kept in sorted(self._kept.items())}

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the pictures as ``person-TRACK-PLACE.png`` and the table ``best.csv``.

        Args:
            folder: Folder to write to; created if missing. Files of the same names are replaced.

        Returns:
            The pictures, best first for each person.

        Raises:
            HeadPoseError: A file cannot be written.
        """
        target = Path(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HeadPoseError(f"cannot make the folder {target}: {error.strerror or error}") from None
        table, written = io.StringIO(), []
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(COLUMNS)
        for track, kept in self.results().items():
            for place, each in enumerate(kept, 1):
                path = target / f"person-{track:02d}-{place}.png"
                write_image(path, each.picture)
                written.append(path)
                measures = [f"{each.quality:.4f}", f"{each.frontality:.4f}", f"{each.sharpness:.1f}"]
                angles = [f"{angle:.3f}" for angle in each.pose.euler]
                rows.writerow([path.name, track, place, each.frame, f"{each.time_s:.6f}", *measures, *angles])
        files.write_text(target / "best.csv", table.getvalue())
        return written


def _head(image: Image, pose: HeadPose) -> Image:
    """Return a copy of the part of an image around a face, inside of the image."""
    height, width = image.shape[:2]
    box, margin = pose.box, _MARGIN * max(pose.box.width, pose.box.height)
    x1, y1 = (int(np.clip(value - margin, 0, end - 1)) for value, end in ((box.x1, width), (box.y1, height)))
    x2, y2 = math.ceil(box.x2 + margin), math.ceil(box.y2 + margin)
    return image[y1 : max(y1 + 1, min(y2, height)), x1 : max(x1 + 1, min(x2, width))].copy()
