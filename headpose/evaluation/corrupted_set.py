"""Export corrupted images to files, for other programs and for visual inspection."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from headpose import files, geometry
from headpose.corruptions import Corruption
from headpose.datasets import manifest
from headpose.errors import DataError, HeadPoseError
from headpose.evaluation.accuracy import BRANCH
from headpose.images import read_image, write_image
from headpose.types import Sample


def targets(
    folder: str | os.PathLike[str], samples: Sequence[Sample], corruption: Corruption, seed: int = 0
) -> list[Path]:
    """Return the files that ``export`` would overwrite: an empty list if their folder does not exist."""
    target = _subfolder(folder, corruption, seed)
    if not target.is_dir():
        return []
    stems = dict.fromkeys(sample.image.stem for sample in samples)
    return [target / "labels.csv", *(target / f"{stem}{ending}" for stem in stems for ending in (".png", ".mat"))]


def export(
    folder: str | os.PathLike[str], samples: Sequence[Sample], corruption: Corruption, seed: int = 0
) -> tuple[Path, str]:
    """Write the corrupted images of samples as PNG files, with their labels.

    The labels are written as a manifest (``headpose.datasets.manifest``), labels.csv. The .mat file of an image, if
    there is one, is copied unless the corruption moves the box or rotates the image.

    Args:
        folder: Parent folder. The images go to a subfolder such as MB, defocus-3 or OC-seed0.
        samples: Samples whose image files have different names.
        corruption: Corruption to apply.
        seed: Random seed of the corruption.

    Returns:
        The subfolder, and the SHA-256 over the pixels of all images in order, which is equal for identical images.

    Raises:
        DataError: Two images have the same name.
        ImageError: An image cannot be read.
        HeadPoseError: A file cannot be written.
    """
    stems = [sample.image.stem for sample in samples]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise DataError(f"cannot export: {twice} is the name of two faces, and a file can hold one")
    target = _subfolder(folder, corruption, seed)
    text, pixels = io.StringIO(), hashlib.sha256()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*manifest.COLUMNS, "weight"])
    try:
        target.mkdir(parents=True, exist_ok=True)
        for sample in tqdm(samples, desc=f"export {target.name}", unit="picture", leave=False, disable=None):
            view = corruption(read_image(sample.image), sample.box, sample.image.stem, seed)
            pixels.update(view.image.tobytes())
            write_image(target / f"{sample.image.stem}.png", view.image)
            euler = sample.euler
            if view.clockwise_degrees:
                turned = geometry.turn_picture(sample.rotation, view.clockwise_degrees)
                euler = geometry.euler_from_rotation(turned, BRANCH)
            numbers = [f"{value:.4f}" for value in (*view.box.as_tuple(), *euler)]
            rows.writerow([f"{sample.image.stem}.png", *numbers, f"{sample.weight:g}"])
            labels = sample.image.with_suffix(".mat")
            if labels.is_file() and not corruption.moves:
                files.write_bytes(target / labels.name, labels.read_bytes())
    except OSError as error:
        raise HeadPoseError(f"cannot write to {target}: {error.strerror}") from error
    files.write_text(target / "labels.csv", text.getvalue())
    return target, pixels.hexdigest()


def _subfolder(folder: str | os.PathLike[str], corruption: Corruption, seed: int) -> Path:
    return Path(folder) / (f"{corruption.label}-seed{seed}" if corruption.is_random else corruption.label)
