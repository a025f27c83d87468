"""Read and write predicted angles as CSV: columns image, yaw, pitch, roll in degrees.

Columns may be in any order, and other columns are ignored. There are two kinds of files:

- One row per labeled face (as ``write`` writes them). ``image`` is the name of the face in
  ``headpose.evaluation.testsets``; for AFLW2000-3D this is the file name, with or without its extension.
- One row per detected face, with the additional columns x1, y1, x2, y2 (as ``headpose estimate --csv`` writes them).
  The box determines the labeled face. ``image`` is the path of the image; leading folders are ignored. Rows without an
  image, which come from videos, are skipped.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from headpose import files
from headpose.errors import DataError
from headpose.evaluation.testsets import LEAST_OVERLAP, FaceSet
from headpose.geometry import Array
from headpose.images import SUFFIXES
from headpose.types import Box

COLUMNS = ("image", "yaw", "pitch", "roll")
BOX = ("x1", "y1", "x2", "y2")
_OLD_NAME = "name"  # former name of the column image in files of ``headpose estimate``


def write(path: str | os.PathLike[str], names: Sequence[str], angles: Array) -> None:
    """Write predictions, one row per face.

    Args:
        path: File to write.
        names: N names of faces.
        angles: (N, 3) yaw, pitch, roll in degrees.

    Raises:
        HeadPoseError: The file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, euler in zip(names, angles, strict=True):
        writer.writerow([name, *(f"{angle:.6f}" for angle in euler)])
    files.write_text(path, text.getvalue())


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions of a file for labeled faces.

    Attributes:
        angles: [yaw, pitch, roll] in degrees, unchanged, by name of the face.
        detected: True if the file has boxes; faces that the detector missed are then absent.
    """

    angles: dict[str, list[float]]
    detected: bool


def read(path: str | os.PathLike[str], names: Sequence[str]) -> Array:
    """Read the predictions of the given faces.

    Args:
        path: CSV file with one row per face, in any order. Rows of other faces are ignored.
        names: N names of faces.

    Returns:
        (N, 3) yaw, pitch, roll in degrees, unchanged, in the order of ``names``.

    Raises:
        DataError: The file is unreadable, lacks a column or a face, contains a face twice, or an angle is not a number.
    """
    return in_order(path, Predictions(_by_name(_rows(Path(path)), names), False), names)


def read_faces(path: str | os.PathLike[str], faces: FaceSet) -> Predictions:
    """Read the predictions of a file for labeled faces.

    If the file has boxes, rows are matched to the labeled faces of their image greedily by IoU, highest first, each row
    at most once. Rows with an IoU of at most ``testsets.LEAST_OVERLAP`` are ignored.

    Args:
        path: CSV file of either kind.
        faces: Labeled faces.

    Raises:
        DataError: See ``read``; or two images of the file match the same image of the data.
    """
    rows = _rows(Path(path))
    if rows and all(row.box for row in rows):
        return Predictions(_by_box(rows, faces), True)
    return Predictions(_by_name(rows, faces.names), False)


def in_order(path: str | os.PathLike[str], read: Predictions, names: Sequence[str]) -> Array:
    """Return the (N, 3) angles of faces in the order of ``names``; raise DataError if one is missing."""
    if absent := [name for name in names if name not in read.angles]:
        raise DataError(f"{path} has no line for {absent[0]} and {len(absent) - 1} others of {len(names)} pictures")
    return np.array([read.angles[name] for name in names])


@dataclass(frozen=True, slots=True)
class _Row:
    """One row: image name as written, angles in degrees, and the box if there is one."""

    image: str
    angles: list[float]
    box: Box | None
    where: str


def _rows(file: Path) -> list[_Row]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            there = reader.fieldnames or []
            name = _OLD_NAME if "image" not in there and _OLD_NAME in there else "image"
            if missing := [each for each in (name, *COLUMNS[1:]) if each not in there]:
                named = f"column{'s' * (len(missing) > 1)} {', '.join(missing)}"
                raise DataError(f"{file} lacks the {named}: it needs {','.join(COLUMNS)}")
            wanted = [each for each in there if each in (name, *COLUMNS[1:], *BOX)]
            if len(wanted) > len(set(wanted)):
                raise DataError(f"{file} has one of the columns {','.join(dict.fromkeys(wanted))} twice: keep one")
            boxes = all(side in there for side in BOX)
            return list(_read_rows(reader, file, name, boxes))
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is not a CSV file in UTF-8: {error}") from error


def _read_rows(reader: csv.DictReader[str], file: Path, name: str, boxes: bool) -> Iterator[_Row]:
    for row in reader:
        where = f"{file}, line {reader.line_num}"
        if any(row.get(None) or ()):  # csv.DictReader puts surplus values here
            raise DataError(f"{where}: more values than columns")
        angles = [_number(row[column], where, "an angle") for column in COLUMNS[1:]]
        box = None
        if boxes:
            try:
                box = Box(*(_number(row[side], where, "a coordinate") for side in BOX))
            except ValueError as error:
                raise DataError(f"{where}: {error}") from None
        yield _Row((row[name] or "").strip(), angles, box, where)


def _by_name(rows: Sequence[_Row], known: Collection[str]) -> dict[str, list[float]]:
    """Return angles by name of the face. The extension is removed from unknown names."""
    known = frozenset(known)
    angles: dict[str, list[float]] = {}
    for row in rows:
        name = row.image if row.image in known else _without_ending(row.image)
        if name in angles:
            raise DataError(f"{row.where}: {name} is there twice")
        angles[name] = row.angles
    return angles


def _by_box(rows: Sequence[_Row], faces: FaceSet) -> dict[str, list[float]]:
    """Return angles by name of the face; see ``read_faces``."""
    names = frozenset(faces.names)
    whole = {name: _without_number(name, names) for name in faces.names}
    pictures: dict[str, list[int]] = {}
    for index, name in enumerate(faces.names):
        pictures.setdefault(whole[name], []).append(index)
    found: dict[tuple[int, ...], list[_Row]] = {}
    for row in rows:
        picture = _picture(row.image, whole)
        if not picture:
            continue
        # The names of a.jpg and a.png in one folder differ only in the number.
        same = [index for index in pictures[picture] if faces.samples[index].image.name == Path(row.image).name]
        found.setdefault(tuple(same or pictures[picture]), []).append(row)
    angles: dict[str, list[float]] = {}
    for indexes, candidates in found.items():
        written = {whole.get(row.image, row.image): row for row in candidates}
        if len(written) > 1:
            first, second, *_ = written
            raise DataError(f"{written[second].where}: {second} and {first} would both be {faces.names[indexes[0]]}")
        for index, row in _matched(indexes, candidates, faces):
            angles[faces.names[index]] = row.angles
    return angles


def _matched(indexes: Sequence[int], rows: Sequence[_Row], faces: FaceSet) -> Iterator[tuple[int, _Row]]:
    """Yield (face, row) pairs of one image, highest IoU first, each face and row at most once."""
    boxes = [(place, row.box) for place, row in enumerate(rows) if row.box]
    pairs = [(box.iou(faces.samples[i].box), i, place) for i in indexes for place, box in boxes]
    labeled, given = set(indexes), set(range(len(rows)))
    for overlap, index, place in sorted(pairs, key=lambda pair: -pair[0]):
        if overlap > LEAST_OVERLAP and index in labeled and place in given:
            labeled.remove(index)
            given.remove(place)
            yield index, rows[place]


def _picture(image: str, whole: Mapping[str, str]) -> str:
    """Return the image of the data that a row refers to; "" if there is none. ``whole`` maps faces to images."""
    parts = PurePosixPath(image).parts
    for start in range(len(parts)):
        name = "/".join(parts[start:])
        for known in (name, _without_ending(name)):
            if known in whole:
                return whole[known]
    return ""


def _without_number(name: str, names: Collection[str]) -> str:
    """Return the name of a face without the number of a further face in the same image."""
    picture = re.sub(r"#\d+$", "", name)
    return picture if picture in names else name


def _without_ending(text: str | None) -> str:
    """Return a name without the extension of an image file."""
    whole = (text or "").strip()
    return whole[: -len(ending)] if (ending := Path(whole).suffix).lower() in SUFFIXES else whole


def _number(text: str | None, where: str, what: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: not {what}: {text!r}")
    return number
