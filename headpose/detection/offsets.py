"""Conversion between each detector's box and the tight box of the 68 landmarks.

The offsets are medians over HELEN's hand-annotated points; the command above each one measures it. They do not depend
on the pose, because HELEN is near-frontal. They raise the mean IoU of BlazeFace's box with the tight box from 0.81 to
0.86. A regression on the six key points would reach 0.88 on HELEN, which has no profile views to fit it on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from headpose.types import TILTED_DEGREES, Box, Face, Region


@dataclass(frozen=True, slots=True)
class TightOffsets:
    """Offsets of the tight box's edges from those of the detector's box; right and down are positive.

    Attributes:
        left: Offset of the left edge, as a fraction of the detector box's width.
        top: Offset of the top edge, as a fraction of the detector box's height.
        right: Offset of the right edge, as a fraction of the detector box's width.
        bottom: Offset of the bottom edge, as a fraction of the detector box's height.
    """

    left: float
    top: float
    right: float
    bottom: float

    def detector_box(self, tight: Box) -> Box:
        """Return the detector's box for a tight box: the inverse of ``apply``."""
        width = tight.width / (1.0 + self.right - self.left)
        height = tight.height / (1.0 + self.bottom - self.top)
        x, y = tight.x1 - self.left * width, tight.y1 - self.top * height
        return Box(x, y, x + width, y + height)

    def apply(self, x1: float, y1: float, x2: float, y2: float) -> Box:
        """Return the tight box for a detector's box, in pixels; ValueError if it is empty."""
        width, height = x2 - x1, y2 - y1
        return Box(x1 + self.left * width, y1 + self.top * height, x2 + self.right * width, y2 + self.bottom * height)

    def face(self, sides: tuple[float, float, float, float], score: float, turn: float) -> Face:
        """Return the face of a detector's box whose angle in the image plane is known.

        Args:
            sides: x1, y1, x2, y2 of the detector's box in pixels. A box that is turned with the face has the same
                center: detectors draw squares.
            score: Confidence of the detector, in [0, 1].
            turn: Clockwise angle of the face in degrees.
        """
        upright = self.apply(*sides)
        if abs(turn) <= TILTED_DEGREES:
            return Face(upright, score, Region.of(upright, turn))
        x, y = (sides[0] + sides[2]) / 2, (sides[1] + sides[3]) / 2
        right, down = upright.center[0] - x, upright.center[1] - y
        cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        center = (x + cos * right - sin * down, y + sin * right + cos * down)
        region = Region(center, upright.width, upright.height, turn)
        return Face(region.bounds, score, region)


# python eval/detectors.py offsets --data DIR --detector blazeface
BLAZEFACE = TightOffsets(0.023, 0.089, -0.026, 0.011)

# python eval/detectors.py offsets --data DIR --detector mediapipe
MEDIAPIPE = TightOffsets(0.027, 0.090, -0.016, 0.020)

# Not measured on HELEN. These are medians over 400 images of AFLW2000-3D (YuNet's box relative to the tight box: left
# .01, top -.33, right -.02, bottom .01, as fractions of the tight box), converted to fractions of YuNet's box.
# With a file: python eval/detectors.py offsets --data DIR --detector yunet --model-path FILE
YUNET = TightOffsets(-0.010, 0.246, 0.021, -0.007)

BY_DETECTOR = {"blazeface": BLAZEFACE, "mediapipe": MEDIAPIPE, "yunet": YUNET}
