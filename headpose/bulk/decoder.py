"""Decode pictures and videos in a process of their own (``decoding``), which may crash."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from headpose.bulk.decoding import read_message, write_message
from headpose.errors import ImageError
from headpose.types import Image

TIMEOUT_S = 120.0
"""Longest time for one picture or frame, in seconds."""


class DecoderError(ImageError):
    """The decoding process ended or was stopped; ``kind`` says which."""

    def __init__(self, kind: Literal["crash", "timeout"], message: str) -> None:
        super().__init__(message)
        self.kind: Literal["crash", "timeout"] = kind


class Decoder:
    """Decoding process; it is started on first use and again after a crash. Not thread-safe.

    Attributes:
        timeout_s: Longest time for one picture or frame, in seconds.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        """Create a decoder; nothing is started yet."""
        self.timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def picture(self, name: str, data: bytes | None = None) -> Image:
        """Decode a picture.

        Args:
            name: Path of the file, or name for messages if ``data`` is given.
            data: Content of the file.

        Returns:
            (H, W, 3) uint8 BGR, as ``images.read_image`` returns it.

        Raises:
            ImageError: The picture cannot be read.
            DecoderError: It crashed the decoder or took too long.
        """
        request = {"do": "picture", "name": name} | ({"path": name} if data is None else {})
        header, pixels = self._ask(name, request, data or b"")
        return _image(header, pixels)

    def segments(self, path: str, least: int) -> list[tuple[int, int, float]]:
        """Divide a video at key frames; see ``videos.segments``. Errors as in ``picture``."""
        header, _ = self._ask(path, {"do": "scan", "path": path, "least": least}, limit_s=60 * self.timeout_s)
        return [(start, count, time_s) for start, count, time_s in header["segments"]]

    def frames(self, path: str, start: int, count: int, every: int) -> Iterator[tuple[int, float, Image]]:
        """Yield the frames of a part of a video; see ``videos.frames``. Errors as in ``picture``."""
        request = {"do": "frames", "path": path, "start": start, "count": count, "every": every}
        # A part may have to be found from the beginning of the video.
        header, pixels = self._ask(path, request, limit_s=10 * self.timeout_s)
        finished = False
        try:
            while not header.get("end"):
                yield header["index"], header["time_s"], _image(header, pixels)
                header, pixels = self._answer(path, self.timeout_s * every)
            finished = True
        except ImageError:
            finished = True
            raise
        finally:
            if not finished:  # the caller stopped early: frames would be taken for the next answer
                self.close()

    def _ask(
        self, name: str, request: dict[str, Any], data: bytes = b"", limit_s: float | None = None
    ) -> tuple[dict[str, Any], bytearray]:
        process = self._process
        if process is None or process.poll() is not None:
            self.close()
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "headpose.bulk.decoding"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # a broken pipe: the answer says why
            write_message(process.stdin, request, data)
        return self._answer(name, limit_s or self.timeout_s)

    def _answer(self, name: str, limit_s: float) -> tuple[dict[str, Any], bytearray]:
        process = self._process
        assert process is not None and process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        watch = threading.Timer(limit_s, stop)
        watch.daemon = True
        watch.start()
        try:
            message = read_message(process.stdout)
        finally:
            watch.cancel()
        if message is None:
            status = process.wait()
            self.close()
            if late.is_set():
                raise DecoderError("timeout", f"{name} was not decoded within {limit_s:g} s")
            raise DecoderError("crash", f"{name} crashed the decoder (exit status {status})")
        header, pixels = message
        if "error" in header:
            raise ImageError(header["error"])
        return header, pixels


def _image(header: dict[str, Any], pixels: bytearray) -> Image:
    return np.frombuffer(pixels, np.uint8).reshape(header["shape"])
