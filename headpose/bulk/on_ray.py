"""Label chunks on a Ray cluster, with Ray Data: three stages, each with its own pool of workers.

Ray Data schedules the stages, limits what waits between them, and repeats the work of workers and machines that are
lost. ``commit.Committer`` takes each result once, also if Ray computes it twice.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import logging
import os
import pickle
import socket
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from headpose.bulk import local, rows
from headpose.bulk.plan import Chunk, Settings
from headpose.errors import HeadPoseError, install_advice

_log = logging.getLogger(__name__)

_WAVE = 4096  # chunks in one pipeline: the driver holds their lists of files
_REACHED_S = 5.0
_ATTEMPTS = 4  # of a worker that dies, or is lost with its machine
_READER_SHARE = 4  # detecting takes about four times as long as reading the poses


def run(chunks: Iterable[Chunk], settings: Settings, address: str, workers: int) -> Iterator[rows.Part]:
    """Label chunks and yield their parts, in any order.

    Args:
        chunks: Chunks; taken in waves of some thousands.
        settings: Settings of the run. Model files must exist under the same path on every machine.
        address: ``auto`` for the cluster of this machine (started if there is none), or ``HOST:PORT``.
        workers: Largest number of workers per stage; 0 for the number of CPUs of the cluster.

    Raises:
        HeadPoseError: There is no such cluster, or it fails.
    """
    ray = _connect(address)
    try:
        _quiet(ray)
        waiting = iter(chunks)
        while wave := list(itertools.islice(waiting, _WAVE)):
            yield from _wave(ray, wave, settings, workers)
    except ray.exceptions.RayError as error:
        raise HeadPoseError(f"Ray failed: {_last_line(error)}") from None
    finally:
        ray.shutdown()


def check(address: str) -> None:
    """Check that Ray is installed and that something listens at an address.

    Ray itself tries for minutes to reach a cluster that is not there.

    Raises:
        HeadPoseError: It is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise HeadPoseError(f"--ray needs the package ray: {install_advice('bulk')}")
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), _REACHED_S).close()
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HeadPoseError(
            f"there is no Ray cluster at {address} ({reason}): give HOST:PORT of its head, or auto"
        ) from None


def _connect(address: str) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a local cluster of ours reports nothing
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # otherwise Ray Data's own actors warn on stderr
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the future default; without it Ray warns
    import ray

    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        try:
            ray.init(address=address, **options)
        except ConnectionError:
            if address != "auto":
                raise
            ray.init(include_dashboard=False, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise HeadPoseError(f"there is no Ray cluster at {address}: {_last_line(error)}") from None
    return ray


def _quiet(ray: Any) -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # what fails after all attempts is done without Ray
    # Ray Data shows a traceback for each of these blocks, and warns of pools that are larger than the work.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)


def _wave(ray: Any, chunks: list[Chunk], settings: Settings, workers: int) -> Iterator[rows.Part]:
    resources = ray.cluster_resources()
    cpus, gpus = resources.get("CPU", 1.0), 0.0 if settings.device == "cpu" else resources.get("GPU", 0.0)
    most = workers or max(1, int(cpus))
    # All stages must fit at the same time; where there are few CPUs, they share them.
    share = 1.0 if cpus >= 6 else cpus / 6
    on_cpu = _on_cpu(settings) if gpus else settings
    reading: dict[str, Any] = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": share}
    readers = int(gpus) if gpus else most // _READER_SHARE

    def stage(kind: type, largest: int, own: Settings, **resources: float) -> dict[str, Any]:
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, largest))
        # Without a limit Ray repeats a task that kills its worker for ever.
        return {"fn": kind, "compute": pool, "fn_constructor_args": (own,), "max_task_retries": _ATTEMPTS, **resources}

    table = ray.data.from_items([{"chunk": chunk.to_json()} for chunk in chunks], override_num_blocks=len(chunks))
    with warnings.catch_warnings():
        # Ray 2.60 to 2.63 want named parameters only, and have no name for the number of retries.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated", DeprecationWarning)
        batches = table.flat_map(**stage(_Decode, most // 2, on_cpu, num_cpus=share))
        found = batches.map(**stage(_Detect, most, on_cpu, num_cpus=share))
        parts = found.map(**stage(_Estimate, readers, settings, **reading))
    left = {(chunk.shard, chunk.number): chunk for chunk in chunks}
    yield from whole_chunks((_unpack(row["part"]) for row in parts.iter_rows()), left)
    if left:
        _log.warning("%d of %d chunks failed on Ray: they are labeled on this machine", len(left), len(chunks))
    for chunk in left.values():  # its workers died at it: find out which picture it is
        yield from local.alone(chunk, on_cpu)


def whole_chunks(parts: Iterable[rows.Part], left: dict[tuple[int, int], Chunk]) -> Iterator[rows.Part]:
    """Yield the parts of each chunk when the last one of them has arrived, in whatever order they do.

    A chunk that Ray gave up in part is labeled again in other parts, so none of its first parts may be used.

    Args:
        parts: Parts in any order; a part may arrive twice.
        left: Chunks by shard and number; those that are whole are removed.
    """
    waiting: dict[tuple[int, int], dict[int, rows.Part]] = {}
    for part in parts:
        key = part.shard, part.chunk
        if key not in left:
            continue
        there = waiting.setdefault(key, {})
        there[part.number] = part
        if len(there) == next((each.number + 1 for each in there.values() if each.last), -1):
            yield from waiting.pop(key).values()
            del left[key]


def _on_cpu(settings: Settings) -> Settings:
    return dataclasses.replace(settings, device="cpu")


class _Decode:
    def __init__(self, settings: Settings) -> None:
        from headpose.bulk.stages import DecodeStage

        self._stage = DecodeStage(settings.every)

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for batch in self._stage(Chunk.from_json(row["chunk"])):
            yield {"batch": _pack(batch)}


class _Detect:
    def __init__(self, settings: Settings) -> None:
        from headpose.bulk.stages import DetectStage

        self._stage = DetectStage(settings)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"batch": _pack(self._stage(_unpack(row["batch"])))}


class _Estimate:
    def __init__(self, settings: Settings) -> None:
        from headpose.bulk.stages import EstimateStage

        self._stage = EstimateStage(settings)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"part": _pack(self._stage(_unpack(row["batch"])))}


def _pack(value: Any) -> bytes:
    """Return an object as bytes for a column of a Ray data set, which would otherwise try to make it a table first."""
    return pickle.dumps(value, protocol=5)


def _unpack(data: bytes) -> Any:
    """Return the object of ``_pack``. The bytes come from our own workers, through Ray, which pickles as well."""
    return pickle.loads(data)


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
