"""Read the poses of faces at any angle in the image plane.

A network reads upright faces. A face whose angle is known, from a detector's eyes or from the frame before, is cut
upright, and the rotation is turned back. A box without an angle is read as it is; where the head in the answer is far
tilted on the screen, it is read once more in an upright crop.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headpose import crop, geometry, inference
from headpose.inference import PoseModel
from headpose.reading import Reading
from headpose.types import TILTED_DEGREES, Box, CropSpec, Face, HeadPose, Image, Region


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One face to read: its crop, and what a second look needs.

    Attributes:
        crop: (S, S, 3) uint8 BGR, the network's input.
        place: Box or region that was cropped, in pixels of the image.
        around: Part of the image around a box without an angle, a copy; None if a second look is not wanted.
        corner: Position (x, y) of that part in the image, in pixels.
    """

    crop: Image
    place: Box | Region
    around: Image | None = None
    corner: tuple[int, int] = (0, 0)


def look(image: Image, face: Face, spec: CropSpec) -> Look:
    """Cut a face: upright if its angle is known and above ``TILTED_DEGREES``, otherwise by its box.

    Args:
        image: (H, W, 3) uint8 BGR.
        face: Face in pixels of the image.
        spec: Crop settings of the network.
    """
    if face.region is not None and abs(face.region.turn) > TILTED_DEGREES:
        return Look(crop.cut(image, face.region, spec), face.region)
    place, seen = face.box, crop.cut(image, face.box, spec)
    # Crops at any angle lie in a circle; 2 pixels for the interpolation.
    radius = math.hypot(place.width, place.height) * spec.scale / math.sqrt(2) * (1 + abs(spec.shift_y)) + 2
    (x, y), (height, width) = place.center, image.shape[:2]
    left, top = (int(min(max(middle - radius, 0), side - 1)) for middle, side in ((x, width), (y, height)))
    right, bottom = (int(min(max(middle + radius, 0), side - 1)) + 1 for middle, side in ((x, width), (y, height)))
    return Look(seen, place, image[top:bottom, left:right].copy(), (left, top))


def read(model: PoseModel, looks: Sequence[Look]) -> tuple[Reading, list[Box | Region]]:
    """Read faces, those that turn out to be far tilted twice.

    Args:
        model: Network.
        looks: N faces, cut with the crop settings of the network.

    Returns:
        The outputs for N faces, rotations in camera axes and regions in the axes of the last crop, and the box or
        region of that crop, in pixels of the image.

    Raises:
        HeadPoseError: The network fails (see ``inference.read``).
    """
    places: list[Box | Region] = [each.place for each in looks]
    if not looks:
        return inference.read(model, np.zeros((0, 3, model.crop.size, model.crop.size), np.float32)), places
    first = _read(model, [each.crop for each in looks], places)
    turns = geometry.in_plane_angle(first.rotation)
    again = [i for i, each in enumerate(looks) if each.around is not None and abs(turns[i]) > TILTED_DEGREES]
    if not again:
        return first, places
    crops = []
    for index in again:
        places[index] = region = Region.of(_box(looks[index].place), float(turns[index]))
        crops.append(_recut(looks[index], region, model.crop))
    return _replaced(first, again, _read(model, crops, [places[index] for index in again])), places


def poses(
    faces: Sequence[Face], reading: Reading, places: Sequence[Box | Region], min_confidence: float = 0.0
) -> list[HeadPose]:
    """Return the poses of faces from the results of ``read``.

    Args:
        faces: N faces. ``region`` of each pose's face is the region that was cropped, None for a box.
        reading: Outputs for the N faces.
        places: Boxes or regions that were cropped.
        min_confidence: Probability of a readable face below which a pose is not ``reliable``, in [0, 1].
    """
    covariance = reading.covariance
    readable = [None] * len(faces) if reading.readable is None else list(map(float, reading.readable))
    regions = [place if isinstance(place, Region) else None for place in places]
    return [
        HeadPose(
            dataclasses.replace(face, region=region),
            reading.rotation[index],
            covariance=None if covariance is None else covariance[index],
            readable=probability,
            reliable=probability is None or probability >= min_confidence,
        )
        for index, (face, region, probability) in enumerate(zip(faces, regions, readable, strict=True))
    ]


def _read(model: PoseModel, crops: list[Image], places: Sequence[Box | Region]) -> Reading:
    """Read crops, and turn the rotations from the axes of each crop to those of the camera."""
    reading = inference.read(model, crop.normalize(np.stack(crops), model.crop))
    turns = np.array([place.turn if isinstance(place, Region) else 0.0 for place in places])
    if not turns.any():
        return reading
    turned = np.where((turns != 0)[:, None, None], geometry.turn_picture(reading.rotation, turns), reading.rotation)
    return dataclasses.replace(reading, rotation=turned)


def _recut(seen: Look, region: Region, spec: CropSpec) -> Image:
    assert seen.around is not None
    x, y = region.center
    moved = dataclasses.replace(region, center=(x - seen.corner[0], y - seen.corner[1]))
    return crop.cut(seen.around, moved, spec)


def _replaced(first: Reading, rows: list[int], second: Reading) -> Reading:
    """Return ``first`` with some of its rows from ``second``."""
    changed = {}
    for field in dataclasses.fields(Reading):
        old, new = getattr(first, field.name), getattr(second, field.name)
        if old is not None and new is not None:
            changed[field.name] = old.copy()
            changed[field.name][rows] = new
    return dataclasses.replace(first, **changed)


def _box(place: Box | Region) -> Box:
    return place.bounds if isinstance(place, Region) else place
