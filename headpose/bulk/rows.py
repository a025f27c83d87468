"""Rows of the tables: one per face in ``labels``, one per picture that could not be labeled in ``failures``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from headpose.types import HeadPose

LABELS = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        ("member", pa.string()),
        ("frame", pa.int32()),
        ("time_s", pa.float64()),
        pa.field("face", pa.int16(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        *(pa.field(name, pa.float32(), nullable=False) for name in ("x1", "y1", "x2", "y2", "score")),
        pa.field("rotation", pa.list_(pa.float32(), 9), nullable=False),
        *(pa.field(name, pa.float32(), nullable=False) for name in ("yaw", "pitch", "roll")),
        ("uncertainty", pa.float32()),
        ("readable", pa.float32()),
        pa.field("quality", pa.int8(), nullable=False),
        ("track", pa.int32()),
    ]
)
"""Columns of the table of faces; the guide in docs/guides/bulk.md explains them."""

FAILURES = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        ("member", pa.string()),
        ("frame", pa.int32()),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
"""Columns of the table of failures."""

FailureKind = Literal["read", "decode", "video", "crash", "timeout", "detect", "estimate", "worker"]
"""Values of the column ``kind`` of the table of failures; the guide explains them."""


class Key(NamedTuple):
    """Where a picture comes from.

    Attributes:
        source: File as the user named it.
        member: Name in a tar file, or row number in a Parquet file; None for others.
        frame: Index of a video's frame; None for pictures.
        time_s: Time of the frame in seconds since the first one.
    """

    source: str
    member: str | None = None
    frame: int | None = None
    time_s: float | None = None


@dataclass(slots=True)
class Part:
    """Result of a batch.

    Attributes:
        shard: Index of the shard.
        chunk: Index of the chunk in the shard.
        number: Index of the batch in the chunk.
        last: No batch of the chunk follows.
        labels: Rows of ``LABELS`` in order.
        failures: Rows of ``FAILURES``.
        pictures: Number of pictures and frames that were read.
        faceless: Number of those without a face.
        seconds: Time spent by stage.
    """

    shard: int
    chunk: int
    number: int
    last: bool
    labels: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    pictures: int = 0
    faceless: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, key: Key, poses: Sequence[HeadPose], width: int, height: int) -> None:
        """Add a picture of ``width`` x ``height`` pixels and its poses."""
        self.pictures += 1
        self.faceless += not poses
        for face, pose in enumerate(poses, 1):
            yaw, pitch, roll = pose.euler
            x1, y1, x2, y2 = pose.box
            self.labels.append(
                {
                    **key._asdict(),
                    "face": face,
                    "width": width,
                    "height": height,
                    "x1": x1,
                    "y1": y1,
                    "x2": x2,
                    "y2": y2,
                    "score": float(pose.score),
                    "rotation": pose.rotation.ravel().tolist(),
                    "yaw": yaw,
                    "pitch": pitch,
                    "roll": roll,
                    # Networks that state their doubt fill these.
                    "uncertainty": pose.uncertainty,
                    "readable": pose.readable,
                    "quality": min(pose.quality),
                    "track": pose.track,
                }
            )

    def fail(self, key: Key, kind: FailureKind, reason: str) -> None:
        """Add a picture that could not be labeled, and why."""
        values = key._asdict()
        del values["time_s"]
        self.failures.append(values | {"kind": kind, "reason": reason})


def hash_of(table: pa.Table) -> str:
    """Return the SHA-256 of a table's rows as they are stored; it does not depend on the file format."""
    digest = hashlib.sha256()
    for batch in table.to_batches(1024):
        for row in batch.to_pylist():
            digest.update(json.dumps(list(row.values())).encode() + b"\n")
    return digest.hexdigest()
