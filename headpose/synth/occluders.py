"""Occluders: hands at the face and objects in front of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headpose.geometry import Array
from headpose.synth.assets import HELPERS, Assets
from headpose.synth.clothes import cloth_color, fabric
from headpose.synth.shapes import Shape, box, ellipsoid, join, lathe, tube
from headpose.synth.surface import F32, Fragments, Material, Part, noise, part

_THINGS = ("phone", "cup", "microphone", "ball", "stick", "sheet", "leaves")
# Landmarks that hands touch: chin, cheeks, mouth, temple, jaw.
_TOUCHED = (8, 3, 13, 57, 54, 48, 17, 26, 5, 11)


@dataclass(frozen=True, slots=True)
class Hand:
    """Hand at the face.

    Attributes:
        landmark: Index of the landmark that the fingers touch.
        mirrored: True for a right hand.
        fold: Flexion of the fingers in degrees at each joint.
        turn: Rotation of the hand about the line of sight in degrees; 0 points the fingers up.
        tip: Forward and sideways tilt in degrees.
        size: Size relative to the base mesh.
        off: Distance from the skin in decimeters.
    """

    landmark: int
    mirrored: bool
    fold: tuple[float, ...]
    turn: float
    tip: tuple[float, float]
    size: float
    off: float


@dataclass(frozen=True, slots=True)
class Thing:
    """Object in front of the face.

    Attributes:
        kind: "phone", "cup", "microphone", "ball", "stick", "sheet" or "leaves".
        at: Position in head axes, decimeters.
        turn: Euler angles in degrees.
        size: Size relative to the real object.
        color: Linear color.
        second: Second linear color of the pattern.
        pattern: Pattern of the surface.
        seed: Random seed of leaves.
    """

    kind: str
    at: tuple[float, float, float]
    turn: tuple[float, float, float]
    size: float
    color: tuple[float, float, float]
    second: tuple[float, float, float]
    pattern: str
    seed: int


@dataclass(frozen=True, slots=True)
class Occluders:
    """Hands and objects that hide part of the face; often none."""

    hands: tuple[Hand, ...]
    things: tuple[Thing, ...]


def draw(rng: np.random.Generator) -> Occluders:
    """Draw occluders: a hand in one of eleven images, an object in one of nine."""
    hands = [_draw_hand(rng) for _ in range(int(rng.choice([0, 1, 2], p=[0.91, 0.075, 0.015])))]
    things = [_draw_thing(rng) for _ in range(int(rng.choice([0, 1, 2], p=[0.89, 0.09, 0.02])))]
    return Occluders(tuple(hands), tuple(things))


def _draw_hand(rng: np.random.Generator) -> Hand:
    fold = rng.choice([rng.uniform(0, 15), rng.uniform(15, 40), rng.uniform(50, 80)])
    landmark = int(rng.choice(_TOUCHED))
    mirrored = bool(rng.random() < 0.5)
    lean = 25.0 if mirrored else -25.0  # the elbow points to the side
    return Hand(
        landmark=landmark,
        mirrored=mirrored,
        fold=tuple(float(np.clip(rng.normal(fold, 8), 0, 95)) for _ in range(5)),
        turn=float(lean + rng.normal(0, 25)),
        tip=(float(rng.normal(-10, 15)), float(rng.normal(0, 25))),
        size=float(rng.uniform(0.85, 1.1)),
        off=float(rng.choice([0.05, rng.uniform(0.1, 1.2)])),
    )


def _draw_thing(rng: np.random.Generator) -> Thing:
    away = rng.uniform(0.95, 2.0)
    at = np.array([rng.normal(0, 0.55), rng.normal(-0.25, 0.45), away])
    return Thing(
        kind=str(rng.choice(_THINGS)),
        at=(float(at[0]), float(at[1]), float(at[2])),
        turn=(float(rng.normal(0, 30)), float(rng.normal(0, 25)), float(rng.normal(0, 30))),
        size=float(rng.uniform(0.7, 1.3)),
        color=cloth_color(rng),
        second=cloth_color(rng),
        pattern=str(rng.choice(["plain", "plain", "stripes", "blotches", "checks"])),
        seed=int(rng.integers(1 << 31)),
    )


def parts(
    occluders: Occluders, landmarks: Array, tone: tuple[float, float, float], assets: Assets, vertices: F32
) -> list[Part]:
    """Build the surfaces of hands and objects.

    Args:
        occluders: Occluders to build.
        landmarks: (68, 3) landmarks in head axes, decimeters.
        tone: Linear skin color.
        assets: Base mesh, which provides the left hand.
        vertices: (19158, 3) vertices of the person, used for the shape of the hand.
    """
    result = [_hand_part(hand, landmarks, tone, assets, vertices) for hand in occluders.hands]
    for thing in occluders.things:
        shape = _shape(thing)
        turn = _turn(*thing.turn)
        color = fabric(thing.pattern, thing.color, thing.second, 9.0)
        moved = shape.moved(turn * thing.size, thing.at)
        result.append(part(Material(color, 0.04, 30, hides=True), moved.vertices, moved.faces, moved.uv))
    return result


def _turn(first: float, second: float, third: float) -> Array:
    """Return the (3, 3) rotation by three angles in degrees about x, y and z."""
    (ca, sa), (cb, sb), (cc, sc) = ((np.cos(a), np.sin(a)) for a in np.deg2rad([first, second, third]))
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    turned: Array = about_z @ about_y @ about_x
    return turned


def _shape(thing: Thing) -> Shape:
    if thing.kind == "phone":
        return box((0.72, 1.45, 0.08))
    if thing.kind == "cup":
        return lathe([(0.0, -0.5), (0.3, -0.5), (0.38, 0.45), (0.35, 0.45), (0.28, -0.4), (0.0, -0.4)])
    if thing.kind == "microphone":
        handle = lathe([(0.0, -2.2), (0.11, -2.2), (0.15, -0.2), (0.0, -0.2)])
        return join(handle, ellipsoid((0.26, 0.28, 0.26)))
    if thing.kind == "ball":
        return ellipsoid((0.5, 0.5, 0.5))
    if thing.kind == "stick":
        return tube([[0, -3.0, 0], [0.05, 0, 0], [0, 3.0, 0.1]], 0.07, 8)
    if thing.kind == "sheet":
        return box((1.1, 0.8, 0.02))
    rng = np.random.default_rng(thing.seed)
    leaves = [
        ellipsoid((0.22, 0.07, 0.01), 6, 8).moved(_turn(*rng.uniform(-60, 60, 3)), rng.normal((0, 0.4, 0.2), 0.45))
        for _ in range(14)
    ]
    return join(*leaves)


def _hand_part(hand: Hand, landmarks: Array, tone: tuple[float, float, float], assets: Assets, vertices: F32) -> Part:
    piece = assets.pieces["hand"]
    folded = _folded(hand, assets)
    wrist = assets.vertices[slice(*HELPERS["joint-hand"])].mean(0)
    elbow = assets.vertices[slice(*HELPERS["joint-elbow"])].mean(0)
    knuckles = assets.vertices[assets.joints[[3, 6, 9, 12]]].mean((0, 1))
    # Axes of the hand: y along the fingers, x from the thumb across the palm.
    along = knuckles - wrist
    along /= np.linalg.norm(along)
    across = assets.vertices[assets.joints[12]].mean(0) - assets.vertices[assets.joints[3]].mean(0)
    across -= along * (across @ along)
    across /= np.linalg.norm(across)
    axes = np.stack([across, along, np.cross(across, along)])
    # The wrist of the base mesh is bent; rotate the forearm into line with the hand.
    points = (folded[piece.source] - wrist) @ axes.T
    arm = (elbow - wrist) @ axes.T
    low = np.clip(-points[:, 1] / 0.5, 0, 1)[:, None]
    straight = points - arm / np.linalg.norm(arm) * (points @ (arm / np.linalg.norm(arm)))[:, None]
    straight[:, 1] = -(points @ (arm / np.linalg.norm(arm)))
    points = points * (1 - low) + straight * low
    points[:, 1] = np.where(points[:, 1] < -0.8, points[:, 1] * 2.0 + 0.8, points[:, 1])
    if hand.mirrored:
        points = points * [-1, 1, 1]
    faces = piece.faces[:, ::-1] if hand.mirrored else piece.faces
    fingers = np.array([0, 1.35, 0.0])  # point that lies on the landmark
    placed = (points - fingers) * hand.size @ _turn(hand.tip[0], hand.tip[1], hand.turn).T
    target = landmarks[hand.landmark]
    outward = target / np.linalg.norm(target) + [0, 0, 0.6]
    placed = placed + target + outward / np.linalg.norm(outward) * (0.14 + hand.off)
    base = np.array(tone, np.float32)

    def color(fragments: Fragments) -> F32:
        shade = 0.85 + 0.3 * noise(fragments.template, 9.0)
        return (base * np.array([1.0, 0.93, 0.92], np.float32) * shade[:, None]).astype(np.float32)

    material = Material(color, 0.025, 14, (0.3, 0.14, 0.1), hides=True)
    hand_part = part(material, placed, faces, piece.uv, 0.9)
    return Part(
        material,
        hand_part.vertices,
        hand_part.faces,
        piece.uv,
        hand_part.template,
        hand_part.occlusion,
        hand_part.weight,
        piece.source,
    )


def _folded(hand: Hand, assets: Assets) -> F32:
    """Return the base mesh with the fingers of the left hand bent, joint by joint from the tip."""
    vertices = assets.vertices.copy()
    palm = assets.vertices[assets.joints[[3, 12]]].mean(1)
    side = palm[1] - palm[0]
    side /= np.linalg.norm(side)
    for finger in range(5):
        for joint in (2, 1, 0):
            number = finger * 3 + joint
            weight = (
                assets.finger_weight[:, number : number + 1]
                if joint == 2
                else (assets.finger_weight[:, number : finger * 3 + 3].sum(1, keepdims=True))
            )
            moved = np.flatnonzero(weight[:, 0] > 0.01)
            pivot = assets.vertices[assets.joints[number]].mean(0)
            angle = np.deg2rad(hand.fold[finger] * (0.35 if finger == 0 else 0.8))
            offset = vertices[moved] - pivot
            cosine, sine = np.cos(angle), np.sin(angle)
            turned = offset * cosine + np.cross(side, offset) * sine + side * (offset @ side)[:, None] * (1 - cosine)
            vertices[moved] += ((turned - offset) * np.clip(weight[moved], 0, 1)).astype(np.float32)
    return vertices
