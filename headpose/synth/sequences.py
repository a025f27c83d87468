"""Short sequences of rendered heads whose pose is known in every frame, to measure how steady networks are.

Each head has a bare skull, a faultless camera and a light of its own. One thing changes in a sequence (``KINDS``), the
rest stays. Camera noise is not in the pictures: whoever reads them adds it.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from headpose import folders, geometry, images
from headpose.datasets import sequences
from headpose.datasets.sequences import RenderedSequence, SequenceFrame
from headpose.errors import HeadPoseError
from headpose.synth import post, scene, writer
from headpose.synth.anatomy import FRAME
from headpose.synth.camera import Camera
from headpose.synth.pose import Pose
from headpose.synth.render import Rendered, render, stage
from headpose.synth.scene import Scene, Studio
from headpose.types import Box, EulerAngles, Image

VERSION = 1
"""Version of the sequences: it changes when the same head gives other pictures, boxes or labels."""

KINDS = {
    "still": "one picture with camera noise",
    "boxes": "one picture; the box moves and changes its size at random",
    "talk": "the head talks and blinks",
    "light": "lamps go around the head, light and exposure change",
    "nod": "pitch goes up and down by 20 degrees; yaw and roll stay",
    "turn": "yaw goes from side to side by 35 degrees",
    "expression": "one picture for each expression",
    "distance": "one picture for each distance, with camera noise",
}
"""Kinds of sequences, and what happens in them."""

FPS = 30
NOISE = 8
"""Standard deviation of the camera noise of ``still`` and ``distance``, grey levels."""

NEUTRAL = "neutral"
EXPRESSIONS: dict[str, dict[str, float]] = {
    NEUTRAL: {},
    "eyes shut": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "mouth open": {"jawOpen": 0.8},
    "smile": {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9, "cheekSquintLeft": 0.5, "cheekSquintRight": 0.5},
    "lips rounded": {"mouthFunnel": 0.8, "jawOpen": 0.2},
    "lips pursed": {"mouthPucker": 0.9},
    "brows up": {"browInnerUp": 0.9, "browOuterUpLeft": 0.9, "browOuterUpRight": 0.9},
    "brows down": {"browDownLeft": 0.9, "browDownRight": 0.9},
    "mouth to one side": {"mouthLeft": 0.8},
}
"""Amounts of the expression units (``headpose.synth.expression``) by the name of the expression."""

DISTANCES_M = (0.4, 0.6, 1.0, 1.6, 2.5, 4.0)
_FACE_AT_1_M = 78  # pixels: 1.4 decimeters before a camera that sees 60 degrees across 640 pixels

_SEED = 2  # heads 0, 1, ... of seed 0 are those that networks train on
_SIDE = 192  # of the pictures, pixels; the face takes 107
_CAMERA = Camera(distance=12.0, framing=1.8, shift=(0.0, 0.0))
_LONG, _SHORT, _TURN = 60, 30, 90  # frames
_BOX_SPREAD = 0.02  # of the box's middle and of its sides, in lengths of the face
_POSES = [
    EulerAngles(*angles)
    for angles in (
        (0.0, 0.0, 0.0),
        (20.0, -8.0, 5.0),
        (-35.0, 5.0, -3.0),
        (10.0, 12.0, 0.0),
        (-15.0, -15.0, 8.0),
        (45.0, 0.0, 0.0),
        (-5.0, -20.0, -5.0),
        (30.0, 10.0, 4.0),
    )
]
_NOD_YAW = (0.0, 25.0, -50.0)


def write(folder: str | os.PathLike[str], heads: int) -> int:
    """Render the sequences of heads 0 ... ``heads`` - 1; those that are there already stay.

    Args:
        folder: Folder of the sequences; it is made if it does not exist.
        heads: Number of heads.

    Returns:
        The number of heads rendered now.

    Raises:
        HeadPoseError: Assets are missing, the folder cannot be written or is in use, or it holds sequences of another
            version.
    """
    root = Path(folder)
    with folders.occupied(root):
        missing = [head for head in range(heads) if not sequences.is_complete(root, head, settings())]
        if not missing:
            return 0
        studio = scene.open_studio()
        for head in tqdm(missing, desc="rendering", unit="head", disable=None):
            own = sequences.head_folder(root, head)
            try:
                own.mkdir(exist_ok=True)
            except OSError as error:
                raise HeadPoseError(f"cannot use the folder {own}: {error.strerror}") from error
            sequences.write(root, head, list(head_sequences(head, studio, own)), settings())
    return len(missing)


def settings() -> dict[str, Any]:
    """Return what decides the pictures and labels, as plain values."""
    return {"version": VERSION, "drawing": writer.VERSION, "frame": list(FRAME)}


def head_sequences(head: int, studio: Studio, folder: Path) -> Iterator[RenderedSequence]:
    """Render all sequences of a head, one after the other.

    Args:
        head: Number of the head.
        studio: Assets.
        folder: Existing folder that gets the pictures.
    """
    base = _base(head, studio)
    shot = _Shot(studio, folder)
    neutral = shot.take("still-000", base)
    yield RenderedSequence("still", head, "", NOISE, _repeated(neutral, _LONG))
    yield RenderedSequence("boxes", head, "", 0, _with_moving_boxes(neutral, head))
    for name, amounts in EXPRESSIONS.items():
        face = dataclasses.replace(base, expression=amounts)
        frame = neutral if name == NEUTRAL else shot.take(f"expression-{name.replace(' ', '-')}", face)
        yield RenderedSequence("expression", head, name, 0, (frame,))
    for meters in DISTANCES_M:
        far = dataclasses.replace(base, camera=dataclasses.replace(_CAMERA, distance=10.0 * meters))
        frame = shot.take(f"distance-{meters:g}", far, face=_FACE_AT_1_M / meters)
        yield RenderedSequence("distance", head, f"{meters:g} m", NOISE, _repeated(frame, _SHORT))
    still = base.pose.euler
    moving: dict[str, tuple[int, Callable[[float], Scene]]] = {
        "talk": (_LONG, lambda t: dataclasses.replace(base, expression=_talking(t))),
        "nod": (_LONG, lambda t: _posed(base, _NOD_YAW[head % 3], 20.0 * math.sin(math.pi * t), 0.0)),
        "turn": (_TURN, lambda t: _posed(base, 35.0 * math.sin(math.pi * t), still.pitch, 0.0)),
    }
    for kind, (count, at) in moving.items():
        frames = tuple(shot.take(f"{kind}-{i:03d}", at(i / FPS), i / FPS) for i in range(count))
        yield RenderedSequence(kind, head, "", 0, frames)
    yield RenderedSequence("light", head, "", 0, tuple(shot.in_changing_light(base)))


class _Shot:
    """Writes pictures of scenes into a folder."""

    def __init__(self, studio: Studio, folder: Path) -> None:
        self._studio, self._folder = studio, folder

    def take(self, name: str, staged: Scene, time_s: float = 0.0, face: float = math.inf) -> SequenceFrame:
        """Render a scene; the picture is made smaller if its face is longer than ``face`` pixels."""
        return self._save(name, render(stage(staged, self._studio, _SIDE), self._studio), time_s, face)

    def in_changing_light(self, base: Scene) -> Iterator[SequenceFrame]:
        """Render a scene that stays, but for its light."""
        staged = stage(base, self._studio, _SIDE)
        for i in range(_LONG):
            t = i / FPS
            lit = dataclasses.replace(staged, scene=dataclasses.replace(base, light=_changed_light(base, t)))
            yield self._save(f"light-{i:03d}", render(lit, self._studio), t)

    def _save(self, name: str, rendered: Rendered, time_s: float, face: float = math.inf) -> SequenceFrame:
        path = self._folder / f"{name}.png"
        image, box = _at_most(face, rendered.image, rendered.box)
        images.write_image(path, image)
        return SequenceFrame(path, time_s, box, EulerAngles(*geometry.euler_from_rotation(rendered.rotation)))


def _base(head: int, studio: Studio) -> Scene:
    """Return the scene of a head at rest."""
    drawn = scene.draw(_SEED, head, studio).uncovered()
    at_rest = dataclasses.replace(
        drawn,
        expression={},
        eyes=dataclasses.replace(drawn.eyes, right=0.0, up=0.0),
        camera=_CAMERA,
        post=post.FAULTLESS,
    )
    return _posed(at_rest, *_POSES[head % len(_POSES)])


def _posed(base: Scene, yaw: float, pitch: float, roll: float) -> Scene:
    euler = EulerAngles(yaw, pitch, roll)
    return dataclasses.replace(base, pose=Pose(euler, EulerAngles(*(0.6 * angle for angle in euler))))


def _talking(t: float) -> Mapping[str, float]:
    """Return the amounts of the expression units of a talking face at a time in seconds: two blinks, six syllables."""
    blink = max(0.0, *(math.sin(math.pi * (t - start) / 0.2) if 0 < t - start < 0.2 else 0.0 for start in (0.4, 1.4)))
    return {
        "eyeBlinkLeft": blink,
        "eyeBlinkRight": blink,
        "jawOpen": 0.25 * (1.0 - math.cos(6.0 * math.pi * t)),
        "mouthFunnel": 0.3 * max(0.0, math.sin(2.6 * math.pi * t)),
        "mouthSmileLeft": 0.2 * max(0.0, math.sin(1.4 * math.pi * t + 1.0)),
        "mouthSmileRight": 0.2 * max(0.0, math.sin(1.4 * math.pi * t + 1.0)),
    }


def _changed_light(base: Scene, t: float) -> Any:
    """Return the light at a time in seconds: lamps within 60 degrees of their place, half as bright to 1.5 times."""
    angle = math.radians(60.0) * math.sin(math.pi * t)
    cos, sin = math.cos(angle), math.sin(angle)
    around = np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]], np.float32)
    light = base.light
    return dataclasses.replace(
        light,
        towards=(light.towards @ around).astype(np.float32),
        colors=(light.colors * (1.0 + 0.5 * math.sin(math.pi * t + 1.0))).astype(np.float32),
        exposure=light.exposure * (1.0 + 0.4 * math.sin(2.0 * math.pi * t)),
    )


def _repeated(frame: SequenceFrame, count: int) -> tuple[SequenceFrame, ...]:
    return tuple(dataclasses.replace(frame, time_s=i / FPS) for i in range(count))


def _with_moving_boxes(frame: SequenceFrame, head: int) -> tuple[SequenceFrame, ...]:
    """Return frames of one picture whose box is moved and resized as an unsteady detector does."""
    random = np.random.default_rng([_SEED, head])
    box, length = frame.box, max(frame.box.width, frame.box.height)
    frames = []
    for i in range(_LONG):
        right, down, wider, taller = random.normal(0.0, _BOX_SPREAD * length, 4)
        x, y = box.center[0] + right, box.center[1] + down
        width, height = box.width + wider, box.height + taller
        moved = Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        frames.append(dataclasses.replace(frame, time_s=i / FPS, box=moved))
    return tuple(frames)


def _at_most(face: float, image: Image, box: Box) -> tuple[Image, Box]:
    """Return a picture, made smaller if the face in it is longer than ``face`` pixels, and the face's box in it."""
    if max(box.width, box.height) <= face:
        return image, box
    side = round(len(image) * face / max(box.width, box.height))
    smaller = np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    return smaller, Box(*(value * side / len(image) for value in box))
