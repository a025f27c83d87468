"""Access control of the web page: TLS certificate, proxy path, and a filter for requests."""

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

_LARGEST_REQUEST = 8_000_000  # bytes, without uploaded files; webcam frames arrive as base64 text
_FORM_OVERHEAD = 1_000_000  # bytes that a form adds to the uploaded file
_TASKS = re.compile(r"/gradio_api/(queue/join|run/predict|cancel|reset/?|stream/[^/]+(/close)?)")
_UPLOAD = "/gradio_api/upload"
_FETCHED = re.compile(r"/gradio_api/(file[=/]\s*[a-z][a-z0-9+.-]+:/|proxy=)", re.IGNORECASE)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def check_certificate(certfile: str | None, keyfile: str | None) -> None:
    """Check that a TLS certificate and its key can be loaded.

    Args:
        certfile: PEM file of the certificate; None for plain HTTP.
        keyfile: PEM file of the private key; None if ``certfile`` contains it.

    Raises:
        HeadPoseError: A file is missing or invalid, or the key needs a password.
    """
    if keyfile and not certfile:
        raise HeadPoseError("--ssl-keyfile is the key of a certificate: give --ssl-certfile, too")
    if certfile:
        try:
            # Without an explicit password OpenSSL would prompt for one on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile, password="")
        except OSError as error:  # and ssl.SSLError
            files = f"{certfile} and {keyfile}" if keyfile else certfile
            why = getattr(error, "reason", None) or error.strerror or error
            raise HeadPoseError(f"cannot serve https with {files} (PEM, the key without a password): {why}") from None


def checked_root(root_path: str) -> str:
    """Validate the value of ``--root-path``.

    Args:
        root_path: Path (``/headpose``) or URL under which a proxy serves the page.

    Returns:
        The value without trailing slashes.

    Raises:
        HeadPoseError: The value is neither an absolute path nor a URL.
    """
    path = urlsplit(root_path).path if root_path.startswith(("http://", "https://")) else root_path
    if path.strip("/") and not path.startswith("/"):
        raise HeadPoseError(f"--root-path is a path such as /headpose, or a whole URL, not {root_path}")
    return root_path.rstrip("/")


def is_local(host: str) -> bool:
    """Return whether an address is a loopback address, reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Gate:
    """ASGI middleware that rejects requests which the Gradio page never sends.

    The web framework opens and downloads files before it calls a handler, so requests are filtered in front of it.
    Rejected are: files outside of ``Uploads`` (local paths, or URLs that the server would download), proxy requests,
    unknown routes, and bodies without a length or above the size limit. ``Uploads`` checks files again in the
    handlers; either check alone prevents access to local files.
    """

    def __init__(self, app: App, uploads: Uploads, root_path: str = "") -> None:
        """Wrap an application.

        Args:
            app: ASGI application to protect.
            uploads: Folder and size limits of uploaded files.
            root_path: Path under which a proxy serves the page, without trailing slashes. The proxy may or may not
                strip it from request paths.
        """
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
        """Return (status, message) to refuse a request by its method, path and headers; None to accept it."""
        path, headers = scope["path"], dict(scope["headers"])
        if _FETCHED.match(path):
            return 403, "this page does not download files from other hosts"
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        if scope["method"] != "POST" or not (path == _UPLOAD or _TASKS.fullmatch(path)):
            return 404, "unknown route"
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or b"transfer-encoding" in headers:
            return 411, "the request needs a Content-Length header"
        bounds = self._uploads.bounds
        largest = 1e6 * max(bounds.picture_mb, bounds.video_mb) + _FORM_OVERHEAD
        if len(length) > 15 or int(length) > (largest if path == _UPLOAD else _LARGEST_REQUEST):
            return 413, "the request is larger than the limit of this page"
        return None

    def _refusal_of(self, body: bytes) -> tuple[int, str] | None:
        """Return (status, message) to refuse a request by its JSON body; None to accept it."""
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
    """Return the body of a request; an incomplete one if the client has disconnected."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that delivers ``body`` first and then delegates to the original."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
