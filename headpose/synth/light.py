"""Lighting: ambient sky, lamps with shadows, and shading."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from headpose.geometry import Array
from headpose.synth.raster import depth_map
from headpose.synth.surface import F32, I32, kernel

_SHADOW_SIDE = 128  # texels per side of a shadow map
_SHADOW_REACH = 4.4  # side of a shadow map, decimeters
_SHADOW_BIAS = 0.035


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """Light of a scene.

    Attributes:
        name: Kind of light, or name of the environment map.
        sky: (4, 3) float32 ambient radiance in linear RGB: mean, and slopes along x, y and z.
        towards: (k, 3) float32 unit vectors to the lamps in camera axes.
        colors: (k, 3) float32 linear RGB of the lamps.
        environment: Index of the environment map in the asset folder; -1 for none.
        turn: Rotation of this map about the vertical in radians.
        exposure: Target brightness of lit skin, linear.
        white_balance: Fraction of the light's color that the camera removes, in [0, 1].
    """

    name: str
    sky: F32
    towards: F32
    colors: F32
    environment: int
    turn: float
    exposure: float
    white_balance: float


# For each kind: probability, number of lamps, ambient fraction, angular spread of the lamps, spread of colors.
_KINDS = {
    "overcast": (0.16, 1, 0.75, 0.8, 0.03),
    "sun": (0.17, 2, 0.35, 1.0, 0.08),
    "room": (0.3, 3, 0.45, 1.0, 0.12),
    "flash": (0.08, 1, 0.3, 0.15, 0.03),
    "studio": (0.12, 3, 0.3, 1.0, 0.05),
    "backlight": (0.1, 3, 0.4, 1.0, 0.15),
    "party": (0.07, 3, 0.25, 1.0, 0.4),
}


def draw(rng: np.random.Generator, environments: int = 0) -> Light:
    """Draw a light; if there are environment maps, two thirds of the scenes use one (``from_environment``)."""
    names = list(_KINDS)
    kind = names[rng.choice(len(names), p=np.array([_KINDS[name][0] for name in names]))]
    _, count, ambient, spread, tint = _KINDS[kind]
    towards = _lamps(rng, kind, count, spread)
    warmth = np.exp(rng.normal(0, tint, (count, 1)) * np.array([[1.0, 0.1, -1.2]]))
    hue = np.exp(rng.normal(0, tint, (count, 3)) * 0.6)
    strength = np.exp(rng.uniform([0.0, *[-1.6] * (count - 1)], [0.3, *[-0.3] * (count - 1)]))
    if kind == "backlight":
        strength[0] *= 2.0
    colors = warmth * hue * strength[:, None]
    ambient *= np.exp(rng.normal(0, 0.3))
    colors *= (1 - min(ambient, 0.9)) / colors.sum(0).mean() * 1.6
    base = np.exp(rng.normal(0, tint * 0.5, 3)) * ambient
    slopes = rng.normal(0, 0.3, (3, 1)) * base
    slopes[1] = abs(slopes[1]) + 0.15 * base  # light comes from above
    environment = int(rng.integers(environments)) if environments and rng.random() < 0.67 else -1
    return Light(
        name=kind,
        sky=np.concatenate([base[None], slopes]).astype(np.float32),
        towards=towards.astype(np.float32),
        colors=colors.astype(np.float32),
        environment=environment,
        turn=float(rng.uniform(0, 2 * np.pi)),
        exposure=float(np.clip(rng.normal(0.34, 0.12), 0.06, 0.7)),
        white_balance=float(rng.uniform(0.5, 1.0)),
    )


def _lamps(rng: np.random.Generator, kind: str, count: int, spread: float) -> F32:
    towards = rng.normal(0, spread, (count, 3))
    towards[:, 1] = abs(towards[:, 1]) * 0.8 + rng.uniform(-0.1, 0.4)
    towards[:, 2] = abs(towards[:, 2]) + 0.25
    if kind in ("sun", "overcast"):
        towards[0, 1] += 0.8
        towards[0, 2] = rng.normal(0.3, 0.6)
    if kind == "flash":
        towards[0] = [rng.normal(0, 0.08), rng.normal(0.1, 0.08), 1.0]
    if kind == "backlight":
        towards[:2, 2] = -rng.uniform(0.2, 1.0, 2)
    return towards / np.linalg.norm(towards, axis=1, keepdims=True)


def turned(light: Light, rotation: Array) -> Light:
    """Return the light for a rotated camera; ``rotation`` (3, 3) maps level axes to camera axes."""
    turn = rotation.astype(np.float32)
    sky = np.concatenate([light.sky[:1], turn @ light.sky[1:]])
    return dataclasses.replace(light, sky=sky, towards=light.towards @ turn.T)


def shadow_maps(light: Light, points: F32, faces: I32, center: F32) -> tuple[F32, F32]:
    """Render the shadow map of each lamp.

    Args:
        light: Light with k lamps.
        points: (n, 3) float32 points in camera axes.
        faces: (m, 3) triangles that cast shadows.
        center: (3,) center of the maps.

    Returns:
        (k, S, S) float32 depths, and (k, 3, 4) affine transforms from camera axes to texels and depth.
    """
    side = _SHADOW_SIDE
    affines = np.zeros((len(light.towards), 3, 4), np.float32)
    maps = np.full((len(light.towards), side, side), -1e9, np.float32)
    for lamp, forward in enumerate(light.towards):
        up = np.array([0.0, 1.0, 0.0]) if abs(forward[1]) < 0.95 else np.array([1.0, 0.0, 0.0])
        right = np.cross(up, forward)
        right /= np.linalg.norm(right)
        axes = np.stack([right, -np.cross(forward, right), forward])
        axes[:2] *= side / _SHADOW_REACH
        affines[lamp, :, :3] = axes
        affines[lamp, :, 3] = [side / 2, side / 2, 0] - axes @ center
        depth_map(points @ affines[lamp, :, :3].T + affines[lamp, :, 3], faces, maps[lamp])
    return maps, affines


@kernel
def radiance(
    albedo: F32,
    finish: F32,
    normal: F32,
    position: F32,
    occlusion: F32,
    eye: F32,
    sky: F32,
    towards: F32,
    colors: F32,
    maps: F32,
    affines: F32,
) -> F32:
    """Compute the radiance of n fragments towards the camera.

    Args:
        albedo: (n, 3) linear reflectance.
        finish: (n, 6): specular, gloss, wrap of red, green and blue, reflected fraction of the sky (see ``Material``).
        normal: (n, 3) unit normals in camera axes.
        position: (n, 3) positions in camera axes.
        occlusion: (n,) visible fraction of the sky.
        eye: (3,) position of the camera.
        sky: As in ``Light``.
        towards: As in ``Light``.
        colors: As in ``Light``.
        maps: Depths from ``shadow_maps``.
        affines: Transforms from ``shadow_maps``.

    Returns:
        (n, 3) float32 linear RGB.
    """
    side = maps.shape[1]
    result = np.empty_like(albedo)
    diffuse = np.empty(3, np.float32)
    mirrored = np.empty(3, np.float32)
    for i in range(albedo.shape[0]):
        nx, ny, nz = normal[i, 0], normal[i, 1], normal[i, 2]
        px, py, pz = position[i, 0], position[i, 1], position[i, 2]
        vx, vy, vz = eye[0] - px, eye[1] - py, eye[2] - pz
        length = 1 / np.sqrt(vx * vx + vy * vy + vz * vz)
        vx, vy, vz = vx * length, vy * length, vz * length
        facing = nx * vx + ny * vy + nz * vz
        graze = 1 - max(np.float32(0), min(np.float32(1), facing))
        shine = finish[i, 0] * (1 + 6 * graze * graze * graze * graze * graze)
        gloss = finish[i, 1]
        rx, ry, rz = 2 * facing * nx - vx, 2 * facing * ny - vy, 2 * facing * nz - vz
        for c in range(3):
            ambient = sky[0, c] + sky[1, c] * nx + sky[2, c] * ny + sky[3, c] * nz
            diffuse[c] = max(np.float32(0), ambient) * occlusion[i]
            seen = sky[0, c] + 2 * (sky[1, c] * rx + sky[2, c] * ry + sky[3, c] * rz)
            mirrored[c] = max(np.float32(0), seen) * (shine + finish[i, 5]) * occlusion[i]
        for lamp in range(towards.shape[0]):
            lx, ly, lz = towards[lamp, 0], towards[lamp, 1], towards[lamp, 2]
            cosine = nx * lx + ny * ly + nz * lz
            if cosine < np.float32(-0.5):
                continue
            lift = np.float32(0.015) + np.float32(0.02) * (1 - abs(cosine))
            wx, wy, wz = px + nx * lift, py + ny * lift, pz + nz * lift
            a = affines[lamp]
            u = a[0, 0] * wx + a[0, 1] * wy + a[0, 2] * wz + a[0, 3] - np.float32(0.5)
            v = a[1, 0] * wx + a[1, 1] * wy + a[1, 2] * wz + a[1, 3] - np.float32(0.5)
            depth = a[2, 0] * wx + a[2, 1] * wy + a[2, 2] * wz + a[2, 3] + np.float32(_SHADOW_BIAS)
            lit = np.float32(1)
            x, y = int(np.floor(u)), int(np.floor(v))
            if x >= 0 and y >= 0 and x < side - 1 and y < side - 1:
                fx, fy = u - x, v - y
                top = (1 - fx) * (maps[lamp, y, x] <= depth) + fx * (maps[lamp, y, x + 1] <= depth)
                low = (1 - fx) * (maps[lamp, y + 1, x] <= depth) + fx * (maps[lamp, y + 1, x + 1] <= depth)
                lit = top * (1 - fy) + low * fy
            if lit <= 0:
                continue
            for c in range(3):
                w = finish[i, 2 + c]
                diffuse[c] += colors[lamp, c] * max(np.float32(0), (cosine + w) / (1 + w)) * lit
            if cosine > 0 and shine > 0:
                hx, hy, hz = lx + vx, ly + vy, lz + vz
                half = (nx * hx + ny * hy + nz * hz) / np.sqrt(hx * hx + hy * hy + hz * hz + np.float32(1e-9))
                if half > 0:
                    peak = shine * (gloss + 8) * np.float32(0.04) * half**gloss * cosine * lit
                    for c in range(3):
                        mirrored[c] += colors[lamp, c] * peak
        for c in range(3):
            result[i, c] = albedo[i, c] * diffuse[c] + mirrored[c]
    return result


def from_environment(light: Light, environment: F32, rng: np.random.Generator, count: int = 4) -> Light:
    """Approximate an environment map by lamps, drawn by brightness, and an ambient sky.

    Args:
        light: Light with the rotation of the map and the camera settings.
        environment: (H, W, 3) float32 radiance, rows from top to bottom; column 0 points along +z.
        rng: Random generator of the lamps.
        count: Number of lamps.
    """
    height, width = environment.shape[:2]
    down = (np.arange(height) + 0.5) / height * np.pi
    around = (np.arange(width) + 0.5) / width * 2 * np.pi + light.turn
    axes = np.stack(
        [
            np.sin(down)[:, None] * np.sin(around)[None],
            np.cos(down)[:, None] * np.ones(width)[None],
            np.sin(down)[:, None] * np.cos(around)[None],
        ],
        -1,
    ).reshape(-1, 3)
    flat = environment.reshape(-1, 3)
    solid_angle = np.repeat(np.sin(down), width)
    power = flat.mean(1) * solid_angle
    summed = np.cumsum(power)
    picked = np.searchsorted(summed, (np.arange(count) + rng.random(count)) / count * summed[-1])
    picked = np.clip(picked, 0, len(flat) - 1)
    share = rng.uniform(0.25, 0.5)  # ambient fraction of the light
    hues = flat[picked] / (flat[picked].mean(1, keepdims=True) + 1e-6)
    around_us = solid_angle[:, None] / solid_angle.sum() * flat
    mean = around_us.sum(0) + 1e-6
    slopes = axes.T @ around_us
    scale = share / mean.mean()
    return Light(
        name=light.name,
        sky=(np.concatenate([mean[None], slopes]) * scale).astype(np.float32),
        towards=axes[picked].astype(np.float32),
        colors=(hues * (1 - share) / count * 1.5).astype(np.float32),
        environment=light.environment,
        turn=light.turn,
        exposure=light.exposure,
        white_balance=light.white_balance,
    )
