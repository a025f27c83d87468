"""Plan of a run: which pictures are labeled in which shard. It is stored, so that a killed run continues with it.

``plan.parquet`` has one row per ``Item`` and one row group per shard. It is read one row group at a time, so the size
of the source does not matter. ``manifest.json`` is written after it and has what determines the rows: the settings, the
network's hash and the fingerprint of the source.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from headpose import files
from headpose._version import __version__
from headpose.choices import DEFAULT_DETECTOR, DEFAULT_MODEL
from headpose.errors import DataError

MANIFEST, PLAN = "manifest.json", "plan.parquet"
FORMAT = 1
"""Version of the files of a run."""

CHUNK = 64
"""Largest number of picture files in a chunk, the unit that a worker takes."""

SEGMENT = 256
"""Smallest number of frames in a chunk of a video; it ends before the next key frame."""

Kind = Literal["picture", "tar", "rows", "video"]


@dataclass(frozen=True, slots=True)
class Item:
    """Something to label that one worker reads in one go.

    Attributes:
        kind: A picture file; all pictures of a tar file; a row group of a Parquet file with a column of picture files;
            or consecutive frames of a video.
        source: File as the user named it, for the column ``source``.
        address: Absolute path or fsspec URL of the file.
        part: Index of the row group.
        start: Index of the first row or frame.
        count: Number of pictures, rows or frames; for a tar file an estimate from its size; 0 for a whole video whose
            frames are not counted.
        time_s: Time of the first frame in seconds.
        column: Name of the Parquet column.
    """

    kind: Kind
    source: str
    address: str
    part: int = 0
    start: int = 0
    count: int = 1
    time_s: float = 0.0
    column: str = ""


_SCHEMA = pa.schema(
    [
        ("chunk", pa.int32()),
        ("kind", pa.dictionary(pa.int8(), pa.string())),
        ("source", pa.string()),
        ("address", pa.string()),
        ("part", pa.int32()),
        ("start", pa.int64()),
        ("count", pa.int64()),
        ("time_s", pa.float64()),
        ("column", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Unit of work.

    Attributes:
        shard: Index of its shard.
        number: Index in the shard.
        items: Up to ``CHUNK`` pictures, or one item of another kind.
    """

    shard: int
    number: int
    items: tuple[Item, ...]

    @property
    def pictures(self) -> int:
        """Number of pictures and frames, estimated for a tar file."""
        return sum(max(item.count, 1) for item in self.items)

    def to_json(self) -> str:
        """Return the chunk as JSON text, for another machine."""
        return json.dumps([self.shard, self.number, [dataclasses.astuple(item) for item in self.items]])

    @classmethod
    def from_json(cls, text: str) -> Chunk:
        """Return the chunk of ``to_json``."""
        shard, number, items = json.loads(text)
        return cls(shard, number, tuple(Item(*item) for item in items))


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a run that determine its rows.

    Attributes:
        model: Name of a network or path of an .onnx file.
        detector: One of ``choices.DETECTORS``.
        detector_model: Model file of the detector; None for the packaged one.
        min_face: Smallest face that blazeface detects, in pixels; None for the default.
        max_faces: Maximum number of faces per picture, highest score first; None for all.
        min_score: Minimum score of a face, in [0, 1].
        every: Label one of this many frames of a video.
        device: One of ``choices.DEVICES``. It does not change the rows beyond rounding, and may differ in a
            continued run.
    """

    model: str = DEFAULT_MODEL
    detector: str = DEFAULT_DETECTOR
    detector_model: str | None = None
    min_face: float | None = None
    max_faces: int | None = None
    min_score: float = 0.0
    every: int = 1
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Plan:
    """Stored plan of a run.

    Attributes:
        folder: Folder of the run.
        shards: Number of shards.
        pictures: Number of pictures and frames, estimated for tar files.
    """

    folder: Path
    shards: int
    pictures: int

    def read(self, shards: Iterable[int]) -> Iterator[list[Chunk]]:
        """Yield the chunks of each of some shards, in order. Only one shard is in memory at a time.

        Raises:
            DataError: ``plan.parquet`` is damaged.
        """
        try:
            with pq.ParquetFile(self.folder / PLAN) as file:
                for shard in shards:
                    yield _chunks(shard, file.read_row_group(shard).to_pylist())
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.folder / PLAN} is damaged ({_line(error)}): give another --out") from None


def _chunks(shard: int, rows: list[dict[str, Any]]) -> list[Chunk]:
    found: list[list[Item]] = []
    for row in rows:
        number = row.pop("chunk")
        if number == len(found):
            found.append([])
        found[number].append(Item(**row))
    return [Chunk(shard, number, tuple(items)) for number, items in enumerate(found)]


def chunked(items: Iterable[Item]) -> Iterator[tuple[Item, ...]]:
    """Group items into chunks: consecutive picture files, or one item of another kind."""
    waiting: list[Item] = []
    for item in items:
        if item.kind == "picture":
            waiting.append(item)
        if waiting and (item.kind != "picture" or len(waiting) == CHUNK):
            yield tuple(waiting)
            waiting = []
        if item.kind != "picture":
            yield (item,)
    if waiting:
        yield tuple(waiting)


def sharded(items: Iterable[Item], size: int) -> Iterator[list[tuple[Item, ...]]]:
    """Group chunks into shards of about ``size`` pictures. A video is never divided, because of its tracks."""
    shard: list[tuple[Item, ...]] = []
    weight = 0
    for chunk in chunked(items):
        same_video = bool(shard) and chunk[0].kind == "video" and shard[-1][0].address == chunk[0].address
        if shard and weight >= size and not same_video:
            yield shard
            shard, weight = [], 0
        shard.append(chunk)
        weight += sum(item.count for item in chunk)
    if shard:
        yield shard


def write(folder: Path, items: Iterable[Item], size: int, about: dict[str, Any]) -> Plan:
    """Write the plan of a new run.

    Args:
        folder: Folder of the run.
        items: What to label, in order.
        size: Number of pictures in a shard.
        about: What determines the rows (``identity``); stored in ``manifest.json``.

    Raises:
        HeadPoseError: There is nothing to label, or the files cannot be written.
    """
    shards = pictures = 0
    with files.atomic_path(folder / PLAN) as path, pq.ParquetWriter(path, _SCHEMA) as writer:
        for shards, shard in enumerate(sharded(items, size), 1):  # noqa: B007, the number after the loop
            rows = [
                {"chunk": number, **dataclasses.asdict(item)} for number, chunk in enumerate(shard) for item in chunk
            ]
            pictures += sum(row["count"] for row in rows)
            writer.write_table(pa.Table.from_pylist(rows, _SCHEMA), row_group_size=len(rows))
    manifest = about | {"format": FORMAT, "headpose": __version__, "shards": shards, "pictures": pictures}
    files.write_text(folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return Plan(folder, shards, pictures)


def stored(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a run; None if there is none.

    Raises:
        DataError: ``manifest.json`` is not that of a run of this format.
    """
    file = folder / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {file}: {_line(error)}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or "shards" not in manifest:
        raise DataError(f"{file} is not the manifest of a run of headpose label: give another folder")
    return manifest


