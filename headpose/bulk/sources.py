"""Find what to label in the sources that the user named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headpose import images
from headpose.bulk import storage
from headpose.bulk.plan import Item
from headpose.errors import ImageError, InputError

TARS = (".tar", ".tar.gz", ".tgz")
LISTS = (".txt", ".lst")
VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv"})
"""Extensions of videos that are looked for in folders."""

_TAR_PICTURE_BYTES = 100_000  # for the estimate of a tar's number of pictures
_COLUMNS = ("image", "path", "file", "file_name", "filename", "url", "source", "jpg", "bytes", "picture")

Segments = Callable[[str], list[tuple[int, int, float]]]
"""Function from the address of a video to its parts, as ``videos.segments``."""


def listed(source: str) -> Iterator[tuple[str, int]]:
    """Yield name and size of the files of a source: the file itself, or those of a folder or pattern.

    Other files are passed over; in a folder, so are text and Parquet files.

    Raises:
        InputError: The source does not exist, or has no file that can be labeled.
    """
    found = False
    for address, size in storage.find(source):
        # In a folder, text and Parquet files may be anything; a pattern names them on purpose.
        kinds = ("picture", "video", "tar") + ("parquet", "list") * storage.is_pattern(source)
        if _kind(address) in kinds or address == source:
            found = True
            yield address, size
    if not found:
        raise InputError(f"{source} has no picture, video or tar file")


def items(source: str, segments: Segments, column: str = "") -> Iterator[Item]:
    """Yield the items of a source in order.

    Args:
        source: Picture, video, tar file, Parquet file, text file of paths, folder or glob pattern; a path or an
            fsspec address.
        segments: Function that divides a video.
        column: Parquet column with paths or picture files; "" finds it by name and type.

    Raises:
        InputError: A list or Parquet file cannot be read or has no such column.
    """
    for address, size in listed(source):
        yield from _items(address, size, segments, column)


def _items(address: str, size: int, segments: Segments, column: str) -> Iterator[Item]:
    kind, where = _kind(address), storage.absolute(address)
    if kind == "list":
        yield from _listed_in_text(address, segments)
    elif kind == "parquet":
        yield from _listed_in_parquet(address, column, segments)
    elif kind == "tar":
        yield Item("tar", address, where, count=max(1, size // _TAR_PICTURE_BYTES))
    elif kind == "video":
        yield from _parts(address, segments)
    else:  # also without a known extension: the content decides
        yield Item("picture", address, where)


def _parts(address: str, segments: Segments) -> Iterator[Item]:
    where = storage.absolute(address)
    try:
        found = segments(where)
    except ImageError:  # reported by the worker, as for a picture
        found = [(0, 0, 0.0)]
    for start, count, time_s in found:
        yield Item("video", address, where, start=start, count=count, time_s=time_s)


def _kind(address: str) -> str:
    """Return ``picture``, ``video``, ``tar``, ``parquet`` or ``list`` by the extension; "" for others."""
    name = address.lower()
    suffix = Path(name).suffix
    if name.endswith(TARS):
        return "tar"
    kinds = {"picture": images.SUFFIXES, "video": VIDEOS, "parquet": {".parquet"}, "list": LISTS}
    return next((kind for kind, suffixes in kinds.items() if suffix in suffixes), "")


def _beside(text: str, file: str) -> str:
    """Return an entry of a list as an address: relative to the folder of the list."""
    if storage.is_url(text) or Path(text).is_absolute():
        return text
    folder, _, _ = file.rpartition("/")
    return f"{folder}/{text}" if folder else text


def _named(text: str, file: str, segments: Segments) -> Iterator[Item]:
    address = _beside(text, file)
    if _kind(address) in ("list", "parquet"):
        raise InputError(f"{file} names {text}: a list names pictures, videos and tar files only")
    yield from _items(address, 0, segments, "")


def _listed_in_text(file: str, segments: Segments) -> Iterator[Item]:
    try:
        with storage.open_file(file) as opened:
            for line in opened:
                if text := line.decode("utf-8-sig").strip():
                    yield from _named(text, file, segments)
    except UnicodeDecodeError:
        raise InputError(f"{file} is not a list of paths in UTF-8") from None
    except (ImageError, OSError) as error:
        raise InputError(storage.first_line(error)) from None


def _listed_in_parquet(file: str, column: str, segments: Segments) -> Iterator[Item]:
    """Yield a row group per item if the column holds files, or what its paths name."""
    try:
        with storage.open_file(file) as opened, pq.ParquetFile(opened) as table:
            name = find_column(table.schema_arrow, column, file)
            if not _holds_paths(table.schema_arrow.field(name).type):
                first = 0
                for group in range(table.num_row_groups):
                    count = table.metadata.row_group(group).num_rows
                    yield Item("rows", file, storage.absolute(file), group, first, count, column=name)
                    first += count
                return
            for batch in table.iter_batches(columns=[name]):
                for text in batch.column(0).to_pylist():
                    if text:
                        yield from _named(text, file, segments)
    except (ImageError, OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {file}: {storage.first_line(error)}") from None


def find_column(schema: Any, column: str, file: str) -> str:
    """Return the name of the column with paths or picture files.

    Raises:
        InputError: There is none, or several are possible.
    """
    fitting = [field.name for field in schema if _holds_paths(field.type) or _holds_files(field.type)]
    if column:
        if column not in fitting:
            raise InputError(f"{file} has no column {column!r} of text or bytes: it has {', '.join(schema.names)}")
        return column
    if len(fitting) == 1:
        return fitting[0]
    for name in _COLUMNS:
        if name in fitting:
            return name
    raise InputError(
        f"{file}: --column must name the column with paths or pictures, one of {', '.join(fitting) or '-'}"
    )


def _holds_paths(kind: Any) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _holds_files(kind: Any) -> bool:
    if pa.types.is_struct(kind):  # as Hugging Face stores pictures
        return any(field.name == "bytes" and _holds_files(field.type) for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
