"""What visitors send to a page: files of one folder only, and no more than the machine can take.

``Uploads`` is asked by the page's handlers before a file is opened; ``Gate`` stands in front of the web framework,
which opens and downloads files on its own before a handler is called. Each is enough against a request that names a
file of this machine; the gate also bounds what is received.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import os
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headpose.errors import HeadPoseError

_NOT_UPLOADED = "this file was not uploaded to this page: choose it again"
_LARGEST_REQUEST = 8_000_000  # bytes that are not a file; a frame of the webcam comes as base64 text
_FORM_OVERHEAD = 1_000_000  # bytes around the file of an upload
_TASKS = re.compile(r"/gradio_api/(queue/join|run/predict|cancel|reset/?|stream/[^/]+(/close)?)")
_UPLOAD = "/gradio_api/upload"
_FETCHED = re.compile(r"/gradio_api/(file[=/]\s*[a-z][a-z0-9+.-]+:/|proxy=)", re.IGNORECASE)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


BOUNDS = {
    "picture_mb": "millions of bytes of a picture's file",
    "video_mb": "millions of bytes of a video's file",
    "megapixels": "millions of pixels of a picture, or of a video's frame",
    "video_seconds": "seconds of work on one video",
    "videos": "videos that are worked on at once",
    "waiting": "requests that wait for their turn",
}
"""What each of ``UploadBounds`` limits."""


@dataclass(frozen=True, slots=True)
class UploadBounds:
    """How much a page takes; ``BOUNDS`` has the words for each."""

    picture_mb: float = 50.0
    video_mb: float = 500.0
    megapixels: float = 50.0
    video_seconds: float = 1800.0
    videos: int = 2
    waiting: int = 40

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not 0 < value < math.inf:
                raise HeadPoseError(f"{name} must be a number above 0, got {value}")


class Uploads:
    """The folder that uploads are kept in.

    Attributes:
        folder: links in it resolved.
        bounds: of a file.
    """

    def __init__(self, folder: str | os.PathLike[str], bounds: UploadBounds) -> None:
        self.folder, self.bounds = Path(folder).resolve(), bounds

    def picture(self, sent: object) -> tuple[bytes, str]:
        """The content of a picture file, and its name.

        Args:
            sent: what the page sends for a picture: ``path`` of an uploaded file, or ``url`` with the data themselves.

        Raises:
            HeadPoseError: it is neither, or larger than the page takes.
        """
        url = sent.get("url") if isinstance(sent, Mapping) else None
        if isinstance(url, str) and url.startswith("data:"):
            return self._inline(url), "the picture"
        path, name = self._find(sent)
        self._check_size(path.stat().st_size, self.bounds.picture_mb, name)
        return path.read_bytes(), name

    def video(self, sent: object) -> tuple[Path, str]:
        """The file of a video, and its name; raises as ``picture`` does."""
        path, name = self._find(sent)
        self._check_size(path.stat().st_size, self.bounds.video_mb, name)
        return path, name

    def find(self, path: object) -> Path | None:
        """The file of a path with every link followed; None unless that is a file in the folder."""
        if not isinstance(path, str) or "\0" in path:
            return None
        # First by its name alone: on Windows a look at \\host\share would already log in there.
        named = Path(os.path.abspath(path))  # noqa: PTH100
        if not named.is_relative_to(self.folder):
            return None
        try:
            file = named.resolve(strict=True)
        except (OSError, RuntimeError):  # a loop of links is a RuntimeError before Python 3.13
            return None
        return file if file.is_relative_to(self.folder) and file.is_file() else None

    def _find(self, sent: object) -> tuple[Path, str]:
        path = self.find(sent.get("path")) if isinstance(sent, Mapping) else None
        if not isinstance(sent, Mapping) or path is None:
            raise HeadPoseError(_NOT_UPLOADED)
        name = sent.get("orig_name")
        return path, (Path(name).name if isinstance(name, str) else "")[:100] or path.name

    def _inline(self, url: str) -> bytes:
        head, _, text = url.partition(",")
        self._check_size(len(text) * 3 // 4, self.bounds.picture_mb, "the picture")
        try:
            if not head.endswith(";base64"):
                raise ValueError
            return base64.b64decode(text, validate=True)
        except ValueError:
            raise HeadPoseError("the picture's data are damaged: take it again") from None

    @staticmethod
    def _check_size(size: int, largest_mb: float, name: str) -> None:
        if size > 1e6 * largest_mb:
            raise HeadPoseError(f"{name} has {size / 1e6:.1f} MB: this page takes {largest_mb:g} MB at most")


class Gate:
    """ASGI middleware for a Gradio app: refuses what its page never sends.

    These are: a file that is not one of ``Uploads`` (a path of this machine, or a URL that the server would download),
    a URL to fetch and pass on, a call of a route that is not the page's, a body of unknown or of too great a length.
    """

    def __init__(self, app: App, uploads: Uploads) -> None:
        self._app, self._uploads = app, uploads

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None and scope["method"] == "POST" and scope["path"] != _UPLOAD:
            body = await _read(receive)
            refusal = self._refusal_of(body)
            receive = _replayed(body, receive)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, line = refusal
        answer = json.dumps({"detail": line}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _refusal(self, scope: Message) -> tuple[int, str] | None:
        """Status and line, by method, path and headers alone."""
        path, headers = scope["path"], dict(scope["headers"])
        if _FETCHED.match(path):
            return 403, "this page fetches nothing from elsewhere"
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        if scope["method"] != "POST" or not (path == _UPLOAD or _TASKS.fullmatch(path)):
            return 404, "this page has no such route"
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or b"transfer-encoding" in headers:
            return 411, "a request must say how long it is"
        bounds = self._uploads.bounds
        largest = 1e6 * max(bounds.picture_mb, bounds.video_mb) + _FORM_OVERHEAD
        if len(length) > 15 or int(length) > (largest if path == _UPLOAD else _LARGEST_REQUEST):
            return 413, "this is larger than what the page takes"
        return None

    def _refusal_of(self, body: bytes) -> tuple[int, str] | None:
        """Status and line for the JSON of a request."""
        try:
            todo = [json.loads(body)] if body else []
        except (ValueError, RecursionError):
            return 400, "the request is not JSON"
        while todo:
            value = todo.pop()
            if isinstance(value, dict):
                path, url = value.get("path"), value.get("url")
                inline = isinstance(url, str) and url.startswith("data:")
                named = isinstance(path, str) or (isinstance(url, str) and not inline)
                if named and self._uploads.find(path) is None:
                    return 403, _NOT_UPLOADED
                todo += value.values()
            elif isinstance(value, list):
                todo += value
        return None


async def _read(receive: Receive) -> bytes:
    """The body of a request whose length was checked; what there is of it if the visitor has gone."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body once more, and then goes on as before."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
