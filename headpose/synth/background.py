"""Backgrounds: the environment map that lights the scene, or a procedural image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from headpose.geometry import Array
from headpose.synth.light import Light
from headpose.synth.surface import F32


@dataclass(frozen=True, slots=True)
class Background:
    """Background of an image.

    Attributes:
        kind: "plain", "gradient", "shapes", "bokeh", "clutter", "room" or "foliage".
        blur: Standard deviation of the defocus as a fraction of the image side.
        brightness: Brightness relative to the light on the face.
        saturation: Color saturation from 0 (gray) to 1 (unchanged).
    """

    kind: str
    blur: float
    brightness: float
    saturation: float


_KINDS = {"plain": 0.1, "gradient": 0.14, "shapes": 0.2, "bokeh": 0.14, "clutter": 0.16, "room": 0.14, "foliage": 0.12}


def draw(rng: np.random.Generator) -> Background:
    """Draw a background; half of them are strongly defocused."""
    return Background(
        kind=str(rng.choice(list(_KINDS), p=list(_KINDS.values()))),
        blur=float(rng.uniform(0, 0.008) if rng.random() < 0.5 else rng.uniform(0.008, 0.04)),
        brightness=float(np.exp(rng.normal(-0.2, 0.6))),
        saturation=float(rng.uniform(0.1, 0.9)),
    )


def paint(
    background: Background,
    rng: np.random.Generator,
    size: int,
    environment: F32 | None,
    light: Light,
    tilt: Array | None = None,
) -> F32:
    """Paint a background.

    Args:
        background: Settings.
        rng: Random generator of the details.
        size: Side of the image in pixels.
        environment: (H, W, 3) radiance map to show; None for a procedural background.
        light: Light, which defines the rotation of the environment map.
        tilt: (3, 3) rotation from the axes of a level camera to those of this camera; None for a level camera.

    Returns:
        (size, size, 3) float32 linear RGB.
    """
    if environment is not None:
        picture = _surroundings(environment, rng, size, light, tilt) * 0.35
    else:
        picture = _PAINTERS[background.kind](rng, size) * 0.55
        grey = picture.mean(2, keepdims=True)
        picture = grey + (picture - grey) * background.saturation
    if background.blur * size > 0.4:
        picture = cv2.GaussianBlur(picture, (0, 0), background.blur * size)
    return np.maximum(picture * background.brightness, 0).astype(np.float32)


def _surroundings(environment: F32, rng: np.random.Generator, size: int, light: Light, tilt: Array | None) -> F32:
    focal = 0.5 / np.tan(np.deg2rad(rng.uniform(25, 70)) / 2)
    x, y = np.meshgrid((np.arange(size) + 0.5) / size - 0.5, 0.5 - (np.arange(size) + 0.5) / size)
    y = y + rng.uniform(-0.2, 0.2)
    z = np.full_like(x, -focal)
    if tilt is not None:
        x, y, z = np.moveaxis(np.stack([x, y, z], -1) @ tilt, -1, 0)  # from camera axes to level axes
    length = np.sqrt(x**2 + y**2 + z**2)
    down = np.arccos(y / length) / np.pi
    around = (np.arctan2(x, z) - light.turn) / (2 * np.pi) % 1.0
    height, width = environment.shape[:2]
    columns, rows = (around * width - 0.5).astype(np.float32), (down * height - 0.5).astype(np.float32)
    return np.asarray(cv2.remap(environment, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)


def _colors(rng: np.random.Generator, count: int) -> F32:
    return (rng.random((count, 3)) ** 2.2).astype(np.float32)


def _plain(rng: np.random.Generator, size: int) -> F32:
    return np.tile(_colors(rng, 1)[0], (size, size, 1)) * (0.9 + 0.2 * _clouds(rng, size, 3))


def _gradient(rng: np.random.Generator, size: int) -> F32:
    first, last = _colors(rng, 2)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    share = np.clip(x * np.cos(angle) + y * np.sin(angle) + 0.5, 0, 1)[..., None]
    return (first * (1 - share) + last * share).astype(np.float32)


def _shapes(rng: np.random.Generator, size: int, most: int = 24) -> F32:
    picture = _gradient(rng, size)
    for color in _colors(rng, int(rng.integers(4, most))):
        first, last = rng.integers(-size // 6, size + size // 6, (2, 2)).tolist()
        kind = rng.integers(4)
        fill = tuple(map(float, color))
        if kind == 0:
            cv2.rectangle(picture, first, last, fill, -1)
        elif kind == 1:
            cv2.circle(picture, first, int(rng.integers(2, size // 3)), fill, -1)
        elif kind == 2:
            cv2.line(picture, first, last, fill, int(rng.integers(1, max(2, size // 8))))
        else:
            axes = rng.integers(2, size // 3, 2).tolist()
            cv2.ellipse(picture, first, axes, float(rng.uniform(0, 180)), 0, 360, fill, -1)
    return picture * np.exp(0.6 * (_clouds(rng, size, 4) - 0.5))


def _bokeh(rng: np.random.Generator, size: int) -> F32:
    picture = _gradient(rng, size) * 0.4
    for color in _colors(rng, int(rng.integers(10, 50))):
        disc = np.zeros((size, size), np.float32)
        place = rng.integers(0, size, 2).tolist()
        cv2.circle(disc, place, int(rng.integers(max(1, size // 40), max(2, size // 9))), (1.0,), -1, cv2.LINE_AA)
        picture = picture + disc[..., None] * color * np.float32(rng.uniform(0.3, 2.0))
    return picture


def _clutter(rng: np.random.Generator, size: int) -> F32:
    """Paint clutter that resembles shelves, posters and clothes at a distance."""
    picture = _shapes(rng, size, 12)
    edge = 0
    while edge < size:
        step = int(rng.integers(max(2, size // 20), max(3, size // 5)))
        top = int(rng.integers(0, size // 2))
        picture[top:, edge : edge + step] = _colors(rng, 1)[0] * rng.uniform(0.3, 1.0)
        edge += step
    grain = np.exp(0.8 * (rng.random((size, size, 1)) - 0.5))
    return picture * cv2.GaussianBlur(grain, (0, 0), 1.0)[..., None]


def _room(rng: np.random.Generator, size: int) -> F32:
    wall, floor, frame, pane = _colors(rng, 4)
    pane = pane * 0.5 + 1.2
    picture = np.tile(wall * 0.5 + 0.3, (size, size, 1)).astype(np.float32)
    horizon = int(rng.uniform(0.5, 1.0) * size)
    picture[horizon:] = floor
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.integers(-size // 4, size, 2)
        width, height = rng.integers(size // 6, size // 2, 2)
        cv2.rectangle(picture, (int(x), int(y)), (int(x + width), int(y + height)), tuple(map(float, frame)), -1)
        rim = max(1, size // 40)
        inner = pane if rng.random() < 0.5 else _colors(rng, 1)[0]
        low = (int(x + rim), int(y + rim))
        cv2.rectangle(picture, low, (int(x + width - rim), int(y + height - rim)), tuple(map(float, inner)), -1)
    return picture * (0.8 + 0.4 * _clouds(rng, size, 2))


def _foliage(rng: np.random.Generator, size: int) -> F32:
    dark, light = np.array([0.03, 0.07, 0.02]), np.array([0.35, 0.5, 0.15])
    hue = np.exp(rng.normal(0, 0.25, 3))
    leaves = _clouds(rng, size, 6)
    picture = (dark * (1 - leaves) + light * leaves**2) * hue
    sky = _clouds(rng, size, 3) > rng.uniform(0.5, 0.9)
    return np.where(sky, np.array([0.9, 1.0, 1.15]), picture).astype(np.float32)


def _clouds(rng: np.random.Generator, size: int, octaves: int) -> F32:
    """Return (size, size, 1) smooth noise in [0, 1]."""
    total, weight = np.zeros((size, size), np.float32), 0.0
    for octave in range(octaves):
        cells = rng.random((3 * 2**octave + 1, 3 * 2**octave + 1)).astype(np.float32)
        total += cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC) / (octave + 1)
        weight += 1 / (octave + 1)
    return np.clip(total / weight, 0, 1)[..., None]


_PAINTERS = {
    "plain": _plain,
    "gradient": _gradient,
    "shapes": _shapes,
    "bokeh": _bokeh,
    "clutter": _clutter,
    "room": _room,
    "foliage": _foliage,
}
