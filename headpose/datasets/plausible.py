"""Plausibility checks of labels: angles in another unit, boxes outside of the image.

Such errors go unnoticed later: a network trains on the labels to a small loss, but does not learn poses.
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
"""Minimum number of faces for the check of the unit; fewer faces may all have small angles by chance."""

_LARGEST_SHARE = 0.1
"""Maximum fraction of labels beyond 360 degrees. AFLW2000-3D has 2 in 2,000."""

_SMALLEST_BOX = 2.0  # pixels
_LEAST_INSIDE = 0.25
"""Minimum fraction of a box inside of its image. It is at least 0.63 in AFLW, AFLW2000-3D and HELEN."""

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_NO_FRAME = {0xC4, 0xC8, 0xCC}  # JPEG markers between C0 and CF that are not frame headers


def look_like_radians(angles: Sequence[EulerAngles]) -> bool:
    """Return whether all angles are within +-pi or within [0, 2 pi], so that they are probably in radians.

    Return False for zeros only, and for fewer than five faces, which may all look straight ahead.
    """
    values = [value for each in angles for value in each]
    small = all(abs(value) <= math.pi for value in values) or all(0 <= value <= 2 * math.pi for value in values)
    return len(angles) >= _FEWEST and small and any(values)


def check_not_degrees(samples: Sequence[Sample], folder: Path) -> None:
    """Check that Pose_Para is in radians.

    Raises:
        DataError: Too many angles are beyond 360 degrees when read as radians, so they are probably in degrees.
    """
    beyond = [sample for sample in samples if max(map(abs, sample.euler)) > 360.0]
    if len(beyond) > _LARGEST_SHARE * len(samples):
        first = beyond[0].image.with_suffix(".mat")
        raise DataError(
            f"{folder}: Pose_Para is beyond 2 pi in {len(beyond)} of {len(samples)} files, {first.name} the first: it "
            "looks like degrees; radians are needed, so convert it"
        )


def check_boxes(boxes: Sequence[tuple[Path, Box]], places: Iterable[str]) -> None:
    """Compare boxes with the sizes of their images, of which only the headers are read.

    Unreadable images are ignored here; they are reported when their pixels are read.

    Args:
        boxes: (image file, box in pixels) of each face.
        places: Origin of each box, for error messages.

    Raises:
        DataError: A box is smaller than 2 pixels, or less than a quarter of it is inside of its image.
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
        try:  # check again with the decoded size, because EXIF may rotate the image
            height, width = read_image(image).shape[:2]
        except ImageError:
            continue
        if _inside(box, width, height) < _LEAST_INSIDE:
            raise DataError(
                f"{place}: the box {_shown(box)} lies outside of the {width} x {height} picture {image.name}: "
                "boxes are x1, y1, x2, y2 in its pixels; correct it, or remove the face"
            )


def _inside(box: Box, width: int, height: int) -> float:
    """Return the fraction of a box that is inside of an image."""
    across = max(0.0, min(box.x2, width) - max(box.x1, 0.0))
    down = max(0.0, min(box.y2, height) - max(box.y1, 0.0))
    return across * down / (box.width * box.height)


def _shown(box: Box) -> str:
    return ", ".join(f"{value:g}" for value in box.as_tuple())


def size_of(picture: Path) -> tuple[int, int] | None:
    """Return width and height from the header of a JPEG or PNG file, or from the decoded image; None if unreadable."""
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