def resume(folder: Path, about: dict[str, Any]) -> Plan | None:
    """Return the plan of an interrupted run; None if the folder has none.

    Raises:
        DataError: The folder holds a run of another source or with other settings.
    """
    manifest = stored(folder)
    if manifest is None:
        return None
    if differing := [key for key, value in about.items() if manifest.get(key) != value]:
        raise DataError(
            f"{folder} holds labels of another run ({', '.join(differing)} differ): give another --out, or the same "
            "sources and options"
        )
    return Plan(folder, manifest["shards"], manifest["pictures"])


def identity(
    settings: Settings, network: Path, sources: list[str], listed: Iterable[tuple[str, int]]
) -> dict[str, Any]:
    """Return what determines the rows of a run, for ``manifest.json``.

    Args:
        settings: Settings of the run.
        network: File of the network.
        sources: Sources as the user named them.
        listed: Name and size in bytes of every file of the sources.
    """
    digest = hashlib.sha256()
    for name, size in listed:
        digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
    values = dataclasses.asdict(settings)
    del values["device"]
    return {
        "sources": sources,
        "source_sha256": digest.hexdigest(),
        "settings": values,
        "model_sha256": files.sha256_of(network),
    }


def _line(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error).strip() or type(error).__name__).splitlines()[0][:200]
