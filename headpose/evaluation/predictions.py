"""Predicted angles in a CSV file: columns image (name of the face), yaw, pitch, roll in degrees.

Names are those of ``headpose.evaluation.testsets``: for AFLW2000-3D the file's name without its ending. Files
of other tools may keep the ending, order the columns as they like and have more of them.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from headpose import files
from headpose.errors import DataError
from headpose.geometry import Array
from headpose.images import SUFFIXES

COLUMNS = ("image", "yaw", "pitch", "roll")


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


def read(path: str | os.PathLike[str], names: Sequence[str]) -> Array:
    """Reads predictions for faces, in any order; lines for other names are passed over.

    Returns:
        (N, 3) yaw, pitch, roll in degrees, as they are written, in the order of the names.

    Raises:
        DataError: the file cannot be read, lacks a column, names a face twice, has no line for a face, or
            holds an angle that is no number.
    """
    angles = read_all(path, names)
    if absent := [name for name in names if name not in angles]:
        raise DataError(f"{path} has no line for {absent[0]} and {len(absent) - 1} others of {len(names)} pictures")
    return np.array([angles[name] for name in names])


def read_all(path: str | os.PathLike[str], known: Collection[str] = ()) -> dict[str, list[float]]:
    """All predictions of a file by name (see ``read``).

    Args:
        path: the file.
        known: names of faces; where a name is none of them its picture's ending is taken off.
    """
    file, known = Path(path), frozenset(known)
    angles: dict[str, list[float]] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
                raise DataError(f"{file} lacks the column {', '.join(missing)}: it needs {','.join(COLUMNS)}")
            columns = [name for name in reader.fieldnames or [] if name in COLUMNS]
            if len(columns) > len(COLUMNS):
                raise DataError(f"{file} has one of the columns {','.join(COLUMNS)} twice: keep one")
            for row in reader:
                if any(row.get(None) or ()):  # where csv puts them
                    raise DataError(f"{file}, line {reader.line_num}: more values than columns")
                name = row["image"] if row["image"] in known else _without_ending(row["image"])
                if name in angles:
                    raise DataError(f"{file}, line {reader.line_num}: {name} is there twice")
                angles[name] = [_angle(row[column], f"{file}, line {reader.line_num}") for column in COLUMNS[1:]]
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is not a CSV file in UTF-8: {error}") from error
    return angles


def _without_ending(text: str | None) -> str:
    """The name without the ending of a picture's file, which other tools leave on."""
    whole = (text or "").strip()
    return whole[: -len(ending)] if (ending := Path(whole).suffix).lower() in SUFFIXES else whole


def _angle(text: str | None, where: str) -> float:
    try:
        angle = float(text or "")
    except ValueError:
        angle = math.nan
    if not math.isfinite(angle):
        raise DataError(f"{where}: not an angle: {text!r}")
    return angle
