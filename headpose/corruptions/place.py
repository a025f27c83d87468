"""What moves the box or turns the picture: the pixels' place, not their value."""

from __future__ import annotations

import math

import cv2
import numpy as np

from headpose.corruptions.draws import Draws
from headpose.corruptions.field import face_size
from headpose.types import Box, Image

_ONE = 1 << 16  # of the fixed-point coordinates
_FINE = 32  # cv2.remap's steps in a pixel


def crop_jitter(box: Box, share: int, draws: Draws) -> Box:
    """The box of a poor detector: moved, and made larger or smaller, by up to ``share`` thousandths of the face.

    It moves by the full share in one of 16 directions; its sides change by up to the share, each on its own.
    """
    far = share * face_size(box) / 1000
    angle = draws.below(16) * math.pi / 8
    x, y = box.center[0] + far * math.cos(angle), box.center[1] + far * math.sin(angle)
    width, height = (side * (1 + share * draws.between(-100, 100) / 100_000) for side in (box.width, box.height))
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def turn(image: Image, box: Box, clockwise_degrees: int) -> Image:
    """The picture turned clockwise on the screen about the middle of the box; its edge pixels fill the corners.

    The interpolation is bilinear in OpenCV's fixed-point arithmetic, its coordinates are integers.
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
