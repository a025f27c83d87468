"""The three corruptions of Aghli & Ribeiro (2021), Table 2.

The paper is "Combining Weight Pruning and Knowledge Distillation for CNN Compression" (CVPR Workshops 2021). Sizes are
in pixels of the 450 x 450 images of AFLW2000-3D. The paper states a 25 x 25 motion-blur kernel, a brightness delta of
-0.4 and random black patches of 35 x 35. It does not state the direction of the blur, the number of patches or their
distribution; ``docs/robustness.md`` says how these were chosen.
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
    """Average along a straight line.

    Args:
        image: (H, W, 3) uint8.
        taps: Side of the kernel in pixels, odd.
        direction: Direction as in ``exact.line``; 0 is horizontal.
    """
    return exact.mean_of_shifts(image, exact.line(taps, direction))


def brightness(image: Image, delta: int) -> Image:
    """Add ``delta`` to every value of a (H, W, 3) uint8 image, with clipping."""
    table = np.clip(np.arange(256) + delta, 0, 255).astype(np.uint8)
    return table[image]


def black_patches(image: Image, box: Box, count: int, where: Where, draws: Draws, side: int = PATCH) -> Image:
    """Draw black squares at random positions. A larger count keeps the squares of a smaller one.

    Args:
        image: (H, W, 3) uint8.
        box: Face box in pixels.
        count: Number of squares; they may overlap.
        where: "picture" places whole squares anywhere in the image, "face" places their centers in the box.
        draws: Random numbers.
        side: Side of a square in pixels.
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
