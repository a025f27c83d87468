"""The WebSocket of the server: pictures in, poses out, one ``FaceStream`` per connection."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time

from fastapi import WebSocket, WebSocketDisconnect

from headpose.errors import ImageError
from headpose.facestream import FaceStream
from headpose.images import decode_image
from headpose.serve.guard import Metrics
from headpose.serve.pool import BusyError, Pool
from headpose.serve.settings import ServeSettings
from headpose.streams.packets import frame_dict
from headpose.types import HeadPose

_TRY_AGAIN, _TOO_BIG, _IDLE = 1013, 1009, 1001  # close codes of RFC 6455 and its registry


async def stream(
    socket: WebSocket,
    settings: ServeSettings,
    pool: Pool,
    metrics: Metrics,
    faces: FaceStream,
) -> None:
    """Answer the pictures of one connection until the client leaves.

    A client that sends faster than it is answered is slowed by TCP; pictures are not dropped. One that sends nothing
    for ``settings.seconds`` is closed.

    Args:
        socket: Connection, not yet accepted.
        settings: Settings of the server.
        pool: Workers.
        metrics: Metrics of the server.
        faces: Stream of this connection.
    """
    await socket.accept()
    if pool.streams >= settings.streams:
        await socket.close(_TRY_AGAIN, "too many streams: try again later")
        return
    pool.streams += 1
    try:
        # Starlette raises RuntimeError for a message to a client that has left.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await _answer(socket, settings, pool, metrics, faces)
    finally:
        pool.streams -= 1


async def _answer(
    socket: WebSocket,
    settings: ServeSettings,
    pool: Pool,
    metrics: Metrics,
    faces: FaceStream,
) -> None:
    started, frame = time.monotonic(), 0
    while True:
        try:
            message = await asyncio.wait_for(socket.receive(), settings.seconds)
        except asyncio.TimeoutError:
            await socket.close(_IDLE, "no picture for too long")
            return
        if message["type"] == "websocket.disconnect":
            return
        data, time_s = message.get("bytes"), time.monotonic() - started
        if data is None:
            await socket.send_json({"error": "send each picture as a binary message"})
            continue
        if len(data) > settings.largest_bytes:
            await socket.close(_TOO_BIG, f"a picture may have {settings.megabytes:g} MB")
            return
        try:
            async with pool.place():
                poses = await pool.run(functools.partial(_read, data, settings.max_pixels, faces, time_s))
        except (BusyError, TimeoutError):
            await socket.send_json({"error": "busy: try again later", "retry_after": 1})
            continue
        except ImageError as error:
            await socket.send_json({"error": str(error)})
            continue
        metrics.pictures.labels("stream").inc()
        metrics.faces.inc(len(poses))
        await socket.send_json({"frame": frame, **frame_dict(time_s, poses)})
        frame += 1


def _read(data: bytes, max_pixels: int, faces: FaceStream, time_s: float) -> list[HeadPose]:
    """Decode a picture and find its poses. Runs in a worker."""
    return faces.update(decode_image(data, "the frame", max_pixels=max_pixels), time_s)
