"""Rasterizer: visibility with four samples per pixel, and depth maps for shadows."""

from __future__ import annotations

import numpy as np

from headpose.synth.surface import F32, I32, U8, kernel

SAMPLES = 2
"""Samples per pixel along each axis."""


@kernel
def _twice_area(points: F32, i: int, j: int, k: int) -> np.float32:
    """Return twice the signed area of a triangle; negative for a front face, with y down."""
    xi, yi = points[i, 0], points[i, 1]
    return (points[j, 0] - xi) * (points[k, 1] - yi) - (points[k, 0] - xi) * (points[j, 1] - yi)


@kernel
def _samples(points: F32, i: int, j: int, k: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the first and last column and row of the samples that a triangle may cover."""
    xi, yi, xj, yj, xk, yk = points[i, 0], points[i, 1], points[j, 0], points[j, 1], points[k, 0], points[k, 1]
    x_first = max(0, int(np.ceil(min(xi, xj, xk) - 0.5)))
    x_last = min(width - 1, int(np.floor(max(xi, xj, xk) - 0.5)))
    y_first = max(0, int(np.ceil(min(yi, yj, yk) - 0.5)))
    y_last = min(height - 1, int(np.floor(max(yi, yj, yk) - 0.5)))
    return x_first, x_last, y_first, y_last


@kernel
def _weight(points: F32, j: int, k: int, area: np.float32) -> tuple[np.float32, np.float32, np.float32]:
    """Return (a, b, c) of the barycentric weight a x + b y + c of the corner opposite to the edge (j, k)."""
    xj, yj, xk, yk = points[j, 0], points[j, 1], points[k, 0], points[k, 1]
    inverse = np.float32(1.0) / area
    return -(yk - yj) * inverse, (xk - xj) * inverse, (xj * yk - xk * yj) * inverse


@kernel
def _noise(x: int, y: int, z: int) -> float:
    """Return a pseudorandom number in [0, 1) that depends only on the coordinates."""
    h = (x * 73856093) ^ (y * 19349663) ^ (z * 83492791)
    h &= 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF) / 65536.0


@kernel
def visibility(
    points: F32, faces: I32, part: I32, uv: F32, mask: I32, two_sided: I32, masks: U8, depth: F32, triangle: I32
) -> None:
    """Find the nearest triangle of every sample.

    Args:
        points: (n, 3) x (right) and y (down) in samples, and inverse distance.
        faces: (m, 3) vertex indices.
        part: (m,) part of each face.
        uv: (n, 2) texture coordinates in the coverage mask of the part, periodic with period 1.
        mask: (parts,) row of ``masks``; -1 for an opaque part.
        two_sided: (parts,) nonzero if back faces are visible.
        masks: (k, T, T) coverage, 255 is opaque; lower values cover a fraction of the samples of a pixel.
        depth: (H, W) output: inverse distance of the nearest triangle. Must be 0 on entry.
        triangle: (H, W) output: index of this triangle. Must be -1 on entry.
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
        if area == 0 or (area > 0 and not two_sided[p]):  # with y down, front faces have a negative area
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
    """Draw triangles, front and back faces, into a depth map.

    Args:
        points: (n, 3) x and y in texels, z towards the light.
        faces: (m, 3) vertex indices.
        depth: (H, W) input and output: largest z.
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
    """Merge the samples of each pixel into one fragment per visible part.

    Args:
        points: As in ``visibility``.
        faces: As in ``visibility``.
        part: As in ``visibility``.
        attributes: (n, a) vertex attributes; the first two are u and v.
        triangle: Output of ``visibility``.
        pixel: (f,) output: row * width + column.
        owner: (f,) output: part.
        values: (f, 1 + a) output: coverage of the pixel in [0, 1], then the attributes averaged over the samples.

    Returns:
        Number of fragments, at most four per pixel; f must be large enough.
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
                # Keep both sides of a texture seam as two fragments: their mean texture coordinate is meaningless.
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
    """Compute area-weighted unit normals of vertices.

    Args:
        vertices: (n, 3) positions.
        faces: (m, 3) vertex indices.
        shared: (n,) numbers in [0, count). Vertices with the same number share a normal (texture seams).
        count: Number of distinct normals.

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
    """Add weighted sparse offsets to vertices, in place.

    Args:
        vertices: (n, 3) positions.
        chosen: (k,) targets to add.
        weights: (k,) weights of these targets.
        start: (targets + 1,) first row of each target.
        index: (rows,) vertex of each row.
        offset: (rows, 3) offset of each row.
    """
    for k in range(chosen.shape[0]):
        for row in range(start[chosen[k]], start[chosen[k] + 1]):
            v = index[row]
            for c in range(3):
                vertices[v, c] += weights[k] * offset[row, c]
