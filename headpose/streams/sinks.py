"""Sinks: annotated images and videos, JSON lines and CSV.

A sink writes to a temporary file and renames it when it closes. After an error the target keeps its old content.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TextIO

import cv2
import numpy as np

from headpose import files
from headpose.draw import Style, draw_poses
from headpose.errors import HeadPoseError
from headpose.images import is_writable_format, writable_name, write_image
from headpose.streams import ffmpeg
from headpose.streams.sources import Frame
from headpose.types import HeadPose, Image

# Codecs of the OpenCV wheels on PyPI, which lack H.264.
_CODEC = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
_FOR_BROWSERS = (".mp4", ".m4v", ".mov")  # extensions that users expect browsers to play
_LONGEST_GAP_S = 10.0
_TREMBLE = 0.75  # frames; smaller timing errors neither repeat nor skip a frame

CSV_COLUMNS = (
    *("frame", "image", "face", "x1", "y1", "x2", "y2", "score"),
    *("yaw", "pitch", "roll", "azimuth", "elevation", "tilt", "time_s"),
    *("uncertainty", "readable", "reliable"),
)
"""Columns of a CSV row. The names of ``image``, the box and the angles match ``headpose.datasets.manifest`` and
``headpose.evaluation.predictions``, which read these files."""


class Sink(Protocol):
    """Consumer of frames and their poses, in order. A context manager."""

    def __enter__(self) -> object: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def write(self, frame: Frame, poses: Sequence[HeadPose]) -> None:
        """Write one frame.

        Args:
            frame: Source frame.
            poses: Poses of its faces, in pixels of ``frame.image``.

        Raises:
            HeadPoseError: The frame cannot be written.
        """
        ...


class RowFile:
    """Text output with one row per face, to a file or to stdout. Stdout is flushed after each frame."""

    def __init__(
        self, target: str | os.PathLike[str], row: Callable[[Frame, HeadPose, int], str], header: str = ""
    ) -> None:
        """Prepare the output.

        Args:
            target: File to write, or "-" for stdout.
            row: Function of (frame, pose, number) that returns one line with its line break. ``number`` is the index
                of the face in the frame, from 1.
            header: First line with its line break; "" for none.

        Raises:
            HeadPoseError: The extension of ``target`` belongs to an image, a video or a network.
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
    """Return a sink that writes JSON lines, one object per face.

    Keys: ``frame``; ``source`` if there are several sources; for images ``image`` (see ``csv_file``) and ``face`` (the
    number that ``draw_labels`` draws), for videos and cameras ``time_s`` (seconds); ``track`` if faces are tracked;
    ``box`` [x1, y1, x2, y2] (tight box, pixels); ``score``; ``yaw``, ``pitch``, ``roll``, ``azimuth``,
    ``elevation``, ``tilt`` (degrees); ``rotation`` (3x3, row by row); ``uncertainty`` (degrees), ``readable`` (both
    null if the network has no such output) and ``reliable``.

    Args:
        target: File to write, or "-" for stdout.
    """
    folder = _folder_of(target)
    return RowFile(target, lambda frame, pose, number: _json_row(frame, pose, number, folder))


def csv_file(target: str | os.PathLike[str], *, tracks: bool = False, sources: bool = False) -> RowFile:
    """Return a sink that writes CSV with a header and one row per face.

    The columns are ``CSV_COLUMNS``: box in pixels, angles in degrees. For images, ``image`` is the path relative to the
    folder of ``target``, so the table is also a manifest (on stdout it is the path that the user gave), and ``face`` is
    the number that ``draw_labels`` draws. For videos and cameras both are empty and ``time_s`` holds seconds.

    Args:
        target: File to write, or "-" for stdout.
        tracks: Append a column ``track`` with the track number of the face.
        sources: Append a column ``source`` with the source of the row.
    """
    more, folder = [*(["track"] if tracks else []), *(["source"] if sources else [])], _folder_of(target)

    def row(frame: Frame, pose: HeadPose, number: int) -> str:
        added = [*([pose.track] if tracks else []), *([frame.source] if sources else [])]
        return _csv_row(frame, pose, number, folder, *added)

    return RowFile(target, row, _csv_line([*CSV_COLUMNS, *more]))


class PictureFile:
    """Sink for a single image: writes it with the poses drawn."""

    def __init__(self, target: str | os.PathLike[str], style: Style = "axes") -> None:
        """Check the format.

        Args:
            target: Image file to write.
            style: Drawing style.

        Raises:
            HeadPoseError: The extension of ``target`` is not an image format.
        """
        _check_picture(target)
        self._target, self._style = Path(target), style

    def __enter__(self) -> PictureFile:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def write(self, frame: Frame, poses: Sequence[HeadPose]) -> None:
        write_image(self._target, draw_poses(frame.image, poses, self._style))


