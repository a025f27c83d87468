"""Draw docs/conventions.png (heads with positive yaw, pitch and roll) and docs/direction.png (heads near profile).

    python scripts/draw_conventions.py docs/conventions.png --direction docs/direction.png

A head of simple surfaces is rotated with ``headpose.geometry`` and its axes are drawn with ``headpose.draw``, so the
image agrees with the code.
"""

from __future__ import annotations

import argparse
import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose import draw_pose, geometry, write_image
from headpose.cli.program import run_program
from headpose.types import Box, EulerAngles, Face, HeadPose, Image

PANEL = 300  # width and height of a panel in pixels
FINER = 4  # supersampling factor
RADII = np.array([0.74, 1.0, 0.86])  # radii of the skull, relative to its half height
SKIN, LIPS, DARK, BACKGROUND = (176, 204, 234), (110, 110, 190), (70, 60, 60), (250, 248, 246)
LIGHT = np.array([-0.35, 0.55, 0.76])
PANELS = (
    ("0, 0, 0: into the camera", EulerAngles(0, 0, 0)),
    ("yaw +40: to image left", EulerAngles(40, 0, 0)),
    ("pitch +30: up", EulerAngles(0, 30, 0)),
    ("roll +30: clockwise", EulerAngles(0, 0, 30)),
)
PROFILES = (EulerAngles(76, -8, -6), EulerAngles(84, -26, -22), EulerAngles(96, 14, 10))

Array = NDArray[np.float64]


def skull(latitudes: int = 48, longitudes: int = 72) -> Array:
    """Return (N, 4, 3) quadrilaterals of an ellipsoid in head axes, counterclockwise from outside."""
    down = np.linspace(0, np.pi, latitudes + 1)[:, None]
    around = np.linspace(0, 2 * np.pi, longitudes + 1)[None, :]
    sphere = [np.sin(down) * np.sin(around), np.cos(down) + 0 * around, np.sin(down) * np.cos(around)]
    grid = RADII * np.stack(sphere, -1)
    return np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], 2).reshape(-1, 4, 3)


def nose() -> Array:
    """Return (3, 3, 3) triangles of a wedge in head axes, counterclockwise from outside."""
    bridge, tip, left, right = [0.0, 0.16, 0.83], [0.0, -0.28, 1.3], [0.2, -0.32, 0.78], [-0.2, -0.32, 0.78]
    return np.array([[bridge, tip, left], [bridge, right, tip], [right, left, tip]])


def patch(x: float, y: float, width: float, height: float) -> Array:
    """Return (1, M, 3) points of an ellipse on the skull (an eye or the mouth) with half axes ``width``, ``height``."""
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    xs, ys = x + width * np.cos(turn), y + height * np.sin(turn)
    zs = RADII[2] * np.sqrt(1 - (xs / RADII[0]) ** 2 - (ys / RADII[1]) ** 2)
    return np.stack([xs, ys, zs], -1)[None]


def draw_head(image: Image, rotation: Array, center: tuple[float, float], half_height: float) -> None:
    """Draw the surfaces that face the camera: the skull, which is convex, then eyes and mouth, then the nose.

    Args:
        image: (H, W, 3) uint8 BGR, changed in place.
        rotation: (3, 3) rotation matrix from head axes to camera axes.
        center: Center of the head in pixels.
        half_height: Half height of the skull in pixels.
    """
    painted = [(patch(side * 0.32, 0.2, 0.12, 0.075), DARK) for side in (-1.0, 1.0)]
    painted.append((patch(0.0, -0.56, 0.2, 0.045), LIPS))
    light = LIGHT / np.linalg.norm(LIGHT)
    for faces, color in [(skull(), SKIN), *painted, (nose(), SKIN)]:
        turned = faces @ rotation.T
        for face in turned[np.argsort(turned[..., 2].mean(-1))]:
            normal = np.cross(face, np.roll(face, -1, 0)).sum(0)  # Newell's method, also valid for repeated corners
            normal /= np.linalg.norm(normal)
            if normal[2] <= 0:
                continue
            bright = 0.55 + 0.45 * max(0.0, float(normal @ light))
            points = np.array(center) + half_height * face[:, :2] * [1, -1]
            cv2.fillConvexPoly(image, np.round(points).astype(np.int32), [bright * value for value in color])


def panel(euler: EulerAngles, *captions: str) -> Image:
    """Return a (PANEL, PANEL, 3) uint8 BGR image of one head with its axes, below lines of text."""
    side = PANEL * FINER
    image = np.full((side, side, 3), BACKGROUND, np.uint8)
    rotation = geometry.rotation_from_euler(euler)
    center = (side / 2, 0.57 * side)
    draw_head(image, rotation, center, 0.33 * side)
    image = cv2.resize(image, (PANEL, PANEL), interpolation=cv2.INTER_AREA)
    middle, half = np.array(center) / FINER, 0.25 * PANEL
    draw_pose(image, HeadPose(Face(Box(*(middle - half), *(middle + half)), 1.0), rotation), label=False)
    scale = 0.55 if len(captions) == 1 else 0.46
    for line, caption in enumerate(captions):
        width = cv2.getTextSize(caption, cv2.FONT_HERSHEY_DUPLEX, scale, 1)[0][0]
        origin = ((PANEL - width) // 2, 28 + 22 * line)
        cv2.putText(image, caption, origin, cv2.FONT_HERSHEY_DUPLEX, scale, DARK, 1, cv2.LINE_AA)
    return image


def profile(euler: EulerAngles) -> Image:
    """Return the panel of a head near profile with both triples of angles."""
    azimuth, elevation, tilt = geometry.direction_from_rotation(geometry.rotation_from_euler(euler))
    return panel(
        euler,
        f"yaw {euler.yaw:+.0f} pitch {euler.pitch:+.0f} roll {euler.roll:+.0f}",
        f"azimuth {azimuth:+.0f} elevation {elevation:+.0f} tilt {tilt:+.0f}",
    )


def main() -> int:
    return run_program("draw_conventions", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="draw_conventions", description=__doc__.splitlines()[0])
    parser.add_argument("out", metavar="FILE", help="image file to write")
    parser.add_argument("--direction", metavar="FILE", help="image file to write: heads near profile")
    args = parser.parse_args()
    write_image(args.out, np.hstack([panel(euler, caption) for caption, euler in PANELS]))
    if args.direction:
        write_image(args.direction, np.hstack([profile(euler) for euler in PROFILES]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
