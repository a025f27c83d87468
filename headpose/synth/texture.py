"""The colors of a turned head: what the photograph shows of a mesh, its mirror image, and the rest by diffusion."""

from __future__ import annotations

import numpy as np

from headpose.synth import raster
from headpose.synth.surface import F32, I32, kernel

CHANNELS = 13
"""Of a vertex: x and y in the photograph, x and y of the mirrored vertex, weight of its own place, weight of the
mirrored one, offset of the mirrored color (3), color where both weights are 0 (3), and how rough that is."""

_FACING = (0.12, 0.42)  # cosine to the camera from which a place is sampled, and from which fully
_BEHIND = 0.07  # decimeters behind the nearest surface that still count as seen


def seen(points: F32, normals: F32, faces: I32, inside: F32, scale: float) -> F32:
    """Weigh how well a photograph shows each vertex.

    Args:
        points: (n, 3) vertices in the photograph: x right and y down in pixels, z towards the camera.
        normals: (n, 3) unit normals in camera axes.
        faces: (m, 3).
        inside: (H, W) share of a pixel that belongs to the head, in [0, 1]; 0 outside of the photograph.
        scale: pixels a decimeter.

    Returns:
        (n,) float32 in [0, 1].
    """
    depth = np.full(inside.shape, -np.inf, np.float32)
    raster.depth_map(points, faces, depth)
    return _seen(points, normals, depth, inside, np.float32(_BEHIND * scale), *map(np.float32, _FACING))


@kernel
def _seen(points: F32, normals: F32, depth: F32, inside: F32, behind: float, low: float, high: float) -> F32:
    height, width = inside.shape
    result = np.zeros(len(points), np.float32)
    for i in range(len(points)):
        x, y = int(np.floor(points[i, 0])), int(np.floor(points[i, 1]))
        if x < 0 or y < 0 or x >= width or y >= height or points[i, 2] + behind < depth[y, x]:
            continue
        t = min(max((normals[i, 2] - low) / (high - low), 0.0), 1.0)
        result[i] = t * t * (3 - 2 * t) * inside[y, x]
    return result


@kernel
def sample(picture: F32, x: float, y: float, channel: int) -> float:
    """Sample a channel of a (H, W, c) picture, bilinear; (0.5, 0.5) is the middle of the first pixel."""
    height, width = picture.shape[0], picture.shape[1]
    x = min(max(x - 0.5, 0.0), width - 1.001)
    y = min(max(y - 0.5, 0.0), height - 1.001)
    column, row = int(x), int(y)
    fx, fy = x - column, y - row
    top = picture[row, column, channel] * (1 - fx) + picture[row, column + 1, channel] * fx
    low = picture[row + 1, column, channel] * (1 - fx) + picture[row + 1, column + 1, channel] * fx
    return top * (1 - fy) + low * fy


@kernel
def sample_all(picture: F32, places: F32) -> F32:
    """Return (n, 3) colors of a (H, W, 3) picture at (n, 2) places in pixels."""
    result = np.empty((len(places), 3), np.float32)
    for i in range(len(places)):
        for c in range(3):
            result[i, c] = sample(picture, places[i, 0], places[i, 1], c)
    return result


@kernel
def diffuse(values: F32, pull: F32, goal: F32, start: I32, neighbors: I32, sweeps: int) -> None:
    """Spread values over a mesh by Gauss-Seidel sweeps, forwards and backwards in turn.

    Minimises the squared differences along edges plus ``pull`` times the squared difference from ``goal``.

    Args:
        values: (n, 3) in and out.
        pull: (n,) strength of the goal; infinite where a value is fixed.
        goal: (n, 3).
        start: (n + 1,) where the neighbors of each vertex begin in ``neighbors``.
        neighbors: (e,) vertices.
        sweeps: Number of passes.
    """
    free = np.flatnonzero(pull < np.inf)
    for sweep in range(sweeps):
        for step in range(len(free)):
            i = free[step] if sweep % 2 == 0 else free[len(free) - 1 - step]
            strength = pull[i]
            first, second, third = strength * goal[i, 0], strength * goal[i, 1], strength * goal[i, 2]
            for k in range(start[i], start[i + 1]):
                j = neighbors[k]
                first += values[j, 0]
                second += values[j, 1]
                third += values[j, 2]
            share = np.float32(1) / (strength + np.float32(start[i + 1] - start[i]))
            values[i, 0] = first * share
            values[i, 1] = second * share
            values[i, 2] = third * share


@kernel
def paint(
    points: F32, faces: I32, triangle: I32, attributes: F32, photo: F32, behind: F32, grain: F32
) -> tuple[F32, F32]:
    """Color what is seen of a mesh.

    Args:
        points: (n, 3) x right and y down in samples, and a depth.
        faces: (m, 3).
        triangle: (2 S, 2 S) nearest triangle of each sample, or -1.
        attributes: (n, ``CHANNELS``).
        photo: (H, W, 3).
        behind: (S, S, 3) picture behind the mesh.
        grain: (S, S) noise with deviation 1, for colors that are not from the photograph.

    Returns:
        (S, S, 3) picture, and (S, S) the share of each pixel that the photograph or its mirror image gives.
    """
    side = behind.shape[0]
    result = np.empty((side, side, 3), np.float32)
    known = np.zeros((side, side), np.float32)
    at = np.empty(attributes.shape[1], np.float32)
    for y in range(side):
        for x in range(side):
            red, green, blue, missed = 0.0, 0.0, 0.0, 0
            for s in range(4):
                sy, sx = 2 * y + s // 2, 2 * x + s % 2
                t = triangle[sy, sx]
                if t < 0:
                    missed += 1
                    continue
                i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
                xi, yi, xj, yj = points[i, 0], points[i, 1], points[j, 0], points[j, 1]
                xk, yk = points[k, 0], points[k, 1]
                inverse = 1 / ((xj - xi) * (yk - yi) - (xk - xi) * (yj - yi))
                px, py = sx + np.float32(0.5), sy + np.float32(0.5)
                wi = ((xj - px) * (yk - py) - (xk - px) * (yj - py)) * inverse
                wj = ((xk - px) * (yi - py) - (xi - px) * (yk - py)) * inverse
                wk = 1 - wi - wj
                for c in range(attributes.shape[1]):
                    at[c] = wi * attributes[i, c] + wj * attributes[j, c] + wk * attributes[k, c]
                own, other = at[4], (1 - at[4]) * at[5]
                rest = (1 - own - other) * (1 + at[12] * grain[y, x])
                known[y, x] += (own + other) * np.float32(0.25)
                color = (rest * at[9] + other * at[6], rest * at[10] + other * at[7], rest * at[11] + other * at[8])
                red += color[0]
                green += color[1]
                blue += color[2]
                if own > 0.002:
                    red += own * sample(photo, at[0], at[1], 0)
                    green += own * sample(photo, at[0], at[1], 1)
                    blue += own * sample(photo, at[0], at[1], 2)
                if other > 0.002:
                    red += other * sample(photo, at[2], at[3], 0)
                    green += other * sample(photo, at[2], at[3], 1)
                    blue += other * sample(photo, at[2], at[3], 2)
            share = missed * np.float32(0.25)
            result[y, x, 0] = red * 0.25 + share * behind[y, x, 0]
            result[y, x, 1] = green * 0.25 + share * behind[y, x, 1]
            result[y, x, 2] = blue * 0.25 + share * behind[y, x, 2]
    return result, known
