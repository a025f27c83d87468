"""The 68 landmarks of photographs, in the order of 300W: from an .npz file, or from .mat files in 300W-LP's layout.

From 0: 0 to 16 the outline from the right ear over the chin, 17 to 26 the brows, 27 to 35 the nose, 36 to 47 the eyes,
48 to 67 the mouth. Right is that of the person.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headpose.datasets import mat
from headpose.errors import DataError
from headpose.files import numpy_reason
from headpose.geometry import Array
from headpose.types import Sample

_KNOWN = np.array([0.0, 0.4, 1.0])  # weight by state: turned away, covered, seen
MIRRORED = np.array(
    [
        *(*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65),
    ]
)
"""(68,) index of the landmark on the other side of the face: in a mirrored picture, landmark i is ``MIRRORED[i]``."""

_INTEGER_UNIT = 0.125  # pixels: integers are eighths unless the file says otherwise


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """The 68 landmarks of one face.

    Attributes:
        points: (68, 2) float64, x and y in pixels, or in sides of a crop.
        known: (68,) float64 weight in [0, 1]; 0 where there is no point.
    """

    points: Array
    known: Array

    @property
    def side(self) -> float:
        """Square root of the area of the tight box of the known points, in their unit; 0 if they span none."""
        known = self.points[self.known > 0]
        return float(np.sqrt(np.prod(np.ptp(known, axis=0)))) if len(known) else 0.0


@dataclass(frozen=True, slots=True)
class LandmarkSample:
    """A labeled face with its landmarks.

    Attributes:
        sample: Image, box, pose and group.
        landmarks: Landmarks in pixels of the image, which span an area.
    """

    sample: Sample
    landmarks: Landmarks

    @property
    def image(self) -> Path:
        return self.sample.image

    @property
    def group(self) -> str:
        return self.sample.group


def join(samples: Sequence[Sample], file: str | os.PathLike[str]) -> list[LandmarkSample]:
    """Join samples with the landmarks of a file (``read``), by the stem of the picture's name.

    Samples without landmarks are left out.

    Raises:
        DataError: The file cannot be read or names none of the pictures, or landmarks span no area.
    """
    known = read(file)
    joined = [LandmarkSample(each, known[each.image.stem]) for each in samples if each.image.stem in known]
    if not joined:
        raise DataError(f"the landmarks {file} name none of the {len(samples)} pictures")
    if flat := [each for each in joined if not each.landmarks.side > 0]:
        raise DataError(f"the landmarks {file}: those of {flat[0].image.stem} span no area")
    return joined


def of_mat(samples: Sequence[Sample]) -> list[LandmarkSample]:
    """Read the annotated landmarks (``pt2d``) in the .mat files beside the pictures; all points count as seen.

    Raises:
        DataError: A file is damaged, or has no ``pt2d`` with 68 landmarks.
    """
    return [LandmarkSample(each, _annotated(each)) for each in samples]


def _annotated(sample: Sample) -> Landmarks:
    points = mat.read_annotated(sample.image)
    landmarks = Landmarks(points, (points != -1).all(1).astype(np.float64))  # -1 marks a point that is not visible
    if not landmarks.side > 0:
        raise DataError(f"{sample.image.with_suffix('.mat')}: the landmarks of pt2d span no area")
    return landmarks


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
