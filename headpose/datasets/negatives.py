"""Negatives: images or image regions without a face, which a detector may still detect.

Three forms are supported: a folder of images; a CSV file with the column ``image`` and optionally ``x1,y1,x2,y2``; and
a manifest of labeled faces (``headpose.datasets.manifest``), whose background is used.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headpose.datasets import manifest, plausible
from headpose.errors import DataError
from headpose.images import SUFFIXES
from headpose.types import Box

_BOX = manifest.COLUMNS[1:5]
_ANGLES = manifest.COLUMNS[5:]
_SMALLEST = 24.0  # minimum side of a drawn box, pixels
_SIZES = (0.15, 0.9)  # range of the side of a drawn box, as a fraction of the shorter side of the image
_ASPECT = 0.12  # standard deviation of log(height / width), as for detected faces of AFLW
_BEYOND = 0.25  # maximum fraction of a drawn box outside of its image
_CLEAR = 1.3  # a drawn box enlarged by this factor overlaps no face
_TRIES = 50


@dataclass(frozen=True, slots=True)
class Negative:
    """Image region without a face.

    Attributes:
        image: Image file.
        box: Region in pixels, in place of the tight box of a face; None if ``draw_box`` chooses one.
        faces: Tight boxes of the faces in the image in pixels; a drawn box avoids them.
        group: Name of the source photograph. A split keeps all regions of a group on one side.
    """

    image: Path
    box: Box | None = None
    faces: tuple[Box, ...] = ()
    group: str = ""


def read(path: str | os.PathLike[str]) -> list[Negative]:
    """Read negatives.

    Args:
        path: One of

            * a folder: all images in it and in its subfolders, sorted by name;
            * a CSV file with the column ``image``, relative to the folder of the file, and either all of
              ``x1,y1,x2,y2`` (a region in pixels) or none of them (the whole image); other columns are ignored;
            * a manifest of labeled faces, which also has the columns ``yaw``, ``pitch`` and ``roll``: the background of
              its images. Images without enough room beside the faces are skipped. The manifest must contain all faces
              of its images.

    Raises:
        DataError: There are no images, a row is invalid, an image is missing, or a box is outside of its image.
    """
    root = Path(path)
    if root.is_dir():
        return _folder(root)
    columns = _columns(root)
    if all(name in columns for name in _ANGLES):
        return _background(root)
    return _list(root, columns)


def draw_box(negative: Negative, width: int, height: int, rng: np.random.Generator) -> Box:
    """Return the box of a negative, or draw one that resembles the box of a detected face.

    The side is log-uniform from 0.15 to 0.9 of the shorter side of the image (at least 24 pixels), the aspect ratio
    varies as for detected faces, and up to a quarter of the width and height may be outside of the image.

    Args:
        negative: Negative, whose own box is returned if it has one.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        rng: Random generator.

    Returns:
        Box in pixels that avoids ``negative.faces`` if the image has room for it.
    """
    if negative.box is not None:
        return negative.box
    shorter = min(width, height)
    most = _SIZES[1] * shorter
    least = min(max(_SIZES[0] * shorter, _SMALLEST), most)
    for attempt in range(_TRIES):
        side = least * (most / least) ** (rng.random() * (1 - attempt / _TRIES))  # later attempts are smaller
        box = _placed(side, math.exp(rng.normal(0.0, _ASPECT) / 2), width, height, rng)
        if not any(_touches(box, face) for face in negative.faces):
            return box
    return _beside(negative.faces, width, height)


def _placed(side: float, stretch: float, width: int, height: int, rng: np.random.Generator) -> Box:
    across, down = side / stretch, side * stretch
    x = rng.uniform(-_BEYOND * across, width - (1 - _BEYOND) * across)
    y = rng.uniform(-_BEYOND * down, height - (1 - _BEYOND) * down)
    return Box(x, y, x + across, y + down)


def _touches(box: Box, face: Box) -> bool:
    reach_x, reach_y = box.width * (_CLEAR - 1) / 2, box.height * (_CLEAR - 1) / 2
    across = min(box.x2 + reach_x, face.x2) - max(box.x1 - reach_x, face.x1)
    down = min(box.y2 + reach_y, face.y2) - max(box.y1 - reach_y, face.y1)
    return across > 0 and down > 0


def _beside(faces: tuple[Box, ...], width: int, height: int) -> Box:
    """Return a box in the middle of the widest strip beside all faces."""
    strips = _strips(faces, width, height)
    strip = max(strips, key=lambda each: min(each[2] - each[0], each[3] - each[1]))
    side = max(1.0, min(strip[2] - strip[0], strip[3] - strip[1]) / _CLEAR)
    x, y = (strip[0] + strip[2]) / 2, (strip[1] + strip[3]) / 2
    return Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def _strips(faces: tuple[Box, ...], width: int, height: int) -> list[tuple[float, float, float, float]]:
    """Return the strips of an image to the left of all faces, above, to the right and below."""
    left, top = min(face.x1 for face in faces), min(face.y1 for face in faces)
    right, bottom = max(face.x2 for face in faces), max(face.y2 for face in faces)
    return [(0, 0, left, height), (0, 0, width, top), (right, 0, width, height), (0, bottom, width, height)]


def _has_room(faces: tuple[Box, ...], size: tuple[int, int]) -> bool:
    strips = _strips(faces, *size)
    return max(min(x2 - x1, y2 - y1) for x1, y1, x2, y2 in strips) >= _SMALLEST * _CLEAR


def _folder(root: Path) -> list[Negative]:
    try:
        files = sorted(file for file in root.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    except OSError as error:
        raise DataError(f"cannot read the folder {root}: {error.strerror}") from error
    visible = [file for file in files if not any(part.startswith(".") for part in file.relative_to(root).parts)]
    if not visible:
        raise DataError(f"no picture in the folder {root} or below it")
    return [Negative(file, group=file.relative_to(root).with_suffix("").as_posix()) for file in visible]


def _columns(file: Path) -> list[str]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            return [name.strip() for name in next(csv.reader(text), [])]
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is not a CSV file in UTF-8: {error}") from error


def _list(file: Path, columns: list[str]) -> list[Negative]:
    named = [name for name in _BOX if name in columns]
    if "image" not in columns or len(named) not in (0, len(_BOX)):
        raise DataError(f"{file} lacks a column: negatives need image, or image,{','.join(_BOX)}")
    negatives: list[Negative] = []
    boxes: list[tuple[Path, Box]] = []
    lines: list[str] = []
    with file.open(newline="", encoding="utf-8-sig") as text:
        reader = csv.DictReader(text, fieldnames=columns)
        try:
            next(reader, None)
            for row in reader:
                where = f"{file}, line {reader.line_num}"
                image, box = manifest.picture(file, row, where), manifest.box(row, where) if named else None
                negatives.append(Negative(image, box, group=Path(row["image"] or "").with_suffix("").as_posix()))
                if box is not None:
                    boxes.append((image, box))
                    lines.append(where)
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{file} is not a CSV file in UTF-8: {error}") from error
    if not negatives:
        raise DataError(f"{file} has a header and no pictures")
    plausible.check_boxes(boxes, lines)
    return negatives


def _background(file: Path) -> list[Negative]:
    pictures: dict[Path, Negative] = {}
    for sample in manifest.read(file):
        there = pictures.setdefault(sample.image, Negative(sample.image, group=sample.group))
        pictures[sample.image] = dataclasses.replace(there, faces=(*there.faces, sample.box))
    sizes = ((each, plausible.size_of(each.image)) for each in pictures.values())
    roomy = [each for each, size in sizes if size is not None and _has_room(each.faces, size)]
    if not roomy:
        raise DataError(
            f"{file}: none of its {len(pictures)} pictures has {_SMALLEST * _CLEAR:.0f} pixels beside its faces: "
            "a manifest gives the background of its pictures; name the pictures without a face in a file without yaw"
        )
    return roomy
