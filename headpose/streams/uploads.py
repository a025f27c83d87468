"""What visitors send to a page: files of one folder only, and no more than the machine can take.

``Uploads`` is asked by the page's handlers before a file is opened (see ``headpose.streams.gate``, too). ``Line`` and
``Places`` share the machine among visitors.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from headpose.draw import STYLES, Style
from headpose.errors import HeadPoseError
from headpose.streams.sinks import Sink
from headpose.streams.sources import Frame, FrameSource
from headpose.tracking import FaceTracker
from headpose.types import HeadPose, Image

NOT_UPLOADED = "this file was not uploaded to this page: choose it again"
_LEFT_AFTER_S = 5.0  # without a request; a webcam sends several a second

BOUNDS = {
    "picture_mb": "millions of bytes of a picture's file",
    "video_mb": "millions of bytes of a video's file",
    "megapixels": "millions of pixels of a picture, or of a video's frame",
    "video_seconds": "seconds of work on one video",
    "videos": "videos that are worked on at once",
    "videos_waiting": "videos that wait for these to end",
    "waiting": "requests that wait for their turn",
}
"""What each of ``UploadBounds`` limits."""


@dataclass(frozen=True, slots=True)
class UploadBounds:
    """How much a page takes; ``BOUNDS`` has the words for each."""

    picture_mb: float = 50.0
    video_mb: float = 500.0
    megapixels: float = 50.0
    video_seconds: float = 1800.0
    videos: int = 2
    videos_waiting: int = 10
    waiting: int = 40

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not 0 < value < math.inf:
                raise HeadPoseError(f"{name} must be a number above 0, got {value}")


class Settings(NamedTuple):
    """A page's, which every event has: how poses are drawn, and what ``Estimators.estimate`` takes."""

    style: Style
    model: str
    max_faces: int
    min_score: float


def checked(settings: Sequence[Any], most_faces: int) -> Settings:
    """HeadPoseError if no page sends such values; ``most_faces`` is what its slider goes to."""
    style, model, max_faces, min_score = settings
    numbers = all(isinstance(number, int | float) for number in (max_faces, min_score))
    if style not in STYLES or not numbers or not (1 <= max_faces <= most_faces and 0.0 <= min_score <= 1.0):
        raise HeadPoseError("a setting of this page is out of its range: load the page again")
    return Settings(style, model, int(max_faces), min_score)


