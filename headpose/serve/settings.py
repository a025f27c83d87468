"""Settings of the server."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from headpose.choices import DEFAULT_MODEL
from headpose.errors import HeadPoseError, InputError
from headpose.streams.senders import is_loopback

TOKEN = "HEADPOSE_TOKEN"
"""Environment variable with the token that clients must send."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Settings of the server.

    Attributes:
        models: Networks that requests may use, names or .onnx files; the first is the default.
        token: Token that clients must send as ``Authorization: Bearer TOKEN``; None for none.
        workers: Number of pictures processed at the same time, one CPU thread each; 0 takes the number of CPUs.
        at_once: Number of requests held at the same time; others get 503 with Retry-After.
        streams: Number of open WebSocket streams; others are closed with 1013.
        megabytes: Maximum size of a picture file in MB.
        megapixels: Maximum size of a picture in millions of pixels.
        seconds: Maximum time in seconds for receiving a picture, for processing it, and between frames of a stream.

    Raises:
        InputError: A value is out of range.
    """

    models: tuple[str, ...] = (DEFAULT_MODEL,)
    token: str | None = None
    workers: int = 0
    at_once: int = 32
    streams: int = 16
    megabytes: float = 20.0
    megapixels: float = 50.0
    seconds: float = 30.0

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError("the server needs at least one network")
        if self.token is not None and not (len(self.token) >= 16 and self.token.isascii() and self.token.isprintable()):
            raise InputError(
                f"{TOKEN} must have 16 or more printable ASCII characters; secrets.token_urlsafe() makes one"
            )
        if self.workers < 0:
            raise InputError(f"workers must be 0 or more, got {self.workers}")
        for name in ("at_once", "streams", "megabytes", "megapixels", "seconds"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise InputError(f"{name} must be a number above 0, got {value}")
        if self.workers == 0:
            # The number of CPUs that this process may use: containers and taskset give fewer than the machine has.
            usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            object.__setattr__(self, "workers", usable)

    @property
    def largest_bytes(self) -> int:
        """Maximum size of a picture in bytes."""
        return int(1e6 * self.megabytes)

    @property
    def max_pixels(self) -> int:
        """Maximum number of pixels of a picture."""
        return int(1e6 * self.megapixels)


def check_exposure(host: str, settings: ServeSettings) -> None:
    """Raise HeadPoseError if other machines could connect without a token."""
    if not is_loopback(host) and settings.token is None:
        raise HeadPoseError(
            f"--host {host} lets other machines connect: set the environment variable {TOKEN} to a secret of 16 or "
            "more characters"
        )
