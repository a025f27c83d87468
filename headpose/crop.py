"""From a picture and a tight box to a network's input: the crop contract.

The only place that cuts, resizes and normalises, and the only one that turns BGR into RGB. Training,
evaluation and the runtime all come through here, so a network sees the same pixels in each.

The cut is one sub-pixel affine. When it shrinks the picture by a factor s it is sampled on a grid
k = ceil(s) times finer than asked and averaged k by k, which is area interpolation for any position
and any in-plane angle: without it a large face aliases, and a network that is good on small faces
fails on sharp large ones.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.errors import InputError
from headpose.types import Box, CropSpec, Image

_INTERPOLATION = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
_BORDER = {"replicate": cv2.BORDER_REPLICATE, "black": cv2.BORDER_CONSTANT}
_LARGEST_GRID = 8192  # pixels a side; cv2.warpAffine's own limit is 32767


def source_from_crop(
    box: Box, spec: CropSpec, size: int | None = None, clockwise_degrees: float = 0.0
) -> NDArray[np.float64]:
    """The affine that takes points of the crop to points of the picture.

    Args:
        box: tight box, pixels of the picture.
        spec: the crop.
        size: side of the crop in pixels, if not ``spec.size``.
        clockwise_degrees: the crop shows the picture turned clockwise by this angle.

    Returns:
        (2, 3) float64 on coordinates in which pixel (i, j) covers [i, i + 1) x [j, j + 1).
    """
    size = spec.size if size is None else size
    width, height = (max(box.width, box.height),) * 2 if spec.square else (box.width, box.height)
    center_x, center_y = box.center
    center_y += spec.shift_y * box.height
    angle = math.radians(clockwise_degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    per_x, per_y = spec.scale * width / size, spec.scale * height / size
    linear = np.array([[cos * per_x, sin * per_y], [-sin * per_x, cos * per_y]])
    offset = np.array([center_x, center_y]) - linear @ np.full(2, size / 2)
    return np.column_stack([linear, offset])


def cut(image: Image, box: Box, spec: CropSpec, clockwise_degrees: float = 0.0) -> Image:
    """Cuts the input of a network out of a picture.

    Args:
        image: (H, W, 3) uint8 BGR.
        box: tight box, pixels; it may reach outside the picture.
        spec: the crop.
        clockwise_degrees: turn of the picture, for training (``geometry.turn_picture`` has the label).

    Returns:
        (size, size, 3) uint8 BGR.

    Raises:
        InputError: ``image`` is not (H, W, 3) uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise InputError(f"an image is (H, W, 3) uint8 BGR, got {image.shape} {image.dtype}")
    per_pixel = max(np.linalg.norm(source_from_crop(box, spec)[:, :2], axis=0))
    finer = max(1, min(math.ceil(per_pixel - 1e-6), _LARGEST_GRID // spec.size))
    affine = source_from_crop(box, spec, spec.size * finer, clockwise_degrees)
    # From pixel corners to pixel centres, which is what warpAffine counts in.
    affine[:, 2] += affine[:, :2] @ np.full(2, 0.5) - 0.5
    grid = cv2.warpAffine(
        image,
        affine,
        (spec.size * finer,) * 2,
        flags=_INTERPOLATION[spec.interpolation] | cv2.WARP_INVERSE_MAP,
        borderMode=_BORDER[spec.border],
    )
    return grid if finer == 1 else cv2.resize(grid, (spec.size,) * 2, interpolation=cv2.INTER_AREA)


def normalise(crops: Image, spec: CropSpec) -> NDArray[np.float32]:
    """(..., S, S, 3) uint8 BGR crops -> (..., 3, S, S) float32 in the spec's channel order, normalised."""
    scale = (1.0 / (255.0 * np.array(spec.std))).astype(np.float32)
    offset = (np.array(spec.mean) / np.array(spec.std)).astype(np.float32)
    order = (2, 1, 0) if spec.channels == "rgb" else (0, 1, 2)
    # Planes are taken apart while a value is a byte: several times as fast as moving floats.
    planes = np.stack([crops[..., channel] for channel in order], axis=-3).astype(np.float32)
    planes *= scale[:, None, None]
    planes -= offset[:, None, None]
    return planes


def network_input(image: Image, boxes: list[Box], spec: CropSpec) -> NDArray[np.float32]:
    """(N, 3, S, S) float32: one normalised crop for each box of one picture."""
    if not boxes:
        return np.zeros((0, 3, spec.size, spec.size), np.float32)
    return normalise(np.stack([cut(image, box, spec) for box in boxes]), spec)