class Uploads:
    """The folder that uploads are kept in.

    Attributes:
        folder: links in it resolved.
        bounds: of a file.
    """

    def __init__(self, folder: str | os.PathLike[str], bounds: UploadBounds) -> None:
        self.folder, self.bounds = Path(folder).resolve(), bounds

    def picture(self, sent: object) -> tuple[bytes, str]:
        """The content of a picture file, and its name.

        Args:
            sent: what the page sends for a picture: ``path`` of an uploaded file, or ``url`` with the data themselves.

        Raises:
            HeadPoseError: it is neither, or larger than the page takes.
        """
        url = sent.get("url") if isinstance(sent, Mapping) else None
        if isinstance(url, str) and url.startswith("data:"):
            return self._inline(url), "the picture"
        path, name = self._find(sent)
        self._check_size(path.stat().st_size, self.bounds.picture_mb, name)
        return path.read_bytes(), name

    def video(self, sent: object) -> tuple[Path, str]:
        """The file of a video, and its name; raises as ``picture`` does."""
        path, name = self._find(sent)
        self._check_size(path.stat().st_size, self.bounds.video_mb, name)
        return path, name

    def find(self, path: object) -> Path | None:
        """The file of a path with every link followed; None unless that is a file in the folder."""
        if not isinstance(path, str) or "\0" in path:
            return None
        # First by its name alone: on Windows a look at \\host\share would already log in there.
        named = Path(os.path.abspath(path))  # noqa: PTH100
        if not named.is_relative_to(self.folder):
            return None
        try:
            file = named.resolve(strict=True)
        except (OSError, RuntimeError):  # a loop of links is a RuntimeError before Python 3.13
            return None
        return file if file.is_relative_to(self.folder) and file.is_file() else None

    def _find(self, sent: object) -> tuple[Path, str]:
        path = self.find(sent.get("path")) if isinstance(sent, Mapping) else None
        if not isinstance(sent, Mapping) or path is None:
            raise HeadPoseError(NOT_UPLOADED)
        name = sent.get("orig_name")
        return path, (Path(name).name if isinstance(name, str) else "")[:100] or path.name

    def _inline(self, url: str) -> bytes:
        head, _, text = url.partition(",")
        self._check_size(len(text) * 3 // 4, self.bounds.picture_mb, "the picture")
        try:
            if not head.endswith(";base64"):
                raise ValueError
            return base64.b64decode(text, validate=True)
        except ValueError:
            raise HeadPoseError("the picture's data are damaged: take it again") from None

    @staticmethod
    def _check_size(size: int, largest_mb: float, name: str) -> None:
        if size > 1e6 * largest_mb:
            raise HeadPoseError(f"{name} has {size / 1e6:.1f} MB: this page takes {largest_mb:g} MB at most")


class Line:
    """Work that is done by a few at once, first come, first served; the others wait and see how long the line is."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self.at_once, self._most = at_once, at_once + waiting
        self._line: list[object] = []  # those at the head are at work
        self._moved = threading.Condition()

    @contextlib.contextmanager
    def place(self) -> Iterator[Callable[[float], int]]:
        """Takes the last place in the line, and gives it back at the end of the block.

        Yields:
            What waits at most so many seconds for its turn and returns the place among those who wait, from 1 on; 0
            for whose turn it is.

        Raises:
            HeadPoseError: too many wait.
        """
        own = object()

        def ahead() -> int:
            return max(0, self._line.index(own) + 1 - self.at_once)

        def wait(seconds: float) -> int:
            with self._moved:
                self._moved.wait_for(lambda: ahead() == 0, seconds)
                return ahead()

        with self._moved:
            if len(self._line) >= self._most:
                raise HeadPoseError(f"{self._most - self.at_once} others wait already: try again later")
            self._line.append(own)
        try:
            yield wait
        finally:
            with self._moved:
                self._line.remove(own)
                self._moved.notify_all()


class Places:
    """Places for visitors who send many requests, such as a webcam's frames; one who falls silent loses his."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._seen: dict[object, float] = {}
        self._lock = threading.Lock()

    def take(self, visitor: object) -> bool:
        """Whether the visitor has a place, for this request and a few seconds."""
        now = time.monotonic()
        with self._lock:
            self._seen = {each: seen for each, seen in self._seen.items() if now - seen < _LEFT_AFTER_S}
            if visitor not in self._seen and len(self._seen) >= self.count:
                return False
            self._seen[visitor] = now
            return True


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """How far a video has been read.

    Attributes:
        count: of frames.
        frame: the last of them.
        poses: of the faces in it.
        per_second: frames.
        late: the page has no more time for it; this was its last frame.
    """

    count: int
    frame: Frame
    poses: Sequence[HeadPose]
    per_second: float
    late: bool


def read_video(
    source: FrameSource,
    estimate: Callable[[Image], Sequence[HeadPose]],
    tracker: FaceTracker,
    sinks: Sequence[Sink],
    bounds: UploadBounds,
) -> Iterator[Progress]:
    """Reads a video that was uploaded, into open sinks, and says after each frame how far it is.

    Raises:
        HeadPoseError: it is no video, cannot be read or written, or its frames are too large.
    """
    if source.kind != "video":  # a picture would be read whole before its pixels are counted
        raise HeadPoseError(f"{source.name} is not a video: the tab Photo takes pictures")
    started = time.monotonic()
    for count, frame in enumerate(source, 1):
        if frame.image.shape[0] * frame.image.shape[1] > 1e6 * bounds.megapixels:
            raise HeadPoseError(f"a frame of the video has more than {bounds.megapixels:g} million pixels")
        poses = tracker.update(estimate(frame.image), frame.time_s)
        for sink in sinks:
            sink.write(frame, poses)
        seconds = time.monotonic() - started
        late = seconds > bounds.video_seconds
        yield Progress(count, frame, poses, count / max(seconds, 1e-3), late)
        if late:
            return
