"""Sinks: annotated images, JSON lines and CSV.

A sink writes to a temporary file and renames it when it closes. After an error the target keeps its old content.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TextIO

from headpose import files
from headpose.choices import Style
from headpose.draw import draw_poses
from headpose.errors import HeadPoseError
from headpose.images import is_writable_format, writable_name, write_image
from headpose.streams.sources import Frame
from headpose.types import HeadPose

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


class TextFile:
    """Text output to a file or to stdout. Stdout is flushed after each call of ``write_lines``."""

    def __init__(self, target: str | os.PathLike[str], header: str = "") -> None:
        """Prepare the output.

        Args:
            target: File to write, or "-" for stdout.
            header: First line with its line break; "" for none.

        Raises:
            HeadPoseError: The extension of ``target`` belongs to an image, a video or a network.
        """
        files.check_text_name(target)
        self._target, self._header = target, header
        self._stack = contextlib.ExitStack()
        self._stream: TextIO | None = sys.stdout

    def __enter__(self) -> TextFile:
        if self._target != "-":
            with contextlib.ExitStack() as stack:
                temporary = stack.enter_context(files.atomic_path(self._target))
                self._stream = stack.enter_context(
                    temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="")
                )
                self._stack = stack.pop_all()
        self.write_lines([self._header] if self._header else [])
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.__exit__(*exc_info)  # type: ignore[arg-type]

    def write_lines(self, lines: Sequence[str]) -> None:
        """Write lines, each with its line break; HeadPoseError if that fails."""
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


class RowFile(TextFile):
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
        super().__init__(target, header)
        self._row = row

    def __enter__(self) -> RowFile:
        super().__enter__()
        return self

    def write(self, frame: Frame, poses: Sequence[HeadPose]) -> None:
        self.write_lines([self._row(frame, pose, number) for number, pose in enumerate(poses, 1)])


def json_lines(target: str | os.PathLike[str]) -> RowFile:
    """Return a sink that writes JSON lines, one object per face.

    Keys: ``frame``; ``source`` if there are several sources; for images ``image`` (see ``csv_file``) and ``face`` (the
    number that ``draw_labels`` draws), for videos and cameras ``time_s`` (seconds); ``track`` if faces are tracked;
    ``box`` [x1, y1, x2, y2] (tight box, pixels); ``score``; ``yaw``, ``pitch``, ``roll``, ``azimuth``,
    ``elevation``, ``tilt`` (degrees); ``rotation`` (3x3, row by row); ``uncertainty`` (degrees), ``readable`` (both
    null if the network has no such output) and ``reliable``; ``quality`` (``PoseQuality``); ``place`` [x, y, z]
    (centimeters) and ``landmarks`` (68 times [x, y], pixels) if they are known.

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
        "quality": pose.quality._asdict(),
        **({} if pose.place is None else {"place": [round(value, 3) for value in pose.place]}),
        **pose.located,
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
