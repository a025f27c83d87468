"""300W-LP: AFW, HELEN, IBUG, LFPW and their mirrored copies *_Flip, .jpg beside .mat; and data in its layout."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from tqdm import tqdm

from headpose import geometry
from headpose.datasets import mat, matlab5, plausible
from headpose.errors import DataError
from headpose.geometry import Array
from headpose.types import Box, Sample

_VIEW = re.compile(r"_\d+$")
# A face's number has one or two digits and follows the photograph's own number. LFPW has no face
# numbers: the 0001 of LFPW_image_test_0001 is the photograph.
_FACE = re.compile(r"(?<=\d)_\d{1,2}$")


def read(folder: str | os.PathLike[str]) -> list[Sample]:
    """Every labelled picture of a folder, or of its subfolders if it holds none itself.

    Samples are sorted by subfolder and name. Their group is the source photograph: all its faces,
    synthesised views and mirror images.

    Args:
        folder: the root of 300W-LP (``landmarks`` and ``Code`` in it are passed over), or a single
            subfolder such as ``HELEN``.

    Raises:
        DataError: no labelled picture is there, a label file is damaged, or labels cannot be true (``plausible``).
    """
    root = Path(folder)
    pictures = mat.labelled_pictures(root)
    if not pictures:
        try:
            subfolders = sorted(entry for entry in root.iterdir() if entry.is_dir())
        except OSError as error:
            raise DataError(f"cannot read the folder {root}: {error.strerror}") from error
        pictures = [picture for subfolder in subfolders for picture in mat.labelled_pictures(subfolder)]
    if not pictures:
        raise DataError(f"no 300W-LP in {folder}: neither it nor its subfolders hold a .jpg with a .mat beside it")
    samples = [
        mat.read_sample(picture, source_photograph(picture.stem))
        for picture in tqdm(pictures, desc="labels", unit="file", leave=False, disable=None)
    ]
    plausible.check_not_degrees(samples, root)
    plausible.check_boxes(
        [(sample.image, sample.box) for sample in samples], (str(picture.with_suffix(".mat")) for picture in pictures)
    )
    return samples


def source_photograph(stem: str) -> str:
    """The photograph that a file of 300W-LP was made from.

    ``HELEN_100040721_2_13`` (photograph, face, view) -> ``HELEN_100040721``;
    ``LFPW_image_train_0012_7`` (photograph, view) -> ``LFPW_image_train_0012``.
    """
    return _FACE.sub("", _VIEW.sub("", stem.replace("_Flip", "")))


def pack_label(
    rotation: Array, landmarks: Array, box: Box, origin: tuple[float, float] = (0.0, 0.0), scale: float = 1.0
) -> bytes:
    """The bytes of a picture's .mat file, with 300W-LP's variables as float64; the same label gives the same bytes.

    Args:
        rotation: (3, 3), head axes to camera axes.
        landmarks: (68, 3) in the order of 300W: pixels x right, y down, and z towards the camera in the same unit.
        box: the tight box of the landmarks, pixels.
        origin: where the head's origin lies in the picture, pixels.
        scale: pixels of one unit of the head's model.

    Returns:
        ``Pose_Para`` (1, 7), which is pitch, yaw, roll in radians, origin x and y, 0 and scale; ``pt2d`` (2, 68);
        ``pt3d_68`` (3, 68); ``roi`` (1, 4), the box in whole pixels.
    """
    pose = np.array([[*pose_para_angles(rotation), *origin, 0.0, scale]])
    roi = np.round(np.array([box.as_tuple()]))
    points = landmarks.T
    return matlab5.pack({"Pose_Para": pose, "pt2d": points[:2], "pt3d_68": points, "roi": roi})


def pose_para_angles(rotation: Array) -> Array:
    """(3,) pitch, yaw, roll in radians, the order of ``Pose_Para``, of a (3, 3) rotation."""
    return np.asarray(np.deg2rad(geometry.euler_from_rotation(rotation)[[1, 0, 2]]))
