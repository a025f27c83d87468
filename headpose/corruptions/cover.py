"""What hides a part of the face: drawn without smoothed edges, in whole pixels. Shares are of the face's box, in
1/1000."""

from __future__ import annotations

import cv2
import numpy as np

from headpose.corruptions.draws import Draws
from headpose.corruptions.field import face_size
from headpose.types import Box, Image

_SUNGLASSES = (24, 20, 20)
_EYES = 0.22  # of the way from the brows to the chin
_SKIN = ((196, 215, 242), (140, 172, 224), (92, 130, 190), (58, 84, 130), (38, 52, 84))  # BGR


def occlusion(image: Image, box: Box, axis: int, draws: Draws) -> Image:
    """A grey ellipse, its middle in the inner 60 % of the box, ``axis`` thousandths of the face across +- a quarter."""
    made = image.copy()
    across, down = draws.between(200, 800), draws.between(200, 800)
    middle = round(box.x1 + across * box.width / 1000), round(box.y1 + down * box.height / 1000)
    half = axis * face_size(box) / 2000
    axes = tuple(max(1, round(half * draws.between(75, 125) / 100)) for _ in range(2))
    grey = draws.between(48, 208)
    cv2.ellipse(made, middle, axes, draws.below(180), 0, 360, (grey,) * 3, cv2.FILLED)
    return made


def glasses(image: Image, box: Box, height: int, draws: Draws) -> Image:
    """A dark band over the eyes from side to side, ``height`` thousandths of the face's height.

    The box tells neither the roll nor the yaw: the band lies, and spans the box.
    """
    made = image.copy()
    middle, half = box.y1 + _EYES * box.height, height * box.height / 2000
    rows = slice(max(0, round(middle - half)), max(0, round(middle + half)))
    made[rows, max(0, round(box.x1)) : max(0, round(box.x2))] = _SUNGLASSES
    return made


def hand(image: Image, box: Box, reach: int, draws: Draws) -> Image:
    """A hand, palm and four fingers, that comes from below, left or right ``reach`` thousandths into the face."""
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
    tip = np.array(edge) + inwards * reach * depth / 1000  # of the longest finger

    def pixel(back: float, aside: float) -> tuple[int, int]:
        x, y = tip - inwards * back * size + across * aside * size
        return round(float(x)), round(float(y))

    finger = max(1, round(0.13 * size))
    for number, shorter in enumerate((0.1, 0.0, 0.03, 0.12)):
        aside = 0.15 * (number - 1.5)
        cv2.line(made, pixel(shorter + 0.065, aside), pixel(0.6, aside), skin, finger)
        shade = tuple(3 * value // 4 for value in skin)
        if number:  # the gap to the finger before
            cv2.line(made, pixel(0.2, aside - 0.075), pixel(0.45, aside - 0.075), shade, max(1, finger // 8))
    cv2.line(made, pixel(0.65, 0.0), pixel(1.6, 0.0), skin, max(1, round(0.56 * size)))
    return made
