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


def cut(image: Image, box: Box, share: int, draws: Draws) -> tuple[Image, Box]:
    """Cut the picture through the face, so that its edge hides one side of it.

    The side is drawn: left, top, right or bottom. A face that the picture already cuts further stays as it is.

    Args:
        image: (H, W, 3) uint8 BGR picture.
        box: Tight box of the face, pixels.
        share: Part of the box that lies outside of the new picture, thousandths of its width or height.
        draws: Stream that picks the side.

    Returns:
        The smaller picture, at least one pixel wide and high, and the same face's box in it.
    """
    axis, at_end = divmod(draws.below(4), 2)  # axis 0: columns, 1: rows
    length = image.shape[1 - axis]
    low, high = box.as_tuple()[axis::2]
    outside = share * (high - low) / 1000
    edge = round(high - outside) if at_end else round(low + outside)
    start, stop = (0, min(max(edge, 1), length)) if at_end else (min(max(edge, 0), length - 1), length)
    kept = image[:, start:stop] if axis == 0 else image[start:stop]
    moved = [side - start if number % 2 == axis else side for number, side in enumerate(box)]
    return np.ascontiguousarray(kept), Box(*moved)


def box_of_turned_face(box: Box, degrees: int) -> Box:
    """Return the tight box of a face after its picture is turned about the middle of the box.

    The face is taken for the ellipse that touches the sides of its box: the sides of the box change places at 90
    degrees, and at 180 the box is the same.

    Args:
        box: Tight box of the upright face, pixels.
        degrees: Angle of the turn, either way.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    width = math.hypot(box.width * cos, box.height * sin)
    height = math.hypot(box.width * sin, box.height * cos)
    x, y = box.center
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
