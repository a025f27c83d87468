"""Reader and writer of the layout of 300W-LP: AFW, HELEN, IBUG, LFPW and *_Flip, with a .mat beside each .jpg."""

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
# A face number has one or two digits and follows the number of the photograph. LFPW has no face numbers: 0001 in
# LFPW_image_test_0001 is the photograph.
_FACE = re.compile(r"(?<=\d)_\d{1,2}$")


def read(folder: str | os.PathLike[str]) -> list[Sample]:
    """Read all labeled images of a folder, or of its subfolders if it contains none itself.

    Samples are sorted by subfolder and name. Their group is the source photograph, which is common to its faces,
    synthesized views and mirrored copies.

    Args:
        folder: Root of 300W-LP (its ``landmarks`` and ``Code`` are ignored), or a single subfolder such as ``HELEN``.

    Raises:
        DataError: There is no labeled image, a label file is damaged, or labels are implausible (``plausible``).
    """
    root = Path(folder)
    pictures = mat.labeled_pictures(root)
    if not pictures:
        try:
            subfolders = sorted(entry for entry in root.iterdir() if entry.is_dir())
        except OSError as error:
            raise DataError(f"cannot read the folder {root}: {error.strerror}") from error
        pictures = [picture for subfolder in subfolders for picture in mat.labeled_pictures(subfolder)]
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
    """Return the source photograph of a file of 300W-LP.

    ``HELEN_100040721_2_13`` (photograph, face, view) gives ``HELEN_100040721``; ``LFPW_image_train_0012_7``
    (photograph, view) gives ``LFPW_image_train_0012``.
    """
    return _FACE.sub("", _VIEW.sub("", stem.replace("_Flip", "")))


def pack_label(
    rotation: Array, landmarks: Array, box: Box, origin: tuple[float, float] = (0.0, 0.0), scale: float = 1.0
) -> bytes:
    """Create the .mat file of an image with the variables of 300W-LP as float64. Equal labels give equal bytes.

    Args:
        rotation: (3, 3) rotation from head axes to camera axes.
        landmarks: (68, 3) landmarks in the order of 300W, in pixels: x right, y down, z to the camera.
        box: Tight box of the landmarks in pixels.
        origin: (x, y) of the head's origin in the image in pixels.
        scale: Pixels per unit of the head model.

    Returns:
        Content of the file: ``Pose_Para`` (1, 7) with pitch, yaw, roll in radians, x and y of the origin, 0 and the
        scale; ``pt2d`` (2, 68); ``pt3d_68`` (3, 68); ``roi`` (1, 4), the box rounded to pixels.
    """
    pose = np.array([[*pose_para_angles(rotation), *origin, 0.0, scale]])
    roi = np.round(np.array([box.as_tuple()]))
    points = landmarks.T
    return matlab5.pack({"Pose_Para": pose, "pt2d": points[:2], "pt3d_68": points, "roi": roi})


def pose_para_angles(rotation: Array) -> Array:
    """Convert a (3, 3) rotation to (3,) pitch, yaw, roll in radians, the order of ``Pose_Para``."""
    return np.asarray(np.deg2rad(geometry.euler_from_rotation(rotation)[[1, 0, 2]]))
