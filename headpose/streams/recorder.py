"""Recordings that start and stop while a stream goes on."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from headpose.errors import HeadPoseError
from headpose.streams.sinks import VideoFile
from headpose.streams.sources import Frame, FrameSource
from headpose.types import Image


class Recorder:
    """Videos of a stream, one after another; one that is open when an error leaves the block is dropped.

    Attributes:
        target: the file that is being written; None between recordings.
    """

    def __init__(self, source: FrameSource) -> None:
        self.target: Path | None = None
        self._fps = source.fps
        self._video: VideoFile | None = None
        self._start_s: float | None = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc_info: object) -> None:
        video, self._video, self.target = self._video, None, None
        if video is not None:
            video.__exit__(*exc_info)

    def start(self, target: Path) -> None:
        """Begins a file; HeadPoseError if its ending is no video format or it cannot be there."""
        self.stop()
        self._video = VideoFile(target, self._fps, by_clock=True).__enter__()
        self.target, self._start_s = target, None

    def write(self, frame: Frame, picture: Image) -> None:
        """Adds ``picture`` as what was seen at the time of ``frame``.

        Raises:
            HeadPoseError: it cannot be written; the recording is dropped.
        """
        if self._video is None:
            return
        self._start_s = frame.time_s if self._start_s is None else self._start_s
        try:
            self._video.write(replace(frame, image=picture, time_s=frame.time_s - self._start_s), ())
        except HeadPoseError:
            self.__exit__(*sys.exc_info())
            raise

    def stop(self) -> Path | None:
        """Finishes the file, if one is open, and tells which; HeadPoseError if it is not whole."""
        target = self.target
        self.__exit__(None, None, None)
        return target
