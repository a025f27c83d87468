"""Triangles to pixels: visibility with four samples a pixel, and depth maps for shadows."""

from __future__ import annotations

import numpy as np

from headpose.synth.surface import F32, I32, U8, kernel

SAMPLES = 2
"""Samples a pixel along each side: visibility is decided on a grid finer by this factor."""


@kernel
def _twice_area(points: F32, i: int, j: int, k: int) -> np.float32:
    """Of a triangle; below 0 if it turns its front, y pointing down."""
    xi, yi = points[i, 0], points[i, 1]
    return (points[j, 0] - xi) * (points[k, 1] - yi) - (points[k, 0] - xi) * (points[j, 1] - yi)


@kernel
def _samples(points: F32, i: int, j: int, k: int, width: int, height: int) -> tuple[int, int, int, int]:
    """First and last column, first and last row of the samples that a triangle may cover."""
    xi, yi, xj, yj, xk, yk = points[i, 0], points[i, 1], points[j, 0], points[j, 1], points[k, 0], points[k, 1]
    x_first = max(0, int(np.ceil(min(xi, xj, xk) - 0.5)))
    x_last = min(width - 1, int(np.floor(max(xi, xj, xk) - 0.5)))
    y_first = max(0, int(np.ceil(min(yi, yj, yk) - 0.5)))
    y_last = min(height - 1, int(np.floor(max(yi, yj, yk) - 0.5)))
    return x_first, x_last, y_first, y_last


@kernel
def _weight(points: F32, j: int, k: int, area: np.float32) -> tuple[np.float32, np.float32, np.float32]:
    """The weight of the third corner as a x + b y + c, from the side between the other two."""
    xj, yj, xk, yk = points[j, 0], points[j, 1], points[k, 0], points[k, 1]
    inverse = np.float32(1.0) / area
    return -(yk - yj) * inverse, (xk - xj) * inverse, (xj * yk - xk * yj) * inverse


@kernel
def _noise(x: int, y: int, z: int) -> float:
    """A number in [0, 1) that looks random, the same for the same place."""
    h = (x * 73856093) ^ (y * 19349663) ^ (z * 83492791)
    h &= 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF) / 65536.0


@kernel
def visibility(
    points: F32, faces: I32, part: I32, uv: F32, mask: I32, two_sided: I32, masks: U8, depth: F32, triangle: I32
) -> None:
    """Finds the nearest triangle of every sample.

    Args:
        points: (n, 3) x right and y down in samples, and 1 / distance.
        faces: (m, 3) vertices.
        part: (m,) the part that each face belongs to.
        uv: (n, 2) where a vertex lies in its part's coverage mask, in [0, 1] or repeating.
        mask: (parts,) row of ``masks``, or -1 where a part is solid.
        two_sided: (parts,) whether the back of a face is seen.
        masks: (k, T, T) coverage, 255 is solid; in between a share of a pixel's samples is covered.
        depth: (H, W) out: 1 / distance of the nearest triangle; 0 on entry.
        triangle: (H, W) out: that triangle; -1 on entry.
    """
    height, width = depth.shape
    side = masks.shape[1]
    for t in range(faces.shape[0]):
        p = part[t]
        i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
        zi, zj, zk = points[i, 2], points[j, 2], points[k, 2]
        if zi <= 0 or zj <= 0 or zk <= 0:
            continue
        area = _twice_area(points, i, j, k)
        if area == 0 or (area > 0 and not two_sided[p]):  # y points down: a front face turns the other way
            continue
        x_first, x_last, y_first, y_last = _samples(points, i, j, k, width, height)
        if x_first > x_last or y_first > y_last:  # most triangles lie between samples
            continue
        left = np.float32(x_first) - np.float32(0.5)  # one step before the first sample
        ai, bi, ci = _weight(points, j, k, area)
        aj, bj, cj = _weight(points, k, i, area)
        m = mask[p]
        for y in range(y_first, y_last + 1):
            wi = ai * left + bi * (np.float32(y) + np.float32(0.5)) + ci
            wj = aj * left + bj * (np.float32(y) + np.float32(0.5)) + cj
            for x in range(x_first, x_last + 1):
                wi += ai
                wj += aj
                wk = np.float32(1.0) - wi - wj
                if wi < 0 or wj < 0 or wk < 0:
                    continue
                z = wi * zi + wj * zj + wk * zk
                if z <= depth[y, x]:
                    continue
                if m >= 0:
                    u = (wi * zi * uv[i, 0] + wj * zj * uv[j, 0] + wk * zk * uv[k, 0]) / z
                    v = (wi * zi * uv[i, 1] + wj * zj * uv[j, 1] + wk * zk * uv[k, 1]) / z
                    column = int((u - np.floor(u)) * side) % side
                    row = int((v - np.floor(v)) * side) % side
                    solid = masks[m, row, column]
                    if solid < 250:
                        order = (x & 1) * 2 + ((x ^ y) & 1)
                        if solid <= (order + _noise(x >> 1, y >> 1, p)) * 64:
                            continue
                depth[y, x] = z
                triangle[y, x] = t


