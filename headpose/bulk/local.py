"""Label chunks in processes of this machine."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection

import cv2

from headpose.bulk import rows
from headpose.bulk.plan import Chunk, Settings
from headpose.bulk.stages import DecodeStage, DetectStage, EstimateStage

_QUEUED = 2  # chunks that wait for each worker

_stages: tuple[DecodeStage, DetectStage, EstimateStage] | None = None  # of a worker process


def run(chunks: Iterable[Chunk], settings: Settings, workers: int) -> Iterator[rows.Part]:
    """Label chunks and yield their parts, in any order.

    If a worker process dies, the chunks that were waiting are done again one at a time (``alone``).

    Args:
        chunks: Chunks; taken as they are needed.
        settings: Settings of the run.
        workers: Number of processes, each with one thread for the networks and a process that decodes.
    """
    waiting: Iterator[Chunk] = iter(chunks)
    done = False
    while not done:
        pending: dict[Future[list[rows.Part]], Chunk] = {}
        pool = _pool(settings, workers)
        try:
            while True:
                while len(pending) <= _QUEUED * workers and (chunk := next(waiting, None)) is not None:
                    try:
                        pending[pool.submit(_work, chunk)] = chunk
                    except BrokenProcessPool:
                        waiting = itertools.chain([chunk], waiting)
                        raise
                if not pending:
                    done = True
                    break
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    parts = future.result()
                    del pending[future]
                    yield from parts
        except BrokenProcessPool:
            pool.shutdown()
            for future, chunk in pending.items():
                survived = future.done() and not future.cancelled() and future.exception() is None
                yield from future.result() if survived else alone(chunk, settings)
        finally:
            pool.shutdown(cancel_futures=True)


def run_here(chunks: Iterable[Chunk], settings: Settings) -> Iterator[rows.Part]:
    """Label chunks in this process, except decoding, and yield their parts in order."""
    decode, detect, estimate = DecodeStage(settings.every), DetectStage(settings), EstimateStage(settings)
    try:
        for chunk in chunks:
            for batch in decode(chunk):
                yield estimate(detect(batch))
    finally:
        decode.close()


def end_with_parent() -> None:
    """End this process when its parent ends, also if the parent is killed. Called in worker processes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        end_with(lambda: bool(connection.wait([parent.sentinel])))


def end_with(event: Callable[[], bool]) -> None:
    """End this process when ``event``, which blocks, returns."""

    def watch() -> None:
        event()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def lost(chunk: Chunk, reason: str) -> rows.Part:
    """Return the part of a chunk that could not be labeled at all: a failure for each of its items."""
    part = rows.Part(chunk.shard, chunk.number, 0, True)
    for item in chunk.items:
        part.fail(rows.Key(item.source, frame=item.start if item.kind == "video" else None), "worker", reason)
    return part


def alone(chunk: Chunk, settings: Settings) -> list[rows.Part]:
    """Label a chunk in a process of its own. If the process dies, do the same with each of its items.

    Returns:
        The parts; for an item that ends its process, a failure.
    """
    with _pool(settings, 1) as pool:
        try:
            return pool.submit(_work, chunk).result()
        except BrokenProcessPool:
            pass
    if len(chunk.items) == 1:
        return [lost(chunk, "the worker process died at it")]
    parts = []
    for number, item in enumerate(chunk.items):  # picture files, each of which gives one part
        (part,) = alone(Chunk(chunk.shard, chunk.number, (item,)), settings)
        parts.append(dataclasses.replace(part, number=number, last=number == len(chunk.items) - 1))
    return parts


def _pool(settings: Settings, workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(settings,))


def _start(settings: Settings) -> None:
    global _stages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C
    end_with_parent()
    cv2.setNumThreads(1)
    _stages = DecodeStage(settings.every), DetectStage(settings), EstimateStage(settings)


def _work(chunk: Chunk) -> list[rows.Part]:
    assert _stages is not None
    decode, detect, estimate = _stages
    return [estimate(detect(batch)) for batch in decode(chunk)]
