"""Clothes: shirts, jackets, turtlenecks and scarves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headpose.synth.anatomy import Anatomy
from headpose.synth.assets import Assets
from headpose.synth.raster import vertex_normals
from headpose.synth.shapes import Shape, grid, join, tube
from headpose.synth.surface import F32, MASK_SIDE, Fragments, Material, Paint, Part, noise, part, plain, smooth

_KINDS = {"t-shirt": 0.3, "v-neck": 0.15, "shirt": 0.2, "suit": 0.17, "turtleneck": 0.1, "bare": 0.08}
Color = tuple[float, float, float]
"""Linear RGB color."""

# Cloth ends where v, the height above the neckline, reaches 0.5.
_EDGE = np.where(np.arange(MASK_SIDE) < MASK_SIDE // 2 + 1, 255, 0).astype(np.uint8)[:, None].repeat(MASK_SIDE, 1)
_PATTERNS = ("plain", "plain", "plain", "stripes", "checks", "blotches", "knit")


@dataclass(frozen=True, slots=True)
class Clothes:
    """Clothes on the shoulders.

    Attributes:
        kind: "t-shirt", "v-neck", "shirt", "suit", "turtleneck" or "bare".
        pattern: "plain", "stripes", "checks", "blotches" or "knit".
        color: Linear color.
        second: Second linear color of the pattern.
        scale: Frequency of the pattern in waves per decimeter.
        neckline: Lowering of the neckline in decimeters.
        loose: Distance from the body in decimeters.
        scarf: Thickness of a scarf in decimeters; 0 for none.
        scarf_color: Linear color of the scarf.
        seed: Random seed of the folds.
    """

    kind: str
    pattern: str
    color: tuple[float, float, float]
    second: tuple[float, float, float]
    scale: float
    neckline: float
    loose: float
    scarf: float
    scarf_color: tuple[float, float, float]
    seed: int


def draw(rng: np.random.Generator) -> Clothes:
    """Draw clothes: one of twelve people has bare shoulders, one of fifteen wears a scarf."""
    shares = np.array(list(_KINDS.values()))
    kind = str(rng.choice(list(_KINDS), p=shares / shares.sum()))
    return Clothes(
        kind=kind,
        pattern=str(rng.choice(_PATTERNS)),
        color=cloth_color(rng),
        second=cloth_color(rng),
        scale=float(rng.uniform(2, 14)),
        neckline=float(rng.uniform(0, 0.35)),
        loose=float(rng.uniform(0.05, 0.14)),
        scarf=float(rng.uniform(0.18, 0.34) if rng.random() < 0.07 else 0.0),
        scarf_color=cloth_color(rng),
        seed=int(rng.integers(1 << 31)),
    )


def cloth_color(rng: np.random.Generator) -> Color:
    """Draw a linear color; half of them are gray, black or white."""
    grey = np.repeat(rng.choice([rng.uniform(0.01, 0.06), rng.uniform(0.06, 0.4), rng.uniform(0.5, 0.85)]), 3)
    bright = rng.uniform(0.05, 1, 3) ** 2.2
    red, green, blue = (bright if rng.random() < 0.5 else grey * rng.uniform(0.9, 1.1, 3)).tolist()
    return red, green, blue


def parts(clothes: Clothes, vertices: F32, assets: Assets, anatomy: Anatomy) -> list[Part]:
    """Build the surfaces of the clothes.

    Args:
        clothes: Clothes to build.
        vertices: (19158, 3) vertices of the person in head axes.
        assets: Base mesh.
        anatomy: Average head.
    """
    result = []
    if clothes.kind != "bare":
        result.append(_garment(clothes, vertices, assets, anatomy))
        if clothes.kind in ("shirt", "suit", "turtleneck"):
            result.append(_collar(clothes, vertices, anatomy))
    if clothes.scarf:
        result.append(_scarf(clothes, vertices))
    return result


def fabric(pattern: str, color: Color, second: Color, scale: float, seed: float = 0.0) -> Paint:
    """Return the color function of cloth with a pattern."""
    main, other = np.array(color, np.float32), np.array(second, np.float32)

    def paint(fragments: Fragments) -> F32:
        at = fragments.template
        share = np.zeros(len(at), np.float32)
        if pattern == "stripes":
            share = (np.floor(at[:, 1] * scale) % 2).astype(np.float32)
        elif pattern == "checks":
            share = ((np.floor(at[:, 1] * scale) + np.floor(at[:, 0] * scale)) % 2).astype(np.float32)
        elif pattern == "blotches":
            share = (noise(at, scale, seed) > 0.55).astype(np.float32)
        elif pattern == "knit":
            share = 0.35 * (np.sin(at[:, 1] * 90) * np.sin(at[:, 0] * 90) > 0).astype(np.float32)
        folds = 0.8 + 0.4 * noise(at, (5, 2, 5), seed)
        return ((main * (1 - share[:, None]) + other * share[:, None]) * folds[:, None]).astype(np.float32)

    return paint


def caps(clothes: Clothes, skin: Color, vertices: F32, anatomy: Anatomy) -> Part:
    """Close the bust at the arms and below the chest, where cameras from below would see its inside.

    Args:
        clothes: Clothes, which define the color; bare shoulders are closed with skin.
        skin: Linear skin color.
        vertices: (19158, 3) float32 vertices of the person in head axes.
        anatomy: Average head.
    """
    points, faces, first = [], [], 0
    for edges in anatomy.openings:
        count = len(edges)
        points += [vertices[edges.ravel()], vertices[edges.ravel()].mean(0, keepdims=True)]
        pairs = first + np.arange(2 * count).reshape(count, 2)
        faces.append(np.column_stack([pairs, np.full(count, first + 2 * count)]))
        first += 2 * count + 1
    color = skin if clothes.kind == "bare" else clothes.color
    return part(Material(plain(color), 0.01, 5), np.concatenate(points), np.concatenate(faces), None, 0.6, 0.0)


def _neckline(kind: str, lower: float, at: F32) -> F32:
    """Return the height of the upper edge of the clothes in decimeters, by position on the average bust."""
    back, front = -0.98, -1.5
    depth = np.clip((at[:, 2] + 0.9) / 1.1, 0, 1)
    line = back + (front - back) * depth**1.3 - lower * depth
    if kind in ("v-neck", "suit"):
        line = line - np.clip(0.9 - 2.2 * abs(at[:, 0]), 0, 1) * (at[:, 2] > -0.4)
    if kind in ("turtleneck", "shirt"):
        line = line + 0.18
    return line.astype(np.float32)


def _garment(clothes: Clothes, vertices: F32, assets: Assets, anatomy: Anatomy) -> Part:
    """Build a garment: the surface of the body below the neckline, moved outward."""
    piece = assets.pieces["bust"]
    at, own = anatomy.vertices[piece.source], vertices[piece.source]
    kind = "shirt" if clothes.kind == "suit" else clothes.kind
    above = at[:, 1] - _neckline(kind, clothes.neckline if kind != "shirt" else 0.0, at)
    low = (at[:, 1] < -0.75) & (assets.head_weight[piece.source] < 0.9)
    faces = piece.faces[((above < 0.3) & low)[piece.faces].all(1)]
    normals = vertex_normals(own, piece.faces, piece.source, len(vertices))
    folds = noise(at, (3, 1.5, 3), clothes.seed % 31) * 0.08
    off = smooth(0.05, -0.1, above) * (clothes.loose + folds) + 0.03
    moved = own + normals * off[:, None]
    # Cloth hangs vertically from the chest.
    moved[:, 2] = np.where(
        (at[:, 2] > 0.1) & (at[:, 1] < -2.2), np.maximum(moved[:, 2], moved[:, 2] + 0.1), moved[:, 2]
    )
    color = fabric(clothes.pattern, clothes.color, clothes.second, clothes.scale, clothes.seed % 31)
    if clothes.kind == "suit":
        color = _suit(clothes)
    return Part(
        Material(color, 0.015, 6, mask=_EDGE),
        moved.astype(np.float32),
        faces,
        np.stack([np.full(len(at), 0.5), np.clip(above / 4 + 0.5, 0.01, 0.99)], 1).astype(np.float32),
        at,
        np.clip(anatomy.occlusion[piece.source] + 0.1, 0, 1),
        assets.head_weight[piece.source],
        piece.source,
    )


def _suit(clothes: Clothes) -> Paint:
    """Return the color function of a jacket with a shirt and an optional tie."""
    rng = np.random.default_rng(clothes.seed)
    shirt = np.array([0.75, 0.76, 0.8]) * rng.uniform(0.6, 1.1) if rng.random() < 0.7 else rng.random(3)
    tie = rng.random(3) ** 2.2 if rng.random() < 0.6 else shirt
    cloth = np.array(clothes.color) * 0.4

    def paint(fragments: Fragments) -> F32:
        at = fragments.template
        across = abs(at[:, 0])
        opening = np.clip((at[:, 1] + 3.6) / 2.2, 0, 1) * 0.5 * (at[:, 2] > -0.35)
        inside = (across < opening)[:, None]
        color = np.where(inside, shirt, cloth)
        color = np.where((across < 0.14)[:, None] & inside & (at[:, 1:2] < -1.35), tie, color)
        lapel = ((across > opening) & (across < opening + 0.05) & (at[:, 2] > -0.3))[:, None]
        folds = 0.8 + 0.4 * noise(at, (5, 2, 5), 3.0)
        return (np.where(lapel, color * 0.6, color) * folds[:, None]).astype(np.float32)

    return paint


def _ring(vertices: F32, anatomy_chin: float, height: float, widen: float) -> F32:
    """Return (32, 3) points around the neck at a height relative to the chin; the front is lower than the back."""
    turn = np.arange(32) / 32 * 2 * np.pi
    tilt = -0.3 * np.cos(turn)
    return np.stack(
        [
            (0.5 + widen) * np.sin(turn),
            anatomy_chin + height + tilt,
            -0.38 + (0.52 + widen) * np.cos(turn),
        ],
        1,
    ).astype(np.float32)


def _collar(clothes: Clothes, vertices: F32, anatomy: Anatomy) -> Part:
    high = 0.5 if clothes.kind == "turtleneck" else 0.25
    chin = float(anatomy.landmarks[8, 1])
    rings = [_ring(vertices, chin, -0.85 + high * t, 0.12 - 0.06 * t) for t in np.linspace(0, 1, 4)]
    closed = np.stack([np.concatenate([ring, ring[:1]]) for ring in rings])
    if clothes.kind == "shirt" or clothes.kind == "suit":  # the collar is open in front
        closed = np.roll(closed[:, :-1], 15, 1)[:, : 30 if clothes.kind == "shirt" else 32]
    shape = grid(closed)
    color = clothes.color if clothes.kind != "suit" else (0.7, 0.7, 0.74)
    cloth = fabric(clothes.pattern if clothes.kind != "suit" else "plain", color, clothes.second, clothes.scale)
    return part(Material(cloth, 0.015, 6), shape.vertices, shape.faces, shape.uv, 0.85, 0.2)


def _scarf(clothes: Clothes, vertices: F32) -> Part:
    rng = np.random.default_rng(clothes.seed + 1)
    loops: list[Shape] = []
    for level in range(2):
        ring = _ring(vertices, -0.62, -0.55 - 0.28 * level, 0.1 + 0.12 * level)
        ring += rng.normal(0, 0.03, ring.shape)
        loops.append(tube(ring, clothes.scarf * rng.uniform(0.75, 1.1, 33), 9, closed=True))
    shape = join(*loops)
    cloth = fabric(clothes.pattern, clothes.scarf_color, clothes.second, clothes.scale)
    return part(Material(cloth, 0.01, 5, hides=True), shape.vertices, shape.faces, shape.uv, 0.85, 0.3)
