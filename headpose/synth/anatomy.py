"""Average head: axes, landmarks, ambient occlusion and outline."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from headpose import geometry
from headpose.geometry import Array
from headpose.synth import person
from headpose.synth.assets import HELPERS, Assets
from headpose.synth.landmarks68 import VERTICES
from headpose.synth.raster import depth_map, vertex_normals
from headpose.synth.surface import F32, I32
from headpose.types import EulerAngles

DRAWN = EulerAngles(yaw=0.0, pitch=3.1, roll=0.0)
"""Axes in which heads are built and rotated, relative to the base mesh, degrees. All images depend on them."""

FRAME = EulerAngles(yaw=0.0, pitch=2.4, roll=0.0)
"""Head axes of 300W-LP relative to the base mesh, degrees. These are the only constants calibrated on photographs.

Only labels depend on them. Aligning the 51 inner landmarks of the average head with the mean face of 300W-LP's face
model gives a pitch of 0.55 degrees. The rest is the bias of a network trained on rendered heads, measured by
scripts/measure_frame.py on 18,728 pseudo-labeled faces of AFLW (see docs/synth.md). Yaw and roll are 0 by symmetry.
"""

LABEL = geometry.rotation_from_euler(DRAWN) @ geometry.rotation_from_euler(FRAME).T
"""(3, 3) float64 rotation from the head axes of labels to those in which heads are built."""

_DIRECTIONS = (32, 64)  # polar and azimuthal resolution of the outline
_ARM = 2.0  # decimeters from the center; the bust ends at 1.3 below the chest and at 3 in the arms
_SKULL = np.array([0.0, 0.55, -0.35], np.float32)  # center of the skull in head axes, decimeters


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """Average head in head axes, in decimeters; the origin is between the eyes and the ears.

    Attributes:
        vertices: (19158, 3) float32 vertices.
        landmarks: (68, 3) float64 landmarks.
        rigid: (k,) int32 vertices of skull and face that define the orientation of a head.
        occlusion: (19158,) float32 ambient occlusion: visible fraction of the sky in [0, 1].
        outline: (32, 64) int32 outermost vertex by direction from the center of the skull.
        face: (m,) float64 area of each triangle of the bust, normalized to a sum of 1; 0 outside of the face.
        openings: (k, 2) int32 edges at which the bust ends, for each arm and for the chest.
    """

    vertices: F32
    landmarks: Array
    rigid: I32
    occlusion: F32
    outline: I32
    face: Array
    openings: tuple[I32, ...]


def build(assets: Assets) -> Anatomy:
    """Derive the average head from the base mesh; takes about a second."""
    raw = person.shape(person.AVERAGE, assets)
    marks = raw[VERTICES]
    eyes = (raw[slice(*HELPERS["left-eye"])].mean(0) + raw[slice(*HELPERS["right-eye"])].mean(0)) / 2
    origin = np.array([0, (marks[:, 1].min() + marks[:, 1].max()) / 2, eyes[2] - 0.45], np.float32)
    turn = geometry.rotation_from_euler(DRAWN).astype(np.float32)
    vertices = (raw - origin) @ turn.T
    bust = np.unique(assets.pieces["bust"].source)
    firm = (assets.head_weight[bust] > 0.98) & (raw[bust, 2] > eyes[2] - 0.9) & (raw[bust, 1] > marks[8, 1])
    occlusion = _occlusion(assets, vertices)
    return Anatomy(
        vertices=vertices,
        landmarks=vertices[VERTICES].astype(np.float64),
        rigid=bust[firm].astype(np.int32),
        occlusion=occlusion,
        outline=_outline(bust, vertices),
        face=_face(assets, vertices, occlusion),
        openings=_openings(assets, vertices),
    )


def to_head_axes(anatomy: Anatomy, vertices: F32) -> F32:
    """Align the neutral head of a person with the average head.

    The similarity transform minimizes the squared distances of skull and face (Umeyama 1991), so that only differences
    of shape remain.
    """
    own, average = (v[anatomy.rigid].astype(np.float64) for v in (vertices, anatomy.vertices))
    own_middle, average_middle = own.mean(0), average.mean(0)
    own -= own_middle
    average -= average_middle
    rotation = geometry.nearest_rotation(average.T @ own)
    scale = ((own @ rotation.T) * average).sum() / (own**2).sum()
    moved = (vertices - own_middle) @ rotation.T * scale + average_middle
    return moved.astype(np.float32)


def radii(anatomy: Anatomy, vertices: F32) -> tuple[F32, F32]:
    """Return the outline of a head: (32, 64) distances from the center of the skull, and that center, (3,).

    Row 0 points up, the last row down; column 0 points along +z (the face), column 16 along +x.
    """
    middle = _SKULL.copy()
    distance = np.linalg.norm(vertices[anatomy.outline] - middle, axis=-1)
    ring = np.concatenate([distance[:, -1:], distance, distance[:, :1]], 1)
    return ((ring[:, :-2] + 2 * ring[:, 1:-1] + ring[:, 2:]) / 4).astype(np.float32), middle


def directions() -> F32:
    """Return the (32, 64, 3) float32 unit vectors of the entries of ``radii``."""
    rows, columns = _DIRECTIONS
    down = (np.arange(rows) + 0.5)[:, None] / rows * np.pi
    around = np.arange(columns)[None] / columns * 2 * np.pi
    return np.stack(
        [np.sin(down) * np.sin(around), np.cos(down) * np.ones_like(around), np.sin(down) * np.cos(around)], -1
    ).astype(np.float32)


def radius_at(table: F32, direction: F32) -> F32:
    """Interpolate a table of ``radii`` bilinearly at (..., 3) directions of any length."""
    rows, columns = table.shape
    unit = direction / (np.linalg.norm(direction, axis=-1, keepdims=True) + 1e-9)
    y = np.clip(np.arccos(np.clip(unit[..., 1], -1, 1)) / np.pi * rows - 0.5, 0, rows - 1.001)
    x = np.arctan2(unit[..., 0], unit[..., 2]) / (2 * np.pi) * columns % columns
    y0, x0 = y.astype(np.int64), x.astype(np.int64) % columns
    fy, fx = y - y0, x - np.floor(x)
    x1 = (x0 + 1) % columns
    top = table[y0, x0] * (1 - fx) + table[y0, x1] * fx
    low = table[y0 + 1, x0] * (1 - fx) + table[y0 + 1, x1] * fx
    return (top * (1 - fy) + low * fy).astype(np.float32)


def _outline(bust: np.ndarray, vertices: F32) -> I32:
    """Return for each direction the outermost vertex within six degrees, or else the nearest one by angle."""
    offset = vertices[bust] - _SKULL
    distance = np.linalg.norm(offset, axis=1)
    cosine = directions().reshape(-1, 3) @ (offset / distance[:, None]).T
    near = cosine > np.cos(np.deg2rad(6.0))
    outermost = np.where(near, distance, 0).argmax(1)
    chosen = np.where(near.any(1), outermost, cosine.argmax(1))
    return bust[chosen].reshape(_DIRECTIONS).astype(np.int32)


def _face(assets: Assets, vertices: F32, occlusion: F32) -> Array:
    """Return the areas of the triangles inside the frontal outline of the 68 landmarks, without mouth and nostrils."""
    outline = cv2.convexHull(vertices[VERTICES][:, :2].astype(np.float32))
    corners = assets.pieces["bust"].source[assets.pieces["bust"].faces]
    a, b, c = (vertices[corners[:, k]].astype(np.float64) for k in range(3))
    middle, cross = (a + b + c) / 3, np.cross(b - a, c - a)
    inside = [cv2.pointPolygonTest(outline, (float(x), float(y)), False) >= 0 for x, y, _ in middle]
    front = (cross[:, 2] > 0) & (middle[:, 2] > vertices[VERTICES[[0, 16]], 2].mean() - 0.1)
    open_to_the_sky = occlusion[corners].mean(1) > 0.35
    area = np.linalg.norm(cross, axis=1) * (np.array(inside) & front & open_to_the_sky)
    return np.asarray(area / area.sum())


def _openings(assets: Assets, vertices: F32) -> tuple[I32, ...]:
    """Return the boundary edges of the shoulders: arm, chest, arm."""
    corners = assets.pieces["bust"].source[assets.pieces["bust"].faces]
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    _, first, count = np.unique(np.sort(edges, 1), axis=0, return_index=True, return_counts=True)
    ends = edges[first[count == 1]]
    ends = ends[assets.head_weight[ends].max(1) < 0.2].astype(np.int32)
    place = np.digitize(vertices[ends[:, 0], 0], [-_ARM, _ARM])
    return tuple(ends[place == number] for number in range(3))


def _occlusion(assets: Assets, vertices: F32, count: int = 96, side: int = 256) -> F32:
    """Compute the cosine-weighted ambient occlusion of the bust from depth maps of many directions."""
    piece = assets.pieces["bust"]
    points = vertices[piece.source]
    normals = vertex_normals(points, piece.faces, piece.source, len(vertices))
    rng = np.random.default_rng(0)
    seen, total = np.zeros(len(points)), np.full(len(points), 1e-6)
    for direction in rng.normal(size=(count, 3)):
        forward = direction / np.linalg.norm(direction)
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(forward, right), forward]).astype(np.float32)
        seen_from = points @ axes.T
        seen_from[:, :2] = (seen_from[:, :2] - seen_from[:, :2].mean(0)) * (side / 9.0) + side / 2
        depth = np.full((side, side), -np.inf, np.float32)
        depth_map(seen_from, piece.faces, depth)
        lifted = points + normals * 0.03
        lifted = lifted @ axes.T
        texel = np.clip(seen_from[:, :2].astype(np.int64), 0, side - 1)
        cosine = np.clip(normals @ forward, 0, 1)
        seen += cosine * (depth[texel[:, 1], texel[:, 0]] <= lifted[:, 2] + 0.03)
        total += cosine
    occlusion = np.ones(len(vertices), np.float32)
    occlusion[piece.source] = np.clip(seen / total * 1.15, 0.05, 1)
    return occlusion
