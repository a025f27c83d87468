"""Headwear: glasses, hats, head scarves, headphones and masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headpose.geometry import Array
from headpose.synth.anatomy import Anatomy, radii
from headpose.synth.assets import HELPERS
from headpose.synth.clothes import cloth_color, fabric
from headpose.synth.folder import AssetFolder
from headpose.synth.shapes import Shape, ellipsoid, grid, join, shell, tube
from headpose.synth.surface import F32, MASK_SIDE, Material, Part, linear, part, plain

_FRAMES = linear(
    np.array(
        [
            [0.03, 0.03, 0.03],
            [0.26, 0.16, 0.09],
            [0.7, 0.7, 0.72],
            [0.62, 0.52, 0.28],
            [0.42, 0.05, 0.06],
            [0.1, 0.12, 0.3],
        ]
    )
)
_HATS = {"beanie": 0.27, "cap": 0.27, "brim": 0.13, "scarf": 0.15, "headband": 0.08, "headphones": 0.06, "helmet": 0.04}


@dataclass(frozen=True, slots=True)
class Glasses:
    """Glasses.

    Attributes:
        half_width: Half width of a lens in decimeters.
        half_height: Half height of a lens in decimeters.
        squareness: Exponent of the outline: 2 is an ellipse, 5 is almost a rectangle.
        rim: Radius of the frame in decimeters.
        wrap: Curvature around the face.
        lower: Downward offset in decimeters.
        color: Linear color of the frame.
        lens: Linear color of the lenses.
        density: Opacity of the lenses: 0.2 shows reflections only, 1 is mirrored sunglasses.
    """

    half_width: float
    half_height: float
    squareness: float
    rim: float
    wrap: float
    lower: float
    color: tuple[float, float, float]
    lens: tuple[float, float, float]
    density: float


@dataclass(frozen=True, slots=True)
class Wear:
    """Headwear of a person.

    Attributes:
        glasses: Glasses; None for none.
        hat: Name of a procedural hat or of a hat in the asset folder; "" for none.
        hat_color: Linear color of the hat.
        hat_second: Second linear color of the pattern.
        pattern: Pattern of the cloth.
        size: Size from 0 (small and tight) to 1 (wide).
        tilt: Tilt of the hat in degrees.
        mask: True if a mask covers mouth and nose.
    """

    glasses: Glasses | None
    hat: str
    hat_color: tuple[float, float, float]
    hat_second: tuple[float, float, float]
    pattern: str
    size: float
    tilt: float
    mask: bool


def draw(rng: np.random.Generator, fitted: list[str]) -> Wear:
    """Draw headwear: glasses for a fifth of the people, headwear for a ninth, a mask for one of forty."""
    glasses = _draw_glasses(rng) if rng.random() < 0.21 else None
    shares = np.array(list(_HATS.values()))
    hat = str(rng.choice(list(_HATS), p=shares / shares.sum())) if rng.random() < 0.12 else ""
    if hat == "brim" and fitted:
        hat = str(rng.choice(fitted))
    return Wear(
        glasses=glasses,
        hat=hat,
        hat_color=cloth_color(rng),
        hat_second=cloth_color(rng),
        pattern=str(rng.choice(["plain", "plain", "knit", "stripes", "blotches"])),
        size=float(rng.random()),
        tilt=float(rng.normal(0, 4)),
        mask=bool(rng.random() < 0.025),
    )


def _draw_glasses(rng: np.random.Generator) -> Glasses:
    dark = rng.random() < 0.22
    frame = _FRAMES[rng.integers(len(_FRAMES))]
    tint = linear(rng.choice(np.array([[0.08, 0.08, 0.09], [0.2, 0.13, 0.08], [0.1, 0.16, 0.12], [0.12, 0.14, 0.25]])))
    return Glasses(
        half_width=float(rng.uniform(0.24, 0.31)),
        half_height=float(rng.uniform(0.15, 0.26)),
        squareness=float(rng.choice([2.0, 2.6, 3.5, 5.0])),
        rim=float(rng.choice([0.008, 0.013, 0.02, 0.03])),
        wrap=float(rng.uniform(0.05, 0.14)),
        lower=float(rng.uniform(0.0, 0.1)),
        color=(float(frame[0]), float(frame[1]), float(frame[2])),
        lens=(float(tint[0]), float(tint[1]), float(tint[2])) if dark else (0.3, 0.32, 0.33),
        density=float(rng.choice([0.75, 1.0])) if dark else float(rng.choice([0.0, 0.25])),
    )


def covers_hair(wear: Wear) -> bool:
    """Return whether the hat presses the hair down."""
    return wear.hat not in ("", "headphones", "headband")


def hides_hair(wear: Wear) -> bool:
    """Return whether the headwear hides all hair."""
    return wear.hat in ("scarf", "helmet")


def parts(wear: Wear, vertices: F32, landmarks: Array, anatomy: Anatomy, folder: AssetFolder | None) -> list[Part]:
    """Build the surfaces of the headwear.

    Args:
        wear: Headwear to build.
        vertices: (19158, 3) vertices of the neutral person in head axes.
        landmarks: (68, 3) landmarks of this head.
        anatomy: Average head.
        folder: Asset folder with fitted hats; None without.
    """
    table, middle = radii(anatomy, vertices)
    result: list[Part] = []
    cloth = fabric(wear.pattern, wear.hat_color, wear.hat_second, 8.0)
    if folder is not None and wear.hat in folder.hats:
        style = folder.hats[wear.hat]
        result.append(part(Material(cloth, 0.015, 6, hides=True), style.on(vertices), style.faces, style.uv))
    elif wear.hat:
        shape = _HAT_SHAPES[wear.hat](wear, table, middle, landmarks)
        smooth = wear.hat in ("helmet", "headphones")
        material = (
            Material(plain(wear.hat_color), 0.06, 60, hides=True) if smooth else Material(cloth, 0.012, 6, hides=True)
        )
        result.append(part(material, shape.vertices, shape.faces, shape.uv))
    if wear.mask:
        shape = _mask(table, middle, landmarks)
        result.append(part(Material(cloth, 0.01, 5), shape.vertices, shape.faces, shape.uv))
    if wear.glasses is not None:
        result += _glasses(wear.glasses, vertices, landmarks)
    return result


def _front(columns: int) -> F32:
    """Return for each column of a shell a value from 1 (front) to 0 (back)."""
    return (np.cos(np.arange(columns) / columns * 2 * np.pi) * 0.5 + 0.5).astype(np.float32)


def _tilted(wear: Wear, shape: Shape, middle: F32) -> Shape:
    angle = np.deg2rad(wear.tilt)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return Shape(shape.vertices - middle, shape.faces, shape.uv).moved(turn, middle)


def _beanie(wear: Wear, table: F32, middle: F32, landmarks: Array) -> Shape:
    front = _front(48)
    edge = np.deg2rad(108 - 42 * front - 6 * wear.size * front)
    rows = 18
    down = np.linspace(0, 1, rows + 1)[:, None]
    thickness = 0.07 + 0.35 * wear.size * (1 - down) ** 2 + 0.04 * (down > 0.8) + 0 * np.linspace(0, 1, 49)
    return _tilted(wear, shell(table, middle, (0, 1, -0.15), edge, thickness, rows), middle)


def _cap(wear: Wear, table: F32, middle: F32, landmarks: Array) -> Shape:
    front = _front(48)
    edge = np.deg2rad(98 - 32 * front)
    crown = shell(table, middle, (0, 1, -0.1), edge, 0.08 + 0.06 * wear.size, 14)
    turn = np.linspace(-0.95, 0.95, 19)
    rim_y = float(landmarks[19:25, 1].mean() + 0.42)
    out = np.linspace(0, 1, 6)[:, None]
    reach = 0.55 + 0.25 * wear.size
    x = np.sin(turn) * (0.74 + 0.12 * out)
    z = -0.1 + np.cos(turn) * (0.82 + reach * out * np.cos(turn * 0.8))
    y = rim_y + 0.02 - 0.16 * out**1.5 - 0.12 * abs(np.sin(turn)) ** 2 + 0 * x
    return _tilted(wear, join(crown, grid(np.stack([x, y, z], -1))), middle)


def _brim(wear: Wear, table: F32, middle: F32, landmarks: Array) -> Shape:
    edge = np.deg2rad(90 - 22 * _front(48))
    crown = shell(table, middle, (0, 1, -0.15), edge, 0.1 + 0.25 * wear.size, 12)
    rim = crown.vertices.reshape(13, 49, 3)[-1]
    away = rim - middle
    away[:, 1] = 0
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    reach = np.linspace(0, 0.5 + 0.7 * wear.size, 5)[:, None, None]
    wave = 0.12 * np.cos(np.linspace(0, 4 * np.pi, 49))[None, :, None] * np.array([0, 1.0, 0])
    return _tilted(wear, join(crown, grid(rim + away * reach + (wave - [0, 0.1, 0]) * reach)), middle)


def _head_scarf(wear: Wear, table: F32, middle: F32, landmarks: Array) -> Shape:
    """Build a head scarf around the face that hides hair, ears and neck."""
    columns = 56
    turn = np.arange(columns) / columns * 2 * np.pi
    up, down = np.clip(np.cos(turn), 0, 1), np.clip(-np.cos(turn), 0, 1)
    edge = np.deg2rad(122 + 20 * up**1.5 + (2 - 8 * wear.size) * down)
    rows = 24
    ruffle = (
        0.06 + 0.05 * np.sin(np.arange(columns + 1) / columns * 2 * np.pi * 9) * np.linspace(0, 1, rows + 1)[:, None]
    )
    return shell(table, middle, (0, 0.12, -1), edge, ruffle, rows, furthest=1.5)


def _headband(wear: Wear, table: F32, middle: F32, landmarks: Array) -> Shape:
    columns = 48
    edge = np.deg2rad(98 - 34 * _front(columns))
    band = shell(table, middle, (0, 1, -0.1), edge, 0.2, 24).vertices.reshape(25, columns + 1, 3)
    return grid(band[22 - int(3 * wear.size) :])


def _headphones(wear: Wear, table: F32, middle: F32, landmarks: Array) -> Shape:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 21)
    width = float(abs(landmarks[[0, 16], 0]).mean()) + 0.14
    top = float(middle[1] + table[0, 0] + 0.1)
    ear_y = float(landmarks[[0, 16], 1].mean()) - 0.1
    band = np.stack([width * np.sin(angle), ear_y + (top - ear_y) * np.cos(angle), np.full(21, -0.25)], 1)
    cup = ellipsoid((0.13, 0.34, 0.3))
    cups = [cup.moved(np.eye(3), (side * width, ear_y, -0.22)) for side in (-1, 1)]
    return join(tube(band, 0.06 + 0.05 * wear.size), *cups)


def _helmet(wear: Wear, table: F32, middle: F32, landmarks: Array) -> Shape:
    edge = np.deg2rad(112 - 44 * _front(48))
    return shell(np.maximum(table, 0.9), middle, (0, 1, -0.15), edge, 0.2 + 0.1 * wear.size, 16)


_HAT_SHAPES = {
    "beanie": _beanie,
    "cap": _cap,
    "brim": _brim,
    "scarf": _head_scarf,
    "headband": _headband,
    "headphones": _headphones,
    "helmet": _helmet,
}


def _mask(table: F32, middle: F32, landmarks: Array) -> Shape:
    """Build a surgical mask with two bands, from the nose to below the chin."""
    columns = 40
    turn = np.arange(columns) / columns * 2 * np.pi
    wide, up = abs(np.sin(turn)), np.cos(turn)
    edge = np.deg2rad(np.where(up > 0, 22, 27) * (1 - wide**2) + 44 * wide**2)
    center = landmarks[48:60].mean(0) - middle + [0, 0.06, 0]
    cover = shell(table, middle, center, edge, 0.05, 10, furthest=1.42)
    bands = []
    for side, ear in ((1, 16), (-1, 0)):
        corner = cover.vertices.reshape(11, columns + 1, 3)[-1, columns // 4 if side > 0 else 3 * columns // 4]
        bands.append(tube([corner, landmarks[ear] + [0.06 * side, -0.2, -0.05]], 0.012))
    return join(cover, *bands)


def _glasses(glasses: Glasses, vertices: F32, landmarks: Array) -> list[Part]:
    centers = [vertices[slice(*HELPERS[name])].mean(0) for name in ("right-eye", "left-eye")]
    half = float(abs(centers[0][0]) + abs(centers[1][0])) / 2
    high = float(centers[0][1] + centers[1][1]) / 2 - 0.05 - glasses.lower
    front = max(float(centers[0][2]) + 0.32, float(landmarks[27:29, 2].max()) + 0.05) + 0.4 * glasses.lower
    turn = np.arange(28) / 28 * 2 * np.pi
    power = 2 / glasses.squareness
    x = np.sign(np.cos(turn)) * abs(np.cos(turn)) ** power * glasses.half_width
    y = np.sign(np.sin(turn)) * abs(np.sin(turn)) ** power * glasses.half_height
    pieces, lenses = [], []
    for side in (-1, 1):
        across = side * half + x
        rim = np.stack([across, high + y, front - glasses.wrap * (across / 0.6) ** 2 + 0.04 * y], 1)
        pieces.append(tube(rim, glasses.rim, 6, closed=True))
        share = np.linspace(0, 1, 4)[:, None, None]
        closed = np.concatenate([rim, rim[:1]])
        lenses.append(grid(rim.mean(0) * (1 - share) + closed * share + [0, 0, 0.015] * (1 - share)))
    inner, outer = half - glasses.half_width, half + glasses.half_width
    bridge = [[-inner, high + 0.05, front], [-inner / 2, high + 0.08, front + 0.03]]
    pieces.append(tube([*bridge, [inner / 2, high + 0.08, front + 0.03], [inner, high + 0.05, front]], glasses.rim))
    temple = float(abs(landmarks[[0, 16], 0]).mean()) + 0.04
    ear, hinge = float(landmarks[[0, 16], 2].mean()) - 0.35, front - glasses.wrap * (outer / 0.6) ** 2
    for side in (-1, 1):
        arm = [[outer, high + 0.05, hinge], [outer * 0.3 + temple * 0.7 + 0.03, high + 0.06, hinge - 0.25]]
        arm += [[temple, high + 0.05, (hinge + ear) / 2], [temple, high + 0.02, ear]]
        pieces.append(tube(np.array(arm) * [side, 1, 1], max(glasses.rim, 0.012)))
    frame = join(*pieces)
    result = [part(Material(plain(glasses.color), 0.06, 50, of_face=True), frame.vertices, frame.faces, frame.uv)]
    if glasses.density:
        cover = np.full((MASK_SIDE, MASK_SIDE), int(255 * glasses.density), np.uint8)
        lens = join(*lenses)
        dark = glasses.density > 0.5
        material = Material(
            plain(glasses.lens),
            0.05 if dark else 0.08,
            150,
            hides=dark,
            of_face=not dark,
            mask=cover,
            casts=False,
            reflects=0.1 if dark else 0.3,
        )
        result.append(part(material, lens.vertices, lens.faces, lens.uv))
    return result
