"""From each detector's own box to the tight box of the 68 landmarks.

The offsets are medians over HELEN's hand-annotated points; the command beside each prints it again. They do not
depend on the pose: HELEN is near-frontal. With them the mean IoU of BlazeFace's box with the tight one rises
from 0.81 to 0.86; a regression on its six key points would reach 0.88 there, but HELEN holds no profile to fit it on.
"""

from __future__ import annotations

from dataclasses import dataclass

from headpose.types import Box


@dataclass(frozen=True, slots=True)
class TightOffsets:
    """How far each edge of the tight box lies from the detector's, right and down being positive.

    Attributes:
        left, right: in widths of the detector's box.
        top, bottom: in heights of it.
    """

    left: float
    top: float
    right: float
    bottom: float

    def detector_box(self, tight: Box) -> Box:
        """The detector's box of a tight one: the inverse of ``apply``."""
        width = tight.width / (1.0 + self.right - self.left)
        height = tight.height / (1.0 + self.bottom - self.top)
        x, y = tight.x1 - self.left * width, tight.y1 - self.top * height
        return Box(x, y, x + width, y + height)

    def apply(self, x1: float, y1: float, x2: float, y2: float) -> Box:
        """The tight box of a detector's box, pixels; ValueError if that is empty."""
        width, height = x2 - x1, y2 - y1
        return Box(x1 + self.left * width, y1 + self.top * height, x2 + self.right * width, y2 + self.bottom * height)


# python eval/detectors.py offsets --data DIR --detector blazeface
BLAZEFACE = TightOffsets(0.023, 0.089, -0.026, 0.011)

# python eval/detectors.py offsets --data DIR --detector mediapipe
MEDIAPIPE = TightOffsets(0.027, 0.090, -0.016, 0.020)

# Not from HELEN: no YuNet file was at hand. These are the medians over 400 pictures of AFLW2000-3D (left .01, top -.33,
# right -.02, bottom .01 of YuNet's box from the tight one, in fractions of that), turned into fractions of YuNet's box.
# With a file: python eval/detectors.py offsets --data DIR --detector yunet --model-path FILE
YUNET = TightOffsets(-0.010, 0.246, 0.021, -0.007)

BY_DETECTOR = {"blazeface": BLAZEFACE, "mediapipe": MEDIAPIPE, "yunet": YUNET}
