"""Simple meshes: tubes, boxes, surfaces of revolution, and shells around the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headpose.synth.anatomy import radius_at
from headpose.synth.surface import F32, I32


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Mesh: (n, 3) float32 vertices, (m, 3) int32 faces and (n, 2) float32 texture coordinates in [0, 1]."""

    vertices: F32
    faces: I32
    uv: F32

    def moved(self, rotation: ArrayLike, to: ArrayLike) -> Shape:
        """Return the mesh rotated about the origin by a (3, 3) matrix and then translated by (3,)."""
        turned = self.vertices @ np.asarray(rotation, np.float32).T + np.asarray(to, np.float32)
        return Shape(turned.astype(np.float32), self.faces, self.uv)


def join(*shapes: Shape) -> Shape:
    """Combine several meshes into one."""
    starts = np.cumsum([0, *(len(shape.vertices) for shape in shapes[:-1])])
    return Shape(
        np.concatenate([shape.vertices for shape in shapes]),
        np.concatenate([shape.faces + start for shape, start in zip(shapes, starts, strict=True)]).astype(np.int32),
        np.concatenate([shape.uv for shape in shapes]),
    )


def grid(points: NDArray[np.floating]) -> Shape:
    """Create a surface through (rows, columns, 3) points; u varies along columns, v along rows."""
    rows, columns = points.shape[:2]
    row, column = (g.ravel() for g in np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij"))
    a = row * columns + column
    faces = np.concatenate([np.stack([a, a + columns, a + columns + 1], 1), np.stack([a, a + columns + 1, a + 1], 1)])
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    uv = np.stack([u.ravel(), v.ravel()], 1).astype(np.float32)
    return Shape(points.reshape(-1, 3).astype(np.float32), faces.astype(np.int32), uv)


def tube(path: ArrayLike, radius: ArrayLike, sides: int = 6, closed: bool = False) -> Shape:
    """Create a tube along a path.

    Args:
        path: (n, 3) points.
        radius: Radius in decimeters, one value or one for each point.
        sides: Number of sides of the cross section.
        closed: Connect the last point to the first one.
    """
    points = np.asarray(path, np.float64)
    if closed:
        points = np.concatenate([points, points[:1]])
        ahead, behind = np.roll(points[:-1], -1, 0), np.roll(points[:-1], 1, 0)
        tangent = np.concatenate([ahead - behind, (ahead - behind)[:1]])
    else:
        tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    helper = np.where(abs(tangent[:, 1:2]) < 0.9, [[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(tangent, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True) + 1e-9
    second = np.cross(tangent, first)
    around = np.arange(sides + 1) / sides * 2 * np.pi
    ring = first[:, None] * np.cos(around)[None, :, None] + second[:, None] * np.sin(around)[None, :, None]
    return grid(points[:, None] + ring * np.broadcast_to(np.asarray(radius, np.float64), len(points))[:, None, None])


def lathe(profile: ArrayLike, sides: int = 24) -> Shape:
    """Create a surface of revolution about y from (n, 2) points (radius, height)."""
    outline = np.asarray(profile, np.float64)
    around = np.arange(sides + 1) / sides * 2 * np.pi
    x, z = (outline[:, :1] * f(around) for f in (np.sin, np.cos))
    return grid(np.stack([x, np.repeat(outline[:, 1:], sides + 1, 1), z], -1))


def ellipsoid(radii: ArrayLike, rings: int = 12, sides: int = 20) -> Shape:
    """Create an ellipsoid around the origin with (3,) radii."""
    down = np.linspace(0, np.pi, rings + 1)
    shape = lathe(np.stack([np.sin(down), np.cos(down)], 1), sides)
    return Shape(shape.vertices * np.asarray(radii, np.float32), shape.faces, shape.uv)


def box(size: ArrayLike) -> Shape:
    """Create a box around the origin with (3,) edge lengths."""
    half = np.asarray(size, np.float64) / 2
    faces = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            corners = np.zeros((2, 2, 3))
            corners[..., axis] = sign
            corners[..., (axis + 1) % 3] = [[-1, -1], [1, 1]]
            corners[..., (axis + 2) % 3] = [[-1, 1], [-1, 1]]
            faces.append(grid(corners * half))
    return join(*faces)


def shell(
    radii: F32,
    middle: F32,
    axis: ArrayLike,
    edge: NDArray[np.floating],
    thickness: NDArray[np.floating] | float,
    rows: int = 20,
    furthest: float = 9.0,
) -> Shape:
    """Create a shell around the head, from a pole to an edge.

    Args:
        radii: Outline of the head, from ``anatomy.radii``.
        middle: Center of the outline, from ``anatomy.radii``.
        axis: (3,) direction of the pole.
        edge: (columns,) polar angle in radians at which the shell ends, by azimuth around the axis. The azimuth starts
            at the upper side (at the front, for a pole that points up) and increases to the right in the image.
        thickness: Distance from the head in decimeters, one value or (rows + 1, columns + 1).
        rows: Number of rows from pole to edge.
        furthest: Maximum distance from the center in decimeters, which keeps the shell off the shoulders.
    """
    pole = np.asarray(axis, np.float64) / np.linalg.norm(np.asarray(axis, np.float64))
    start = np.array([0.0, 0.0, 1.0]) if abs(pole[1]) > 0.7 else np.array([0.0, 1.0, 0.0])
    start = start - pole * (start @ pole)
    start /= np.linalg.norm(start)
    side = np.array([1.0, 0.0, 0.0]) - pole * pole[0]
    side -= start * (side @ start)
    side /= np.linalg.norm(side)
    closed = np.concatenate([edge, edge[:1]])
    turn = np.arange(len(closed)) / len(edge) * 2 * np.pi
    away = np.linspace(0.001, 1, rows + 1)[:, None] * closed
    ring = start[:, None] * np.cos(turn) + side[:, None] * np.sin(turn)
    direction = np.moveaxis(pole[:, None, None] * np.cos(away) + ring[:, None] * np.sin(away), 0, -1)
    distance = np.minimum(radius_at(radii, direction.astype(np.float32)), furthest) + thickness
    return grid(direction * distance[..., None] + middle)
