"""Labels that can be read and cannot be true: other units of angles, boxes that are not on the picture.

Nothing later would notice: a network trains on them to a small error, and reads no pose.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from headpose.errors import DataError, ImageError
from headpose.images import read_image
from headpose.types import Box, EulerAngles, Sample

_FEWEST = 5
"""Faces from which on small angles are no chance."""

_LARGEST_SHARE = 0.1
"""Of labels beyond 360 degrees. AFLW2000-3D has 2 in 2,000."""

_SMALLEST_BOX = 2.0  # pixels
_LEAST_INSIDE = 0.25
"""Of a box. The tight boxes of AFLW, AFLW2000-3D and HELEN have 0.63 and more inside."""

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_NO_FRAME = {0xC4, 0xC8, 0xCC}  # segments among those of a JPEG's frame (C0 to CF) that have no size


def look_like_radians(angles: Sequence[EulerAngles]) -> bool:
    """Whether labels that should be degrees are all as small as radians are: within +-pi, or from 0 to 2 pi.

    A set of zeros is the same in both, and a few faces may all look straight ahead.
    """
    values = [value for each in angles for value in each]
    small = all(abs(value) <= math.pi for value in values) or all(0 <= value <= 2 * math.pi for value in values)
    return len(angles) >= _FEWEST and small and any(values)


def check_not_degrees(samples: Sequence[Sample], folder: Path) -> None:
    """DataError if Pose_Para, read as radians, gives angles beyond 360 degrees too often: it holds degrees."""
    beyond = [sample for sample in samples if max(map(abs, sample.euler)) > 360.0]
    if len(beyond) > _LARGEST_SHARE * len(samples):
        first = beyond[0].image.with_suffix(".mat")
        raise DataError(
            f"{folder}: Pose_Para is beyond 2 pi in {len(beyond)} of {len(samples)} files, {first.name} the first: it "
            "looks like degrees; radians are needed, so convert it"
        )


def check_boxes(boxes: Sequence[tuple[Path, Box]], places: Iterable[str]) -> None:
    """Holds boxes against the sizes of their pictures, of which only the headers are read.

    A picture that cannot be read is left to whoever needs its pixels.

    Args:
        boxes: pictures, and boxes on them in pixels.
        places: where each is from, for the message.

    Raises:
        DataError: a box is a point, or lies outside of its picture, or nearly so.
    """
    sizes: dict[Path, tuple[int, int] | None] = {}
    for (image, box), place in zip(boxes, places, strict=True):
        if max(box.width, box.height) <= _SMALLEST_BOX:
            raise DataError(
                f"{place}: the box {_shown(box)} is {box.width:g} x {box.height:g} pixels: it looks like shares of the "
                "picture; multiply x by its width and y by its height"
            )
        if image not in sizes:
            sizes[image] = size_of(image)
        size = sizes[image]
        if size is None or _inside(box, *size) >= _LEAST_INSIDE:
            continue
        try:  # once more by the pixels: EXIF may turn the picture
            height, width = read_image(image).shape[:2]
        except ImageError:
            continue
        if _inside(box, width, height) < _LEAST_INSIDE:
            raise DataError(
                f"{place}: the box {_shown(box)} lies outside of the {width} x {height} picture {image.name}: "
                "boxes are x1, y1, x2, y2 in its pixels; correct it, or remove the face"
            )


def _inside(box: Box, width: int, height: int) -> float:
    """The share of a box that is on a picture."""
    across = max(0.0, min(box.x2, width) - max(box.x1, 0.0))
    down = max(0.0, min(box.y2, height) - max(box.y1, 0.0))
    return across * down / (box.width * box.height)


def _shown(box: Box) -> str:
    return ", ".join(f"{value:g}" for value in box.as_tuple())


def size_of(picture: Path) -> tuple[int, int] | None:
    """Width and height by the header; by the pixels where it is neither JPEG nor PNG; None if it is no picture."""
    try:
        with picture.open("rb") as file:
            start = file.read(24)
            if start.startswith(_PNG) and len(start) == 24:
                return int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")
            if start.startswith(_JPEG):
                return _jpeg_size(file)
        height, width = read_image(picture).shape[:2]
    except (OSError, ImageError):
        return None
    return width, height


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(2)
    while len(segment := file.read(4)) == 4 and segment[0] == 0xFF:
        if segment[1] == 0xFF:  # padding
            file.seek(-3, 1)
            continue
        if 0xC0 <= segment[1] <= 0xCF and segment[1] not in _NO_FRAME:
            frame = file.read(5)
            return (int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")) if len(frame) == 5 else None
        file.seek(max(0, int.from_bytes(segment[2:4], "big") - 2), 1)
    return None
