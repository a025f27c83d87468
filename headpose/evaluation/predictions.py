"""Predicted angles in a CSV file: columns image, yaw, pitch, roll in degrees.

Files of other tools may order the columns as they like and have more of them. Two kinds are told apart:

- a row for each labelled face, by the names of ``headpose.evaluation.testsets``: for AFLW2000-3D the file's name
  without its ending, which may be left on (what ``write`` writes);
- with the columns x1, y1, x2, y2 as well, whatever faces a detector found in the pictures (what ``headpose estimate
  --csv`` writes): the box says which labelled face a row is of. ``image`` is the picture's path there; folders in
  front of the names of the data are passed over, and so are rows without a picture, those of videos.
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
_OLD_NAME = "name"  # of the column image in what ``headpose estimate`` once wrote


def write(path: str | os.PathLike[str], names: Sequence[str], angles: Array) -> None:
    """Writes (N, 3) yaw, pitch, roll in degrees, one line a face.

    Raises:
        HeadPoseError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, euler in zip(names, angles, strict=True):
        writer.writerow([name, *(f"{angle:.6f}" for angle in euler)])
    files.write_text(path, text.getvalue())


@dataclass(frozen=True, slots=True)
class Predictions:
    """The rows of a file that are of labelled faces.

    Attributes:
        angles: [yaw, pitch, roll] in degrees, as they are written, by the name of the face.
        detected: the file has boxes, so that faces may be missing: a detector did not find them.
    """

    angles: dict[str, list[float]]
    detected: bool


def read(path: str | os.PathLike[str], names: Sequence[str]) -> Array:
    """Reads predictions for faces, in any order; lines for other names are passed over.

    Returns:
        (N, 3) yaw, pitch, roll in degrees, as they are written, in the order of the names.

    Raises:
        DataError: the file cannot be read, lacks a column, names a face twice, has no line for a face, or
            holds an angle that is no number.
    """
    return in_order(path, Predictions(_by_name(_rows(Path(path)), names), False), names)


def read_faces(path: str | os.PathLike[str], faces: FaceSet) -> Predictions:
    """The predictions of a file for labelled faces.

    Where the file has boxes, each labelled face gets the row of its picture whose box overlaps its own most, no row
    serves two faces, and rows that overlap a face by less than ``testsets.LEAST_OVERLAP`` are of nobody.

    Raises:
        DataError: see ``read``; or two pictures of the file have the name of one of the data.
    """
    rows = _rows(Path(path))
    if rows and all(row.box for row in rows):
        return Predictions(_by_box(rows, faces), True)
    return Predictions(_by_name(rows, faces.names), False)


def in_order(path: str | os.PathLike[str], read: Predictions, names: Sequence[str]) -> Array:
    """(N, 3) angles of faces, in the order of their names; DataError, which calls the file ``path``, if one lacks."""
    if absent := [name for name in names if name not in read.angles]:
        raise DataError(f"{path} has no line for {absent[0]} and {len(absent) - 1} others of {len(names)} pictures")
    return np.array([read.angles[name] for name in names])


@dataclass(frozen=True, slots=True)
class _Row:
    """One line: the picture's name as it is written, angles in degrees, and the box if there is one."""

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
                raise DataError(f"{file} lacks the column {', '.join(missing)}: it needs {','.join(COLUMNS)}")
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
        if any(row.get(None) or ()):  # where csv puts them
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
    """Angles by the name of the face; where a name is none of those known its picture's ending is taken off."""
    known = frozenset(known)
    angles: dict[str, list[float]] = {}
    for row in rows:
        name = row.image if row.image in known else _without_ending(row.image)
        if name in angles:
            raise DataError(f"{row.where}: {name} is there twice")
        angles[name] = row.angles
    return angles


def _by_box(rows: Sequence[_Row], faces: FaceSet) -> dict[str, list[float]]:
    """Angles by the name of the face; see ``read_faces``."""
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
        # a.jpg and a.png of one folder have one name but for the number.
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
    """Labelled faces of one picture with their rows, best overlaps first, none twice."""
    boxes = [(place, row.box) for place, row in enumerate(rows) if row.box]
    pairs = [(box.iou(faces.samples[i].box), i, place) for i in indexes for place, box in boxes]
    labelled, given = set(indexes), set(range(len(rows)))
    for overlap, index, place in sorted(pairs, key=lambda pair: -pair[0]):
        if overlap > LEAST_OVERLAP and index in labelled and place in given:
            labelled.remove(index)
            given.remove(place)
            yield index, rows[place]


def _picture(image: str, whole: Mapping[str, str]) -> str:
    """The picture of the data that a row means, by ``whole``: those of all faces; "" if it is none of them."""
    parts = PurePosixPath(image).parts
    for start in range(len(parts)):
        name = "/".join(parts[start:])
        for known in (name, _without_ending(name)):
            if known in whole:
                return whole[known]
    return ""


def _without_number(name: str, names: Collection[str]) -> str:
    """A face's name without the number that tells it from the first face of its picture."""
    picture = re.sub(r"#\d+$", "", name)
    return picture if picture in names else name


def _without_ending(text: str | None) -> str:
    """The name without the ending of a picture's file, which other tools leave on."""
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
