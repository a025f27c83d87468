"""Read the newest frame of a live source, for loops that are slower than the camera."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from headpose.streams.sources import Frame, FrameSource


class NewestFrames:
    """Iterate over the newest frames of a camera and drop older ones.

    Camera drivers queue a few frames, so a slow loop that reads every frame lags behind. This class reads
    continuously in its own thread and returns the newest frame only. Use it as a context manager, and leave it before
    closing the source.
    """

    def __init__(self, source: FrameSource) -> None:
        """Prepare to read from ``source``; reading starts when the block is entered."""
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
        self._reader.join()  # waits for at most one frame: the camera must not be closed during a read

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames in order until the source ends. Errors of the source are raised here."""
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
        except Exception as raised:  # re-raised in the consuming loop
            error = raised
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify()
