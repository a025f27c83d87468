"""Record parts of a live stream to video files."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from headpose.errors import HeadPoseError
from headpose.streams.sources import Frame, FrameSource
from headpose.streams.video_file import VideoFile
from headpose.types import Image


class Recorder:
    """Write one or more videos of a stream, one after another.

    Use it as a context manager. If the block raises, the open recording is discarded.

    Attributes:
        target: File being written; None between recordings.
    """

    def __init__(self, source: FrameSource) -> None:
        """Prepare recordings at the frame rate of ``source``."""
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
        """Finish the open recording, if any, and start a new one.

        Args:
            target: Video file to write.

        Raises:
            HeadPoseError: The extension is not a video format, or the file cannot be created.
        """
        self.stop()
        self._video = VideoFile(target, self._fps, by_clock=True).__enter__()
        self.target, self._start_s = target, None

    def write(self, frame: Frame, picture: Image) -> None:
        """Append an image to the recording; do nothing between recordings.

        Args:
            frame: Frame that gives the time.
            picture: (H, W, 3) uint8 BGR image to write.

        Raises:
            HeadPoseError: The image cannot be written. The recording is discarded.
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
        """Finish the recording.

        Returns:
            The finished file; None if no recording was open.

        Raises:
            HeadPoseError: The file is incomplete, for example because the disk is full.
        """
        target = self.target
        self.__exit__(None, None, None)
        return target
