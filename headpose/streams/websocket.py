"""WebSocket server that sends JSON messages to any number of clients."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from headpose.errors import HeadPoseError, install_advice

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

_QUEUE = 8  # messages per client
_CLIENTS = 64
_BUFFER = 1 << 14  # bytes that a client may be behind before its queue fills
_CLOSE_S = 0.5
# Any page in a browser may connect to this machine, and only the server can refuse it. Other programs send no Origin.
_LOCAL_PAGES = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")

# The library logs the traceback of every connection that is not a WebSocket, such as a page opened by mistake.
_library_log = logging.getLogger(f"{__name__}.library")
_library_log.setLevel(logging.CRITICAL)


class WebSocketServer:
    """Transport that sends every message to all connected clients.

    Each client has a short queue of its own. A client that does not keep up loses its oldest messages; the others and
    the sender do not wait. Browsers may connect from pages of this machine and of ``origins`` only.

    Attributes:
        dropped: Number of messages that a client was too slow for, summed over clients.
    """

    def __init__(self, host: str, port: int, origins: Sequence[str] = ()) -> None:
        """Prepare the server; it starts with ``open``.

        Args:
            host: Address to listen on.
            port: TCP port; 0 selects a free one (see ``port`` after ``open``).
            origins: Further web origins, such as ``https://example.org``, whose pages may connect.

        Raises:
            HeadPoseError: The package websockets is not installed.
        """
        try:
            import websockets.asyncio.server  # noqa: F401
        except ModuleNotFoundError:
            raise HeadPoseError(f"ws:// needs websockets: {install_advice('live')}") from None
        self._host, self.port, self._origins = host, port, list(origins)
        self.dropped = 0
        self._clients: dict[object, tuple[deque[str], asyncio.Event]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="websocket server", daemon=True)

    def open(self) -> None:
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            reason = self._error.strerror or self._error
            raise HeadPoseError(f"cannot listen on {self._host} port {self.port}: {reason}") from None

    def send(self, message: bytes) -> bool:
        self._call(self._spread, message.decode())
        return bool(self._clients)

    def close(self) -> None:
        self._call(self._stop.set)
        self._thread.join(4 * _CLOSE_S)

    def _call(self, function: Callable[..., None], *arguments: str) -> None:
        """Call a function in the server's thread, if that still runs."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(function, *arguments)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        from websockets.asyncio.server import serve

        self._loop = asyncio.get_running_loop()
        async with serve(
            self._feed,
            self._host,
            self.port,
            origins=[None, _LOCAL_PAGES, *self._origins],  # type: ignore[list-item]
            compression=None,  # messages are short, and latency counts
            max_size=1 << 12,
            max_queue=4,
            write_limit=_BUFFER,
            close_timeout=_CLOSE_S,
            server_header=None,
            logger=_library_log,
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stop.wait()
            for _, changed in self._clients.values():
                changed.set()

    async def _feed(self, connection: ServerConnection) -> None:
        """Send messages to a client until it leaves."""
        from websockets.exceptions import ConnectionClosed

        if len(self._clients) >= _CLIENTS:
            await connection.close(1013, "too many clients")
            return
        queue, changed = deque[str](), asyncio.Event()
        self._clients[connection] = queue, changed
        reader = asyncio.create_task(_ignore(connection))
        reader.add_done_callback(lambda _: changed.set())
        try:
            with contextlib.suppress(ConnectionClosed):
                while not reader.done() and not self._stop.is_set():
                    await changed.wait()
                    changed.clear()
                    while queue and not reader.done():
                        await connection.send(queue.popleft())
        finally:
            del self._clients[connection]
            reader.cancel()

    def _spread(self, message: str) -> None:
        """Append a message to the queue of every client."""
        for queue, changed in self._clients.values():
            if len(queue) >= _QUEUE:
                queue.popleft()
                self.dropped += 1
            queue.append(message)
            changed.set()


async def _ignore(connection: ServerConnection) -> None:
    """Read what a client sends, so that it can close the connection, and ignore it."""
    from websockets.exceptions import ConnectionClosed

    with contextlib.suppress(ConnectionClosed):
        async for _ in connection:
            pass
