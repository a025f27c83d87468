"""BIWI Kinect Head Pose Database (Fanelli et al., "Real Time Head Pose Estimation from Consumer Depth Cameras", 2011).

24 sequences of 20 people, 15,678 frames of 640 x 480 in folders 01 to 24: ``frame_00003_rgb.png`` beside
``frame_00003_pose.txt`` (three rows of a rotation matrix, then the head's centre in millimetres) and one
``rgb.cal`` a sequence (the colour camera: 3x3 intrinsics, distortion, rotation and translation from the
depth camera, size). The rotation is that of the depth camera's axes, x right, y down, z away; as in
published work the fraction of a degree between the two cameras is left in.

There are no landmarks. A sample's box is a rough one, a square of 160 millimetres around the projected
centre: good enough to say which face of a frame is meant, not to cut a network's input out, which would
borrow from the label. Evaluations take a detector's box (``headpose.evaluation.testsets``).
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
"""Protocol 1 (Ruiz et al. 2018; Yang et al. 2019): trained on 300W-LP, tested on all 24 sequences."""

HELD_OUT = tuple(range(17, 25))
"""Protocol 2: trained on 16 sequences, tested on 8. Published work draws the 8 at random and does not print
them; these are ours."""

_FACE_MM = 160.0
_ORTHONORMAL = 1e-2  # the files have six digits
_LARGEST_MM = 1e5
_FOCAL = (10.0, 1e5)  # pixels
_FRAME = re.compile(r"frame_(\d+)_pose\.txt")


def read(folder: str | os.PathLike[str], sequences: Collection[int] = ALL) -> list[Sample]:
    """The frames of a copy of BIWI, in the order of sequence and frame.

    Args:
        folder: holds 01 to 24 (or ``hpdb`` with them).
        sequences: which of them to read.

    Returns:
        Samples whose group is the sequence and whose box is rough (see above).

    Raises:
        DataError: a sequence is missing or has no frames, or a file is damaged or without its picture.
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
        raise DataError(f"{folder} holds no frame_NNNNN_pose.txt: it is no sequence of BIWI")
    return files


def _sample(file: Path, intrinsics: Array, turn: Array, shift: Array) -> Sample:
    picture = file.with_name(file.name.replace("_pose.txt", "_rgb.png"))
    if not os.path.isfile(picture):  # noqa: PTH113  # Path's own raises where a folder cannot be read
        raise DataError(f"{file} has no picture {picture.name}: the copy is incomplete")
    values = _numbers(file, 12)
    rotation, center = values[:9].reshape(3, 3), values[9:]
    if np.abs(values).max() > _LARGEST_MM:
        raise DataError(f"{file}: {values[np.abs(values).argmax()]:g} is beyond reason: the copy is damaged")
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > _ORTHONORMAL or np.linalg.det(rotation) < 0:
        raise DataError(f"{file}: the first three rows are no rotation matrix")
    euler = geometry.euler_from_rotation(geometry.from_opencv(rotation), "asin")
    x, y, depth = intrinsics @ (turn @ center + shift)
    if depth <= 1.0:
        raise DataError(f"{file}: the head's centre lies behind the camera: {center.tolist()} mm")
    half = intrinsics[0, 0] * _FACE_MM / depth / 2
    box = Box(*map(float, (x / depth - half, y / depth - half, x / depth + half, y / depth + half)))
    return Sample(picture, box, EulerAngles(*map(float, euler)), group=file.parent.name)


def _camera(file: Path) -> tuple[Array, Array, Array]:
    """Intrinsics (3, 3), and rotation (3, 3) and translation (3,) from the depth camera."""
    values = _numbers(file, 25)
    intrinsics = values[:9].reshape(3, 3)
    if not _FOCAL[0] <= intrinsics[0, 0] <= _FOCAL[1]:
        raise DataError(f"{file}: the focal length is {intrinsics[0, 0]:g}, {_FOCAL[0]:g} to {_FOCAL[1]:g} is needed")
    if np.abs(values).max() > _LARGEST_MM:
        raise DataError(f"{file}: {values[np.abs(values).argmax()]:g} is beyond reason: the copy is damaged")
    return intrinsics, values[13:22].reshape(3, 3), values[22:25]


def _numbers(file: Path, count: int) -> Array:
    """The first ``count`` numbers of a text file."""
    try:
        values = np.array([float(word) for word in file.read_text("ascii").split()])
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{file} holds something else than numbers: {error}") from error
    if len(values) < count or not np.isfinite(values).all():
        raise DataError(f"{file} holds {len(values)} numbers, {count} finite ones are needed")
    return values[:count]
