"""The three corruptions of Aghli & Ribeiro, "Combining Weight Pruning and Knowledge Distillation for CNN
Compression" (CVPR Workshops 2021), Table 2: absolute in the pixels of AFLW2000-3D's 450 x 450 pictures.

What the paper prints: a motion-blur kernel of 25 x 25; brightness by a delta of -0.4; random black
patches of 35 x 35. The direction of the blur, the number of patches and where they may fall are not
printed: ``docs/robustness.md`` has how they were chosen.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from headpose.corruptions import exact
from headpose.corruptions.draws import Draws
from headpose.types import Box, Image

BLUR_TAPS = 25
BRIGHTNESS_DELTA = -102  # -0.4 of 255
PATCH = 35

Where = Literal["picture", "face"]


def motion_blur(image: Image, taps: int, direction: int) -> Image:
    """The mean along a straight line.

    Args:
        image: (H, W, 3) uint8.
        taps: side of the kernel, odd.
        direction: of ``exact.line``; 0 is horizontal.
    """
    return exact.mean_of_shifts(image, exact.line(taps, direction))


def brightness(image: Image, delta: int) -> Image:
    """``delta`` added to every value of (H, W, 3) uint8, clipped."""
    table = np.clip(np.arange(256) + delta, 0, 255).astype(np.uint8)
    return table[image]


def black_patches(image: Image, box: Box, count: int, where: Where, draws: Draws, side: int = PATCH) -> Image:
    """Black squares at random places; a larger count adds to the squares of a smaller one.

    Args:
        image: (H, W, 3) uint8.
        box: the face.
        count: number of squares; they may overlap.
        where: "picture": anywhere that holds the whole square; "face": its middle within the box.
        draws: where they fall.
        side: of a square, pixels.
    """
    made = image.copy()
    height, width = image.shape[:2]
    for _ in range(count):
        if where == "picture":
            x, y = draws.below(max(1, width - side + 1)), draws.below(max(1, height - side + 1))
        else:
            x = draws.between(round(box.x1), round(box.x2)) - side // 2
            y = draws.between(round(box.y1), round(box.y2)) - side // 2
        made[max(0, y) : max(0, y + side), max(0, x) : max(0, x + side)] = 0
    return made
