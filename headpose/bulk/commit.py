"""Collect the results of a run and write each finished shard, once."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headpose import files
from headpose.bulk import rows
from headpose.bulk.plan import Plan
from headpose.errors import DataError, HeadPoseError
from headpose.tracking import FaceTracker
from headpose.types import Box, Face, HeadPose

_COUNTS = b"headpose.counts"


def labels_file(folder: Path, shard: int) -> Path:
    """Return the file with the faces of a shard. It exists if the shard is finished."""
    return folder / "labels" / f"part-{shard:06d}.parquet"


def failures_file(folder: Path, shard: int) -> Path:
    """Return the file with the failures of a shard."""
    return folder / "failures" / f"part-{shard:06d}.parquet"


class Committer:
    """Collects parts in any order, and writes a shard when its last part arrives.

    A part that arrives twice, because a lost machine's work was repeated, counts once. The failures are written before
    the labels, whose file finishes the shard: a run that ends between the two writes both again.
    """

    def __init__(self, plan: Plan) -> None:
        """Create the folders of the tables.

        Raises:
            HeadPoseError: They cannot be created.
        """
        self._plan = plan
        self._parts: dict[int, dict[tuple[int, int], rows.Part]] = defaultdict(dict)
        self._ends: dict[int, dict[int, int]] = defaultdict(dict)  # by shard and chunk: number of its batches
        self._chunks: dict[int, int] = {}
        try:
            for file in (labels_file(plan.folder, 0), failures_file(plan.folder, 0)):
                file.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise HeadPoseError(f"cannot use the folder {plan.folder}: {error.strerror or error}") from None

    def is_done(self, shard: int) -> bool:
        """Return whether a shard is finished."""
        return labels_file(self._plan.folder, shard).is_file()

    def expect(self, shard: int, chunks: int) -> None:
        """State how many chunks a shard has, before its parts arrive."""
        self._chunks[shard] = chunks

    @property
    def unfinished(self) -> int:
        """Number of expected shards that are not finished."""
        return len(self._chunks)

    def add(self, part: rows.Part) -> bool:
        """Take the result of a batch.

        Returns:
            Whether it is new.

        Raises:
            HeadPoseError: A shard is complete and cannot be written.
        """
        if part.shard not in self._chunks or (part.chunk, part.number) in self._parts[part.shard]:
            return False
        parts, ends = self._parts[part.shard], self._ends[part.shard]
        parts[part.chunk, part.number] = part
        if part.last:
            ends[part.chunk] = part.number + 1
        if len(ends) == self._chunks[part.shard] and len(parts) == sum(ends.values()):
            self._write(part.shard, [parts[key] for key in sorted(parts)])
            del self._parts[part.shard], self._ends[part.shard], self._chunks[part.shard]
        return True

    def _write(self, shard: int, parts: list[rows.Part]) -> None:
        labels = [row for part in parts for row in part.labels]
        _set_tracks(labels)
        table = pa.Table.from_pylist(labels, rows.LABELS)
        failures = pa.Table.from_pylist([row for part in parts for row in part.failures], rows.FAILURES)
        counts = {
            "pictures": sum(part.pictures for part in parts),
            "faceless": sum(part.faceless for part in parts),
            "rows_sha256": rows.hash_of(table),
        }
        _write_table(failures_file(self._plan.folder, shard), failures)
        _write_table(
            labels_file(self._plan.folder, shard), table.replace_schema_metadata({_COUNTS: json.dumps(counts)})
        )


def _write_table(file: Path, table: pa.Table) -> None:
    with files.atomic_path(file) as path:
        pq.write_table(table, path, compression="zstd")


def counts_of(file: Path) -> dict[str, Any]:
    """Return the counts in a finished shard's metadata: ``pictures``, ``faceless`` and ``rows_sha256``.

    Raises:
        DataError: The file is damaged.
    """
    try:
        metadata = pq.read_schema(file).metadata or {}
        return dict(json.loads(metadata[_COUNTS]))
    except (OSError, KeyError, ValueError, pa.ArrowException):
        raise DataError(f"{file} is damaged or not of headpose label: remove it and run the command again") from None


def _set_tracks(labels: list[dict[str, Any]]) -> None:
    """Set the track of each face of a video, as ``headpose estimate --track`` does.

    The parts of a video come together here, so a track does not end where a part does.
    """
    tracker, video = FaceTracker(None), None
    for frame in _frames(labels):
        if frame[0]["source"] != video:
            tracker, video = FaceTracker(None), frame[0]["source"]
        for row, pose in zip(frame, tracker.update(list(map(_pose, frame)), frame[0]["time_s"]), strict=True):
            row["track"] = pose.track


def _frames(labels: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each frame of a video."""
    frame: list[dict[str, Any]] = []
    for row in labels:
        if row["frame"] is None:
            continue
        if frame and (frame[0]["source"], frame[0]["frame"]) != (row["source"], row["frame"]):
            yield frame
            frame = []
        frame.append(row)
    if frame:
        yield frame


def _pose(row: dict[str, Any]) -> HeadPose:
    face = Face(Box(row["x1"], row["y1"], row["x2"], row["y2"]), row["score"])
    return HeadPose(face, np.reshape(row["rotation"], (3, 3)))
