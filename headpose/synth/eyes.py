"""Eyes with a gaze direction, eyelashes, teeth and tongue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headpose.geometry import Array
from headpose.synth.anatomy import Anatomy
from headpose.synth.assets import HELPERS, Assets
from headpose.synth.person import Person
from headpose.synth.surface import F32, I32, MASK_SIDE, U8, Fragments, Material, Paint, Part, linear, noise, part, plain

_IRISES = linear(
    np.array(
        [
            [0.22, 0.12, 0.06],
            [0.33, 0.2, 0.09],
            [0.36, 0.48, 0.6],
            [0.36, 0.45, 0.33],
            [0.45, 0.48, 0.5],
            [0.4, 0.34, 0.18],
        ]
    )
)
_IRIS_SHARES = np.array([0.42, 0.2, 0.15, 0.08, 0.08, 0.07])
_DARK_SHARES = np.array([0.85, 0.13, 0.0, 0.01, 0.0, 0.01])


@dataclass(frozen=True, slots=True)
class Eyes:
    """Appearance and gaze of the eyes, and color of the teeth.

    Attributes:
        right: Horizontal gaze angle relative to the head in degrees, positive to the right in the image.
        up: Vertical gaze angle relative to the head in degrees, positive up.
        iris: Linear color of the iris.
        iris_size: Half angle of the iris seen from the center of the eye, degrees.
        pupil_size: Half angle of the pupil, degrees.
        lashes: Darkness of the eyelashes in [0, 1].
        teeth: Linear color of the teeth.
    """

    right: float
    up: float
    iris: tuple[float, float, float]
    iris_size: float
    pupil_size: float
    lashes: float
    teeth: tuple[float, float, float]


def draw(rng: np.random.Generator, person: Person, rotation: Array) -> Eyes:
    """Draw eyes; half of them look at the camera as far as eyes can turn."""
    camera = rotation.T @ np.array([0.0, 0.0, 1.0])
    right, up = np.rad2deg([np.arctan2(camera[0], camera[2]), np.arcsin(np.clip(camera[1], -1, 1))])
    if rng.random() < 0.5:
        right, up = np.clip(right, -25, 25) + rng.normal(0, 3), np.clip(up, -14, 14) + rng.normal(0, 2)
    else:
        right, up = rng.normal(0, 10), rng.normal(-3, 6)
    shares = _DARK_SHARES if person.ancestry[0] + person.ancestry[1] > rng.uniform(0.3, 0.8) else _IRIS_SHARES
    iris = _IRISES[rng.choice(len(_IRISES), p=shares)] * np.exp(rng.normal(0, 0.25))
    size = rng.uniform(27, 31)
    teeth = np.array([0.72, 0.68, 0.6]) * rng.uniform(0.7, 1.05) * (1 + np.array([0, 0, -1]) * rng.uniform(0, 0.2))
    return Eyes(
        right=float(np.clip(right, -32, 32)),
        up=float(np.clip(up, -20, 16)),
        iris=(float(iris[0]), float(iris[1]), float(iris[2])),
        iris_size=float(size),
        pupil_size=float(size * rng.uniform(0.28, 0.55)),
        lashes=float(rng.uniform(0.1, 0.5) if person.is_male else rng.uniform(0.3, 0.95)),
        teeth=(float(teeth[0]), float(teeth[1]), float(teeth[2])),
    )


def lid_targets(eyes: Eyes) -> dict[str, float]:
    """Return the weights of the expression units by which the eyelids follow the gaze up or down."""
    if eyes.up < 0:
        return {f"faceunits/eyeLookDown{side}": min(1.0, -eyes.up / 28) for side in ("Left", "Right")}
    return {f"faceunits/eyeLookUp{side}": min(1.0, eyes.up / 25) for side in ("Left", "Right")}


def parts(eyes: Eyes, neutral: F32, vertices: F32, assets: Assets, anatomy: Anatomy, mouth: bool) -> list[Part]:
    """Build the eyeballs, the eyelashes and, if the lips are parted, teeth and tongue.

    Args:
        eyes: Appearance and gaze.
        neutral: (19158, 3) vertices of the neutral person in head axes; eyeballs do not move with the expression.
        vertices: (19158, 3) vertices with the expression.
        assets: Base mesh.
        anatomy: Average head.
        mouth: Build the inside of the mouth.
    """
    material = Material(_iris_color(eyes), 0.04, 400, of_face=True, two_sided=False)
    unit, uv, faces = BALL
    yaw, pitch = np.deg2rad([eyes.right, eyes.up])
    across = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    upwards = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    turn = (across @ upwards).astype(np.float32)
    result = []
    for name in ("left-eye", "right-eye"):
        middle, radius = place(neutral, name)
        turned = unit @ turn.T
        shade = np.clip(
            0.9 - 1.2 * np.clip(turned[:, 1] - 0.1, 0, 1) - 0.5 * np.clip(0.75 - turned[:, 2], 0, 1), 0.2, 1
        )
        result.append(part(material, turned * radius + middle, faces, uv, shade))
    piece = assets.pieces["lashes"]
    lash = Material(plain((0.012, 0.01, 0.009)), of_face=True, mask=_lash_mask(eyes.lashes), casts=False)
    result.append(part(lash, vertices[piece.source], piece.faces, piece.uv * 0 + _lash_uv(piece.uv)))
    if mouth:
        pink = (0.45, 0.16, 0.14)
        for name, color, occlusion in (
            ("upper-teeth", eyes.teeth, 0.75),
            ("lower-teeth", eyes.teeth, 0.6),
            ("tongue", pink, 0.35),
        ):
            piece = assets.pieces[name]
            wet = Material(plain(color), 0.04, 60, of_face=True, casts=False)
            result.append(part(wet, vertices[piece.source], piece.faces, piece.uv, occlusion))
    return result


def place(neutral: F32, name: str) -> tuple[F32, F32]:
    """Return the center, (3,), and the radius of an eyeball in decimeters.

    Args:
        neutral: (19158, 3) vertices of the neutral person.
        name: "left-eye" or "right-eye".
    """
    helper = neutral[slice(*HELPERS[name])]
    return helper.mean(0), np.ptp(helper, axis=0)[:2].mean() / 2


def _iris_color(eyes: Eyes) -> Paint:
    def color(fragments: Fragments) -> F32:
        angle, around = fragments.uv[:, 0] * 90, fragments.uv[:, 1] * 2 * np.pi
        depth = np.clip((angle - eyes.pupil_size) / (eyes.iris_size - eyes.pupil_size), 0, 1)
        spokes = noise(np.stack([np.cos(around), np.sin(around), depth * 0.1], 1).astype(np.float32), 14.0)
        glow = (0.55 + 0.9 * spokes) * (1.25 - 0.45 * abs(depth - 0.4)) * np.where(depth > 0.85, 0.45, 1.0)
        white = np.array([0.48, 0.43, 0.4]) - np.clip((angle - eyes.iris_size) / 35, 0, 1)[:, None] * [0.06, 0.12, 0.12]
        iris = np.array(eyes.iris) * glow[:, None]
        edge = np.clip((angle - eyes.iris_size) / 2.5, 0, 1)[:, None]
        outside = iris * 0.5 * (1 - edge) + white * edge
        result = np.where((angle < eyes.iris_size)[:, None], iris, outside)
        return np.where((angle < eyes.pupil_size)[:, None], 0.004, result).astype(np.float32)

    return color


def _lash_uv(uv: F32) -> F32:
    """Rescale the texture coordinates of the helper mesh so that one mask repeats along the lid."""
    low, high = uv.min(0), uv.max(0)
    spread: F32 = (uv - low) / (high - low)
    return spread


def _lash_mask(darkness: float) -> U8:
    return np.full((MASK_SIDE, MASK_SIDE), int(255 * darkness * 0.6), np.uint8)


def _eyeball(around: int = 28, rings: int = 14) -> tuple[F32, F32, I32]:
    """Create an eyeball of radius 1 with a cornea, open at the back: vertices, (angle / 90, turn) and faces."""
    angle = (np.arange(rings + 1) / rings) ** 1.2 * 105
    turn = np.arange(around + 1) / around
    angles, turns = (grid.ravel() for grid in np.meshgrid(angle, turn, indexing="ij"))
    radius = 1 + 0.07 * np.exp(-((angles / 16) ** 2))
    sine, cosine = np.sin(np.deg2rad(angles)), np.cos(np.deg2rad(angles))
    vertices = (
        np.stack([sine * np.cos(turns * 2 * np.pi), sine * np.sin(turns * 2 * np.pi), cosine], 1) * radius[:, None]
    )
    row, column = (grid.ravel() for grid in np.meshgrid(np.arange(rings), np.arange(around), indexing="ij"))
    a = row * (around + 1) + column
    faces = np.concatenate([np.stack([a, a + around + 1, a + around + 2], 1), np.stack([a, a + around + 2, a + 1], 1)])
    return vertices.astype(np.float32), np.stack([angles / 90, turns], 1).astype(np.float32), faces.astype(np.int32)


BALL = _eyeball()
"""Vertices (n, 3), (angle / 90, turn) (n, 2) and faces (m, 3) of an eyeball of radius 1 that looks along +z."""
