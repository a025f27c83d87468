"""Value objects shared by the modules of the package."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headpose import geometry
from headpose.boxes import TILTED_DEGREES as TILTED_DEGREES
from headpose.boxes import Box as Box
from headpose.boxes import Face as Face
from headpose.boxes import Region as Region
from headpose.errors import ImageError, InputError
from headpose.licenses import License

Image = NDArray[np.uint8]
"""Image array: (H, W, 3) uint8, channels in BGR order."""


def check_image(image: object) -> None:
    """Raise ImageError unless ``image`` is a non-empty (H, W, 3) uint8 array."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"an image must be an array, (H, W, 3) uint8 BGR; got {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ImageError(f"an image must be (H, W, 3) uint8 BGR; got shape {image.shape}, {image.dtype}")


class EulerAngles(NamedTuple):
    """Euler angles in degrees, in the convention of ``headpose.geometry``."""

    yaw: float
    pitch: float
    roll: float


class Direction(NamedTuple):
    """Direction of the nose in degrees (``geometry.direction_from_rotation``).

    The azimuth is positive to the left of the image, the elevation is positive upwards.
    """

    azimuth: float
    elevation: float


class PoseQuality(NamedTuple):
    """Pose terms of ISO/IEC 29794-5 (face image quality), max(0, round(100 cos^2)) of each angle, in [0, 100]."""

    yaw: int
    pitch: int
    roll: int


def _quality(degrees: float) -> int:
    """Return the quality of one angle; the standard counts a negative cosine, beyond 90 degrees, as 0."""
    return round(100 * max(0.0, math.cos(math.radians(degrees))) ** 2)


@dataclass(frozen=True, slots=True, eq=False)
class HeadPose:
    """Pose of one face.

    Attributes:
        face: Detected face: its box and score.
        rotation: (3, 3) float64 rotation matrix from head axes to camera axes (see ``headpose.geometry``).
        track: Track number assigned by ``headpose.tracking``, 1 or more; None without a tracker.
        covariance: (3, 3) float64 covariance of the rotation's error, radians squared, calibrated: of the rotation
            vector d in head axes with ``R_true = R exp([d]x)``. None if the network has no such output.
        readable: Probability that this is a face whose pose can be read, in [0, 1]; None if the network has no such
            output.
        reliable: False if ``readable`` is below the estimator's ``min_confidence``. The pose is then a guess.
        place: Place of the head in camera axes, x (right in the image), y (up), z (towards the camera, so negative) in
            centimeters, from ``headpose.camera``; None without a camera.
        landmarks: (68, 2) float32 x and y of the landmarks in pixels of the image, in the order of 300W, from
            ``headpose.landmarks``; None without a landmark network. A tracker or a camera does not change them.

    Example:
        >>> HeadPose(Face(Box(10, 20, 40, 80), 0.9), geometry.rotation_from_euler((30, -10, 5)))
        HeadPose(yaw=+30.0, pitch=-10.0, roll=+5.0, score=0.90, box=(10.0, 20.0, 40.0, 80.0))
    """

    face: Face
    rotation: NDArray[np.float64]
    track: int | None = None
    covariance: NDArray[np.float64] | None = None
    readable: float | None = None
    reliable: bool = True
    place: tuple[float, float, float] | None = None
    landmarks: NDArray[np.float32] | None = None

    @property
    def box(self) -> Box:
        """Tight box of the face."""
        return self.face.box

    @property
    def euler(self) -> EulerAngles:
        """Yaw, pitch and roll in degrees: of the two equivalent triples, the one with the smaller |pitch| + |roll|."""
        return EulerAngles(*map(float, geometry.euler_from_rotation(self.rotation)))

    @property
    def yaw(self) -> float:
        """Yaw in degrees; positive when the nose points to the left side of the image."""
        return self.euler.yaw

    @property
    def pitch(self) -> float:
        """Pitch in degrees; positive when the nose points up."""
        return self.euler.pitch

    @property
    def roll(self) -> float:
        """Roll in degrees; positive when the head is tilted clockwise on the screen."""
        return self.euler.roll

    @property
    def direction(self) -> Direction:
        """Azimuth and elevation of the nose in degrees. Unlike yaw, pitch and roll they are smooth at a profile."""
        return Direction(*map(float, geometry.direction_from_rotation(self.rotation)[:2]))

    @property
    def tilt(self) -> float:
        """Rotation about the axis of the nose in degrees, positive clockwise for a face that looks into the camera."""
        return float(geometry.direction_from_rotation(self.rotation)[2])

    @property
    def quality(self) -> PoseQuality:
        """Pose quality of ISO/IEC 29794-5: 100 for a frontal face, 0 from 90 degrees on, for each angle."""
        return PoseQuality(*(_quality(angle) for angle in self.euler))

    @property
    def score(self) -> float:
        """Confidence of the detector, in [0, 1]; 1 for a box given by the caller."""
        return self.face.score

    @property
    def uncertainty(self) -> float | None:
        """Expected geodesic error in degrees, from ``covariance`` (``geometry.expected_angle``); None without it."""
        return None if self.covariance is None else float(geometry.expected_angle(self.covariance))

    @property
    def doubt(self) -> dict[str, float | bool | None]:
        """What the network says of its answer, as it is written to files.

        The keys are ``uncertainty`` (degrees, 6 decimals), ``readable`` (6 decimals) and ``reliable``. The first two
        are None if the network has no such output.
        """
        numbers = {"uncertainty": self.uncertainty, "readable": self.readable}
        rounded = {name: None if value is None else round(value, 6) for name, value in numbers.items()}
        return {**rounded, "reliable": self.reliable}

    @property
    def located(self) -> dict[str, list[list[float]]]:
        """The landmarks as they are written to files: ``landmarks``, 68 times [x, y] in pixels, 2 decimals.

        Empty if there are none.
        """
        return {} if self.landmarks is None else {"landmarks": self.landmarks.astype(np.float64).round(2).tolist()}

    def to_dict(self) -> dict[str, Any]:
        """Return the pose as a dictionary for ``json.dumps``, with the same keys as ``json_lines``.

        Returns:
            ``track`` (None without a tracker), ``box`` ([x1, y1, x2, y2] in pixels), ``score``, ``yaw``, ``pitch``,
            ``roll``, ``azimuth``, ``elevation``, ``tilt`` (degrees), ``rotation`` (list of three rows), the keys of
            ``doubt``, ``quality`` (``PoseQuality``) and, where they are known, ``place`` ([x, y, z] in centimeters)
            and ``landmarks`` (68 times [x, y] in pixels, 2 decimals).
        """
        return {
            "track": self.track,
            "box": [float(side) for side in self.box],
            "score": float(self.score),
            **self.euler._asdict(),
            **self.direction._asdict(),
            "tilt": self.tilt,
            "rotation": self.rotation.tolist(),
            **self.doubt,
            "quality": self.quality._asdict(),
            **({} if self.place is None else {"place": list(self.place)}),
            **self.located,
        }

    def __repr__(self) -> str:
        angles = ", ".join(f"{name}={angle:+.1f}" for name, angle in self.euler._asdict().items())
        box = ", ".join(f"{side:.1f}" for side in self.box)
        track = "" if self.track is None else f", track={self.track}"
        return f"HeadPose({angles}, score={self.score:.2f}, box=({box}){track})"

    @property
    def axes(self) -> NDArray[np.float64]:
        """(3, 3) float64 directions of the head's axes on the screen.

        The rows are unit vectors: x (the head's left), y (up) and z (out of the nose). The columns are right, down and
        towards the camera.
        """
        return self.rotation.T * np.array([1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True)
class CropSpec:
    """Settings of the crop that is a network's input. They are stored with the weights.

    Attributes:
        size: Side of the input in pixels, 8 to 1024.
        scale: Side of the crop as a multiple of the tight box (of its longer side if ``square``), 0.5 to 4.
        shift_y: Downward shift of the crop's center, as a fraction of the tight box's height, -1 to 1.
        square: Crop a square around the longer side. If false, the crop has the box's aspect ratio and is stretched.
        interpolation: Interpolation between pixels. When the crop shrinks the image, pixels are also averaged by area.
        border: Fill outside of the image: its edge pixels (``replicate``) or ``black``.
        channels: Order of the network's input channels.
        mean: Mean of each input channel, for values in [0, 1]; 0 to 1.
        std: Standard deviation of each input channel, for values in [0, 1]; 0.001 to 10.

    Raises:
        InputError: A value has the wrong type or is out of range.
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
                raise InputError(f"crop {name} must be three numbers, got {values!r}")
            else:
                object.__setattr__(self, name, tuple(_number(name, value, low, high) for value in values))
        if not isinstance(self.square, bool):
            raise InputError(f"crop square must be true or false, got {self.square!r}")
        for name, choices in _CROP_CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"crop {name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a dictionary for TOML and ONNX metadata, with lists instead of tuples."""
        values = dataclasses.asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CropSpec:
        """Create the settings from a dictionary.

        Args:
            values: Settings by name, as ``to_dict`` returns them. Settings other than ``size`` may be missing.

        Raises:
            InputError: A key is unknown, ``size`` is missing, or a value is out of range.
        """
        if not isinstance(values, dict):
            raise InputError(f"a crop must be a table of settings, got {type(values).__name__}")
        unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise InputError(f"unknown crop setting: {', '.join(sorted(map(str, unknown)))}")
        if "size" not in values:
            raise InputError("crop size is missing")
        return cls(**values)


# Trained networks lie well inside these ranges. Other values mean a damaged file, with which an INT8 network would
# still return an angle. 0.00392 = 1 / 255 is the std of networks that take values up to 255.
_CROP_RANGES = {
    "scale": (0.5, 4.0),
    "shift_y": (-1.0, 1.0),
    "mean": (0.0, 1.0),
    "std": (0.001, 10.0),
}
_CROP_CHOICES = {"interpolation": ("linear", "cubic"), "border": ("replicate", "black"), "channels": ("rgb", "bgr")}


def _number(name: str, value: Any, low: float, high: float) -> float:
    """Return a crop setting as a float; InputError if it is not a number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not low <= value <= high:
        raise InputError(f"crop {name} must be a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


Kind = Literal["pose", "landmarks"]
"""What a network reads off a crop: the pose of the head, or its 68 landmarks."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Entry of the manifest of weights (``models.toml``).

    Attributes:
        name: Name of the network.
        file: Name of the ONNX file.
        sha256: SHA-256 of the file, 64 hexadecimal digits.
        bytes: Size of the file in bytes.
        precision: ``fp32``, ``fp16`` or ``int8``.
        license: ``permissive`` (any use) or ``research-only`` (trained on photographs under research-only terms).
        license_terms: Terms of use of the weights, free text.
        data: Description of the training data.
        recipe: Name of the recipe.
        parent: Name of the network that it was compressed from, or "".
        crop: Crop settings of its input.
        metrics: Measured values by name, in degrees, or for landmarks in percent of the tight box. The model card lists
            the commands.
        kind: ``pose`` or ``landmarks``.
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
    kind: Kind = "pose"


@dataclass(frozen=True, slots=True)
class Sample:
    """Labeled face of a data set.

    Attributes:
        image: Path of the image file.
        box: Tight box of the 68 landmarks in pixels.
        euler: Label in degrees, as stored in the data set, not wrapped.
        weight: Weight of the sample in the loss and in weighted means, 0 or more.
        group: Name of the source photograph, or of a cluster of near-duplicates. All samples of a group are on the
            same side of a split.
        spread: Largest deviation of an annotator from the label in degrees, >= 0, if ``weight`` is derived from it
            (``datasets.manifest.weight_from_spread``); otherwise None.
    """

    image: Path
    box: Box
    euler: EulerAngles
    weight: float = 1.0
    group: str = ""
    spread: float | None = None

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(3, 3) float64 rotation matrix from head axes to camera axes."""
        return geometry.rotation_from_euler(self.euler)
