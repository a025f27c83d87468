"""Sources of frames: a picture, a folder of pictures, a video, a camera."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import cv2

from headpose.errors import HeadPoseError, ImageError
from headpose.images import SUFFIXES, is_picture, list_images, read_image
from headpose.types import Image

Kind = Literal["image", "folder", "video", "camera"]

_TEXT_AS_VIDEO = int.from_bytes(b"ansi", "little")  # libav plays .txt files as a terminal would show them
_USUAL_FPS = 30.0  # for cameras and files that do not tell
# Containers count frames by the clock as often as one by one, and a last frame may not decode.
_SLACK_FRAMES, _SLACK_SHARE = 2, 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        index: its number in the source, from 0.
        time_s: when it is shown, seconds from the first; for a camera, when it came. 0 for pictures.
        name: its file's name for pictures, "" in a video or from a camera.
        image: (H, W, 3) uint8 BGR.
    """

    index: int
    time_s: float
    name: str
    image: Image


class FrameSource(Protocol):
    """Frames in order, once. A context manager that closes what it opened.

    Attributes:
        name: what messages call it.
        kind: of source.
        fps: frames per second; 0 for pictures.
        length: how many frames it announces; None if it does not.
        problems: what could not be read so far, a line each. Iteration goes on past them.
    """

    name: str
    kind: Kind
    fps: float
    length: int | None
    problems: list[str]

    def __enter__(self) -> FrameSource: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def __iter__(self) -> Iterator[Frame]: ...


def open_source(source: str | os.PathLike[str]) -> FrameSource:
    """Opens a source of frames.

    Args:
        source: a picture, a folder of pictures (in the order of their names), a video file, a camera's
            number, or a GStreamer pipeline that ends in ``appsink`` (it has `` ! `` in it).

    Raises:
        ImageError: there is no such source, or it cannot be opened.
    """
    text = os.fspath(source)
    if " ! " in text:
        return _open_pipeline(text)
    if text.isdecimal():
        return _open_camera(int(text))
    path = Path(text)
    if path.is_dir():
        return PictureSource(list_images(path), text, "folder")
    if not path.exists():
        raise ImageError(f"{text} does not exist")
    if path.suffix.lower() not in SUFFIXES:
        check_name(path, ImageError)
    if path.suffix.lower() in SUFFIXES or is_picture(path):
        return PictureSource([path], text, "image")
    return _open_video(path)


def source_files(source: str | os.PathLike[str]) -> list[Path]:
    """The files that a source reads, for ``headpose.files.check_outputs``; some may not exist.

    Args:
        source: as for ``open_source``. Of a folder these are its pictures, of a pipeline its locations.
    """
    text = os.fspath(source)
    if " ! " in text and not Path(text).exists():
        return [Path(found.strip("\"'")) for found in re.findall(r"""location\s*=\s*("[^"]*"|'[^']*'|\S+)""", text)]
    path = Path(text)
    return list_images(path) if path.is_dir() else [path]


def check_name(path: Path, error: type[HeadPoseError]) -> None:
    """Raises ``error`` for a name that is no Unicode text, by which OpenCV's video functions crash the process."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise error(f"the name of {str(path)!a} is not UTF-8: rename the file") from None


def silence_codecs() -> None:
    """Keeps OpenCV and libav from writing to stderr. For programs, before the first video is opened."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class PictureSource:
    """A picture, or the pictures of a folder. A folder's unreadable ones are noted and passed over."""

    fps = 0.0

    def __init__(self, paths: list[Path], name: str, kind: Literal["image", "folder"]) -> None:
        self.name = name
        self.kind: Kind = kind
        self.length: int | None = len(paths)
        self.problems: list[str] = []
        self._paths = paths

    def __enter__(self) -> PictureSource:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self._paths):
            try:
                image = read_image(path)
            except ImageError as error:
                if self.kind == "image":
                    raise
                self.problems.append(str(error))
                continue
            yield Frame(index, 0.0, path.name, image)


class CaptureSource:
    """A video or a camera. A video that ends before its announced length is noted as a problem."""

    def __init__(self, capture: cv2.VideoCapture, name: str, kind: Literal["video", "camera"]) -> None:
        count, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
        self.name = name
        self.kind: Kind = kind
        self.fps = fps if 0 < fps <= 1000 else _USUAL_FPS
        self.length: int | None = int(count) if kind == "video" and 0 < count < 2**40 else None
        self.problems: list[str] = []
        self._capture = capture

    def __enter__(self) -> CaptureSource:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        index, start = 0, time.monotonic()
        while True:
            read, image = self._capture.read()
            if not read:
                break
            yield Frame(index, self._time_s(index, start), "", _three_channels(image))
            index += 1
        if index == 0:
            raise ImageError(f"{self.name} gives no picture")
        if self.length and index < self.length - max(_SLACK_FRAMES, _SLACK_SHARE * self.length):
            self.problems.append(f"{self.name} is cut short: {index} of its {self.length} frames could be read")

    def _time_s(self, index: int, start: float) -> float:
        if self.kind == "camera":
            return time.monotonic() - start
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 or index / self.fps


def _open_video(path: Path) -> CaptureSource:
    if path.is_file() and path.stat().st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes)")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened() or int(capture.get(cv2.CAP_PROP_FOURCC)) == _TEXT_AS_VIDEO:
        raise ImageError(f"{path} is neither a picture nor a video that can be read, or its index was cut off")
    return CaptureSource(capture, str(path), "video")


def _open_camera(number: int) -> CaptureSource:
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise ImageError(f"camera {number} cannot be opened: is it plugged in, and free?")
    return CaptureSource(capture, f"camera {number}", "camera")


def _open_pipeline(pipeline: str) -> CaptureSource:
    if not re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()):
        raise ImageError(
            "this OpenCV was built without GStreamer: a Jetson's own python3-opencv has it, PyPI's has not"
        )
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise ImageError("the GStreamer pipeline cannot be opened: try it with gst-launch-1.0; it must end in appsink")
    return CaptureSource(capture, "the GStreamer pipeline", "camera")


def _three_channels(image: Image) -> Image:
    if image.ndim == 2 or image.shape[2] == 1:  # an infrared camera
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return image
