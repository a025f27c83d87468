"""Frame sources: images, folders of images, videos, cameras and network streams."""

from __future__ import annotations

import functools
import itertools
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np

from headpose.errors import ImageError
from headpose.files import DATA_SUFFIXES
from headpose.images import SUFFIXES, is_picture, list_images, read_image
from headpose.streams import ffmpeg, timing
from headpose.types import Image

Kind = Literal["image", "folder", "video", "camera"]

# Consecutive failed reads after which a source counts as ended: OpenCV does not distinguish the end of a video from a
# damaged part. A failed read of a camera may take seconds.
_FAILED_READS, _MOST_FAILED_READS, _SILENCE_S = 50, 5000, 10.0
_JPEG = int.from_bytes(b"MJPG", "little")
_MOTION_JPEG = frozenset({".mjpg", ".mjpeg"})  # these start with a JPEG signature
_WIDEST_PIXEL = 4.0  # maximum pixel aspect ratio (or its inverse); higher values mean a damaged header


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a source.

    Attributes:
        index: Index in the source, from 0.
        time_s: Presentation time in seconds since the first frame; for a camera the time of arrival; 0 for images.
        name: File name of an image; "" for videos and cameras.
        image: (H, W, 3) uint8 BGR, rotated upright and resampled to square pixels.
        source: Source as the user named it, if there are several; "" otherwise.
        path: File of an image; None for videos and cameras.
    """

    index: int
    time_s: float
    name: str
    image: Image
    source: str = ""
    path: Path | None = None


class FrameSource(Protocol):
    """Source of frames: a context manager that can be iterated once.

    Attributes:
        name: Name for messages.
        kind: Kind of source.
        fps: Frame rate in frames per second; 0 for images.
        length: Announced number of frames; None if unknown.
        problems: Read errors so far, one line each. Iteration continues after them.
        notes: Remarks for the user that are not errors, one line each.
    """

    name: str
    kind: Kind
    fps: float
    length: int | None
    problems: list[str]
    notes: list[str]

    def __enter__(self) -> FrameSource: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def __iter__(self) -> Iterator[Frame]: ...


def open_source(source: str | os.PathLike[str]) -> FrameSource:
    """Open a frame source.

    Args:
        source: Image, folder of images (read in order of name), video file, camera number or device, URL of a stream
            (rtsp, rtmp, http, ...), or GStreamer pipeline that contains `` ! `` and ends in ``appsink``. An existing
            file or folder takes precedence.

    Raises:
        ImageError: The source does not exist or cannot be opened.
    """
    text = os.fspath(source)
    if not text:
        raise ImageError("the source is an empty text: give a picture, a folder, a video or a camera's number")
    path = Path(text)
    if not os.path.exists(text):  # noqa: PTH110, Path.exists raises for long texts before Python 3.12
        return _open_what_is_no_file(text)
    if path.is_dir():
        return PictureSource(list_images(path), text, "folder", _passed_over(path))
    if path.is_char_device():
        return _open_camera(text)
    if not path.is_file():  # the content of a pipe can be read only once
        raise ImageError(f"{text} is a pipe or a device: save what it gives as a file, and give that")
    if path.suffix.lower() not in SUFFIXES:
        ffmpeg.check_name(path, ImageError)
    if path.suffix.lower() in SUFFIXES or (path.suffix.lower() not in _MOTION_JPEG and is_picture(path)):
        return PictureSource([path], text, "image")
    return _open_video(path)


def source_files(source: str | os.PathLike[str]) -> list[Path]:
    """Return the files that a source reads, for ``headpose.files.check_outputs``.

    Args:
        source: As for ``open_source``.

    Returns:
        The file itself, the images of a folder, or the ``location`` values of a pipeline; some may not exist.
    """
    text = os.fspath(source)
    if " ! " in text and not Path(text).exists():
        return [Path(found.strip("\"'")) for found in re.findall(r"""location\s*=\s*("[^"]*"|'[^']*'|\S+)""", text)]
    path = Path(text)
    return list_images(path) if path.is_dir() else [path]


def open_pictures(sources: Sequence[str]) -> PictureSource | None:
    """Combine the images and folders among several sources into one source.

    Args:
        sources: Sources as for ``open_source``. Videos are skipped, also unreadable ones.

    Returns:
        One source whose frames name their origin in ``Frame.source``; None if there are no images.

    Raises:
        ImageError: A source does not exist, cannot be opened, or is a camera or another live stream.
    """
    paths, of, notes = [], [], []
    for text in sources:
        try:
            with open_source(text) as opened:
                if opened.kind == "camera":
                    raise ImageError(f"{opened.name} is a live source: give it alone")
                if isinstance(opened, PictureSource):
                    paths += opened.paths
                    of += [text] * len(opened.paths)
                    notes += opened.notes
        except ImageError:
            # A damaged video must not stop the other sources. Anything else that fails is a mistake of the user.
            if Path(text).suffix.lower() not in DATA_SUFFIXES or not Path(text).is_file():
                raise
    name = str(paths[0]) if len(paths) == 1 else f"{len(paths)} pictures"
    return PictureSource(paths, name, "folder", notes, of) if paths else None


