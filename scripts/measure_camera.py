"""Measure what a calibrated camera corrects: rendered heads in the middle and at the edge of a picture 90 degrees wide.

    python scripts/measure_camera.py

Renders heads that a camera sees nearly frontally, and puts each in the middle of a wide picture and aside from it: a
turn of a pinhole camera is a homography of its picture. Prints the mean difference of the estimated from the true pose
without and with `Camera.correct` and `Camera.straightened`, and the spread of the sizes of faces, which is the error of
distances.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys

import cv2
import numpy as np

from headpose import geometry
from headpose.camera import Camera
from headpose.cli.arguments import positive
from headpose.cli.program import imports_from, run_program
from headpose.estimator import HeadPoseEstimator
from headpose.geometry import Array
from headpose.types import Box, EulerAngles, Image

with imports_from("synth", "measure_camera"):
    from headpose.synth import anatomy, person, render, scene
    from headpose.synth.landmarks68 import VERTICES
    from headpose.synth.pose import Pose
    from headpose.synth.render import Rendered

_WIDE = Camera.from_fov(90, 1280, 1280)
_RENDERED = 256  # pixels
_NECK = EulerAngles(0.0, 0.0, 0.0)
PLACES = {
    "middle": (0.0, 0.0),
    "20 degrees right": (20.0, 0.0),
    "40 degrees right": (40.0, 0.0),
    "40 degrees left": (-40.0, 0.0),
    "35 degrees down": (0.0, 35.0),
    "35 degrees right, 30 up": (35.0, -30.0),
}
"""Angles of the rays to the heads, right and down, in degrees."""


def main() -> int:
    return run_program("measure_camera", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="measure_camera", description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=positive, default=20, metavar="N", help="number of rendered heads (20)")
    parser.add_argument("--people", type=positive, default=200, metavar="N", help="number of faces measured (200)")
    parser.add_argument("--model", default="student", help="network (student)")
    args = parser.parse_args()
    studio = scene.open_studio()
    columns = biases(args.heads, args.model, studio)
    print(f"mean difference over {args.heads} heads, degrees: yaw / pitch / roll (turn relative to the middle)\n")
    print("| place | uncorrected | turned by the ray | straightened, too |\n|---|---|---|---|")
    for place in PLACES:
        cells = (_cell(each[place], each["middle"]) for each in columns)
        print(f"| {place} | {' | '.join(cells)} |")
    sizes = face_sizes(args.people, studio)
    spread = 100 * sizes.std() / sizes.mean()
    print(f"\nfaces of {args.people} people: {sizes.mean():.1f} cm, standard deviation {spread:.1f} %")
    return 0


def biases(heads: int, model: str, studio: scene.Studio) -> list[dict[str, Array]]:
    """Return the mean differences (3, 3) of estimated from true rotations by place.

    First uncorrected, then with ``Camera.correct``, then with ``Camera.straightened`` before.

    Args:
        heads: Number of heads.
        model: Name of the network.
        studio: Assets.
    """
    estimator = HeadPoseEstimator(model, threads=1)
    differences: dict[str, tuple[list[Array], ...]] = {place: ([], [], []) for place in PLACES}
    for number in range(heads):
        seen = _render(number, studio)
        for place, (right, down) in PLACES.items():
            turn = geometry.along_ray(math.tan(math.radians(right)), math.tan(math.radians(down)))
            picture, box = _wide_picture(seen, turn)
            (pose,) = estimator.estimate(picture, [box])
            true = turn @ seen.rotation
            (straight,) = _WIDE.straightened(picture, [pose], estimator.estimate)
            readings = (pose, _WIDE.correct(pose), _WIDE.correct(straight))
            for kept, each in zip(differences[place], readings, strict=True):
                kept.append(true.T @ each.rotation)
    return [
        {place: geometry.nearest_rotation(np.mean(each[which], axis=0)) for place, each in differences.items()}
        for which in range(3)
    ]


def _render(number: int, studio: scene.Studio) -> Rendered:
    """Render a head as a camera that looks straight at it sees it."""
    drawn = scene.draw(7, number, studio).uncovered()
    yaw, pitch, roll = np.random.default_rng(number).uniform([-25, -15, -10], [25, 15, 10])
    pose = Pose(EulerAngles(float(yaw), float(pitch), float(roll)), _NECK)
    framed = dataclasses.replace(drawn.camera, distance=8.0)
    staged = render.stage(dataclasses.replace(drawn, pose=pose, camera=framed), studio, _RENDERED)
    return render.render(staged, studio)


def _wide_picture(seen: Rendered, turn: Array) -> tuple[Image, Box]:
    """Return the picture of the wide camera and the tight box in it.

    Args:
        seen: Head as a camera at the same point sees it.
        turn: (3, 3) rotation from the axes of that camera to those of the wide one.
    """
    view = seen.view
    near = np.array([[view.focal, 0, view.center[0]], [0, view.focal, view.center[1]], [0, 0, 1]])
    wide = np.array([[_WIDE.fx, 0, _WIDE.cx], [0, _WIDE.fy, _WIDE.cy], [0, 0, 1]])
    homography = wide @ geometry.to_opencv(turn) @ np.linalg.inv(near)
    picture = cv2.warpPerspective(seen.image, homography, (_WIDE.width, _WIDE.height), borderMode=cv2.BORDER_REPLICATE)
    points = cv2.perspectiveTransform(seen.landmarks[None, :, :2], homography)[0]
    (x1, y1), (x2, y2) = points.min(0), points.max(0)
    return np.asarray(picture, np.uint8), Box(float(x1), float(y1), float(x2), float(y2))


def face_sizes(people: int, studio: scene.Studio) -> Array:
    """Return (people,) sizes of faces in centimeters: the root of width times height of the landmarks."""
    sizes = []
    for index in range(people):
        who = person.draw(scene.Draws(1, index).stream("person"), studio.assets.names, False)
        vertices = anatomy.to_head_axes(studio.anatomy, person.shape(who, studio.assets, None))
        width, height = np.ptp(10 * vertices[VERTICES, :2].astype(np.float64), axis=0)
        sizes.append(math.sqrt(width * height))
    return np.array(sizes)


def _cell(rotation: Array, middle: Array) -> str:
    yaw, pitch, roll = geometry.euler_from_rotation(rotation)
    return f"{yaw:+.1f} / {pitch:+.1f} / {roll:+.1f} ({geometry.geodesic_degrees(rotation, middle):.1f})"


if __name__ == "__main__":
    sys.exit(main())
