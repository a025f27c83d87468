"""A head's rotation in its files, and what is there already turned to other axes of the head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from headpose import files, geometry
from headpose.datasets.matlab5 import read_file as read_matlab5
from headpose.errors import DataError
from headpose.geometry import Array
from headpose.synth import layout, matlab5, pose
from headpose.synth import scene as scenes
from headpose.synth.anatomy import LABEL
from headpose.synth.render import Rendered


def pack(rendered: Rendered) -> bytes:
    """The .mat of a picture, with 300W-LP's variables, float64.

    Pose_Para (1, 7) is pitch, yaw, roll in radians, the head's origin and 0 in pixels, and pixels a decimetre; pt2d
    (2, 68) and pt3d_68 (3, 68) are the landmarks, and roi (1, 4) the tight box, all in pixels.
    """
    scale = rendered.view.focal / rendered.view.distance
    pose_para = np.array([[*_pitch_yaw_roll(rendered.rotation), *rendered.view.centre, 0.0, scale]])
    roi = np.array([rendered.box.as_tuple()])
    points = rendered.landmarks.T
    return matlab5.pack({"Pose_Para": pose_para, "pt2d": points[:2], "pt3d_68": points, "roi": np.round(roi)})


def fields(rotation: Array) -> dict[str, Any]:
    """What a scene's line and the manifest say of a rotation (3, 3): yaw, pitch, roll in degrees, and the matrix."""
    euler = geometry.euler_from_rotation(rotation)
    return {"euler": np.round(euler, 6).tolist(), "rotation": np.round(rotation, 8).tolist()}


def turn(root: Path, seed: int) -> None:
    """The labels that are there, for the axes that ``anatomy.FRAME`` is now. Doing it twice changes nothing."""
    for first in tqdm(layout.firsts(root), desc="labels", unit="file", disable=None):
        lines = layout.read_scenes(root, first)
        for index, line in enumerate(lines, first):
            rotation = pose.draw(scenes.Draws(seed, index).stream("pose")).rotation @ LABEL
            label = root / layout.picture_path(index).with_suffix(".mat")
            try:
                arrays = read_matlab5(label)
            except (OSError, ValueError) as error:
                raise DataError(f"cannot turn the label {label}: {error}; give another --out") from error
            arrays["Pose_Para"][0, :3] = _pitch_yaw_roll(rotation)
            files.write_bytes(label, matlab5.pack(arrays))
            line |= fields(rotation)
        layout.write_scenes(root, first, lines)


def _pitch_yaw_roll(rotation: Array) -> Array:
    """Radians, in the order of 300W-LP's Pose_Para."""
    return np.asarray(np.deg2rad(geometry.euler_from_rotation(rotation)[[1, 0, 2]]))
