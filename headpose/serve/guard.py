"""ASGI middleware: who may connect, and what is counted."""

from __future__ import annotations

import hmac
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from headpose.streams.senders import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OPEN = frozenset({"/healthz"})  # load balancers have no token


class Metrics:
    """Metrics of one server, for Prometheus."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("headpose_requests_total", "HTTP requests", ["path", "status"], registry=registry)
        self.seconds = Histogram("headpose_request_seconds", "Time of HTTP requests", ["path"], registry=registry)
        self.faces = Counter("headpose_faces_total", "Faces found", registry=registry)
        self.pictures = Counter("headpose_pictures_total", "Pictures processed", ["source"], registry=registry)
        self.held = Gauge("headpose_requests_held", "Requests held", registry=registry)
        self.streams = Gauge("headpose_streams", "Open WebSocket streams", registry=registry)


class Guard:
    """Refuse clients without the token. Without a token, refuse web pages of other sites.

    A page of any site may send requests to this machine from its visitor's browser. Its requests name its own host
    (DNS rebinding) or its origin (WebSocket).
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope["path"] not in _OPEN:
            status, detail = self._fault(Headers(scope=scope))
            if status:
                await self._refuse(scope, receive, send, status, detail)
                return
        await self._app(scope, receive, send)

    def _fault(self, headers: Headers) -> tuple[int, str]:
        if self._token is not None:
            sent = headers.get("authorization", "").encode()
            right = hmac.compare_digest(sent, f"Bearer {self._token}".encode())
            return (0, "") if right else (401, "send the header Authorization: Bearer TOKEN")
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        origin = headers.get("origin")
        local = is_loopback(host) and (origin is None or is_loopback(urlsplit(origin).hostname or ""))
        return (0, "") if local else (403, "only programs and pages of this machine may connect")

    @staticmethod
    async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, detail: str) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": detail})
            return
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        await JSONResponse({"detail": detail}, status, headers)(scope, receive, send)


class Counted:
    """Count HTTP requests and their time, by route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), "none"

        async def counted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counted_send)
        finally:
            # Never the path as sent: a client could make any number of time series.
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - started)
