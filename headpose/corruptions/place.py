"""Geometric corruptions: shift the box or rotate the image."""

from __future__ import annotations

import math

import cv2
import numpy as np

from headpose.corruptions.draws import Draws
from headpose.corruptions.field import face_size
from headpose.types import Box, Image

_ONE = 1 << 16  # fixed-point scale of coordinates
_FINE = 32  # subpixel steps of cv2.remap


def crop_jitter(box: Box, share: int, draws: Draws) -> Box:
    """Shift and rescale a box as an inaccurate detector would.

    Args:
        box: Face box in pixels.
        share: Shift in thousandths of the face, in one of 16 directions. Width and height change independently by up
            to the same share.
        draws: Random numbers.
    """
    far = share * face_size(box) / 1000
    angle = draws.below(16) * math.pi / 8
    x, y = box.center[0] + far * math.cos(angle), box.center[1] + far * math.sin(angle)
    width, height = (side * (1 + share * draws.between(-100, 100) / 100_000) for side in (box.width, box.height))
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def turn(image: Image, box: Box, clockwise_degrees: int) -> Image:
    """Rotate an image clockwise about the center of the box, with bilinear interpolation in integer coordinates.

    Args:
        image: (H, W, 3) uint8.
        box: Face box in pixels.
        clockwise_degrees: Angle in degrees.

    Returns:
        Rotated image of the same size. The corners repeat the border pixels.
    """
    height, width = image.shape[:2]
    angle = math.radians(clockwise_degrees)
    cos, sin = round(_ONE * math.cos(angle)), round(_ONE * math.sin(angle))
    middle_x, middle_y = (round(_ONE * (middle - 0.5)) for middle in box.center)
    x = np.arange(width, dtype=np.int64)[None, :] * _ONE - middle_x
    y = np.arange(height, dtype=np.int64)[:, None] * _ONE - middle_y
    step = _ONE // _FINE
    source_x = ((cos * x + sin * y) // _ONE + middle_x + step // 2) // step
    source_y = ((-sin * x + cos * y) // _ONE + middle_y + step // 2) // step
    whole = np.stack([source_x // _FINE, source_y // _FINE], -1).clip(-(1 << 15), (1 << 15) - 1).astype(np.int16)
    part = (source_y % _FINE * _FINE + source_x % _FINE).astype(np.uint16)
    turned = cv2.remap(image, whole, part, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, np.uint8)
