"""Limits for the web page: uploaded files, their sizes, and the number of concurrent jobs.

The handlers of the page check files with ``Uploads`` before they open them (see also ``headpose.streams.gate``).
``Line`` and ``Places`` share the machine among visitors.
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

from headpose.choices import STYLES, Style
from headpose.errors import HeadPoseError
from headpose.estimator import Estimators, HeadPoseEstimator
from headpose.facestream import FaceStream
from headpose.smoothing import Smoothing
from headpose.streams.sinks import Sink
from headpose.streams.sources import Frame, FrameSource
from headpose.types import HeadPose, Image

NOT_UPLOADED = "this file was not uploaded to this page: choose it again"
LEFT_AFTER_S = 5.0
"""Seconds without a request after which a visitor has left; webcams send several per second."""

BOUNDS = {
    "picture_mb": "maximum size of an image file, MB",
    "video_mb": "maximum size of a video file, MB",
    "megapixels": "maximum size of an image or a video frame, millions of pixels",
    "video_seconds": "maximum processing time of a video, seconds",
    "videos": "maximum number of videos processed at the same time",
    "videos_waiting": "maximum number of waiting videos",
    "waiting": "maximum number of waiting requests",
}
"""Description of each field of ``UploadBounds``."""


@dataclass(frozen=True, slots=True)
class UploadBounds:
    """Limits of a page; ``BOUNDS`` describes each field."""

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
    """Settings that the page sends with every event: the drawing style and the arguments of ``Estimators.estimate``."""

    style: Style
    model: str
    max_faces: int
    min_score: float
    min_confidence: float


def checked(settings: Sequence[Any], most_faces: int) -> Settings:
    """Validate the settings of an event.

    Args:
        settings: (style, model, max_faces, min_score, min_confidence) as received.
        most_faces: Maximum of the slider for ``max_faces``.

    Raises:
        HeadPoseError: A value is one that the page cannot send.
    """
    style, model, max_faces, *shares = settings
    numbers = len(shares) == 2 and all(isinstance(number, int | float) for number in (max_faces, *shares))
    if (
        style not in STYLES
        or not numbers
        or not (1 <= max_faces <= most_faces and 0 <= min(shares) <= max(shares) <= 1)
    ):
        raise HeadPoseError("a setting of this page is out of its range: load the page again")
    return Settings(style, model, int(max_faces), *shares)


class Uploads:
    """Access to uploaded files, restricted to one folder.

    Attributes:
        folder: Folder of the uploads, with links resolved.
        bounds: Size limits.
    """

    def __init__(self, folder: str | os.PathLike[str], bounds: UploadBounds) -> None:
        """Restrict access to ``folder``, with the limits ``bounds``."""
        self.folder, self.bounds = Path(folder).resolve(), bounds

    def picture(self, sent: object) -> tuple[bytes, str]:
        """Read an image.

        Args:
            sent: Value of the image component: a mapping with the ``path`` of an uploaded file or a ``data:`` ``url``.

        Returns:
            (content, name) of the file.

        Raises:
            HeadPoseError: ``sent`` is neither, or the file exceeds the size limit.
        """
        url = sent.get("url") if isinstance(sent, Mapping) else None
        if isinstance(url, str) and url.startswith("data:"):
            return self._inline(url), "the picture"
        path, name = self._find(sent)
        self._check_size(path.stat().st_size, self.bounds.picture_mb, name)
        return path.read_bytes(), name

    def video(self, sent: object) -> tuple[Path, str]:
        """Return (path, name) of an uploaded video.

        Args:
            sent: Value of the video component: a mapping with the ``path`` of an uploaded file.

        Raises:
            HeadPoseError: ``sent`` is not an upload, or the file exceeds the size limit.
        """
        path, name = self._find(sent)
        self._check_size(path.stat().st_size, self.bounds.video_mb, name)
        return path, name

    def find(self, path: object) -> Path | None:
        """Resolve a path with all links; return None unless the result is a file in the folder."""
        if not isinstance(path, str) or "\0" in path:
            return None
        # Compare the name first: on Windows, accessing \\host\share would already authenticate there.
        named = Path(os.path.abspath(path))  # noqa: PTH100
        if not named.is_relative_to(self.folder):
            return None
        try:
            file = named.resolve(strict=True)
        except (OSError, RuntimeError):  # circular links raise RuntimeError before Python 3.13
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
    """First-in, first-out queue for a resource with limited concurrency. Waiting clients can see their position."""

    def __init__(self, at_once: int, waiting: int) -> None:
        """Create an empty queue.

        Args:
            at_once: Maximum number of clients served at the same time.
            waiting: Maximum number of waiting clients.
        """
        self.at_once, self._most = at_once, at_once + waiting
        self._line: list[object] = []  # the first ``at_once`` entries are being served
        self._moved = threading.Condition()

    @contextlib.contextmanager
    def place(self) -> Iterator[Callable[[float], int]]:
        """Join the queue for the duration of the block.

        Yields:
            A function that waits for at most the given number of seconds and returns the position in the queue, from
            1; 0 if it is this client's turn.

        Raises:
            HeadPoseError: The queue is full.
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
    """Limit on the number of active visitors who send many requests, such as webcam frames.

    A visitor who sends no request for 5 seconds loses the place.
    """

    def __init__(self, count: int) -> None:
        """Create ``count`` free places."""
        self.count = count
        self._seen: dict[object, float] = {}
        self._lock = threading.Lock()

    def take(self, visitor: object) -> bool:
        """Reserve a place for a visitor; return whether one is available."""
        now = time.monotonic()
        with self._lock:
            self._seen = {each: seen for each, seen in self._seen.items() if now - seen < LEFT_AFTER_S}
            if visitor not in self._seen and len(self._seen) >= self.count:
                return False
            self._seen[visitor] = now
            return True


