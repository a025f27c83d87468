"""Predicted angles in a CSV file: columns image (file name without ending), yaw, pitch, roll in degrees."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headpose import files, geometry
from headpose.errors import DataError
from headpose.evaluation.accuracy import BRANCH
from headpose.geometry import Array
from headpose.types import Sample

COLUMNS = ("image", "yaw", "pitch", "roll")


def write(path: str | os.PathLike[str], samples: Sequence[Sample], rotations: Array) -> None:
    """Writes the angles of (N, 3, 3) rotations, decoded as the evaluation does, one line a sample.

    Raises:
        HeadPoseError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for sample, euler in zip(samples, geometry.euler_from_rotation(rotations, BRANCH), strict=True):
        writer.writerow([sample.image.stem, *(f"{angle:.6f}" for angle in euler)])
    files.write_text(path, text.getvalue())


def read(path: str | os.PathLike[str], samples: Sequence[Sample]) -> Array:
    """Reads predictions for samples, in any order; lines for other pictures are passed over.

    Returns:
        (N, 3, 3) rotations in the order of the samples.

    Raises:
        DataError: the file cannot be read, lacks a column, names a picture twice, has no line for a
            sample, or holds an angle that is no number.
    """
    file = Path(path)
    angles: dict[str, list[float]] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
                raise DataError(f"{file} lacks the column {', '.join(missing)}: it needs {','.join(COLUMNS)}")
            for row in reader:
                if row["image"] in angles:
                    raise DataError(f"{file}, line {reader.line_num}: {row['image']} is there twice")
                angles[row["image"]] = [_angle(row[name], f"{file}, line {reader.line_num}") for name in COLUMNS[1:]]
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is not a CSV file in UTF-8: {error}") from error
    if absent := [sample.image.stem for sample in samples if sample.image.stem not in angles]:
        raise DataError(f"{file} has no line for {absent[0]} and {len(absent) - 1} others of {len(samples)} pictures")
    return geometry.rotation_from_euler(np.array([angles[sample.image.stem] for sample in samples]))


def _angle(text: str | None, where: str) -> float:
    try:
        angle = float(text or "")
    except ValueError:
        angle = math.nan
    if not math.isfinite(angle):
        raise DataError(f"{where}: not an angle: {text!r}")
    return angle
