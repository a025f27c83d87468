"""Label sources: plan, run, summary."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from headpose import files, folders
from headpose.bulk import commit, local, on_ray, plan, rows, sources, stages, storage
from headpose.bulk.decoder import Decoder
from headpose.bulk.plan import Chunk, Plan, Settings
from headpose.bulk.progress import Progress
from headpose.errors import InputError
from headpose.estimator import HeadPoseEstimator

SUMMARY = "summary.json"
SHARD = 1024
"""Default number of pictures in a shard."""

BIN = 15
"""Width of the bins of the summary's histograms in degrees."""

_SAMPLE = 64  # pictures that a forecast measures, after a first batch
_Parts = Callable[[Iterator[Chunk]], Iterator[rows.Part]]


@dataclasses.dataclass(frozen=True, slots=True)
class Forecast:
    """Result of a dry run.

    Attributes:
        pictures: Number of pictures and frames; an estimate if there are tar files.
        sampled: Number of pictures whose labeling was measured.
        rate: Pictures per second of one worker, once it has started.
        shares: Share of the time by stage, in [0, 1].
    """

    pictures: int
    sampled: int
    rate: float
    shares: dict[str, float]


def label(
    named: Sequence[str],
    out: Path,
    settings: Settings,
    *,
    workers: int = 1,
    ray: str = "",
    shard: int = SHARD,
    column: str = "",
    quiet: bool = True,
) -> dict[str, Any]:
    """Label sources, or continue an interrupted run in the same folder.

    The rows depend on the sources and the settings only, not on ``workers``, ``ray`` or interruptions.

    Args:
        named: Sources: pictures, videos, folders, patterns, tar files, Parquet files, text files of paths.
        out: Folder of the run.
        settings: Settings that determine the rows.
        workers: Number of processes; with Ray the largest number per stage, 0 for all CPUs.
        ray: Address of a Ray cluster or ``auto``; "" runs on this machine without Ray.
        shard: Number of pictures in a shard. A continued run keeps that of its plan.
        column: Parquet column with paths or picture files.
        quiet: Show no progress.

    Returns:
        The summary, which is also written to ``summary.json``.

    Raises:
        HeadPoseError: A source cannot be read, the folder holds another run, is in use or cannot be written.
    """
    if ray:
        on_ray.check(ray)
    with folders.occupied(out):
        planned = _plan(named, out, settings, shard, column)
        if ray:
            parts: _Parts = lambda chunks: on_ray.run(chunks, settings, ray, workers)  # noqa: E731
        else:
            parts = lambda chunks: local.run(chunks, settings, max(1, workers))  # noqa: E731
        return _run(planned, parts, quiet)


