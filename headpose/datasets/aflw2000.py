"""Reader of AFLW2000-3D: 2000 images of 450 x 450 pixels, image?????.jpg with image?????.mat. For testing only."""

from __future__ import annotations

import os
from pathlib import Path

from tqdm import tqdm

from headpose.datasets import mat, plausible
from headpose.errors import DataError
from headpose.types import Sample


def read(folder: str | os.PathLike[str]) -> list[Sample]:
    """Read all labeled images of a folder, sorted by file stem.

    The angles are the unmodified Pose_Para in degrees: 31 of the 2000 images have an angle beyond +-99, up to 972
    degrees. The protocol selects the images that count (``headpose.evaluation.protocols``).

    Raises:
        DataError: There is no labeled image, a label file is damaged, or labels are implausible (``plausible``).
    """
    pictures = mat.labeled_pictures(Path(folder))
    if not pictures:
        raise DataError(f"no AFLW2000-3D in {folder}: it holds no .jpg with a .mat beside it")
    samples = [
        mat.read_sample(picture, group=picture.stem)
        for picture in tqdm(pictures, desc="labels", unit="file", leave=False, disable=None)
    ]
    plausible.check_not_degrees(samples, Path(folder))
    plausible.check_boxes(
        [(sample.image, sample.box) for sample in samples], (str(picture.with_suffix(".mat")) for picture in pictures)
    )
    return samples
