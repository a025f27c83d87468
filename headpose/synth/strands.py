"""Hair strands: roots, growth and the ribbons that represent them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headpose.synth.anatomy import Anatomy, radius_at
from headpose.synth.assets import Assets
from headpose.synth.face_map import FaceMap
from headpose.synth.shapes import Shape, grid
from headpose.synth.surface import F32, I32

LOCKS = 8
"""Number of different locks side by side in the coverage mask of ribbons."""


@dataclass(frozen=True, slots=True)
class Combed:
    """Hairstyle.

    Attributes:
        style: "crop", "side", "back", "fringe", "spikes", "curtain", "loose", "tail" or "bun".
        length: Length of the strands in decimeters.
        lift: Distance from the head in decimeters.
        parting: Position of the parting in decimeters, positive to the right in the image.
        curl: Lateral amplitude of the strands from 0 (straight) to 1.
        waves: Number of waves along a strand.
        hairline: As in ``FaceMap.scalp``.
        recession: As in ``FaceMap.scalp``.
        tucked: True if long hair is behind the ears.
        flat: True if a hat presses the hair down.
    """

    style: str
    length: float
    lift: float
    parting: float
    curl: float
    waves: float
    hairline: float
    recession: float
    tucked: bool = False
    flat: bool = False


def ribbons(
    hair: Combed, vertices: F32, assets: Assets, anatomy: Anatomy, table: F32, middle: F32, down: F32, seed: int
) -> tuple[Shape, F32]:
    """Grow the hair of a head.

    Args:
        hair: Hairstyle.
        vertices: (19158, 3) vertices of the neutral person in head axes.
        assets: Base mesh.
        anatomy: Average head.
        table: Outline of the head, from ``anatomy.radii``.
        middle: Center of the outline, from ``anatomy.radii``.
        down: (3,) direction of gravity in head axes.
        seed: Random seed of the strands.

    Returns:
        Ribbons, with u in one of the locks and v from root to tip; and (n,) v of each vertex.
    """
    rng = np.random.default_rng(seed)
    roots = _roots(hair, vertices, assets, anatomy, rng)
    if hair.flat:
        roots = roots[roots[:, 1] < anatomy.landmarks[19, 1] + 0.3]
    strands = _grow(hair, roots, table, middle, down, rng)
    shape = to_ribbons(strands, middle, 0.34 if hair.length > 0.5 else 0.2, rng)
    return shape, np.repeat(np.tile(np.linspace(0, 1, strands.shape[1]), len(strands)), 2).astype(np.float32)


def _roots(hair: Combed, vertices: F32, assets: Assets, anatomy: Anatomy, rng: np.random.Generator) -> F32:
    """Draw (n, 3) roots uniformly on the scalp."""
    piece = assets.pieces["bust"]
    template, own = anatomy.vertices[piece.source], vertices[piece.source]
    grows = FaceMap(anatomy.landmarks).scalp(template, hair.hairline, hair.recession) > 0.5
    faces = piece.faces[grows[piece.faces].all(1)]
    return scatter(own, own, faces, 480 if hair.length < 0.5 else 380, rng)[0]


def scatter(vertices: F32, values: F32, faces: I32, count: int, rng: np.random.Generator) -> tuple[F32, F32]:
    """Draw points uniformly on a mesh; return (count, 3) positions and (count, 3) interpolated vertex ``values``."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(faces), count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    shares = np.concatenate([1 - u - v, u, v], 1)
    corners = faces[chosen]
    places, mixed = ((each[corners] * shares[:, :, None]).sum(1) for each in (vertices, values))
    return places.astype(np.float32), mixed.astype(np.float32)


def tie_point(hair: Combed, table: F32, middle: F32) -> F32:
    """Return the (3,) point at which a ponytail or a bun is tied."""
    high = 0.1 + 3.5 * (hair.lift - 0.03) / 0.13 * 0.25
    direction = np.array([0.0, high, -1.0], np.float32)
    direction /= np.linalg.norm(direction)
    return middle + direction * (radius_at(table, direction[None])[0] + 0.12)


def _grow(hair: Combed, roots: F32, table: F32, middle: F32, down: F32, rng: np.random.Generator) -> F32:
    """Grow strands: (n, steps, 3) points that follow the combing direction and gravity and avoid head and face."""
    n = len(roots)
    steps = 5 if hair.length < 0.5 else 7 if hair.length < 1.4 else 10
    out = roots - middle
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    length = np.full(n, hair.length) * rng.uniform(0.75, 1.1, n)
    comb = _combed(hair, roots, middle, rng)
    if hair.style == "fringe":  # only the front hair is combed forward; it ends above the eyes
        front = roots[:, 2] > 0.15
        length = np.where(front, np.clip(length * 0.6, 0.3, 0.5), length)
    gap = rng.uniform(0.01, 1.0, n) * (0.02 if hair.flat else hair.lift)
    phase, sway = rng.uniform(0, 2 * np.pi, n), rng.normal(0, 1, (n, 3))
    tie = tie_point(hair, table, middle)
    path = np.empty((n, steps, 3), np.float32)
    point = roots.copy()
    path[:, 0] = point - out * 0.01
    for step in range(1, steps):
        share = step / (steps - 1)
        lift = 0.9 if hair.style == "spikes" else (0.25 if hair.flat else 0.6) * (1 - share) ** 2
        falling = down * (2.2 * share**0.6 if hair.length > 1.1 else 1.0 * share if hair.length > 0.4 else 0.0)
        direction = comb * (1 - 0.7 * share) + out * lift + falling
        if hair.style in ("tail", "bun"):
            to_tie = tie - point
            direction = to_tie / (np.linalg.norm(to_tie, axis=1, keepdims=True) + 1e-6) + out * 0.2 * (1 - share)
        wave = np.sin(share * hair.waves * 2 * np.pi + phase)[:, None] * sway
        direction = direction + wave * hair.curl * 0.5
        direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-6
        stride = (length / (steps - 1))[:, None]
        if hair.style in ("tail", "bun"):
            stride = np.minimum(np.linalg.norm(to_tie, axis=1, keepdims=True), stride)
        point = point + direction * stride
        point = _kept_off(hair, point, table, middle, (gap * (0.4 + 0.6 * share)).astype(np.float32))
        path[:, step] = point
    if hair.style == "tail":
        path = np.concatenate([path, _tail(hair, tie, table, middle, steps, rng)])
    return path


