"""The crop: convert an image and a tight box to a network's input.

Only this module cuts, resizes and normalizes for a network, and only it converts BGR to RGB. Training, evaluation and
the runtime all use it, so a network sees the same pixels in each.

A crop is one sub-pixel affine warp. When it shrinks the image by a factor s, the crop is sampled on a grid that is
k = ceil(s) times finer and averaged over k x k cells. This is area interpolation at any position and any in-plane
angle. Without it large faces are aliased, and a network that is accurate on small faces fails on large, sharp ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.errors import InputError
from headpose.types import Box, CropSpec, Image, Region

_INTERPOLATION = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
_BORDER = {"replicate": cv2.BORDER_REPLICATE, "black": cv2.BORDER_CONSTANT}
_LARGEST_GRID = 8192  # maximum side of the sampling grid, pixels; cv2.warpAffine's own limit is 32767


def source_from_crop(
    box: Box | Region, spec: CropSpec, size: int | None = None, clockwise_degrees: float = 0.0
) -> NDArray[np.float64]:
    """Return the affine transform from crop coordinates to image coordinates.

    Args:
        box: Tight box in pixels of the image, or a region: its crop is turned with it, so that the face is upright.
        spec: Crop settings.
        size: Side of the crop in pixels. None uses ``spec.size``.
        clockwise_degrees: Angle by which the image is rotated clockwise in the crop.

    Returns:
        (2, 3) float64 matrix. Pixel (i, j) covers [i, i + 1) x [j, j + 1).
    """
    size = spec.size if size is None else size
    width, height = (max(box.width, box.height),) * 2 if spec.square else (box.width, box.height)
    center_x, center_y = box.center
    turn = math.radians(box.turn) if isinstance(box, Region) else 0.0
    center_x -= spec.shift_y * box.height * math.sin(turn)
    center_y += spec.shift_y * box.height * math.cos(turn)
    angle = math.radians(clockwise_degrees) - turn
    cos, sin = math.cos(angle), math.sin(angle)
    per_x, per_y = spec.scale * width / size, spec.scale * height / size
    linear = np.array([[cos * per_x, sin * per_y], [-sin * per_x, cos * per_y]])
    offset = np.array([center_x, center_y]) - linear @ np.full(2, size / 2)
    return np.column_stack([linear, offset])


def region_in_crop(box: Box, crop_box: Box, spec: CropSpec, clockwise_degrees: float = 0.0) -> NDArray[np.float64]:
    """Return where a face is in a crop, as the output ``region`` of a network does.

    For a turned crop, the face is taken for the ellipse that touches the sides of its box.

    Args:
        box: Tight box of the face, pixels of the image.
        crop_box: Box that the crop is cut around, pixels of the image.
        spec: Crop settings.
        clockwise_degrees: As in ``cut``.

    Returns:
        (4,) float64 center x, center y, width and height in the axes of the crop, in units of its side.
    """
    affine = source_from_crop(crop_box, spec, 1, clockwise_degrees)
    inverse = np.linalg.inv(affine[:, :2])
    center = inverse @ (np.array(box.center) - affine[:, 2])
    return np.concatenate([center, np.hypot(*(inverse * (box.width, box.height)).T)])


def points_in_crop(
    points: NDArray[np.float64], box: Box | Region, spec: CropSpec, clockwise_degrees: float = 0.0
) -> NDArray[np.float64]:
    """Return where points of the image are in a crop, in units of its side; inverse of ``points_in_image``.

    Args:
        points: (..., 2) x and y in pixels of the image. Pixel (i, j) covers [i, i + 1) x [j, j + 1).
        box: Box or region that the crop is cut around, in pixels of the image.
        spec: Crop settings.
        clockwise_degrees: As in ``cut``.

    Returns:
        (..., 2) float64. The crop is [0, 1] x [0, 1], x to the right and y down.
    """
    affine = source_from_crop(box, spec, 1, clockwise_degrees)
    return np.asarray((points - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T)


def points_in_image(points: NDArray[np.float64], box: Box | Region, spec: CropSpec) -> NDArray[np.float64]:
    """Convert points of a crop, in units of its side, to pixels of the image.

    Args:
        points: (..., 2) x and y in units of the crop's side.
        box: Box or region that was cropped, in pixels of the image.
        spec: Crop settings.

    Returns:
        (..., 2) float64.
    """
    affine = source_from_crop(box, spec, 1)
    return np.asarray(points @ affine[:, :2].T + affine[:, 2])


def region_in_image(values: NDArray[np.float64], region: Box | Region, spec: CropSpec, turn: float) -> Region:
    """Convert a region that a network found in its crop to the image.

    Args:
        values: (4,) center x and y, width and height of the tight box in the axes of the crop, in units of its side.
        region: Box or region that was cropped.
        spec: Crop settings.
        turn: Clockwise angle of the face in the image, degrees. It may differ from that of the crop: the box is then
            that of a face that is turned in its crop.

    Raises:
        InputError: The result is empty or not finite.
    """
    affine = source_from_crop(region, spec, 1)
    center_x, center_y = affine @ (values[0], values[1], 1.0)
    width, height = np.linalg.norm(affine[:, :2], axis=0) * values[2:4] / 2
    in_crop = turn - (region.turn if isinstance(region, Region) else 0.0)
    upright = Region.of(Box(-width, -height, width, height), in_crop)
    return Region((float(center_x), float(center_y)), upright.width, upright.height, turn)


def cut(image: Image, box: Box | Region, spec: CropSpec, clockwise_degrees: float = 0.0) -> Image:
    """Crop a face.

    Args:
        image: (H, W, 3) uint8 BGR image.
        box: Tight box in pixels, or a region. It may extend outside of the image.
        spec: Crop settings.
        clockwise_degrees: Angle by which the image is rotated clockwise, for training (``geometry.turn_picture``
            rotates the label).

    Returns:
        (size, size, 3) uint8 BGR.

    Raises:
        InputError: ``image`` is not (H, W, 3) uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise InputError(f"an image must be (H, W, 3) uint8 BGR; got shape {image.shape}, {image.dtype}")
    per_pixel = max(np.linalg.norm(source_from_crop(box, spec)[:, :2], axis=0))
    finer = max(1, min(math.ceil(per_pixel - 1e-6), _LARGEST_GRID // spec.size))
    affine = source_from_crop(box, spec, spec.size * finer, clockwise_degrees)
    # From pixel corners to pixel centers, which is what warpAffine counts in.
    affine[:, 2] += affine[:, :2] @ np.full(2, 0.5) - 0.5
    grid = cv2.warpAffine(
        image,
        affine,
        (spec.size * finer,) * 2,
        flags=_INTERPOLATION[spec.interpolation] | cv2.WARP_INVERSE_MAP,
        borderMode=_BORDER[spec.border],
    )
    return grid if finer == 1 else cv2.resize(grid, (spec.size,) * 2, interpolation=cv2.INTER_AREA)


def normalize(crops: Image, spec: CropSpec) -> NDArray[np.float32]:
    """Convert crops to normalized tensors.

    Args:
        crops: (..., S, S, 3) uint8 BGR crops.
        spec: Crop settings: channel order, mean and standard deviation.

    Returns:
        (..., 3, S, S) float32.
    """
    scale = (1.0 / (255.0 * np.array(spec.std))).astype(np.float32)
    offset = (np.array(spec.mean) / np.array(spec.std)).astype(np.float32)
    order = (2, 1, 0) if spec.channels == "rgb" else (0, 1, 2)
    # Channels are split while values are bytes: several times as fast as with floats.
    planes = np.stack([crops[..., channel] for channel in order], axis=-3).astype(np.float32)
    planes *= scale[:, None, None]
    planes -= offset[:, None, None]
    return planes


def network_input(image: Image, boxes: Sequence[Box | Region], spec: CropSpec) -> NDArray[np.float32]:
    """Return (N, 3, S, S) float32: one normalized crop for each box or region of one image."""
    if not boxes:
        return np.zeros((0, 3, spec.size, spec.size), np.float32)
    return normalize(np.stack([cut(image, box, spec) for box in boxes]), spec)