def forecast(named: Sequence[str], settings: Settings, column: str = "") -> Forecast:
    """Measure the rate on a sample of the sources, without writing anything.

    Args:
        named: Sources as for ``label``.
        settings: Settings as for ``label``.
        column: As for ``label``.

    Raises:
        HeadPoseError: A source cannot be read or has no picture, or the settings are invalid.
    """
    chosen = []
    with Decoder() as decoder:
        items = list(_items(named, decoder, column))
    pictures = sum(max(item.count, 1) for item in items)
    most = _SAMPLE + stages.BATCH
    for item in items[:: max(1, len(items) // most)][:most]:
        count = min(item.count, most) if item.kind == "video" else item.count
        chosen.append(dataclasses.replace(item, count=count or most))
    chunks = (Chunk(0, number, group) for number, group in enumerate(plan.chunked(chosen)))
    sampled, seconds, start = 0, Counter[str](), time.perf_counter()
    ended = start
    for number, part in enumerate(local.run_here(chunks, settings)):
        if number == 1:  # the first batch started the decoder and the networks: it counts only if no other follows
            sampled, seconds, start = 0, Counter[str](), ended
        sampled += part.pictures + len(part.failures)
        seconds.update(part.seconds)
        ended = time.perf_counter()
        if sampled >= _SAMPLE:
            break
    if not sampled:
        raise InputError(f"no picture in the sample of {', '.join(named)}")
    return Forecast(pictures, sampled, sampled / (ended - start), _shares(seconds))


def _items(named: Sequence[str], decoder: Decoder, column: str) -> Iterator[plan.Item]:
    copies = storage.LocalCopies()

    def segments(address: str) -> list[tuple[int, int, float]]:
        return decoder.segments(str(copies.path(address)), plan.SEGMENT)

    for source in named:
        yield from sources.items(source, segments, column)


def _plan(named: Sequence[str], out: Path, settings: Settings, shard: int, column: str) -> Plan:
    if twice := [source for source, count in Counter(named).items() if count > 1]:
        raise InputError(f"{twice[0]} is named twice")
    # Loading both networks here reports mistakes before the workers start.
    stages.DetectStage(settings)
    network = HeadPoseEstimator(settings.model, detector=_NoDetector(), device=settings.device).model
    found = itertools.chain.from_iterable(map(sources.listed, named))
    about = plan.identity(settings, Path(getattr(network, "path", settings.model)), list(named), found)
    about["folder"] = str(Path.cwd())
    if (planned := plan.resume(out, about)) is not None:
        return planned
    with Decoder() as decoder:
        return plan.write(out, _items(named, decoder, column), shard, about)


class _NoDetector:
    name = "none"

    def detect(self, image: Any) -> list[Any]:
        return []


def _run(planned: Plan, parts: _Parts, quiet: bool) -> dict[str, Any]:
    committer = commit.Committer(planned)
    todo = [shard for shard in range(planned.shards) if not committer.is_done(shard)]
    before = planned.pictures * (planned.shards - len(todo)) // planned.shards

    def chunks() -> Iterator[Chunk]:
        for shard, of_shard in zip(todo, planned.read(todo), strict=True):
            committer.expect(shard, len(of_shard))
            yield from of_shard

    progress = Progress(planned.pictures, before, quiet=quiet)
    seconds = Counter[str]()
    try:
        for part in parts(chunks()) if todo else ():
            if committer.add(part):
                progress.add(part.pictures + len(part.failures))
                seconds.update(part.seconds)
    finally:
        progress.close()
    this_run = {
        "pictures": progress.pictures,
        "seconds": round(progress.seconds, 3),
        "pictures_per_second": round(progress.pictures / max(progress.seconds, 1e-9), 3),
        "stages": {name: round(share, 4) for name, share in _shares(seconds).items()},
    }
    summary = summarize(planned) | {"this_run": this_run}
    files.write_text(planned.folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
    return summary


def _shares(seconds: Counter[str]) -> dict[str, float]:
    total = sum(seconds.values()) or 1.0
    return {name: value / total for name, value in seconds.items()}


def summarize(planned: Plan) -> dict[str, Any]:
    """Return the counts of a finished run, from its files.

    Raises:
        DataError: A file is damaged.
    """
    import hashlib

    pictures = faceless = faces = 0
    kinds: Counter[str] = Counter()
    digest = hashlib.sha256()
    edges = np.arange(-180, 181, BIN)
    histograms = {name: np.zeros(len(edges) - 1, np.int64) for name in ("yaw", "pitch", "roll")}
    for shard in range(planned.shards):
        file = commit.labels_file(planned.folder, shard)
        counts = commit.counts_of(file)
        pictures, faceless = pictures + counts["pictures"], faceless + counts["faceless"]
        digest.update(counts["rows_sha256"].encode())
        angles = pq.read_table(file, columns=list(histograms))
        faces += angles.num_rows
        for name, histogram in histograms.items():
            histogram += np.histogram(angles[name].to_numpy(), edges)[0]
        kinds.update(pq.read_table(commit.failures_file(planned.folder, shard), columns=["kind"])["kind"].to_pylist())
    return {
        "pictures": pictures,
        "faces": faces,
        "without_face": faceless,
        "failures": dict(sorted(kinds.items())),
        "bin_starts": edges[:-1].tolist(),
        "histograms": {name: histogram.tolist() for name, histogram in histograms.items()},
        "rows_sha256": digest.hexdigest(),
    }
