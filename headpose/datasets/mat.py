"""Reader of the .mat labels of 300W-LP and AFLW2000-3D (Zhu et al., "Face Alignment Across Large Poses", CVPR 2016).

``Pose_Para`` is (1, 7): pitch, yaw, roll in radians, translation x, y, z, and scale. ``pt3d_68`` is (3, 68): the
landmarks of the fitted face. ``pt2d`` is (2, n): the annotated landmarks, with -1 for points that are not visible.
Coordinates are in pixels, x right, y down. They start at 1, as in MATLAB. The offset of half a pixel to the corners of
``Box`` is not corrected, as in all published evaluations.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headpose.datasets import matlab5
from headpose.errors import DataError
from headpose.geometry import Array
from headpose.images import SUFFIXES
from headpose.types import Box, EulerAngles, Sample

_LARGEST_ANGLE_RAD = 100.0  # AFLW2000-3D contains a roll of 17 radians
_LARGEST_COORDINATE = 1e5

Variables = dict[str, Array]


def read_sample(picture: Path, group: str) -> Sample:
    """Read the sample of an image from the .mat file of the same name beside it.

    The box spans the 68 landmarks of ``pt3d_68``, or of ``pt2d`` if the file has no ``pt3d_68``.

    Args:
        picture: Path of the image file. It is not opened.
        group: Name of the source photograph.

    Raises:
        DataError: The .mat file is missing or damaged, or a value is not a plausible label.
    """
    file = picture.with_suffix(".mat")
    variables = _load(file)
    pitch, yaw, roll = np.rad2deg(_pose_para(file, variables)[:3])
    low, high = (f(_landmarks(file, variables), axis=1) for f in (np.min, np.max))
    try:
        box = Box(*map(float, (*low, *high)))
    except ValueError as error:
        raise DataError(f"{file}: the landmarks span no area: {error}") from error
    return Sample(picture, box, EulerAngles(float(yaw), float(pitch), float(roll)), group=group)


def read_annotated(picture: Path) -> Array:
    """Read the annotated landmarks (``pt2d``) of an image from the .mat file of the same name beside it.

    Args:
        picture: Path of the image file. It is not opened.

    Returns:
        (68, 2) float64, x and y in pixels; -1 for points that are not visible.

    Raises:
        DataError: The .mat file is missing or damaged, or has no 68 landmarks.
    """
    file = picture.with_suffix(".mat")
    points = _load(file).get("pt2d", np.zeros((0, 0)))
    if points.shape not in ((2, 68), (3, 68)):
        raise DataError(f"{file}: pt2d has shape {points.shape}, it must have 68 landmarks")
    if not (np.abs(points) <= _LARGEST_COORDINATE).all():
        raise DataError(f"{file}: pt2d has a coordinate out of range")
    return np.asarray(points[:2].T, np.float64)


def labeled_pictures(folder: Path) -> list[Path]:
    """Return the images of a folder that have a .mat file of the same name, sorted by name.

    Args:
        folder: Folder to list, without its subfolders.

    Raises:
        DataError: The folder cannot be listed, or a .mat file has no image.
    """
    try:
        files = list(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    labels = {file.stem for file in files if file.suffix == ".mat"}
    pictures = {file.stem: file for file in files if file.suffix.lower() in SUFFIXES and file.stem in labels}
    if len(pictures) < len(labels) and pictures:
        missing = min(labels - pictures.keys())
        raise DataError(f"{folder}: {missing}.mat has no image {missing}.jpg: the copy is incomplete")
    return [pictures[stem] for stem in sorted(pictures)]


def _load(file: Path) -> Variables:
    try:
        return matlab5.read_file(file)
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{file} is not a MATLAB 5 file, or is damaged: {error}") from error


def _pose_para(file: Path, variables: Variables) -> Array:
    if "Pose_Para" not in variables:
        raise DataError(f"{file} has no array Pose_Para: it is not a label file of 300W-LP or AFLW2000-3D")
    pose = variables["Pose_Para"].ravel()
    if pose.size != 7:
        raise DataError(f"{file}: Pose_Para has {pose.size} values, it must have 7")
    if not (np.abs(pose[:3]) <= _LARGEST_ANGLE_RAD).all():  # also false for NaN
        raise DataError(f"{file}: Pose_Para has an angle out of range: {pose[:3].tolist()} radians")
    return pose


def _landmarks(file: Path, variables: Variables) -> Array:
    name = next((name for name in ("pt3d_68", "pt2d") if name in variables), None)
    if name is None:
        raise DataError(f"{file} has neither pt3d_68 nor pt2d: the box cannot be computed")
    points = variables[name]
    if points.shape not in ((2, 68), (3, 68)):
        raise DataError(f"{file}: {name} has shape {points.shape}, it must have 68 landmarks")
    points = points[:2]
    if not (np.abs(points) <= _LARGEST_COORDINATE).all():
        raise DataError(f"{file}: {name} has a coordinate out of range")
    if name == "pt2d" and (points == -1).all(0).any():
        raise DataError(f"{file}: pt2d has invisible points (-1) and pt3d_68 is missing: the box cannot be computed")
    return points
