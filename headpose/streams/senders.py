"""Sinks that send poses to other programs: OpenTrack and OSC over UDP, JSON over WebSocket.

Each sender has a thread and a short queue of its own. ``write`` only appends to the queue, so that no receiver can slow
the loop: when the queue is full, its oldest message is dropped and counted.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections import deque
from collections.abc import Sequence
from typing import Literal, Protocol, get_args
from urllib.parse import parse_qs, urlsplit

from headpose.errors import HeadPoseError, InputError
from headpose.streams.packets import Encoder, json_message, opentrack_packet, osc_bundle
from headpose.streams.sources import Frame
from headpose.types import HeadPose

Chosen = Literal["largest", "first", "all"]
"""Which faces are sent: the largest one, the one with the lowest track number, or all."""

_QUEUE = 8  # messages; at 30 frames per second a quarter of a second
_LEAVE_S = 1.0  # time to send what is queued when the stream ends
_PORTS = {"opentrack": 4242, "osc": 9000, "ws": 8765}


class Transport(Protocol):
    """Connection of a sender. The sender's thread calls all methods, except that ``open`` may run in the caller's.

    Attributes:
        dropped: Number of messages that a receiver or the network was too slow for.
    """

    dropped: int

    def open(self) -> None:
        """Open the connection; HeadPoseError if this machine does not allow it."""
        ...

    def send(self, message: bytes) -> bool:
        """Send a message without waiting for long; return whether somebody may receive it."""
        ...

    def close(self) -> None:
        """Close the connection within about a second, whatever the receiver does."""
        ...


class Udp:
    """One datagram per message, to one receiver that may come and go."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.dropped = 0
        self._socket: socket.socket | None = None

    def open(self) -> None:
        try:
            family, kind, _, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind)
            self._socket.setblocking(False)
            # A connected socket learns that nobody listens on a port of this machine.
            self._socket.connect(address)
        except OSError as error:
            self.close()
            reason = error.strerror or error
            raise HeadPoseError(f"cannot send to {self._host} port {self._port}: {reason}") from None

    def send(self, message: bytes) -> bool:
        try:
            if self._socket is not None:
                self._socket.send(message)
                return True
        except BlockingIOError:
            self.dropped += 1
            return True
        except OSError:  # nobody listens (the system tells it with the next packet), or the network is away
            pass
        return False

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Sender:
    """Sink that sends the poses of each frame to another program.

    Attributes:
        notes: Remarks for the user, one line each; complete after the sink is closed.
        sent: Number of messages handed to the network.
        dropped: Number of messages that were dropped because the network or a receiver was too slow.
        unheard: Number of messages that had no receiver, as far as this machine can tell.
    """

    def __init__(self, name: str, transport: Transport, encode: Encoder, *, faces: Chosen = "largest") -> None:
        """Prepare the sender; ``send_to`` returns the usual ones.

        Args:
            name: Name for messages.
            transport: Connection, used in the sender's thread.
            encode: Function that makes the message, called in the sender's thread.
            faces: Which faces are sent.
        """
        self.name, self.notes = name, list[str]()
        self.sent = self.dropped = self.unheard = 0
        self._transport, self._encode, self._select = transport, encode, Selection(faces)
        self._queue: deque[tuple[float, list[HeadPose]]] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"sender {name}", daemon=True)

    def __enter__(self) -> Sender:
        self._transport.open()
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(2 * _LEAVE_S)
        self.dropped += self._transport.dropped + len(self._queue)
        line = f"{self.name}: {_counted(self.sent)} sent, {self.dropped} dropped"
        if self.unheard:
            line += f", {self.unheard} without a receiver"
        self.notes.append(line)

    def write(self, frame: Frame, poses: Sequence[HeadPose]) -> None:
        """Queue the poses of a frame and return at once."""
        chosen = self._select(poses)
        with self._changed:
            if len(self._queue) >= _QUEUE:
                self._queue.popleft()
                self.dropped += 1
            self._queue.append((frame.time_s, chosen))
            self._changed.notify()

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                if (message := self._encode(*item)) is not None:
                    heard = self._transport.send(message)
                    self.sent, self.unheard = self.sent + heard, self.unheard + (not heard)
        finally:
            self._transport.close()

    def _next(self) -> tuple[float, list[HeadPose]] | None:
        """Return the oldest queued frame; None after the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._ended)
            return self._queue.popleft() if self._queue else None


class Selection:
    """Choice among the faces of each frame; it stays with a tracked face as long as that is seen."""

    def __init__(self, faces: Chosen) -> None:
        """Choose ``faces``, one of ``Chosen``."""
        if faces not in get_args(Chosen):
            raise InputError(f"the faces to send must be one of {', '.join(get_args(Chosen))}, got {faces!r}")
        self._faces = faces
        self._track: int | None = None

    def __call__(self, poses: Sequence[HeadPose]) -> list[HeadPose]:
        """Return the chosen poses of a frame, at most one unless all are chosen."""
        if self._faces == "all" or not poses:
            return list(poses)
        same = [pose for pose in poses if pose.track is not None and pose.track == self._track]
        if same:
            return same
        if self._faces == "first":
            pose = min(poses, key=lambda pose: pose.track or 0)
        else:
            pose = max(poses, key=lambda pose: pose.box.width * pose.box.height)
        self._track = pose.track
        return [pose]


def send_to(url: str, *, faces: Chosen | None = None) -> Sender:
    """Return a sink that sends poses to another program.

    Args:
        url: ``opentrack://HOST:PORT`` (UDP, see ``packets.opentrack_packet``; default port 4242), ``osc://HOST:PORT``
            (UDP, see ``packets.osc_bundle``; 9000, extra ``live``), or ``ws://HOST:PORT`` (this program is the
            WebSocket server, see ``websocket.WebSocketServer``; 8765, extra ``live``). ``?origin=https://example.org``
            at the end of a ws address admits pages of that site.
        faces: Which faces are sent. None: all for ws, the largest for the others.

    Raises:
        InputError: The address is invalid, or ``faces`` is "all" for OpenTrack, which takes one head.
        HeadPoseError: A package of the extra is not installed.
    """
    scheme, host, port, origins = _parts(url)
    name = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    if scheme == "opentrack":
        if faces == "all":
            raise InputError("OpenTrack takes one head: send the largest or the first face")
        return Sender(name, Udp(host, port), opentrack_packet, faces=faces or "largest")
    if scheme == "osc":
        return Sender(name, Udp(host, port), osc_bundle(), faces=faces or "largest")
    from headpose.streams.websocket import WebSocketServer

    return Sender(name, WebSocketServer(host, port, origins), json_message, faces=faces or "all")


def _parts(url: str) -> tuple[str, str, int, list[str]]:
    """Return (scheme, host, port, origins) of an address."""
    example = "use an address such as opentrack://127.0.0.1:4242, osc://127.0.0.1:9000 or ws://127.0.0.1:8765"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InputError(f"cannot send to {url}: {example}") from None
    query = parse_qs(parts.query, keep_blank_values=True)
    origins = query.pop("origin", [])
    unknown = (
        query or parts.fragment or parts.username or parts.path not in ("", "/") or (origins and parts.scheme != "ws")
    )
    if parts.scheme not in _PORTS or not host or port == 0 or unknown:
        raise InputError(f"cannot send to {url}: {example}")
    return parts.scheme, host, port or _PORTS[parts.scheme], origins


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own, which others cannot reach."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _counted(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"
