"""Sinks: annotated pictures and videos, and rows of numbers.

A file appears under its name only when its sink closes without an error: until then, and for good
after one, that name holds what it held before.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TextIO

import cv2
import numpy as np

from headpose import files
from headpose.draw import Style, draw_poses
from headpose.errors import HeadPoseError
from headpose.images import is_writable_format, writable_name, write_image
from headpose.streams import ffmpeg
from headpose.streams.sources import Frame, check_name
from headpose.types import HeadPose, Image

# What OpenCV's own wheels can encode; H.264 is not among it.
_CODEC = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
_LONGEST_GAP_S = 10.0
_TREMBLE = 0.75  # of a frame: how far times may be off before a frame is repeated or left out

CSV_COLUMNS = ("frame", "name", "x1", "y1", "x2", "y2", "score", "yaw", "pitch", "roll", "time_s")


class Sink(Protocol):
    """Takes frames with their poses, in order."""

    def __enter__(self) -> object: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def write(self, frame: Frame, poses: Sequence[HeadPose]) -> None:
        """Takes one frame; HeadPoseError if it cannot be written."""
        ...


class RowFile:
    """A text file with one row a face, or stdout, where each frame's rows come out at once."""

    def __init__(self, target: str | os.PathLike[str], row: Callable[[Frame, HeadPose], str], header: str = "") -> None:
        """Makes ready.

        Args:
            target: a file, or "-" for stdout.
            row, header: lines with their line ends.

        Raises:
            HeadPoseError: the ending of ``target`` is that of a picture, a video or a network.
        """
        files.check_text_name(target)
        self._target, self._row, self._header = target, row, header
        self._stack = contextlib.ExitStack()
        self._stream: TextIO | None = sys.stdout

    def __enter__(self) -> RowFile:
        if self._target != "-":
            with contextlib.ExitStack() as stack:
                temporary = stack.enter_context(files.atomic_path(self._target))
                self._stream = stack.enter_context(
                    temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="")
                )
                self._stack = stack.pop_all()
        self._write([self._header] if self._header else [])
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.__exit__(*exc_info)  # type: ignore[arg-type]

    def write(self, frame: Frame, poses: Sequence[HeadPose]) -> None:
        self._write([self._row(frame, pose) for pose in poses])

    def _write(self, lines: list[str]) -> None:
        if self._stream is None:
            raise HeadPoseError("cannot write to stdout: it is closed")
        try:
            self._stream.writelines(lines)
            if self._target == "-":
                self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            where = "to stdout" if self._target == "-" else self._target
            raise HeadPoseError(f"cannot write {where}: {error.strerror or error}") from None


def json_lines(target: str | os.PathLike[str]) -> RowFile:
    """JSON lines: one object a face, with frame, source (one of several), name (pictures only), time_s (seconds, not
    for pictures), track (of tracked faces), box [x1, y1, x2, y2] (the tight box, pixels), score, yaw, pitch, roll
    (degrees) and rotation (3 rows of 3)."""
    return RowFile(target, _json_row)


def csv_file(target: str | os.PathLike[str], *, tracks: bool = False, sources: bool = False) -> RowFile:
    """CSV with a header, one row a face: ``CSV_COLUMNS``, box in pixels, angles in degrees, time (not for pictures)
    in seconds.

    With ``tracks`` a column ``track`` follows, with the number of each face; with ``sources`` a last column
    ``source``, with which of several sources the row is from.
    """
    more = [*(["track"] if tracks else []), *(["source"] if sources else [])]

    def row(frame: Frame, pose: HeadPose) -> str:
        return _csv_row(frame, pose, *([pose.track] if tracks else []), *([frame.source] if sources else []))

    return RowFile(target, row, _csv_line([*CSV_COLUMNS, *more]))


class PictureFile:
    """The annotated picture of a source that is one picture."""

    def __init__(self, target: str | os.PathLike[str], style: Style = "axes") -> None:
        """HeadPoseError if the ending of ``target`` is no picture format."""
        _check_picture(target)
        self._target, self._style = Path(target), style

    def __enter__(self) -> PictureFile:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def write(self, frame: Frame, poses: Sequence[HeadPose]) -> None:
        write_image(self._target, draw_poses(frame.image, poses, self._style))


class PictureFolder:
    """Annotated pictures under their own names (``writable_name``) in a folder, which is made if it is not there."""

    def __init__(self, folder: str | os.PathLike[str], style: Style = "axes") -> None:
        self._folder, self._style = Path(folder), style

    def __enter__(self) -> PictureFolder:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HeadPoseError(f"cannot make the folder {self._folder}: {error.strerror or error}") from None
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def write(self, frame: Frame, poses: Sequence[HeadPose]) -> None:
        write_image(self._folder / writable_name(frame.name), draw_poses(frame.image, poses, self._style))