class PictureFolder:
    """Sink that writes annotated images into a folder under their own names (see ``writable_name``)."""

    def __init__(self, folder: str | os.PathLike[str], style: Style = "axes") -> None:
        """Prepare the sink.

        Args:
            folder: Folder to write to; created if missing.
            style: Drawing style.
        """
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
    """Sink that writes an annotated video.

    OpenCV's writer does not report a full disk. The file is therefore read back when it is closed; a file that does not
    open or has too few frames is an error.

    Attributes:
        notes: Remarks for the user, one line each; complete after the sink is closed.
    """

    def __init__(
        self, target: str | os.PathLike[str], fps: float, style: Style = "axes", *, by_clock: bool = False
    ) -> None:
        """Check the format.

        Args:
            target: File to write. The extension (.mp4, .m4v, .mov, .mkv, .avi, .webm) selects the format.
            fps: Frame rate of the file in frames per second, at least 0.01.
            style: Drawing style.
            by_clock: Repeat or skip frames so that each is shown at its ``Frame.time_s``, to within one frame. Use it
                for cameras with an unsteady frame rate and for videos with a variable one. If False, every frame is
                written once.

        Raises:
            HeadPoseError: The extension is not a video format, or ``fps`` is out of range.
        """
        self._target, self._style, self._by_clock = Path(target), style, by_clock
        if self._target.suffix.lower() not in _CODEC:
            raise HeadPoseError(f"cannot write {target}: a video needs one of the endings {' '.join(_CODEC)}")
        ffmpeg.check_name(self._target, HeadPoseError)
        if not 0.01 <= fps < math.inf:
            raise HeadPoseError(f"cannot write {target}: {fps:g} frames per second is no rate for a video")
        self._fps = round(fps, 3 if fps < 65 else 2)  # MPEG-4 allows at most 65535 clock ticks per second
        self.notes: list[str] = []
        self._stack = contextlib.ExitStack()
        self._temporary = self._target
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._written = self._left_out = 0
        self._late_s = 0.0  # total time cut from long gaps
        self._shown: Image | None = None

    @property
    def browser_note(self) -> str:
        """Warning that browsers do not play the file despite its extension; "" if it does not apply."""
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
        if size != self._size:  # cv2.VideoWriter drops such a frame silently
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
        """Return by how many frames the file lags behind ``time_s``; 0 up to ``_TREMBLE``, negative if it is ahead."""
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
        with ffmpeg.silent_stderr():
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
    """Pad an image to even sides; OpenCV's writer would crop an odd last row or column."""
    height, width = image.shape[:2]
    if height % 2 == width % 2 == 0:
        return image
    return np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)


def _check_picture(target: str | os.PathLike[str]) -> None:
    if not is_writable_format(target):
        raise HeadPoseError(f"cannot write {target}: the annotated picture needs an ending such as .jpg or .png")


def _folder_of(target: str | os.PathLike[str]) -> Path | None:
    """Return the folder that image paths in ``target`` are relative to; None for stdout."""
    # Resolve links to folders, because ".." refers to the parent of the link's target.
    return None if target == "-" else Path(os.path.realpath(Path(target).parent))


def _image(frame: Frame, folder: Path | None) -> str:
    """Return the image path of a frame as written to rows; "" for a video."""
    if frame.path is None:
        return frame.name
    if folder is None:
        return frame.path.as_posix()
    path = Path(os.path.realpath(frame.path.parent)) / frame.path.name  # keep the name if the image itself is a link
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive on Windows
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
        **{name: round(angle, 6) for name, angle in pose.direction._asdict().items()},
        "tilt": round(pose.tilt, 6),
        "rotation": pose.rotation.round(9).tolist(),
        **pose.doubt,
    }
    return json.dumps(values) + "\n"


def _csv_row(frame: Frame, pose: HeadPose, number: int, folder: Path | None, *more: object) -> str:
    box = [f"{side:.2f}" for side in pose.box.as_tuple()]
    angles = [f"{angle:.3f}" for angle in (*pose.euler, *pose.direction, pose.tilt)]
    time_s = "" if frame.name else f"{frame.time_s:.6f}"
    still = [_image(frame, folder), number if frame.name else ""]
    return _csv_line([frame.index, *still, *box, f"{pose.face.score:.4f}", *angles, time_s, *_doubt(pose), *more])


def _doubt(pose: HeadPose) -> list[str]:
    """Return the last cells of a CSV row; empty where the network has no such output."""
    degrees = "" if pose.uncertainty is None else f"{pose.uncertainty:.3f}"
    return [degrees, "" if pose.readable is None else f"{pose.readable:.4f}", str(pose.reliable).lower()]


def _csv_line(values: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
