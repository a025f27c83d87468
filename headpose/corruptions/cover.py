"""Occlusions of the face, drawn in whole pixels without anti-aliasing. Sizes are in thousandths of the face box."""

from __future__ import annotations

import cv2
import numpy as np

from headpose.corruptions.draws import Draws
from headpose.corruptions.field import face_size
from headpose.types import Box, Image

_SUNGLASSES = (24, 20, 20)
_EYES = 0.22  # vertical position in the box, from eyebrows (0) to chin (1)
_SKIN = ((196, 215, 242), (140, 172, 224), (92, 130, 190), (58, 84, 130), (38, 52, 84))  # BGR


def occlusion(image: Image, box: Box, axis: int, draws: Draws) -> Image:
    """Draw a gray ellipse with its center in the inner 60 % of the box.

    Args:
        image: (H, W, 3) uint8 BGR.
        box: Face box in pixels.
        axis: Mean diameter in thousandths of the face; each axis varies by up to 25 %.
        draws: Random numbers.
    """
    made = image.copy()
    across, down = draws.between(200, 800), draws.between(200, 800)
    middle = round(box.x1 + across * box.width / 1000), round(box.y1 + down * box.height / 1000)
    half = axis * face_size(box) / 2000
    axes = tuple(max(1, round(half * draws.between(75, 125) / 100)) for _ in range(2))
    grey = draws.between(48, 208)
    cv2.ellipse(made, middle, axes, draws.below(180), 0, 360, (grey,) * 3, cv2.FILLED)
    return made


def glasses(image: Image, box: Box, height: int, draws: Draws) -> Image:
    """Draw a dark band over the eyes.

    The band is horizontal and spans the box, because the box contains neither yaw nor roll.

    Args:
        image: (H, W, 3) uint8 BGR.
        box: Face box in pixels.
        height: Height of the band in thousandths of the face height.
        draws: Random numbers (unused).
    """
    made = image.copy()
    middle, half = box.y1 + _EYES * box.height, height * box.height / 2000
    rows = slice(max(0, round(middle - half)), max(0, round(middle + half)))
    made[rows, max(0, round(box.x1)) : max(0, round(box.x2))] = _SUNGLASSES
    return made


def hand(image: Image, box: Box, reach: int, draws: Draws) -> Image:
    """Draw a hand (palm and four fingers) that reaches into the face from below, left or right.

    Args:
        image: (H, W, 3) uint8 BGR.
        box: Face box in pixels.
        reach: Reach of the longest finger in thousandths of the face.
        draws: Random numbers.
    """
    made = image.copy()
    skin = _SKIN[draws.below(len(_SKIN))]
    side, size = draws.below(3), face_size(box)
    along = draws.between(30, 70) / 100
    inwards = np.array([(0.0, -1.0), (1.0, 0.0), (-1.0, 0.0)][side])
    across = np.array([-inwards[1], inwards[0]])
    edge = [
        (box.x1 + along * box.width, box.y2),
        (box.x1, box.y1 + along * box.height),
        (box.x2, box.y1 + along * box.height),
    ][side]
    depth = box.height if side == 0 else box.width
    tip = np.array(edge) + inwards * reach * depth / 1000  # longest finger

    def pixel(back: float, aside: float) -> tuple[int, int]:
        x, y = tip - inwards * back * size + across * aside * size
        return round(float(x)), round(float(y))

    finger = max(1, round(0.13 * size))
    for number, shorter in enumerate((0.1, 0.0, 0.03, 0.12)):
        aside = 0.15 * (number - 1.5)
        cv2.line(made, pixel(shorter + 0.065, aside), pixel(0.6, aside), skin, finger)
        shade = tuple(3 * value // 4 for value in skin)
        if number:  # gap to the previous finger
            cv2.line(made, pixel(0.2, aside - 0.075), pixel(0.45, aside - 0.075), shade, max(1, finger // 8))
    cv2.line(made, pixel(0.65, 0.0), pixel(1.6, 0.0), skin, max(1, round(0.56 * size)))
    return made
