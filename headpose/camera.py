"""A calibrated camera: poses in its axes, and the place of a head from the size of its face.

A network sees a crop as a camera would that looks straight at the face. Aside from the middle of a wide picture, a face
that looks parallel to the optical axis is therefore read as turned away, and it is stretched away from the middle.
``Camera.straightened`` reads such faces once more in the view of a camera that looks straight at them, and
``Camera.correct`` turns poses by the angle of the ray to the face. docs/guides/live.md has the measured effect.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from headpose import geometry
from headpose.errors import DataError, InputError
from headpose.geometry import Array
from headpose.types import Box, HeadPose, Image

# The outermost of the 68 landmarks of a mean adult head, centimeters in head axes: 400 people of the body model of
# headpose.synth (anny, CC0). scripts/measure_camera.py prints how far its people depart.
_FACE = np.array(
    [
        *([-6.6, 4.0, 0.8], [-6.5, 2.0, 1.1], [-6.3, 0.1, 1.4], [-5.8, -1.7, 2.1], [-4.7, -3.2, 3.7]),
        *([-3.7, -4.8, 4.1], [-2.5, -5.3, 5.3], [-1.3, -5.6, 6.3], [0.0, -6.0, 6.2], [1.3, -5.6, 6.3]),
        *([2.5, -5.3, 5.3], [3.7, -4.8, 4.1], [4.7, -3.2, 3.7], [5.8, -1.7, 2.1], [6.3, 0.1, 1.4]),
        *([6.5, 2.0, 1.1], [6.6, 4.0, 0.8], [-5.5, 5.4, 4.1], [-4.7, 6.4, 5.3], [-3.2, 6.5, 6.5]),
        *([-2.4, 6.6, 6.7], [2.4, 6.6, 6.7], [3.2, 6.5, 6.5], [4.7, 6.4, 5.3], [5.5, 5.4, 4.1]),
        *([0.0, 1.1, 8.7], [-1.6, -1.5, 7.4], [1.6, -1.5, 7.4], [1.6, -2.7, 7.1], [1.2, -2.9, 7.4]),
        *([0.0, -3.0, 7.7], [-1.2, -2.9, 7.4], [-1.6, -2.7, 7.1]),
    ]
)
_FACE.flags.writeable = False
_NEAREST = 12.0  # centimeters; closer than this the nose touches the lens
_ASIDE = math.tan(math.radians(5.0))  # a face so little aside is stretched by less than 0.4 %
_VIEW = 4.0  # side of a straight view, in half sides of the face: room for any crop
_LARGEST_VIEW = 1024  # pixels; no network's input needs more
_ROUNDS = 4  # after which the landmarks that touch the box no longer change


@dataclass(frozen=True, slots=True)
class Camera:
    """Intrinsics of a pinhole camera.

    Attributes:
        fx: Focal length in pixels, horizontal.
        fy: Focal length in pixels, vertical.
        cx: Principal point in pixels from the left edge, in coordinates where pixel i covers [i, i + 1).
        cy: Principal point in pixels from the top edge.
        width: Width in pixels of the images that these values are for.
        height: Height in pixels.
        distortion: Distortion coefficients of OpenCV (4, 5, 8, 12 or 14 numbers); empty for none.

    Raises:
        InputError: A value is out of range.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy, self.width, self.height, *self.distortion)
        if not all(math.isfinite(value) for value in values):
            raise InputError("a camera has a value that is not a finite number")
        if min(self.fx, self.fy) <= 0 or min(self.width, self.height) < 1:
            raise InputError(
                f"a camera needs focal lengths and an image size above 0, got {self.fx:g} and {self.fy:g} pixels, "
                f"{self.width}x{self.height}"
            )
        if len(self.distortion) not in (0, 4, 5, 8, 12, 14):
            raise InputError(
                f"a camera has {len(self.distortion)} distortion coefficients: OpenCV has 4, 5, 8, 12 or 14"
            )

    @classmethod
    def from_fov(cls, degrees: float, width: int, height: int) -> Camera:
        """Return a camera with square pixels that looks through the middle of the image.

        Args:
            degrees: Horizontal field of view, above 0 and below 180. Webcams have 50 to 90.
            width: Width of the images in pixels.
            height: Height in pixels.

        Raises:
            InputError: ``degrees`` is out of range.
        """
        if not 0 < degrees < 180:
            raise InputError(f"the field of view must be above 0 and below 180 degrees, got {degrees:g}")
        focal = width / 2 / math.tan(math.radians(degrees) / 2)
        return cls(focal, focal, width / 2, height / 2, width, height)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Camera:
        """Read a camera from a file.

        Args:
            path: File of OpenCV's calibration (``cv2.FileStorage``: .yml, .yaml, .xml or .json with ``camera_matrix``,
                ``image_width``, ``image_height`` and, optionally, ``distortion_coefficients``), or JSON with ``fx``,
                ``fy``, ``cx``, ``cy``, ``width``, ``height`` and, optionally, ``distortion``.

        Raises:
            DataError: The file is missing or has other content.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise DataError(f"{path} does not exist") from None
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not text'}") from None
        try:
            return cls(**_from_json(text) if text.lstrip().startswith("{") else _from_opencv(text))
        except InputError as error:
            raise DataError(f"{path}: {error}") from None
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError, cv2.error, SystemError):
            raise DataError(
                f"{path} is not a camera: it needs camera_matrix, image_width and image_height as OpenCV's calibration "
                "writes them, or fx, fy, cx, cy, width and height in JSON"
            ) from None

    def at_size(self, width: int, height: int) -> Camera:
        """Return the camera for images of another resolution.

        Raises:
            InputError: The images have another aspect ratio, so they are cropped, and nobody knows where.
        """
        if (width, height) == (self.width, self.height):
            return self
        scale = width / self.width
        if abs(height - scale * self.height) > 1.0 + 0.005 * height:
            raise InputError(
                f"the camera is calibrated for {self.width}x{self.height} pixels and the picture has {width}x{height}: "
                "calibrate at this aspect ratio"
            )
        fx, fy, cx, cy = (scale * value for value in (self.fx, self.fy, self.cx, self.cy))
        return Camera(fx, fy, cx, cy, width, height, self.distortion)

    def slopes(self, points: Sequence[tuple[float, float]]) -> Array:
        """Return the rays to points of the image.

        Args:
            points: (n, 2) x and y in pixels.

        Returns:
            (n, 2) slopes: right and down per unit of depth, without distortion.
        """
        matrix = np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])
        given = np.array(points, np.float64).reshape(-1, 1, 2)
        return np.asarray(cv2.undistortPoints(given, matrix, np.array(self.distortion or [0.0] * 4)), np.float64)[:, 0]

    def straight_view(self, image: Image, box: Box) -> tuple[Image, Box]:
        """Return a face as a camera at the same place sees it that looks straight at it.

        Args:
            image: (H, W, 3) uint8 BGR of this camera's size.
            box: Tight box of the face.

        Returns:
            The part of that camera's picture around the face, with the pixels as large as in ``image``, and the tight
            box in it. Distortion is removed.
        """
        middle = self.slopes([box.center])[0]
        turn = geometry.to_opencv(geometry.along_ray(*middle)).T  # from this camera's optical axes to those of the view
        matrix = np.array([[self.fx, 0.0, self.cx - 0.5], [0.0, self.fy, self.cy - 0.5], [0.0, 0.0, 1.0]])
        focal = math.sqrt(self.fx * self.fy) * math.hypot(1.0, *middle)
        (x1, y1, x2, y2), (x, y) = box, box.center
        rays = np.column_stack([self.slopes([(x1, y), (x2, y), (x, y1), (x, y2)]), np.ones(4)]) @ turn.T
        sides = focal * rays[:, :2] / np.maximum(rays[:, 2:], 1e-3)
        wanted = max(8.0, _VIEW * float(np.abs(sides).max()))
        side = min(_LARGEST_VIEW, math.ceil(wanted))
        focal, sides = focal * side / wanted, sides * side / wanted
        new = np.array([[focal, 0.0, side / 2 - 0.5], [0.0, focal, side / 2 - 0.5], [0.0, 0.0, 1.0]])
        lens = np.array(self.distortion or [0.0] * 4)
        maps = cv2.initUndistortRectifyMap(matrix, lens, turn, new, (side, side), cv2.CV_32FC1)
        picture = cv2.remap(image, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        left, right, top, bottom = (float(value) + side / 2 for value in (*sides[:2, 0], *sides[2:, 1]))
        return np.asarray(picture, np.uint8), Box(left, top, max(right, left + 1), max(bottom, top + 1))

    def straightened(
        self, image: Image, poses: Sequence[HeadPose], estimate: Callable[[Image, list[Box]], list[HeadPose]]
    ) -> list[HeadPose]:
        """Read faces aside from the middle once more in a ``straight_view``, without the stretch of a wide picture.

        Args:
            image: (H, W, 3) uint8 BGR of this camera's size.
            poses: Its poses as estimated.
            estimate: ``HeadPoseEstimator.estimate``. It is called for each face more than 5 degrees off the axis.

        Returns:
            The poses with new rotations, still relative to the ray to the face: ``correct`` comes next.
        """
        result = []
        for pose in poses:
            if math.hypot(*self.slopes([pose.box.center])[0]) > _ASIDE:
                view, box = self.straight_view(image, pose.box)
                (read,) = estimate(view, [box])
                pose = dataclasses.replace(read, face=pose.face, track=pose.track)
            result.append(pose)
        return result

    def correct(self, pose: HeadPose) -> HeadPose:
        """Return the pose in the axes of this camera, with the place of the head.

        Args:
            pose: Pose as estimated, in pixels of images of this camera's size.

        Returns:
            The pose with its rotation turned by the ray to the face (``geometry.along_ray``) and with ``place``. The
            origin of the head is between the ears, behind the eyes. Its distance comes from the size of the face and
            that of a mean adult's, so it is wrong by the percentage by which the person's face differs: some 5 % for
            most adults, more for children, who are read as farther away than they are.
        """
        (x1, y1, x2, y2), (x, y) = pose.box, pose.box.center
        left, top, right, bottom, middle = self.slopes([(x1, y), (x, y1), (x2, y), (x, y2), (x, y)])
        rotation = geometry.along_ray(*middle) @ pose.rotation
        box = Box(left[0], top[1], max(right[0], left[0] + 1e-9), max(bottom[1], top[1] + 1e-9))
        return dataclasses.replace(pose, rotation=rotation, place=_place(rotation, box))


def _place(rotation: Array, box: Box) -> tuple[float, float, float]:
    """Return the place of a mean head, in centimeters in camera axes, whose landmarks have a box of slopes.

    Each side of the box is touched by one landmark, which gives an equation that is linear in the place: the four are
    solved by least squares, for the landmarks that touch the sides from there, until these stay the same.
    """
    x, y, z = rotation @ _FACE.T
    across, along = x, -y
    right = down = depth = 0.0
    for _ in range(_ROUNDS):
        touching = [across.argmin(), across.argmax(), along.argmin(), along.argmax()]
        sides = np.array([box.x1, box.x2, box.y1, box.y2])
        horizontal = np.array([True, True, False, False])
        equations = np.stack([horizontal, ~horizontal, -sides], 1)
        values = np.where(horizontal, -x[touching], y[touching]) - sides * z[touching]
        right, down, depth = map(float, np.linalg.lstsq(equations, values, rcond=None)[0])
        depth = max(depth, _NEAREST)
        across, along = (right + x) / (depth - z), (down - y) / (depth - z)
    return right, -down, -depth


def _from_json(text: str) -> dict[str, Any]:
    values = json.loads(text)
    if "camera_matrix" in values or "opencv_storage" in values:
        return _from_opencv(text)
    unknown = set(values) - {field.name for field in dataclasses.fields(Camera)}
    if unknown:
        raise InputError(f"unknown key: {', '.join(sorted(map(str, unknown)))}")
    numbers = {name: float(values[name]) for name in ("fx", "fy", "cx", "cy")}
    sizes = {name: int(values[name]) for name in ("width", "height")}
    return {**numbers, **sizes, "distortion": tuple(map(float, values.get("distortion", ())))}


def _from_opencv(text: str) -> dict[str, Any]:
    storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    try:
        matrix = storage.getNode("camera_matrix").mat()
        coefficients = storage.getNode("distortion_coefficients").mat()
        width, height = (storage.getNode(name).real() for name in ("image_width", "image_height"))
    finally:
        storage.release()
    if matrix is None or matrix.shape != (3, 3):
        raise InputError("it has no camera_matrix of 3x3 numbers")
    # OpenCV counts from the middle of the first pixel, this package from its edge.
    names = {"fx": matrix[0, 0], "fy": matrix[1, 1], "cx": matrix[0, 2] + 0.5, "cy": matrix[1, 2] + 0.5}
    distortion = () if coefficients is None else tuple(map(float, np.ravel(coefficients)))
    return {
        **{name: float(value) for name, value in names.items()},
        "width": int(width),
        "height": int(height),
        "distortion": distortion,
    }
