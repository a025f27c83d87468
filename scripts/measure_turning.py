"""Measures turned heads against the truth: landmarks, the label's bias, and the time.

python scripts/measure_turning.py [--heads 300] [--size 128] [--photographs 40]

Rendered people with expressions are seen in one pose, fitted by their 68 landmarks or by their box, and turned outwards
to another pose, up to +-99 degrees of yaw and +-60 of pitch, where the same heads' own landmarks are known. The bias is
the turn from the label to the pose in which the true head has the landmarks that were drawn. Needs the extra: synth.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from headpose import geometry
from headpose.cli.arguments import positive
from headpose.cli.program import imports_from, run_program
from headpose.geometry import Array
from headpose.types import EulerAngles

with imports_from("synth", "measure_turning"):
    from headpose.synth import camera, fit, scene
    from headpose.synth.anatomy import LABEL
    from headpose.synth.fit import ShapeSpace
    from headpose.synth.pose import Pose
    from headpose.synth.render import render, stage
    from headpose.synth.scene import Studio
    from headpose.synth.turn import Turner, View

SEED = 77  # of the people: not those of the shape space
VIEWS = 3  # of a photograph


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of turned heads, one row each.

    Attributes:
        landmarks: (n,) mean distance from the true landmarks after scale and place, share of the face's size.
        bias: (n, 3) rotation vectors from the label to the drawn pose, degrees about the camera's x, y and z.
        along: (n,) degrees of the bias in the direction of the turn; below 0 the head is turned too little.
    """

    landmarks: Array
    bias: Array
    along: Array


def main() -> int:
    return run_program("measure_turning", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=positive, default=300, metavar="N", help="number of heads (default: 300)")
    parser.add_argument("--size", type=positive, default=128, metavar="S", help="side, pixels (default: 128)")
    parser.add_argument("--photographs", type=positive, default=40, metavar="N", help="for the time (default: 40)")
    args = parser.parse_args()
    studio = scene.open_studio()
    turner = Turner(studio, args.size)
    heads = [scene.draw(SEED, index, studio).build(studio).landmarks for index in range(args.heads)]
    print(f"{'fitted by':<10} {'landmarks':>9}  bias about x, y, z      along the turn  (degrees)")
    for by in ("points", "box"):
        errors = measure(turner.space, heads, by)
        x, y, z = errors.bias.mean(0)
        print(f"{by:<10} {errors.landmarks.mean():9.2%}  {x:+.2f} {y:+.2f} {z:+.2f}    {errors.along.mean():+14.2f}")
    photograph, view = measure_time(studio, turner, args.photographs)
    rate = VIEWS / (photograph + VIEWS * view)
    print(f"{1e3 * photograph:.1f} ms a photograph and {1e3 * view:.1f} ms a view of {args.size} pixels: ", end="")
    print(f"{rate:.0f} pictures a second of one core's time with {VIEWS} views of each")
    return 0


def measure(space: ShapeSpace, heads: list[Array], by: str) -> Errors:
    """Turn heads and compare them with renderings of the true pose.

    Args:
        space: The shapes to fit.
        heads: (68, 3) landmarks of each, in drawn head axes.
        by: "points" or "box", what is known of the photograph.
    """
    rng = np.random.default_rng(0)
    rows = []
    for model in heads:
        before, after = _draw_turn(rng)
        first, last = (geometry.rotation_from_euler(euler) @ LABEL.T for euler in (before, after))
        seen = (model @ first.T)[:, :2] * [60, -60] + [64, 66]
        found = (
            fit.fit_points(space, first, seen, np.ones(68))
            if by == "points"
            else fit.fit_box(space, first, camera.tight_box(seen))
        )
        ours = (space.vertices(found.amounts)[space.landmarks] @ last.T)[:, :2]
        true = (model @ last.T)[:, :2]
        ours, true = ours - ours.mean(0), true - true.mean(0)
        scale = (ours * true).sum() / (ours**2).sum()
        size = np.sqrt(np.ptp(model[:, :2], axis=0).prod())
        bias = geometry.vector_from_rotation(_pose(ours, model) @ last.T)
        way = geometry.vector_from_rotation(last @ first.T)
        rows.append(
            [np.linalg.norm(scale * ours - true, axis=1).mean() / size, *bias, bias @ way / np.linalg.norm(way)]
        )
    table = np.array(rows)
    return Errors(table[:, 0], table[:, 1:4], table[:, 4])


def measure_time(studio: Studio, turner: Turner, count: int) -> tuple[float, float]:
    """Seconds of processor time for a photograph and for a view."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(1)
    photograph, views = 0.0, 0.0
    for index in range(count + 1):
        drawn = scene.draw(SEED, index, studio)
        pose = Pose(EulerAngles(*map(float, _draw_turn(rng)[0])), EulerAngles(0, 0, 0))
        head = render(stage(dataclasses.replace(drawn, pose=pose), studio, 160), studio)
        start = time.process_time()
        fitted = turner.fit(head.image, head.box, head.rotation, head.landmarks[:, :2])
        middle = time.process_time()
        for number in range(VIEWS):
            turner.turn(fitted, View(EulerAngles(*map(float, _draw_turn(rng)[1])), seed=number))
        if index:  # the first one compiles
            photograph += middle - start
            views += time.process_time() - middle
    return photograph / count, views / count / VIEWS


def _draw_turn(rng: np.random.Generator) -> tuple[Array, Array]:
    """Two triples of Euler angles: a photograph's, and one that lies further out in yaw, at any pitch."""
    before = rng.uniform([-60, -25, -15], [60, 25, 15])
    yaw = before[0] + (np.copysign(99, before[0]) - before[0]) * rng.random()
    return before, np.array([yaw, rng.uniform(-60, 60), before[2]])


def _pose(points: Array, model: Any) -> Array:
    """Return the rotation of a (68, 3) head model whose landmarks project to (68, 2) points, with y up."""
    offset = model - model.mean(0)
    linear = np.linalg.lstsq(offset, points - points.mean(0), rcond=None)[0].T
    u, _, vt = np.linalg.svd(linear, full_matrices=False)
    first, second = u @ vt
    return np.stack([first, second, np.cross(first, second)])


if __name__ == "__main__":
    sys.exit(main())
