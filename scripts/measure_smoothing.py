"""Measure how much smoothing reduces the jitter of poses in a video, and how much lag it adds.

python scripts/measure_smoothing.py [--model student] [--heads 8] [--grid]

Rendered heads rest, turn, shake, nod and wander for four seconds at 30 frames per second, with camera noise. The pose
of every frame is known. Needs the extra ``synth``.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from headpose import geometry
from headpose.choices import DEFAULT_MODEL
from headpose.cli.program import imports_from, run_program
from headpose.errors import HeadPoseError
from headpose.estimator import HeadPoseEstimator
from headpose.geometry import Array
from headpose.smoothing import Smoothing
from headpose.tracking import FaceTracker
from headpose.types import EulerAngles, HeadPose, Image

with imports_from("synth", "measure_smoothing"):
    from headpose.synth import render, scene
    from headpose.synth.pose import Pose

FPS, FRAMES = 30, 120
SETTLED = 15  # frames at the start that are excluded, until the filter has settled
RENDER, WIDTH, HEIGHT = 224, 640, 360  # pixels
NOISE = 8.0  # standard deviation per channel, gray levels
WANDER = 0.35  # amplitude of the motion to each side in face lengths; the period is two seconds

MOTIONS: dict[str, Callable[[float], EulerAngles]] = {
    "rest": lambda t: EulerAngles(12.0, -4.0, 3.0),
    "slow turn": lambda t: EulerAngles(25.0 * np.sin(2 * np.pi * 0.15 * t), 6.0 * np.sin(2 * np.pi * 0.2 * t), 0.0),
    "shake": lambda t: EulerAngles(35.0 * np.sin(2 * np.pi * 0.6 * t), 0.0, 0.0),
    "nod": lambda t: EulerAngles(5.0, 18.0 * np.sin(2 * np.pi * 0.9 * t), 0.0),
    "wander": lambda t: EulerAngles(12.0, -4.0, 3.0),
}
"""Motions by name: functions from the time in seconds to yaw, pitch and roll in degrees."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Estimated and true poses of a clip.

    Attributes:
        motion: Name of the motion.
        read: Estimated poses, one per frame.
        rotations: (n, 3, 3) true rotations.
        centers: (n, 2) true centers of the box in face lengths.
    """

    motion: str
    read: list[HeadPose]
    rotations: Array
    centers: Array


def main() -> int:
    return run_program("measure_smoothing", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="measure_smoothing", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"name or .onnx file ({DEFAULT_MODEL})")
    parser.add_argument("--heads", type=int, default=8, metavar="N", help="rendered heads per motion (8)")
    parser.add_argument("--grid", action="store_true", help="also measure a grid of other settings")
    arguments = parser.parse_args()
    report(arguments.model, arguments.heads, arguments.grid)
    return 0


def report(model: str, heads: int, grid: bool) -> None:
    """Print one table for rotations and one for boxes.

    Args:
        model: Name of a network, or path of an .onnx file.
        heads: Number of rendered heads per motion.
        grid: Measure other settings besides the defaults.
    """
    clips = list(read_clips(HeadPoseEstimator(model, max_faces=1), heads))
    default = Smoothing()
    turns = {"none": None, "default": default}
    moves = dict(turns)
    if grid:
        turns |= {
            f"still {still:g} Hz, turn {turn:g} Hz": dataclasses.replace(default, still_hz=still, turn_hz=turn)
            for still in (0.5, 1.0, 2.0)
            for turn in (0.02, 0.05, 0.1, 0.2)
        }
        moves |= {f"move {move:g} Hz": dataclasses.replace(default, move_hz=move) for move in (2.0, 4.0, 8.0, 32.0)}
    _table("rotation, degrees", turns, clips, rotation_figures)
    _table("center of the box, % of the face's length", moves, clips, center_figures)


def _table(
    title: str,
    settings: dict[str, Smoothing | None],
    clips: list[Clip],
    figures: Callable[[Clip, list[HeadPose]], tuple[float, float]],
) -> None:
    print(f"\n{title}: jitter / error\n\n| smoothing | {' | '.join(MOTIONS)} |\n|---|{'---|' * len(MOTIONS)}")
    for name, smoothing in settings.items():
        cells = []
        for motion in MOTIONS:
            pairs = [figures(clip, smoothed(clip, smoothing)) for clip in clips if clip.motion == motion]
            jitter, error = np.mean(pairs, axis=0)
            cells.append(f"{jitter:.2f} / {error:.2f}")
        print(f"| {name} | {' | '.join(cells)} |")


def smoothed(clip: Clip, smoothing: Smoothing | None) -> list[HeadPose]:
    """Return the poses of a clip after tracking with these smoothing settings."""
    tracker = FaceTracker(smoothing)
    return [tracker.update([pose], i / FPS)[0] for i, pose in enumerate(clip.read)]


def rotation_figures(clip: Clip, poses: list[HeadPose]) -> tuple[float, float]:
    """Return the jitter (RMS change of the error between frames) and the mean error, both in degrees.

    The constant rotation between estimates and truth is an error of the network or of the rendered head; it is removed.
    """
    read = np.stack([pose.rotation for pose in clip.read])
    constant = geometry.nearest_rotation((clip.rotations.swapaxes(-1, -2) @ read).mean(0))
    given = np.stack([pose.rotation for pose in poses]) @ constant.T
    error = (given @ clip.rotations.swapaxes(-1, -2))[SETTLED:]
    steps = geometry.geodesic_degrees(error[1:], error[:-1])
    return float(np.sqrt((steps**2).mean())), float(geometry.geodesic_degrees(error, np.eye(3)).mean())


def center_figures(clip: Clip, poses: list[HeadPose]) -> tuple[float, float]:
    """Return the jitter and the mean error of the box center, in percent of the face length."""
    length = np.mean([max(pose.box.width, pose.box.height) for pose in clip.read])
    read, given = (np.array([pose.box.center for pose in each]) / length for each in (clip.read, poses))
    error = (given - clip.centers - (read - clip.centers).mean(0))[SETTLED:]
    steps = np.linalg.norm(np.diff(error, axis=0), axis=1)
    return float(100 * np.sqrt((steps**2).mean())), float(100 * np.linalg.norm(error, axis=1).mean())


def read_clips(estimator: HeadPoseEstimator, heads: int) -> Iterator[Clip]:
    """Render every motion with each head and yield the clips with estimated poses.

    Raises:
        HeadPoseError: No face is found in a frame.
    """
    studio = scene.open_studio()
    bar = tqdm(total=heads * len(MOTIONS) * FRAMES, desc="rendering", unit="frame", disable=None)
    for head in range(heads):
        drawn = scene.draw(1, head, studio).uncovered()
        for motion, angles in MOTIONS.items():
            random = np.random.default_rng([head, len(motion)])
            read, rotations, centers = [], [], []
            for i in range(FRAMES):
                euler = angles(i / FPS)
                posed = dataclasses.replace(drawn, pose=Pose(euler, EulerAngles(*(0.6 * angle for angle in euler))))
                side = WANDER * np.sin(np.pi * i / FPS) if motion == "wander" else 0.0
                frame, center = _frame(posed, studio, side, random)
                poses = estimator.estimate(frame)
                if not poses:
                    raise HeadPoseError(f"no face found in frame {i} of head {head}, {motion}")
                read.append(poses[0])
                rotations.append(geometry.rotation_from_euler(euler))
                centers.append(center)
                bar.update()
            yield Clip(motion, read, np.stack(rotations), np.array(centers))
    bar.close()


def _frame(posed: scene.Scene, studio: scene.Studio, side: float, random: np.random.Generator) -> tuple[Image, Array]:
    """Return a frame with the head in a wider scene, and the (2,) center of its box in face lengths."""
    rendered = render.render(render.stage(posed, studio, RENDER), studio)
    length = max(rendered.box.width, rendered.box.height)
    offset = np.array([(WIDTH - RENDER) / 2 + side * length, (HEIGHT - RENDER) / 2])
    place = np.column_stack([np.eye(2), offset])
    room = cv2.warpAffine(rendered.image, place, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    noisy = room + random.normal(0, NOISE, room.shape)
    return np.clip(noisy.round(), 0, 255).astype(np.uint8), (np.array(rendered.box.center) + offset) / length


if __name__ == "__main__":
    sys.exit(main())
