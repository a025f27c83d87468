"""The newest frame of a live source, for a loop that is slower than the camera."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from headpose.streams.sources import Frame, FrameSource


class NewestFrames:
    """Frames of a camera as they are wanted: those that came while the last one was at work are dropped.

    A driver keeps a few frames in a queue, so a loop that reads them all shows what happened several
    frames ago. This reads without a pause, in a thread of its own. Leave it before closing the source.
    """

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._error: Exception | None = None
        self._ended = self._left = False
        self._reader = threading.Thread(target=self._read, name="camera", daemon=True)

    def __enter__(self) -> NewestFrames:
        self._reader.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._left = True
        self._reader.join()  # no longer than one frame takes: the camera must not be closed while it is read

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order until the source ends; what the source raises, this raises."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._ended)
                frame, self._newest = self._newest, None
            if frame is None:
                break
            yield frame
        if self._error is not None:
            raise self._error

    def _read(self) -> None:
        error: Exception | None = None
        try:
            for frame in self._source:
                with self._changed:
                    self._newest = frame
                    self._changed.notify()
                if self._left:
                    break
        except Exception as raised:  # handed to the loop that waits for a frame
            error = raised
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify()
