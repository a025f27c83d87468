"""Manifest of labeled faces: a CSV file with one row per face.

The columns are ``image,x1,y1,x2,y2,yaw,pitch,roll``, optionally ``spread`` or ``weight``, ``unit`` and ``group``; other
columns are ignored. ``image`` is relative to the folder of the CSV file. The box is the tight box of the 68 landmarks,
in pixels. The angles follow the convention of ``headpose.geometry``; ``unit`` is ``degrees`` or ``radians`` in each
row. Without it the angles are in degrees, and labels that look like radians are rejected. ``group`` names the source
photograph: a split keeps all faces of a group, such as turned and mirrored versions of a photograph, on one side.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path

from headpose.datasets import plausible
from headpose.errors import DataError
from headpose.types import Box, EulerAngles, Sample

COLUMNS = ("image", "x1", "y1", "x2", "y2", "yaw", "pitch", "roll")
_LARGEST_ANGLE = 360.0
_LARGEST_COORDINATE = 1e5
_SPREAD_AT_HALF_WEIGHT = 10.0


def weight_from_spread(spread: float) -> float:
    """Return the weight of a pseudo-label in (0, 1]: 1 / (1 + (spread / 10)^2).

    A weight is used instead of a threshold, because the disagreement is largest for the rare profiles.

    Args:
        spread: Disagreement of the annotators in degrees, >= 0.
    """
    return 1.0 / (1.0 + (spread / _SPREAD_AT_HALF_WEIGHT) ** 2)


def read(file: str | os.PathLike[str]) -> list[Sample]:
    """Read the samples of a manifest in order.

    Args:
        file: CSV file. A sample without a ``group`` gets the name of its image.

    Raises:
        DataError: The file is unreadable, lacks a column or has no rows; the angles look like radians; or, with the
            line number, a value is not a number or out of range, a box is empty or outside of its image, or an image
            is missing.
    """
    path = Path(file)
    samples: list[Sample] = []
    lines: list[int] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
            _check_columns(path, reader.fieldnames)
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if any(row.pop(None, None) or ()):  # csv.DictReader puts surplus values here
                    raise DataError(f"{where}: more values than columns: is there a comma within a value?")
                samples.append(_sample(path, row, where))
                lines.append(reader.line_num)
            says_unit = "unit" in (reader.fieldnames or [])
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from error
    if not samples:
        raise DataError(f"{path} has a header and no faces")
    if not says_unit and plausible.look_like_radians([sample.euler for sample in samples]):
        largest = max(abs(angle) for sample in samples for angle in sample.euler)
        raise DataError(
            f"{path}: no angle of its {len(samples)} faces is larger than {largest:.3g}: they look like radians, and "
            "degrees are needed; convert them, or add a column unit that says radians, or degrees if they are that"
        )
    plausible.check_boxes(
        [(sample.image, sample.box) for sample in samples], (f"{path}, line {number}" for number in lines)
    )
    return samples


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        named = f"column{'s' * (len(missing) > 1)} {', '.join(missing)}"
        separated = " separated by commas" if len(columns) == 1 else ""
        raise DataError(f"{path} lacks the {named}: it needs {','.join(COLUMNS)}[,spread|weight]{separated}")
    if twice := [name for name in (*COLUMNS, "spread", "weight", "unit", "group") if columns.count(name) > 1]:
        raise DataError(f"{path} has the column {twice[0]} twice: keep one")
    if "spread" in columns and "weight" in columns:
        raise DataError(f"{path} has both spread and weight: keep one")


def picture(path: Path, row: dict[str, str | None], where: str) -> Path:
    """Return the image of a row.

    Args:
        path: CSV file, to whose folder the image is relative.
        row: Values by column.
        where: Description of the row for error messages.

    Raises:
        DataError: The image does not exist, or its folder cannot be read.
    """
    if not row["image"]:
        raise DataError(f"{where}: image is empty: each line names a picture, which a video's frame is not")
    named = path.parent / row["image"]
    try:
        there = named.is_file()
    except OSError as error:  # the folder is unreadable, or the name is too long
        raise DataError(f"{where}: cannot read the picture {str(named)[:200]}: {error.strerror}") from error
    if not there:
        raise DataError(f"{where}: there is no picture {str(named)[:200]!r}")
    return named


def box(row: dict[str, str | None], where: str) -> Box:
    """Return the box of a row in pixels.

    Args:
        row: Values by column.
        where: Description of the row for error messages.

    Raises:
        DataError: A coordinate is not a number, or the box is empty.
    """
    try:
        return Box(*(_number(row, name, where) for name in ("x1", "y1", "x2", "y2")))
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def _sample(path: Path, row: dict[str, str | None], where: str) -> Sample:
    spread, weight = (_at_least_0(row, name, where) for name in ("spread", "weight"))
    if weight is None:
        weight = 1.0 if spread is None else weight_from_spread(spread)
    return Sample(
        image=picture(path, row, where),
        box=box(row, where),
        euler=EulerAngles(*(_angle(row, name, where) for name in ("yaw", "pitch", "roll"))),
        weight=weight,
        group=row.get("group") or Path(row["image"] or "").with_suffix("").as_posix(),
        spread=spread,
    )


def _angle(row: dict[str, str | None], name: str, where: str) -> float:
    """Return the angle of a column in degrees."""
    value = _number(row, name, where) * _degrees(row, where)
    if abs(value) > _LARGEST_ANGLE:
        raise DataError(f"{where}: {name} is out of range: {row[name]} {row.get('unit', 'degrees')}")
    return value


def _degrees(row: dict[str, str | None], where: str) -> float:
    """Return the factor from the unit of the row's angles to degrees."""
    unit = row.get("unit", "degrees")
    if unit not in ("degrees", "radians"):
        raise DataError(f"{where}: unit is degrees or radians, got {unit!r}")
    return 1.0 if unit == "degrees" else math.degrees(1.0)


def _at_least_0(row: dict[str, str | None], name: str, where: str) -> float | None:
    """Return the number in a column; None if the column does not exist."""
    if name not in row:
        return None
    value = _number(row, name, where)
    if value < 0:
        raise DataError(f"{where}: {name} is negative: {value}")
    return value


def _number(row: dict[str, str | None], name: str, where: str) -> float:
    text = row[name]
    try:
        value = float(text or "")
    except ValueError:
        raise DataError(f"{where}: {name} is not a number: {text!r}") from None
    if not (math.isfinite(value) and abs(value) <= _LARGEST_COORDINATE):
        raise DataError(f"{where}: {name} is out of range: {text}")
    return value