class VideoFile:
    """An annotated video.

    OpenCV's writer keeps silent about a full disk, so the file is read back when it is closed: what
    does not open again, or with fewer frames, is an error.

    Attributes:
        notes: what the user should know of the file, a line each; whole once it is closed.
    """

    def __init__(
        self, target: str | os.PathLike[str], fps: float, style: Style = "axes", *, by_clock: bool = False
    ) -> None:
        """Checks the format.

        Args:
            target: file; its ending (.mp4, .m4v, .mov, .mkv, .avi, .webm) picks the format.
            fps: frames per second of the file.
            style: what is drawn.
            by_clock: repeat frames, or leave some out, so that each is shown at its ``Frame.time_s`` to
                within one frame of the file: for cameras that do not keep their rate and for videos of a
                variable one. Otherwise one frame in is one frame out.

        Raises:
            HeadPoseError: the ending is no video format, or the rate is none.
        """
        self._target, self._style, self._by_clock = Path(target), style, by_clock
        if self._target.suffix.lower() not in _CODEC:
            raise HeadPoseError(f"cannot write {target}: a video needs one of the endings {' '.join(_CODEC)}")
        check_name(self._target, HeadPoseError)
        if not 0.01 <= fps < math.inf:
            raise HeadPoseError(f"cannot write {target}: {fps:g} frames per second is no rate for a video")
        # MPEG-4 counts time in ticks of which a second has 65535 at most.
        self._fps = round(fps, 3 if fps < 65 else 2)
        self.notes: list[str] = []
        self._stack = contextlib.ExitStack()
        self._temporary = self._target
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._written = self._left_out = 0
        self._late_s = 0.0  # the parts of long gaps that were left out
        self._shown: Image | None = None

    def __enter__(self) -> VideoFile:
        self._temporary = self._stack.enter_context(files.atomic_path(self._target))
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._writer is not None:
            self._writer.release()
        if exc_info[0] is not None:
            self._stack.__exit__(*exc_info)  # type: ignore[arg-type]
            return
        with self._stack:
            self._check_written()
        if self._left_out:
            frames = "1 frame" if self._left_out == 1 else f"{self._left_out} frames"
            self.notes.append(f"{self._target} is without {frames}: more than its {self._fps:g} a second came")

    def write(self, frame: Frame, poses: Sequence[HeadPose]) -> None:
        image = draw_poses(frame.image, poses, self._style)
        size = (image.shape[1], image.shape[0])
        if self._writer is None:
            self._size, self._writer = size, self._open(size)
        if size != self._size:  # cv2.VideoWriter would drop it without a word
            raise HeadPoseError(f"cannot write {self._target}: frame {frame.index} is {size}, the first {self._size}")
        image = _even(image)
        behind = self._frames_behind(frame.time_s) if self._by_clock else 0
        if behind < 0:
            self._left_out += 1
            return
        for _ in range(behind):
            self._add(image if self._shown is None else self._shown)
        self._add(image)
        self._shown = image

    def _frames_behind(self, time_s: float) -> int:
        """How many frames the file is short of where the next one belongs; negative if it is ahead. Less than
        ``_TREMBLE`` is none: it would double one frame and drop the next."""
        behind = (time_s - self._late_s) * self._fps - self._written
        longest = _LONGEST_GAP_S * self._fps
        if behind > longest:
            self._late_s += (behind - longest) / self._fps
            behind = longest
        return round(behind) if abs(behind) > _TREMBLE else 0

    def _add(self, image: Image) -> None:
        if self._writer is not None:
            self._writer.write(image)
            self._written += 1

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        codec = cv2.VideoWriter.fourcc(*_CODEC[self._target.suffix.lower()])
        even = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        if even != size:
            self.notes.append(
                f"{self._target} is {even[0]}x{even[1]}, not {size[0]}x{size[1]}: video needs even sides, so the last "
                "column or row of pixels is doubled"
            )
        with _silent_stderr():
            writer = cv2.VideoWriter(ffmpeg.local(self._temporary), cv2.CAP_FFMPEG, codec, self._fps, even)
        if not writer.isOpened():
            raise HeadPoseError(
                f"cannot write {self._target}: no encoder here for {size[0]}x{size[1]} at {self._fps:g} fps"
            )
        return writer

    def _check_written(self) -> None:
        if self._writer is None:
            raise HeadPoseError(f"cannot write {self._target}: there was no frame")
        count = ffmpeg.count_frames(self._temporary)
        if count < self._written:
            raise HeadPoseError(
                f"cannot write {self._target}: {count} of {self._written} frames arrived; is the disk full?"
            )
        if not ffmpeg.is_complete(self._temporary):
            raise HeadPoseError(f"cannot write {self._target}: its end did not arrive; is the disk full?")


def _even(image: Image) -> Image:
    """With even sides: OpenCV's writer would cut the last row and column off."""
    height, width = image.shape[:2]
    if height % 2 == width % 2 == 0:
        return image
    return np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Whatever its log level, OpenCV prints that a WebM holds no codec tag."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _check_picture(target: str | os.PathLike[str]) -> None:
    if not is_writable_format(target):
        raise HeadPoseError(f"cannot write {target}: the annotated picture needs an ending such as .jpg or .png")


def _json_row(frame: Frame, pose: HeadPose) -> str:
    yaw, pitch, roll = pose.euler
    values = {
        "frame": frame.index,
        **({"source": frame.source} if frame.source else {}),
        **({"name": frame.name} if frame.name else {"time_s": round(frame.time_s, 6)}),
        **({"track": pose.track} if pose.track is not None else {}),
        "box": [round(side, 3) for side in pose.box.as_tuple()],
        "score": round(pose.face.score, 6),
        "yaw": round(yaw, 6),
        "pitch": round(pitch, 6),
        "roll": round(roll, 6),
        "rotation": pose.rotation.round(9).tolist(),
    }
    return json.dumps(values) + "\n"


def _csv_row(frame: Frame, pose: HeadPose, *more: object) -> str:
    box = [f"{side:.2f}" for side in pose.box.as_tuple()]
    angles = [f"{angle:.3f}" for angle in pose.euler]
    time_s = "" if frame.name else f"{frame.time_s:.6f}"
    return _csv_line([frame.index, frame.name, *box, f"{pose.face.score:.4f}", *angles, time_s, *more])


def _csv_line(values: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
