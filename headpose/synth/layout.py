"""Files of a folder of rendered heads: paths, scenes, and updates of the labels after a change of the head axes."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from headpose import files, geometry
from headpose.datasets import matlab5, w300lp
from headpose.errors import DataError
from headpose.geometry import Array
from headpose.synth import pose
from headpose.synth import scene as scenes
from headpose.synth.anatomy import LABEL

CHUNK = 20
"""Number of images that are written together; their scenes are stored in one file."""

_FOLDER = 10_000  # images per subfolder


def picture_path(index: int) -> Path:
    """Return the relative path of an image. The reader of 300W-LP treats each name as a separate source photograph."""
    return Path(f"heads-{index // _FOLDER:02d}") / f"synth_{index:06d}_0.jpg"


def firsts(root: Path) -> list[int]:
    """Return the first image numbers of the chunks in a folder, in order."""
    return sorted(int(file.name.partition(".")[0]) for file in (root / "scenes").glob("*.jsonl.gz"))


def read_scenes(root: Path, first: int, folder: str = "scenes") -> list[dict[str, Any]]:
    """Read the scenes of a chunk; return an empty list if the file is missing or damaged."""
    try:
        with gzip.open(root / folder / f"{first:06d}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]
    except (OSError, EOFError, ValueError):
        return []


def write_scenes(root: Path, first: int, lines: list[dict[str, Any]], folder: str = "scenes") -> None:
    """Write the scenes of a chunk. Equal scenes give equal bytes."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as archive:
        archive.write("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode())
    files.write_bytes(root / folder / f"{first:06d}.jsonl.gz", packed.getvalue())


def label_fields(rotation: Array) -> dict[str, Any]:
    """Return the label of a (3, 3) rotation for scenes and manifests: yaw, pitch, roll in degrees, and the matrix."""
    euler = geometry.euler_from_rotation(rotation)
    return {"euler": np.round(euler, 6).tolist(), "rotation": np.round(rotation, 8).tolist()}


def rewrite_labels(root: Path, seed: int, poses: str) -> None:
    """Rewrite the labels of a folder for the current head axes, ``anatomy.FRAME``. Idempotent.

    Args:
        root: Folder of the data set.
        seed: Random seed of the data set.
        poses: Name of its pose density.

    Raises:
        DataError: A label is missing or damaged.
    """
    for first in tqdm(firsts(root), desc="labels", unit="file", disable=None):
        lines = read_scenes(root, first)
        for index, line in enumerate(lines, first):
            rotation = pose.DENSITIES[poses].draw(scenes.Draws(seed, index).stream("pose")).rotation @ LABEL
            label = root / picture_path(index).with_suffix(".mat")
            try:
                arrays = matlab5.read_file(label)
            except (OSError, ValueError) as error:
                raise DataError(f"cannot turn the label {label}: {error}; give another --out") from error
            arrays["Pose_Para"][0, :3] = w300lp.pose_para_angles(rotation)
            files.write_bytes(label, matlab5.pack(arrays))
            line |= label_fields(rotation)
        write_scenes(root, first, lines)