def _combed(hair: Combed, roots: F32, middle: F32, rng: np.random.Generator) -> F32:
    """Return the (n, 3) initial direction of strands along the head."""
    side = np.sign(roots[:, 0] - hair.parting + rng.normal(0, 0.03, len(roots)))
    comb = {
        "crop": np.stack([0.2 * side, -0.2 + 0 * side, 0.6 + 0 * side], 1),
        "side": np.stack([1.0 * -np.sign(hair.parting or 1) + 0 * side, -0.1 + 0 * side, -0.25 + 0 * side], 1),
        "back": np.stack([0.15 * side, 0.1 + 0 * side, -1.0 + 0 * side], 1),
        "fringe": np.stack([0.25 * side, -0.3 + 0 * side, np.where(roots[:, 2] > 0, 1.0, -0.6)], 1),
        "spikes": np.stack([0.2 * side, 0.8 + 0 * side, 0.2 + 0 * side], 1),
        "loose": np.stack([0.8 * side, -0.2 + 0 * side, -0.7 + 0 * side], 1),
    }.get(hair.style, np.stack([1.0 * side, -0.2 + 0 * side, -0.35 + 0 * side], 1))
    comb = comb + rng.normal(0, 0.06 + 0.25 * hair.curl, comb.shape)
    out = roots - middle
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    along = comb - out * (comb * out).sum(1, keepdims=True)
    return (along / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-6)).astype(np.float32)


def _kept_off(hair: Combed, point: F32, table: F32, middle: F32, gap: F32) -> F32:
    """Push strands out of the head and, except for a fringe, to the sides of the face."""
    offset = point - middle
    distance = np.linalg.norm(offset, axis=1)
    least = np.minimum(radius_at(table, offset), 2.2) + gap
    point = middle + offset * (np.maximum(distance, least) / (distance + 1e-6))[:, None]
    half_width = 0.66 * np.sqrt(np.clip(1 - ((point[:, 1] - 0.1) / 1.0) ** 2, 0, 1))
    top = 1.0 if hair.style != "fringe" else 0.42
    inside = (point[:, 2] > -0.12) & (point[:, 1] < top) & (abs(point[:, 0]) < half_width)
    side = np.where(point[:, 0] >= 0, 1.0, -1.0)
    point[:, 0] = np.where(inside, side * half_width, point[:, 0])
    if hair.tucked:
        behind = np.where(point[:, 1] < 0.3, -0.3, np.interp(point[:, 1], [0.3, 0.9], [-0.3, 0.6]))
        point[:, 2] = np.minimum(point[:, 2], behind)
    return point.astype(np.float32)


def _tail(hair: Combed, tie: F32, table: F32, middle: F32, steps: int, rng: np.random.Generator) -> F32:
    """Return the free end of a ponytail: (n, steps, 3)."""
    n = 60
    share = np.linspace(0, 1, steps)[None, :, None]
    spread = rng.normal(0, 0.12, (n, 1, 3)) * np.sqrt(share) * (1.4 - share)
    length = rng.uniform(1.0, 3.0)
    path = tie + np.array([0, -1.0, 0]) * share * length + np.array([0, 0.15, -0.5]) * np.sin(share * np.pi / 2)
    path = path + spread + 0.06 * hair.curl * np.sin(share * 12 + rng.uniform(0, 6, (n, 1, 3)))
    flat = path.reshape(-1, 3).astype(np.float32)
    return _kept_off(hair, flat, table, middle, np.full(len(flat), 0.05, np.float32)).reshape(n, steps, 3)


def to_ribbons(strands: F32, middle: F32, width: float, rng: np.random.Generator) -> Shape:
    """Create ribbons that lie on the head; u selects a lock of the mask, v runs along the strand."""
    n, steps, _ = strands.shape
    tangent = np.gradient(strands, axis=1)
    across = np.cross(tangent, strands - middle)
    across /= np.linalg.norm(across, axis=2, keepdims=True) + 1e-6
    half = width * rng.uniform(0.6, 1.3, (n, 1, 1)) / 2 * np.linspace(1.0, 0.75, steps)[None, :, None]
    both = np.stack([strands - across * half, strands + across * half], 2)
    lock = np.asarray(rng.integers(0, LOCKS, n))
    one = grid(np.asarray(both[0]))
    faces = (one.faces[None] + (np.arange(n) * steps * 2)[:, None, None]).reshape(-1, 3)
    uv = np.tile(one.uv, (n, 1, 1))
    uv[:, :, 0] = (lock[:, None] + 0.03 + 0.94 * uv[:, :, 0]) / LOCKS
    uv[:, :, 1] = 0.003 + 0.99 * uv[:, :, 1]
    return Shape(both.reshape(-1, 3).astype(np.float32), faces.astype(np.int32), uv.reshape(-1, 2).astype(np.float32))
