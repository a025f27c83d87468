"""Sink that writes an annotated video."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from headpose import files
from headpose.choices import Style
from headpose.draw import draw_poses
from headpose.errors import HeadPoseError
from headpose.streams import ffmpeg
from headpose.streams.sources import Frame
from headpose.types import HeadPose, Image

# Codecs of the OpenCV wheels on PyPI, which lack H.264.
_CODEC = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
_FOR_BROWSERS = (".mp4", ".m4v", ".mov")  # extensions that users expect browsers to play
_LONGEST_GAP_S = 10.0
_TREMBLE = 0.75  # frames; smaller timing errors neither repeat nor skip a frame


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
