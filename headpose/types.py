"""Value objects that travel between the parts of the package."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headpose import geometry
from headpose.errors import ImageError, InputError
from headpose.licenses import License

Image = NDArray[np.uint8]
"""(H, W, 3) uint8, channels blue, green, red."""


def check_image(image: object) -> None:
    """Raise ImageError unless ``image`` is a non-empty (H, W, 3) uint8 array."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"an image is an array, (H, W, 3) uint8 BGR; got {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ImageError(f"an image is (H, W, 3) uint8 BGR; got shape {image.shape}, {image.dtype}")


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle in pixels; pixel (i, j) covers [i, i + 1) x [j, j + 1).

    Unless a name says otherwise, the TIGHT box of the 68 facial landmarks: from the brows to the
    chin, from jaw to jaw. It may reach outside the picture.

    Example:
        >>> x1, y1, x2, y2 = Box(10, 20, 40, 80)
        >>> x2 - x1, y2 - y1
        (30, 60)

    Raises:
        InputError: a coordinate is not a finite number, or the box is empty.
    """

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        try:
            finite = all(map(math.isfinite, self))
        except (TypeError, OverflowError):  # text, None; an integer that no float holds
            finite = False
        if not finite:
            raise InputError(f"box has a coordinate that is not a number: {self}")
        if self.x2 <= self.x1 or self.y2 <= self.y1:
            raise InputError(f"box is empty: x2 > x1 and y2 > y1 are needed, got {self}")

    def __iter__(self) -> Iterator[float]:
        """Yield x1, y1, x2, y2."""
        yield from (self.x1, self.y1, self.x2, self.y2)

    @property
    def width(self) -> float:
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        return self.y2 - self.y1

    @property
    def center(self) -> tuple[float, float]:
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    def as_tuple(self) -> tuple[float, float, float, float]:
        return self.x1, self.y1, self.x2, self.y2

    def iou(self, other: Box) -> float:
        """Intersection over union, in [0, 1]."""
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        if width <= 0 or height <= 0:
            return 0.0
        shared = width * height
        return shared / (self.width * self.height + other.width * other.height - shared)


@dataclass(frozen=True, slots=True)
class Face:
    """A detected face: its tight box and the detector's confidence in [0, 1]."""

    box: Box
    score: float


class EulerAngles(NamedTuple):
    """Degrees, in the convention of ``headpose.geometry``."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, slots=True, eq=False)
class HeadPose:
    """The pose of one face.

    Attributes:
        face: where it is in the picture.
        rotation: (3, 3) float64, head axes to camera axes (``headpose.geometry``).
        track: the number that ``headpose.tracking`` gave the face, 1 or more; None without a tracker.

    Example:
        >>> HeadPose(Face(Box(10, 20, 40, 80), 0.9), geometry.rotation_from_euler((30, -10, 5)))
        HeadPose(yaw=+30.0, pitch=-10.0, roll=+5.0, score=0.90, box=(10.0, 20.0, 40.0, 80.0))
    """

    face: Face
    rotation: NDArray[np.float64]
    track: int | None = None

    @property
    def box(self) -> Box:
        return self.face.box

    @property
    def euler(self) -> EulerAngles:
        """Yaw, pitch and roll in degrees, the triple with the smaller |pitch| + |roll|."""
        return EulerAngles(*map(float, geometry.euler_from_rotation(self.rotation)))

    @property
    def yaw(self) -> float:
        """Degrees; positive when the nose points to the left of the image."""
        return self.euler.yaw

    @property
    def pitch(self) -> float:
        """Degrees; positive when the nose points up."""
        return self.euler.pitch

    @property
    def roll(self) -> float:
        """Degrees; positive when the head is tilted clockwise on the screen."""
        return self.euler.roll

    @property
    def score(self) -> float:
        """The detector's confidence in the face, in [0, 1]; 1 for a box that the caller gave."""
        return self.face.score

    def to_dict(self) -> dict[str, Any]:
        """Return plain values under the names of ``json_lines``: what ``json.dumps`` takes.

        Returns:
            track (None without a tracker), box [x1, y1, x2, y2] (pixels), score, yaw, pitch, roll (degrees),
            rotation (3 rows of 3).
        """
        return {
            "track": self.track,
            "box": [float(side) for side in self.box],
            "score": float(self.score),
            **self.euler._asdict(),
            "rotation": self.rotation.tolist(),
        }

    def __repr__(self) -> str:
        angles = ", ".join(f"{name}={angle:+.1f}" for name, angle in self.euler._asdict().items())
        box = ", ".join(f"{side:.1f}" for side in self.box)
        track = "" if self.track is None else f", track={self.track}"
        return f"HeadPose({angles}, score={self.score:.2f}, box=({box}){track})"

    @property
    def axes(self) -> NDArray[np.float64]:
        """(3, 3) rows: where the head's x (its left), y (up), z (out of the nose) point on screen.

        Each row is (right, down, towards the camera), unit length.
        """
        return self.rotation.T * np.array([1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True)
class CropSpec:
    """How a network's input is cut out of a picture. Stored with the weights, never passed by hand.

    Attributes:
        size: side of the input, pixels, 8 to 1024.
        scale: side of the crop as a multiple of the tight box (of its longer side if ``square``), 0.5 to 4.
        shift_y: downward shift of the crop's centre, in heights of the tight box, -1 to 1.
        square: cut a square around the longer side; otherwise the box's own aspect is stretched.
        interpolation: interpolation between pixels; downscaling also averages over the covered area.
        border: fill outside of the picture, its edge pixels or black.
        channels: order of the network's input channels.
        mean: mean of each channel in that order, for values in [0, 1]; 0 to 1.
        std: standard deviation of each channel in that order, for values in [0, 1]; 0.001 to 10.

    Raises:
        InputError: a value has the wrong type or is out of its range.
    """

    size: int
    scale: float = 1.3
    shift_y: float = 0.0
    square: bool = True
    interpolation: Literal["linear", "cubic"] = "linear"
    border: Literal["replicate", "black"] = "replicate"
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        size: Any = self.size
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 8 <= size <= 1024:
            raise InputError(f"crop size must be 8 to 1024 pixels, a whole number, got {size!r}")
        object.__setattr__(self, "size", int(size))
        for name, (low, high) in _CROP_RANGES.items():
            values = getattr(self, name)
            if name in ("scale", "shift_y"):
                object.__setattr__(self, name, _number(name, values, low, high))
            elif isinstance(values, str) or not isinstance(values, Iterable) or len(values := tuple(values)) != 3:
                raise InputError(f"crop {name} needs three numbers, got {values!r}")
            else:
                object.__setattr__(self, name, tuple(_number(name, value, low, high) for value in values))
        if not isinstance(self.square, bool):
            raise InputError(f"crop square is true or false, got {self.square!r}")
        for name, choices in _CROP_CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"crop {name} is one of {', '.join(choices)}, got {getattr(self, name)!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, lists for tuples: what goes into TOML and into ONNX metadata."""
        values = dataclasses.asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CropSpec:
        """Inverse of ``to_dict``; InputError on an unknown key or a value out of range."""
        if not isinstance(values, dict):
            raise InputError(f"a crop is a table of settings, got {type(values).__name__}")
        unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise InputError(f"unknown crop setting: {', '.join(sorted(map(str, unknown)))}")
        if "size" not in values:
            raise InputError("crop size is missing")
        return cls(**values)


# What a network has ever been trained with lies well inside; beyond is a damaged file, which an INT8 network would
# answer with an angle all the same. 0.00392 = 1 / 255 is the std of networks that take values up to 255.
_CROP_RANGES = {
    "scale": (0.5, 4.0),
    "shift_y": (-1.0, 1.0),
    "mean": (0.0, 1.0),
    "std": (0.001, 10.0),
}
_CROP_CHOICES = {"interpolation": ("linear", "cubic"), "border": ("replicate", "black"), "channels": ("rgb", "bgr")}


def _number(name: str, value: Any, low: float, high: float) -> float:
    """A setting of a crop as float; InputError if it is no number or out of its range (NaN is)."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not low <= value <= high:
        raise InputError(f"crop {name} must be a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One entry of the manifest of weights (``models.toml``).

    Attributes:
        name: what users call it.
        file: file name of the ONNX network.
        sha256: of that file, hexadecimal.
        bytes: its size.
        precision: ``fp32``, ``fp16`` or ``int8``.
        license: ``permissive`` (any use) or ``research-only`` (trained on photographs under research-only terms).
        license_terms: terms of use of the weights, as free text.
        data: what it was trained on, in words.
        recipe: name of the recipe that made it.
        parent: the model it was compressed from, or "".
        crop: how its input is cut out.
        metrics: measured figures by name; degrees, see the model's card for the commands.
    """

    name: str
    file: str
    sha256: str
    bytes: int
    precision: str
    license: License
    license_terms: str
    data: str
    recipe: str
    parent: str
    crop: CropSpec
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled face of a data set.

    Attributes:
        image: the picture's file.
        box: tight box of the 68 landmarks, pixels.
        euler: the label as the data set gives it, not re-wrapped.
        weight: of this sample in the loss and in weighted means, >= 0.
        group: name of the source photograph (or of a cluster of near-duplicates): samples of one
            group never fall on both sides of a split.
        spread: largest difference of one annotator from the label, degrees, >= 0, where ``weight``
            comes from it (``datasets.manifest.weight_from_spread``); otherwise None.
    """

    image: Path
    box: Box
    euler: EulerAngles
    weight: float = 1.0
    group: str = ""
    spread: float | None = None

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(3, 3) float64, head axes to camera axes."""
        return geometry.rotation_from_euler(self.euler)