class PictureSource:
    """One image, or the images of a folder. Unreadable images of a folder are reported in ``problems`` and skipped."""

    fps = 0.0

    def __init__(
        self,
        paths: list[Path],
        name: str,
        kind: Literal["image", "folder"],
        notes: Sequence[str] = (),
        sources: Sequence[str] = (),
    ) -> None:
        """Create the source.

        Args:
            paths: Image files in order.
            name: Name for messages.
            kind: "image" raises on an unreadable file, "folder" skips it.
            notes: See ``FrameSource.notes``.
            sources: ``Frame.source`` of each path; empty for none.
        """
        self.name = name
        self.kind: Kind = kind
        self.length: int | None = len(paths)
        self.problems: list[str] = []
        self.notes = list(notes)
        self.paths = paths
        self.sources = list(sources) or [""] * len(paths)

    def __enter__(self) -> PictureSource:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        for index, (path, source) in enumerate(zip(self.paths, self.sources, strict=True)):
            try:
                image = read_image(path)
            except ImageError as error:
                if self.kind == "image":
                    raise
                self.problems.append(str(error))
                continue
            yield Frame(index, 0.0, path.name, image, source, path)


class CaptureSource:
    """Video or camera. Missing frames of a video are reported in ``problems``."""

    def __init__(
        self,
        capture: cv2.VideoCapture,
        name: str,
        kind: Literal["video", "camera"],
        *,
        fps: float | None = None,
        whole: bool = False,
        own_times: bool | None = None,
        unreadable: Callable[[], bool] | None = None,
    ) -> None:
        """Create the source.

        Args:
            capture: Open capture; the source releases it.
            name: Name for messages.
            kind: Kind of source.
            fps: Frame rate that replaces an implausible one of the file.
            whole: The file is known to be complete.
            own_times: Use the timestamps of the frames instead of their times of arrival. None means True for a video
                and False for a camera.
            unreadable: Function that returns whether OpenCV returns wrong images of this source
                (``ffmpeg.is_unreadable``). It is called if the first two images are identical.
        """
        count, claimed = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
        self.name = name
        self.kind: Kind = kind
        self.fps = fps or (claimed if timing.is_usual(claimed) else timing.USUAL_FPS)
        # The count is often computed as duration times frame rate, so it is only as good as the rate.
        counted = kind == "video" and 0 < count < 2**40 and timing.is_usual(claimed)
        self.length: int | None = int(count) if counted else None
        self._duration_s = count / claimed if counted and not whole else 0.0
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._own_times = kind == "video" if own_times is None else own_times
        self._capture = capture
        self._unreadable = unreadable
        self._start_s = 0.0  # timestamp of the first frame
        self._stretch = self._pixel_stretch()

    def __enter__(self) -> CaptureSource:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        start = time.monotonic()
        clock = timing.Clock(self.fps)
        losses = timing.Losses(self.fps, self.length, self._duration_s)
        index = 0
        for failed, image, reported_s in self._reads() if self._unreadable is None else self._checked_reads():
            index += failed if self.kind == "video" else 0
            time_s = clock.time_s(reported_s, failed) if self._own_times else time.monotonic() - start
            losses.add(time_s, failed)
            yield Frame(index, time_s, "", _square(_three_channels(image), *self._stretch))
            index += 1
        if index == 0:
            raise ImageError(f"{self.name} gives no picture")
        if self.kind == "video" and (line := losses.line(self.name, self._start_s)):
            self.problems.append(line)

    def _checked_reads(self) -> Iterator[tuple[int, Image, float]]:
        """Yield as ``_reads`` does; raise ImageError if OpenCV cannot convert the images, which are then all equal."""
        reads = self._reads()
        first = list(itertools.islice(reads, 2))
        if first and np.array_equal(first[0][1], first[-1][1]) and self._unreadable and self._unreadable():
            raise ImageError(
                f"{self.name} is interlaced, and OpenCV {cv2.__version__} gives wrong pictures of such videos: convert "
                "it first, as with ffmpeg -i IN -vf yadif OUT.mp4"
            )
        yield from first
        yield from reads

    def _reads(self) -> Iterator[tuple[int, Image, float]]:
        """Yield (number of failed reads before the image, image, timestamp in seconds)."""
        failed, done, last = 0, 0, time.monotonic()
        while True:
            read, image = self._capture.read()
            if read:
                if done == 0 and hasattr(cv2, "CAP_PROP_PTS"):  # from OpenCV 4.11 on
                    self._start_s = self._capture.get(cv2.CAP_PROP_PTS) / self.fps
                yield failed, image, self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                failed, done, last = 0, done + failed + 1, time.monotonic()
                continue
            failed += 1
            left = min((self.length or 0) - done, _MOST_FAILED_READS)
            if failed >= max(left, _FAILED_READS) or time.monotonic() - last > _SILENCE_S:
                break

    def _pixel_stretch(self) -> tuple[float, float]:
        """Return the factors for width and height that make pixels square."""
        wide, high = self._capture.get(cv2.CAP_PROP_SAR_NUM), self._capture.get(cv2.CAP_PROP_SAR_DEN)
        ratio = wide / high if wide > 0 and high > 0 else 1.0
        if not 1 / _WIDEST_PIXEL <= ratio <= _WIDEST_PIXEL:
            self.notes.append(f"{self.name}: pixels of {wide:g}:{high:g} cannot be, and are taken for square ones")
            return 1.0, 1.0
        lying = self._capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180 != 0
        if lying and self._capture.get(cv2.CAP_PROP_ORIENTATION_AUTO):
            ratio = 1 / ratio  # OpenCV has already rotated the image by 90 degrees
        return max(ratio, 1.0), max(1 / ratio, 1.0)


