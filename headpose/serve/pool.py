"""Worker threads of the server, and admission: a request is served or refused, never queued without bound."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from headpose import weights
from headpose.detection import create_detector
from headpose.estimator import HeadPoseEstimator
from headpose.serve.settings import ServeSettings

T = TypeVar("T")


class BusyError(Exception):
    """The server holds as many requests as it may."""


class Pool:
    """Worker threads that share the networks. All methods except ``estimator`` belong to the event loop.

    Each ONNX Runtime session and OpenCV call runs on its worker's thread alone, so that as many threads compute as
    there are workers.

    Attributes:
        held: Number of requests held: being received, waiting for a worker, or processed.
        streams: Number of open WebSocket streams.
    """

    def __init__(self, settings: ServeSettings) -> None:
        """Start the workers and load the networks.

        Raises:
            HeadPoseError: A network does not exist, or a file is unusable.
        """
        self.held = self.streams = 0
        self._at_once, self._seconds = settings.at_once, settings.seconds
        detector = create_detector(threads=1, device="cpu")  # one for all networks
        self._estimators = {
            # Clients do not learn where the files of this machine are.
            Path(model).stem if weights.is_path(model) else model: HeadPoseEstimator(
                model, detector=detector, threads=1, device="cpu"
            )
            for model in settings.models
        }
        self._workers = ThreadPoolExecutor(settings.workers, thread_name_prefix="headpose worker")

    @property
    def models(self) -> list[str]:
        """Names of the networks, the default first."""
        return list(self._estimators)

    def estimator(self, model: str) -> HeadPoseEstimator | None:
        """Return the estimator of a network; None if it is not served."""
        return self._estimators.get(model)

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a request for the duration of the block; BusyError if there is no place."""
        if self.held >= self._at_once:
            raise BusyError
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1

    async def run(self, work: Callable[[], T]) -> T:
        """Run a function in a worker, inside of a ``place``.

        Args:
            work: Function without arguments.

        Raises:
            TimeoutError: It took too long. It keeps its place until it ends, or leaves the queue if it has not begun.
        """
        left = threading.Event()

        def unless_left() -> T:
            if left.is_set():
                raise asyncio.CancelledError
            return work()

        future = self._workers.submit(unless_left)
        awaited = asyncio.wrap_future(future)
        awaited.add_done_callback(lambda done: done.cancelled() or done.exception())  # retrieved, if nobody waits
        try:
            return await asyncio.wait_for(asyncio.shield(awaited), self._seconds)
        except asyncio.TimeoutError:
            raise TimeoutError from None
        finally:
            left.set()
            if not future.done() and not future.cancel():
                loop = asyncio.get_running_loop()
                self.held += 1
                future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release))

    def _release(self) -> None:
        self.held -= 1

    def close(self) -> None:
        """Wait for the work in progress and end the workers."""
        self._workers.shutdown(wait=True, cancel_futures=True)