def page_stream(
    estimators: Estimators, settings: Settings, smoothing: Smoothing | None = None
) -> Callable[[Image, float], list[HeadPose]]:
    """Return the function from a frame and its time in seconds to its poses, for one video or webcam of a page.

    Args:
        estimators: Networks and detector of the page. Other calls run between two frames.
        settings: Settings of the visitor.
        smoothing: Filter settings; None leaves poses as they are measured.

    Raises:
        HeadPoseError: The network of the settings is not one of the page, or cannot be loaded.
    """
    loaded = estimators.load(settings.model)
    judged = "face" in getattr(loaded.model, "outputs", ())
    estimator = HeadPoseEstimator(
        loaded.model,
        detector=loaded.detector,
        max_faces=settings.max_faces,
        min_confidence=settings.min_confidence if judged else 0.0,
    )
    stream = FaceStream(estimator, smoothing=smoothing, min_score=settings.min_score)

    def update(image: Image, time_s: float) -> list[HeadPose]:
        with estimators.exclusive():
            return stream.update(image, time_s)

    return update


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """Progress of a video.

    Attributes:
        count: Number of frames processed.
        frame: Last frame processed.
        poses: Poses of its faces.
        per_second: Processing rate in frames per second.
        late: True if the time limit is reached; this is then the last frame.
    """

    count: int
    frame: Frame
    poses: Sequence[HeadPose]
    per_second: float
    late: bool


def read_video(
    source: FrameSource,
    estimate: Callable[[Image, float], Sequence[HeadPose]],
    sinks: Sequence[Sink],
    bounds: UploadBounds,
) -> Iterator[Progress]:
    """Process an uploaded video and report progress after each frame.

    Args:
        source: Open video.
        estimate: Function from an image and its time in seconds to poses, such as ``page_stream``.
        sinks: Open sinks that receive each frame.
        bounds: Limits on pixels and time.

    Yields:
        The progress after each frame.

    Raises:
        HeadPoseError: The source is not a video, cannot be read or written, or its frames are too large.
    """
    if source.kind != "video":  # an image would be decoded before its size is checked
        raise HeadPoseError(f"{source.name} is not a video: the tab Photo takes pictures")
    started = time.monotonic()
    for count, frame in enumerate(source, 1):
        if frame.image.shape[0] * frame.image.shape[1] > 1e6 * bounds.megapixels:
            raise HeadPoseError(f"a frame of the video has more than {bounds.megapixels:g} million pixels")
        poses = estimate(frame.image, frame.time_s)
        for sink in sinks:
            sink.write(frame, poses)
        seconds = time.monotonic() - started
        late = seconds > bounds.video_seconds
        yield Progress(count, frame, poses, count / max(seconds, 1e-3), late)
        if late:
            return
