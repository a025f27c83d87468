"""What stands between a page and the network: its certificate, its path behind a proxy, and who may ask for what."""

from __future__ import annotations

import ipaddress
import json
import re
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote, urlsplit

from headpose.errors import HeadPoseError
from headpose.streams.uploads import NOT_UPLOADED, Uploads

_LARGEST_REQUEST = 8_000_000  # bytes that are not a file; a frame of the webcam comes as base64 text
_FORM_OVERHEAD = 1_000_000  # bytes around the file of an upload
_TASKS = re.compile(r"/gradio_api/(queue/join|run/predict|cancel|reset/?|stream/[^/]+(/close)?)")
_UPLOAD = "/gradio_api/upload"
_FETCHED = re.compile(r"/gradio_api/(file[=/]\s*[a-z][a-z0-9+.-]+:/|proxy=)", re.IGNORECASE)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def check_certificate(certfile: str | None, keyfile: str | None) -> None:
    """HeadPoseError if https cannot be served with them."""
    if keyfile and not certfile:
        raise HeadPoseError("--ssl-keyfile is the key of a certificate: give --ssl-certfile, too")
    if certfile:
        try:
            # With a password, or else OpenSSL would ask for one on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile, password="")
        except OSError as error:  # and ssl.SSLError
            files = f"{certfile} and {keyfile}" if keyfile else certfile
            why = getattr(error, "reason", None) or error.strerror or error
            raise HeadPoseError(f"cannot serve https with {files} (PEM, the key without a password): {why}") from None


def checked_root(root_path: str) -> str:
    """``--root-path`` without a slash at its end; HeadPoseError if it is neither a path nor a URL."""
    path = urlsplit(root_path).path if root_path.startswith(("http://", "https://")) else root_path
    if path.strip("/") and not path.startswith("/"):
        raise HeadPoseError(f"--root-path is a path such as /headpose, or a whole URL, not {root_path}")
    return root_path.rstrip("/")


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address that is served on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Gate:
    """ASGI middleware for a Gradio app: refuses what its page never sends.

    It stands in front of the web framework, which opens and downloads files on its own before a handler is called.
    ``Uploads`` looks at files once more; each is enough against a request that names a file of this machine.

    These are: a file that is not one of ``Uploads`` (a path of this machine, or a URL that the server would download),
    a URL to fetch and pass on, a call of a route that is not the page's, a body of unknown or of too great a length.
    """

    def __init__(self, app: App, uploads: Uploads, root_path: str = "") -> None:
        """Args: root_path: where a proxy shows the page, without a slash at its end; a proxy may leave it in paths."""
        self._app, self._uploads, self._root = app, uploads, root_path

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._root and f"{scope['path']}/".startswith(f"{self._root}/"):
            path = scope["path"].removeprefix(self._root) or "/"
            scope = {**scope, "path": path, "raw_path": quote(path).encode()}
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
                    return 403, NOT_UPLOADED
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
