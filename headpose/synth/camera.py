"""The camera: distance, field of view, framing; points to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headpose.geometry import Array
from headpose.synth.surface import F32
from headpose.types import Box


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the camera stands.

    Attributes:
        distance: from the middle of the head, decimetres: 6 is a selfie, 80 a long lens.
        framing: side of the picture as a multiple of the tight box's longer side.
        shift: of the tight box's centre from the picture's, right and down, as a share of the side.
    """

    distance: float
    framing: float
    shift: tuple[float, float]


@dataclass(frozen=True, slots=True)
class View:
    """A camera set up for one head: pinhole, looking at the origin of camera axes along -z.

    Attributes:
        distance: of the camera from the origin, decimetres.
        focal: pixels.
        centre: where the origin's ray meets the picture, pixels.
        size: side of the picture, pixels.
    """

    distance: float
    focal: float
    centre: tuple[float, float]
    size: int

    def project(self, points: Array | F32) -> Array:
        """(n, 3): x and y in pixels (pixel (i, j) covers [i, i + 1) x [j, j + 1)), and 1 / distance."""
        near = 1.0 / (self.distance - points[:, 2].astype(np.float64))
        x = points[:, 0] * near * self.focal + self.centre[0]
        y = -points[:, 1] * near * self.focal + self.centre[1]
        return np.stack([x, y, near], 1)


def draw(rng: np.random.Generator) -> Camera:
    """Draws a camera: from 0.6 to 8 metres, the face in the middle half of the picture."""
    return Camera(
        distance=float(np.exp(rng.uniform(np.log(6.0), np.log(80.0)))),
        framing=float(rng.uniform(1.6, 2.0)),
        shift=(float(rng.normal(0, 0.02)), float(rng.normal(0.02, 0.02))),
    )


def frame(camera: Camera, landmarks: Array, size: int) -> View:
    """Sets the camera so that the landmarks' tight box is framed as it says.

    Args:
        camera: what was drawn.
        landmarks: (68, 3) camera axes.
        size: side of the picture, pixels.
    """
    unit = View(camera.distance, 1.0, (0.0, 0.0), size).project(landmarks)[:, :2]
    low, high = unit.min(0), unit.max(0)
    focal = size / (camera.framing * (high - low).max())
    middle = (low + high) / 2 * focal
    centre = np.array([0.5, 0.5]) * size + np.array(camera.shift) * size - middle
    return View(camera.distance, float(focal), (float(centre[0]), float(centre[1])), size)


def tight_box(points: Array) -> Box:
    """The box of (68, 2 or more) points in pixels."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return Box(float(low[0]), float(low[1]), float(high[0]), float(high[1]))
