"""Where a face is in an image: its tight box, and its region, which may be turned in the image plane."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from headpose.errors import InputError


@dataclass(frozen=True, slots=True)
class Box:
    """Axis-aligned rectangle in pixels. Pixel (i, j) covers [i, i + 1) x [j, j + 1).

    Unless stated otherwise it is the tight box of the 68 facial landmarks, from the eyebrows to the chin and from jaw
    to jaw. It may extend outside of the image.

    Attributes:
        x1: Left edge.
        y1: Top edge.
        x2: Right edge, above ``x1``.
        y2: Bottom edge, above ``y1``.

    Example:
        >>> x1, y1, x2, y2 = Box(10, 20, 40, 80)
        >>> x2 - x1, y2 - y1
        (30, 60)

    Raises:
        InputError: A coordinate is not a finite number, or the box is empty.
    """

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        try:
            finite = all(map(math.isfinite, self))
        except (TypeError, OverflowError):  # a string or None; an integer that is too large for a float
            finite = False
        if not finite:
            raise InputError(f"box has a coordinate that is not a number: {self}")
        if self.x2 <= self.x1 or self.y2 <= self.y1:
            raise InputError(f"box is empty: it needs x2 > x1 and y2 > y1, got {self}")

    def __iter__(self) -> Iterator[float]:
        """Yield x1, y1, x2, y2."""
        yield from (self.x1, self.y1, self.x2, self.y2)

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.y2 - self.y1

    @property
    def center(self) -> tuple[float, float]:
        """Center (x, y) in pixels."""
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    def as_tuple(self) -> tuple[float, float, float, float]:
        """Return (x1, y1, x2, y2)."""
        return self.x1, self.y1, self.x2, self.y2

    def iou(self, other: Box) -> float:
        """Return the intersection over union with another box, in [0, 1]."""
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        if width <= 0 or height <= 0:
            return 0.0
        shared = width * height
        return shared / (self.width * self.height + other.width * other.height - shared)


TILTED_DEGREES = 30.0
"""Angle of a head on the screen above which its crop is turned with it. Networks are trained with smaller ones."""

_ROUND = 0.1  # how far the box of a face at 45 degrees, which does not tell width from height, pulls to a square


@dataclass(frozen=True, slots=True)
class Region:
    """Rectangle around a face that may be turned in the image plane: the box of the face as if it were upright.

    Attributes:
        center: Center (x, y) in pixels.
        width: Width in pixels, from one side of the face to the other; above 0.
        height: Height in pixels, from the brows to the chin; above 0.
        turn: Clockwise angle in degrees from upright, for example 90 if the top of the head is on the right.

    Raises:
        InputError: A value is not a finite number, or a side is not above 0.
    """

    center: tuple[float, float]
    width: float
    height: float
    turn: float = 0.0

    def __post_init__(self) -> None:
        values = (*self.center, self.width, self.height, self.turn)
        if len(values) != 5 or not all(map(math.isfinite, values)) or not min(self.width, self.height) > 0:
            raise InputError(f"region needs finite numbers, and sides above 0: {self}")

    @classmethod
    def of(cls, box: Box, turn: float = 0.0) -> Region:
        """Return the region of a face whose tight box is ``box`` and that is turned by ``turn`` degrees clockwise.

        The face is taken for an ellipse in the region, which touches the sides of the box (``bounds``). Boxes of faces
        at 45 degrees are square whatever the face is; those are taken for faces as wide as high, which holds in the
        median for all but profiles.
        """
        angle = math.radians(turn)
        double = math.cos(2 * angle)
        shape = (box.width**2 - box.height**2) * double / (double**2 + _ROUND * math.sin(2 * angle) ** 2)
        whole = box.width**2 + box.height**2
        shape = max(-0.8 * whole, min(0.8 * whole, shape)) if turn else shape
        return cls(box.center, math.sqrt((whole + shape) / 2), math.sqrt((whole - shape) / 2), turn)

    @property
    def bounds(self) -> Box:
        """Tight box of the face: that of the ellipse in the region."""
        (x, y), cos, sin = self.center, math.cos(math.radians(self.turn)), math.sin(math.radians(self.turn))
        half_width = math.hypot(self.width * cos, self.height * sin) / 2
        half_height = math.hypot(self.width * sin, self.height * cos) / 2
        return Box(x - half_width, y - half_height, x + half_width, y + half_height)


@dataclass(frozen=True, slots=True)
class Face:
    """Detected face.

    Attributes:
        box: Tight box.
        score: Confidence of the detector, in [0, 1].
        region: The face's region if its angle in the image plane is known; None if it is not.
    """

    box: Box
    score: float
    region: Region | None = None
