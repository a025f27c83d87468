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
_FOR_BROWSERS = (".mp4", ".m4v", ".mov")  # endings of videos that browsers are expected to play
_LONGEST_GAP_S = 10.0
_TREMBLE = 0.75  # of a frame: how far times may be off before a frame is repeated or left out

CSV_COLUMNS = ("frame", "image", "face", "x1", "y1", "x2", "y2", "score", "yaw", "pitch", "roll", "time_s")
"""What a row of a face is made of. ``headpose.datasets.manifest`` and ``headpose.evaluation.predictions`` read it, so
``image``, the box and the angles have the names that they have there."""


class Sink(Protocol):
    """Takes frames with their poses, in order."""

    def __enter__(self) -> object: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def write(self, frame: Frame, poses: Sequence[HeadPose]) -> None:
        """Takes one frame; HeadPoseError if it cannot be written."""
        ...


class RowFile:
    """A text file with one row a face, or stdout, where each frame's rows come out at once."""

    def __init__(
        self, target: str | os.PathLike[str], row: Callable[[Frame, HeadPose, int], str], header: str = ""
    ) -> None:
        """Makes ready.

        Args:
            target: a file, or "-" for stdout.
            row: gives the line, with its line end, of a frame's face; the number is the face's place, from 1 on.
            header: the first line, with its line end.

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
        self._write([self._row(frame, pose, number) for number, pose in enumerate(poses, 1)])

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
    """JSON lines: one object a face.

    Its keys: frame; source (one of several); for pictures image (see ``csv_file``) and face (as in ``draw_labels``),
    for others time_s (seconds); track (of tracked faces); box [x1, y1, x2, y2] (the tight box, pixels); score; yaw,
    pitch, roll (degrees); rotation (3 rows of 3).
    """
    folder = _folder_of(target)
    return RowFile(target, lambda frame, pose, number: _json_row(frame, pose, number, folder))


def csv_file(target: str | os.PathLike[str], *, tracks: bool = False, sources: bool = False) -> RowFile:
    """CSV with a header, one row a face: ``CSV_COLUMNS``, box in pixels, angles in degrees.

    For pictures ``image`` is the file's path from the folder of ``target`` (on stdout the path as the user gave it),
    so that the table is a manifest of faces as well, and ``face`` the number that ``draw_labels`` writes. For videos
    and cameras these two are empty and ``time_s`` holds seconds.

    With ``tracks`` a column ``track`` follows, with the number of each face; with ``sources`` a last column
    ``source``, with which of several sources the row is from.
    """
    more, folder = [*(["track"] if tracks else []), *(["source"] if sources else [])], _folder_of(target)

    def row(frame: Frame, pose: HeadPose, number: int) -> str:
        added = [*([pose.track] if tracks else []), *([frame.source] if sources else [])]
        return _csv_row(frame, pose, number, folder, *added)

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

    @property
    def browser_note(self) -> str:
        """A line for those who expect browsers to play the file by its ending, which they do not; "" if they do."""
        if self._target.suffix.lower() not in _FOR_BROWSERS:
            return ""
        return f"{self._target} is MPEG-4 part 2, which browsers do not play: a name in .webm gives VP8, which they do"

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
            self.notes.append(f"{self._target} lacks {frames}: the source had more than {self._fps:g} a second")

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


def _folder_of(target: str | os.PathLike[str]) -> Path | None:
    """The folder that the pictures in a file of rows are relative to; None on stdout, which has none."""
    # Links to folders are followed: ``..`` leads out of the folder that a link points to.
    return None if target == "-" else Path(os.path.realpath(Path(target).parent))


def _image(frame: Frame, folder: Path | None) -> str:
    """What the rows call a frame's picture; "" in a video."""
    if frame.path is None:
        return frame.name
    if folder is None:
        return frame.path.as_posix()
    path = Path(os.path.realpath(frame.path.parent)) / frame.path.name  # the picture itself may be a link
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return path.as_posix()


def _json_row(frame: Frame, pose: HeadPose, number: int, folder: Path | None) -> str:
    still = {"image": _image(frame, folder), "face": number}
    yaw, pitch, roll = pose.euler
    values = {
        "frame": frame.index,
        **({"source": frame.source} if frame.source else {}),
        **(still if frame.name else {"time_s": round(frame.time_s, 6)}),
        **({"track": pose.track} if pose.track is not None else {}),
        "box": [round(side, 3) for side in pose.box.as_tuple()],
        "score": round(pose.face.score, 6),
        "yaw": round(yaw, 6),
        "pitch": round(pitch, 6),
        "roll": round(roll, 6),
        "rotation": pose.rotation.round(9).tolist(),
    }
    return json.dumps(values) + "\n"


def _csv_row(frame: Frame, pose: HeadPose, number: int, folder: Path | None, *more: object) -> str:
    box = [f"{side:.2f}" for side in pose.box.as_tuple()]
    angles = [f"{angle:.3f}" for angle in pose.euler]
    time_s = "" if frame.name else f"{frame.time_s:.6f}"
    still = [_image(frame, folder), number if frame.name else ""]
    return _csv_line([frame.index, *still, *box, f"{pose.face.score:.4f}", *angles, time_s, *more])


def _csv_line(values: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