@kernel
def depth_map(points: F32, faces: I32, depth: F32) -> None:
    """Draws triangles, seen from both sides, into a depth map.

    Args:
        points: (n, 3) x and y in texels, z towards the light.
        faces: (m, 3) vertices.
        depth: (H, W) in and out: the largest z.
    """
    height, width = depth.shape
    for t in range(faces.shape[0]):
        i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
        area = _twice_area(points, i, j, k)
        if area == 0:
            continue
        x_first, x_last, y_first, y_last = _samples(points, i, j, k, width, height)
        if x_first > x_last or y_first > y_last:  # most triangles lie between samples
            continue
        left = np.float32(x_first) - np.float32(0.5)  # one step before the first sample
        ai, bi, ci = _weight(points, j, k, area)
        aj, bj, cj = _weight(points, k, i, area)
        zi, zj, zk = points[i, 2], points[j, 2], points[k, 2]
        for y in range(y_first, y_last + 1):
            wi = ai * left + bi * (np.float32(y) + np.float32(0.5)) + ci
            wj = aj * left + bj * (np.float32(y) + np.float32(0.5)) + cj
            for x in range(x_first, x_last + 1):
                wi += ai
                wj += aj
                wk = np.float32(1.0) - wi - wj
                if wi < 0 or wj < 0 or wk < 0:
                    continue
                z = wi * zi + wj * zj + wk * zk
                if z > depth[y, x]:
                    depth[y, x] = z


@kernel
def resolve(
    points: F32, faces: I32, part: I32, attributes: F32, triangle: I32, pixel: I32, owner: I32, values: F32
) -> int:
    """Gathers the samples of every pixel into one fragment for each part that is seen in it.

    The first two attributes are u and v.

    Args:
        points, faces, part, triangle: as in ``visibility``.
        attributes: (n, a) of the vertices.
        pixel: (f,) out: row * width + column.
        owner: (f,) out: part.
        values: (f, 1 + a) out: share of the pixel in [0, 1], then the attributes, averaged over the samples.

    Returns:
        The number of fragments; f must be four times the number of pixels to be safe.
    """
    height, width = triangle.shape[0] // 2, triangle.shape[1] // 2
    channels = attributes.shape[1]
    count = 0
    for y in range(height):
        for x in range(width):
            first = count
            for s in range(4):
                sy, sx = 2 * y + s // 2, 2 * x + s % 2
                t = triangle[sy, sx]
                if t < 0:
                    continue
                p = part[t]
                i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
                at = first
                # Two sides of a seam of the texture stay two fragments: the mean of their places is elsewhere.
                while at < count and (
                    owner[at] != p
                    or abs(values[at, 1] - values[at, 0] * attributes[i, 0]) > np.float32(0.08) * values[at, 0]
                    or abs(values[at, 2] - values[at, 0] * attributes[i, 1]) > np.float32(0.08) * values[at, 0]
                ):
                    at += 1
                if at == count:
                    pixel[at] = y * width + x
                    owner[at] = p
                    for c in range(channels + 1):
                        values[at, c] = 0
                    count += 1
                xi, yi, xj, yj = points[i, 0], points[i, 1], points[j, 0], points[j, 1]
                xk, yk = points[k, 0], points[k, 1]
                inverse = 1 / ((xj - xi) * (yk - yi) - (xk - xi) * (yj - yi))
                px, py = sx + np.float32(0.5), sy + np.float32(0.5)
                wi = ((xj - px) * (yk - py) - (xk - px) * (yj - py)) * inverse * points[i, 2]
                wj = ((xk - px) * (yi - py) - (xi - px) * (yk - py)) * inverse * points[j, 2]
                wk = ((xi - px) * (yj - py) - (xj - px) * (yi - py)) * inverse * points[k, 2]
                total = 1 / (wi + wj + wk)
                wi *= total
                wj *= total
                wk *= total
                values[at, 0] += 1
                for c in range(channels):
                    values[at, 1 + c] += wi * attributes[i, c] + wj * attributes[j, c] + wk * attributes[k, c]
            for at in range(first, count):
                share = 1 / values[at, 0]
                for c in range(channels):
                    values[at, 1 + c] *= share
                values[at, 0] *= np.float32(0.25)
    return count


@kernel
def vertex_normals(vertices: F32, faces: I32, shared: I32, count: int) -> F32:
    """Unit normals, averaged by area over the faces around a vertex.

    Args:
        vertices: (n, 3).
        faces: (m, 3).
        shared: (n,) vertices with the same number, in [0, count), have one normal (seams of a texture).
        count: how many numbers there are.

    Returns:
        (n, 3) float32.
    """
    total = np.zeros((count, 3), np.float32)
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ux, uy, uz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        vx, vy, vz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (a, b, c):
            s = shared[corner]
            total[s, 0] += nx
            total[s, 1] += ny
            total[s, 2] += nz
    normals = np.empty((vertices.shape[0], 3), np.float32)
    for i in range(vertices.shape[0]):
        s = shared[i]
        length = np.sqrt(total[s, 0] ** 2 + total[s, 1] ** 2 + total[s, 2] ** 2) + 1e-12
        for c in range(3):
            normals[i, c] = total[s, c] / length
    return normals


@kernel
def add_offsets(vertices: F32, chosen: I32, weights: F32, start: I32, index: I32, offset: F32) -> None:
    """Adds weighted sparse offsets to vertices, in place.

    Args:
        vertices: (n, 3).
        chosen: (k,) targets to add, with their ``weights`` (k,).
        start: (targets + 1,) where each target's rows begin.
        index, offset: (rows,) vertex and (rows, 3) movement.
    """
    for k in range(chosen.shape[0]):
        for row in range(start[chosen[k]], start[chosen[k] + 1]):
            v = index[row]
            for c in range(3):
                vertices[v, c] += weights[k] * offset[row, c]
