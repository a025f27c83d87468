"""Reader of the BIWI Kinect Head Pose Database.

Fanelli et al., "Real Time Head Pose Estimation from Consumer Depth Cameras", 2011. The data set has 24 sequences of 20
people, 15,678 frames of 640 x 480 pixels, in folders 01 to 24. Each frame has an image, ``frame_00003_rgb.png``, and a
label, ``frame_00003_pose.txt``: the three rows of a rotation matrix, then the head's center in millimeters. Each
sequence has one ``rgb.cal``, the calibration of the color camera: 3x3 intrinsics, distortion, rotation and translation
from the depth camera, and image size. Rotations are in the axes of the depth camera: x right, y down, z away from it.
As in published work, the rotation between the two cameras, a fraction of a degree, is not corrected.

The data set has no landmarks. The box of a sample is a square of 160 millimeters around the projected center of the
head. It shows which face of a frame is labeled. It must not be used for the crop, because it depends on the label;
evaluations use a detector's box (``headpose.evaluation.testsets``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
from tqdm import tqdm

from headpose import geometry
from headpose.errors import DataError
from headpose.geometry import Array
from headpose.types import Box, EulerAngles, Sample

ALL = tuple(range(1, 25))
"""Sequences of protocol 1 (Ruiz et al. 2018; Yang et al. 2019): train on 300W-LP, test on all 24 sequences."""

HELD_OUT = tuple(range(17, 25))
"""Test sequences of protocol 2: train on 16 sequences, test on 8. Published work chooses the 8 at random and does not
list them; these are our choice."""

_FACE_MM = 160.0
_ORTHONORMAL = 1e-2  # tolerance of R^T R; the files have six digits
_LARGEST_MM = 1e5
_FOCAL = (10.0, 1e5)  # pixels
_FRAME = re.compile(r"frame_(\d+)_pose\.txt")


def read(folder: str | os.PathLike[str], sequences: Collection[int] = ALL) -> list[Sample]:
    """Read the labels of BIWI.

    Args:
        folder: Folder that contains 01 to 24, directly or in ``hpdb``.
        sequences: Numbers of the sequences to read.

    Returns:
        The samples in the order of sequences and frames. Their group is the sequence; their box is approximate (see the
        module's documentation).

    Raises:
        DataError: A sequence is missing or has no frames, a label or calibration file is damaged, or an image is
            missing.
    """
    root = Path(folder)
    root = root / "hpdb" if os.path.isdir(root / "hpdb") else root  # noqa: PTH112  # as below
    poses = [file for sequence in sorted(sequences) for file in _pose_files(root / f"{sequence:02}")]
    cameras = {folder: _camera(folder / "rgb.cal") for folder in dict.fromkeys(file.parent for file in poses)}
    return [
        _sample(file, *cameras[file.parent])
        for file in tqdm(poses, desc="labels", unit="file", leave=False, disable=None)
    ]


def _pose_files(folder: Path) -> list[Path]:
    try:
        files = sorted(file for file in folder.iterdir() if _FRAME.fullmatch(file.name))
    except OSError as error:
        raise DataError(f"no sequence {folder.name} of BIWI in {folder.parent}: {error.strerror}") from error
    if not files:
        raise DataError(f"{folder} contains no frame_NNNNN_pose.txt: it is not a sequence of BIWI")
    return files


def _sample(file: Path, intrinsics: Array, turn: Array, shift: Array) -> Sample:
    picture = file.with_name(file.name.replace("_pose.txt", "_rgb.png"))
    if not os.path.isfile(picture):  # noqa: PTH113  # Path.is_file raises an error if a folder cannot be read
        raise DataError(f"{file} has no image {picture.name}: the copy is incomplete")
    values = _numbers(file, 12)
    rotation, center = values[:9].reshape(3, 3), values[9:]
    if np.abs(values).max() > _LARGEST_MM:
        raise DataError(f"{file}: {values[np.abs(values).argmax()]:g} is not plausible: the copy is damaged")
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > _ORTHONORMAL or np.linalg.det(rotation) < 0:
        raise DataError(f"{file}: the first three rows are not a rotation matrix")
    euler = geometry.euler_from_rotation(geometry.from_opencv(rotation), "asin")
    x, y, depth = intrinsics @ (turn @ center + shift)
    if depth <= 1.0:
        raise DataError(f"{file}: the center of the head lies behind the camera: {center.tolist()} mm")
    half = intrinsics[0, 0] * _FACE_MM / depth / 2
    box = Box(*map(float, (x / depth - half, y / depth - half, x / depth + half, y / depth + half)))
    return Sample(picture, box, EulerAngles(*map(float, euler)), group=file.parent.name)


def _camera(file: Path) -> tuple[Array, Array, Array]:
    """Return the (3, 3) intrinsics, and the (3, 3) rotation and (3,) translation from the depth camera."""
    values = _numbers(file, 25)
    intrinsics = values[:9].reshape(3, 3)
    if not _FOCAL[0] <= intrinsics[0, 0] <= _FOCAL[1]:
        raise DataError(f"{file}: the focal length is {intrinsics[0, 0]:g}, it must be {_FOCAL[0]:g} to {_FOCAL[1]:g}")
    if np.abs(values).max() > _LARGEST_MM:
        raise DataError(f"{file}: {values[np.abs(values).argmax()]:g} is not plausible: the copy is damaged")
    return intrinsics, values[13:22].reshape(3, 3), values[22:25]


def _numbers(file: Path, count: int) -> Array:
    """Return the first ``count`` numbers of a text file."""
    try:
        values = np.array([float(word) for word in file.read_text("ascii").split()])
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{file} contains text that is not a number: {error}") from error
    if len(values) < count or not np.isfinite(values).all():
        raise DataError(f"{file} contains {len(values)} numbers, it needs {count} finite ones")
    return values[:count]
