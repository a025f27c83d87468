"""The WebSocket of the server: pictures in, poses out, one tracker per connection."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable

from fastapi import WebSocket, WebSocketDisconnect

from headpose.errors import ImageError
from headpose.images import decode_image
from headpose.serve.guard import Metrics
from headpose.serve.pool import BusyError, Pool
from headpose.serve.settings import ServeSettings
from headpose.smoothing import Smoothing
from headpose.streams.packets import frame_dict
from headpose.tracking import FaceTracker
from headpose.types import HeadPose, Image

_TRY_AGAIN, _TOO_BIG, _IDLE = 1013, 1009, 1001  # close codes of RFC 6455 and its registry


async def stream(
    socket: WebSocket,
    settings: ServeSettings,
    pool: Pool,
    metrics: Metrics,
    find: Callable[[Image], list[HeadPose]],
    *,
    smooth: bool,
) -> None:
    """Answer the pictures of one connection until the client leaves.

    A client that sends faster than it is answered is slowed by TCP; pictures are not dropped. One that sends nothing
    for ``settings.seconds`` is closed.

    Args:
        socket: Connection, not yet accepted.
        settings: Settings of the server.
        pool: Workers.
        metrics: Metrics of the server.
        find: Function from an image to poses.
        smooth: Smooth the poses.
    """
    await socket.accept()
    if pool.streams >= settings.streams:
        await socket.close(_TRY_AGAIN, "too many streams: try again later")
        return
    pool.streams += 1
    try:
        # Starlette raises RuntimeError for a message to a client that has left.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await _answer(socket, settings, pool, metrics, find, FaceTracker(Smoothing() if smooth else None))
    finally:
        pool.streams -= 1


async def _answer(
    socket: WebSocket,
    settings: ServeSettings,
    pool: Pool,
    metrics: Metrics,
    find: Callable[[Image], list[HeadPose]],
    tracker: FaceTracker,
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
                poses = await pool.run(functools.partial(_read, data, settings.max_pixels, find))
        except (BusyError, TimeoutError):
            await socket.send_json({"error": "busy: try again later", "retry_after": 1})
            continue
        except ImageError as error:
            await socket.send_json({"error": str(error)})
            continue
        metrics.pictures.labels("stream").inc()
        metrics.faces.inc(len(poses))
        await socket.send_json({"frame": frame, **frame_dict(time_s, tracker.update(poses, time_s))})
        frame += 1


def _read(data: bytes, max_pixels: int, find: Callable[[Image], list[HeadPose]]) -> list[HeadPose]:
    """Decode a picture and find its poses. Runs in a worker."""
    return find(decode_image(data, max_pixels=max_pixels))