def _open_video(path: Path) -> CaptureSource:
    capture, fps = ffmpeg.open_file(path), None
    claimed = capture.get(cv2.CAP_PROP_FPS)
    if not timing.is_usual(claimed):
        probed = ffmpeg.open_file(path)
        fps = timing.measured_fps(probed, claimed)
        probed.release()
    # An MP4 may announce more frames than it shows, because editors cut with an edit list.
    with path.open("rb") as file:
        whole = ffmpeg.is_mp4(file.read(8)) and bool(ffmpeg.is_complete(path))
    unreadable = functools.partial(ffmpeg.is_unreadable, path)
    return CaptureSource(capture, str(path), "video", fps=fps, whole=whole, unreadable=unreadable)


def _passed_over(folder: Path) -> list[str]:
    """Return a line that counts the files of a folder without an image extension; an empty list if there are none."""
    endings = Counter(
        entry.suffix.lower() or "without an ending"
        for entry in folder.iterdir()
        if entry.is_file() and not entry.name.startswith(".") and entry.suffix.lower() not in SUFFIXES
    )
    if not endings:
        return []
    most = sorted(endings.items(), key=lambda item: (-item[1], item[0]))[:5]
    listed = ", ".join(f"{count} {ending}" for ending, count in most)
    files = "1 file was" if endings.total() == 1 else f"{endings.total()} files were"
    return [f"{folder}: {files} skipped, without an image extension: {listed}{', ...' if len(endings) > 5 else ''}"]


def _open_what_is_no_file(text: str) -> CaptureSource:
    if ffmpeg.url_scheme(text):
        return _open_url(text)
    if " ! " in text:
        return _open_pipeline(text)
    if text.isdecimal():
        return _open_camera(int(text))
    raise ImageError(f"{text} does not exist")


def _open_url(url: str) -> CaptureSource:
    capture = ffmpeg.open_url(url)
    # HTTP serves both videos and the endless JPEG streams of network cameras.
    endless = capture.get(cv2.CAP_PROP_FRAME_COUNT) <= 0 and capture.get(cv2.CAP_PROP_FOURCC) == _JPEG
    kind: Literal["video", "camera"] = "camera"
    if ffmpeg.url_scheme(url) in ("http", "https") and not endless:
        kind = "video"
    # The first seconds of a stream arrive at once, so arrival times are wrong; JPEG streams have no timestamps.
    unreadable = None if endless else functools.partial(ffmpeg.is_unreadable, url)
    return CaptureSource(capture, ffmpeg.without_password(url), kind, own_times=not endless, unreadable=unreadable)


def _open_camera(camera: int | str) -> CaptureSource:
    """Open a camera by number or by device, such as /dev/video2."""
    if isinstance(camera, int):
        # OpenCV reads the hundreds digits of a camera number as the number of a backend.
        capture = cv2.VideoCapture(camera) if camera < 100 else cv2.VideoCapture()
    else:
        capture = cv2.VideoCapture(camera, cv2.CAP_V4L2)
    if not capture.isOpened():
        raise ImageError(f"camera {camera} cannot be opened: is it plugged in, and free?")
    return CaptureSource(capture, f"camera {camera}", "camera")


def _open_pipeline(pipeline: str) -> CaptureSource:
    if not re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()):
        raise ImageError(
            "this OpenCV was built without GStreamer: a Jetson's own python3-opencv has it, PyPI's has not"
        )
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise ImageError("the GStreamer pipeline cannot be opened: try it with gst-launch-1.0; it must end in appsink")
    return CaptureSource(capture, "the GStreamer pipeline", "camera")


def _square(image: Image, across: float, down: float) -> Image:
    if across == down:
        return image
    size = round(image.shape[1] * across), round(image.shape[0] * down)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _three_channels(image: Image) -> Image:
    if image.ndim == 2 or image.shape[2] == 1:  # an infrared camera
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return image
