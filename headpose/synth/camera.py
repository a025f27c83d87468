"""Camera: distance, field of view, framing and projection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headpose.geometry import Array
from headpose.synth.surface import F32
from headpose.types import Box


@dataclass(frozen=True, slots=True)
class Camera:
    """Position and framing of the camera.

    Attributes:
        distance: Distance from the center of the head in decimeters; 6 is a selfie, 80 a long lens.
        framing: Side of the image as a multiple of the longer side of the tight box.
        shift: Offset (right, down) of the tight box from the image center, as a fraction of the image side.
    """

    distance: float
    framing: float
    shift: tuple[float, float]


@dataclass(frozen=True, slots=True)
class View:
    """Pinhole camera for one head, looking at the origin along -z.

    Attributes:
        distance: Distance from the origin in decimeters.
        focal: Focal length in pixels.
        center: Principal point (x, y) in pixels.
        size: Side of the image in pixels.
    """

    distance: float
    focal: float
    center: tuple[float, float]
    size: int

    def project(self, points: Array | F32) -> Array:
        """Project (n, 3) points.

        Args:
            points: (n, 3) points in camera axes, decimeters.

        Returns:
            (n, 3): x and y in pixels (pixel (i, j) covers [i, i + 1) x [j, j + 1)), and the inverse distance.
        """
        near = 1.0 / (self.distance - points[:, 2].astype(np.float64))
        x = points[:, 0] * near * self.focal + self.center[0]
        y = -points[:, 1] * near * self.focal + self.center[1]
        return np.stack([x, y, near], 1)


def draw(rng: np.random.Generator) -> Camera:
    """Draw a camera at 0.6 to 8 meters with the face in the middle half of the image."""
    return Camera(
        distance=float(np.exp(rng.uniform(np.log(6.0), np.log(80.0)))),
        framing=float(rng.uniform(1.6, 2.0)),
        shift=(float(rng.normal(0, 0.02)), float(rng.normal(0.02, 0.02))),
    )


def frame(camera: Camera, landmarks: Array, size: int) -> View:
    """Set up the view so that the tight box of the landmarks is framed as ``camera`` requires.

    Args:
        camera: Position and framing.
        landmarks: (68, 3) landmarks in camera axes, decimeters.
        size: Side of the image in pixels.
    """
    unit = View(camera.distance, 1.0, (0.0, 0.0), size).project(landmarks)[:, :2]
    low, high = unit.min(0), unit.max(0)
    focal = size / (camera.framing * (high - low).max())
    middle = (low + high) / 2 * focal
    center = np.array([0.5, 0.5]) * size + np.array(camera.shift) * size - middle
    return View(camera.distance, float(focal), (float(center[0]), float(center[1])), size)


def tight_box(points: Array) -> Box:
    """Return the bounding box of (68, 2 or more) points in pixels."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return Box(float(low[0]), float(low[1]), float(high[0]), float(high[1]))
