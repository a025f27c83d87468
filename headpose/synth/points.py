"""Landmarks of photographs, read from an .npz file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headpose.errors import DataError
from headpose.files import numpy_reason
from headpose.geometry import Array

_KNOWN = np.array([0.0, 0.4, 1.0])  # weight by state: turned away, covered, seen
_INTEGER_UNIT = 0.125  # pixels: integers are eighths unless the file says otherwise


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """The 68 landmarks of one photograph.

    Attributes:
        points: (68, 2) float64, x and y in pixels.
        known: (68,) float64 weight in [0, 1]; 0 where there is no point.
    """

    points: Array
    known: Array


def read(file: str | os.PathLike[str]) -> Mapping[str, Landmarks]:
    """Read the landmarks of photographs, by the stem of the picture's name.

    The file holds ``image`` (n,), stems; ``points`` (n, 68, 2); and optionally ``state`` (n, 68), 2 where a point is
    seen, 1 where it is covered and its place a guess, 0 where there is none, and ``unit``, the pixels of one step of
    ``points``. Without a unit, integers are eighths of a pixel and other numbers are pixels.

    Raises:
        DataError: the file cannot be read, or its arrays are not as described.
    """
    path = Path(file)
    try:
        with path.open("rb") as opened:  # np.load leaves a damaged archive open
            arrays = np.load(opened, allow_pickle=False)
            if isinstance(arrays, np.ndarray):
                raise ValueError("it is a single array")
            names, stored = arrays["image"], arrays["points"]
            state = arrays["state"] if "state" in arrays else np.full(stored.shape[:2], 2)
            unit = float(arrays["unit"]) if "unit" in arrays else _unit(stored)
    except KeyError as error:
        raise DataError(f"the landmarks {path} lack an array: {error.args[0]}; image and points are needed") from error
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read the landmarks {path}: {numpy_reason(error)}") from error
    _check(path, names, stored, state, unit)
    points = stored.astype(np.float64) * unit
    known = _KNOWN[state.astype(np.int64)]
    return {str(name): Landmarks(points[row], known[row]) for row, name in enumerate(names) if known[row].any()}


def _unit(points: np.ndarray) -> float:
    return _INTEGER_UNIT if np.issubdtype(points.dtype, np.integer) else 1.0


def _check(path: Path, names: np.ndarray, points: np.ndarray, state: np.ndarray, unit: float) -> None:
    """Raise DataError for arrays that are not landmarks."""
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(f"the landmarks {path}: image is not a list of names")
    if points.shape != (len(names), 68, 2) or points.dtype.kind not in "iuf":
        raise DataError(f"the landmarks {path}: points has shape {points.shape}, not ({len(names)}, 68, 2)")
    if state.shape != (len(names), 68) or not np.isin(state, (0, 1, 2)).all():
        raise DataError(f"the landmarks {path}: state is not ({len(names)}, 68) of 0, 1 and 2")
    if not (np.isfinite(unit) and unit > 0):
        raise DataError(f"the landmarks {path}: unit is {unit}, not a number of pixels")
    if not np.isfinite(points[state > 0]).all():
        raise DataError(f"the landmarks {path}: a point that is marked as seen is not a number")
