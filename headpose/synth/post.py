"""Image degradation by camera and file format: exposure, focus, motion blur, noise, resolution, compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from headpose.synth.light import Light
from headpose.synth.surface import F32
from headpose.types import Image


@dataclass(frozen=True, slots=True)
class Post:
    """Camera settings and degradations.

    Attributes:
        defocus: Blur of the head, standard deviation as a fraction of the image side.
        motion: Length of the motion blur as a fraction of the image side.
        motion_angle: Direction of the motion blur in degrees.
        noise: Standard deviation of the noise at mid-gray, relative to white.
        reduced: Factor by which the image is shrunk and enlarged again; 1 for none.
        jpeg: JPEG quality of a first compression; 0 for none.
        grey: True for a grayscale image.
        contrast: Parameter k > 0 of the tone curve, whose slope at mid-gray is k / (2 tanh(k / 2)).
        saturation: Factor of the color saturation after the tone curve, which increases it; 0.675 is neutral.
        vignette: Darkening of the corners.
        tint: Factors of red, green and blue.
    """

    defocus: float
    motion: float
    motion_angle: float
    noise: float
    reduced: float
    jpeg: int
    grey: bool
    contrast: float
    saturation: float
    vignette: float
    tint: tuple[float, float, float]


FAULTLESS = Post(
    defocus=0.0,
    motion=0.0,
    motion_angle=0.0,
    noise=0.0,
    reduced=1.0,
    jpeg=0,
    grey=False,
    contrast=3.5,
    saturation=0.675,
    vignette=0.0,
    tint=(1.0, 1.0, 1.0),
)
"""Ideal camera with a standard tone curve and neutral colors."""


def draw(rng: np.random.Generator) -> Post:
    """Draw degradations: seven of ten images are sharp, one of twelve is grayscale."""
    tint = np.exp(rng.normal(0, 0.04, 3))
    reduced = rng.uniform(1.3, 3.0) if rng.random() < 0.15 else 1.0
    coarse = rng.integers(25, 90) if reduced < 1.8 else rng.integers(50, 90)
    return Post(
        defocus=float(rng.uniform(0.003, 0.014) if rng.random() < 0.1 else 0.0),
        motion=float(rng.uniform(0.01, 0.05) if rng.random() < 0.07 else 0.0),
        motion_angle=float(rng.uniform(0, 180)),
        noise=float(rng.uniform(0.0, 0.015) if rng.random() < 0.85 else rng.uniform(0.015, 0.05)),
        reduced=float(reduced),
        jpeg=int(coarse) if rng.random() < 0.4 else 0,
        grey=bool(rng.random() < 0.08),
        contrast=float(rng.uniform(2.0, 5.0)),
        saturation=float(rng.uniform(0.45, 0.9)),
        vignette=float(rng.uniform(0, 0.5) if rng.random() < 0.25 else 0.0),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
    )


def develop(
    color: F32, cover: F32, behind: F32, skin: F32, light: Light, settings: Post, rng: np.random.Generator
) -> Image:
    """Composite the head over its background and convert linear light to an 8-bit image.

    Args:
        color: (S, S, 3) float32 linear RGB of the head, premultiplied by ``cover``.
        cover: (S, S) coverage of the head in [0, 1].
        behind: (S, S, 3) linear RGB background for light of mean 1.
        skin: (n, 3) linear RGB of the face, which determines the exposure.
        light: Exposure and white balance.
        settings: Camera settings and degradations.
        rng: Random generator of the noise.

    Returns:
        (S, S, 3) uint8 BGR.
    """
    lit = light.colors.sum(0) * 0.5 + light.sky[0]
    balance = (lit / lit.mean()) ** -light.white_balance
    brightness = skin.mean(1)
    level = 0.5 * (brightness.mean() + np.percentile(brightness, 75)) + 1e-4
    # The exposure partly compensates for dark skin, as cameras do.
    gain = np.clip(light.exposure / level * np.clip(level / 0.3, 0.3, 1.2) ** 0.45, 0.2, 6.0)
    linear = (color + behind * (1 - cover[..., None])) * (gain * balance)
    linear = _blur(linear.astype(np.float32), settings)
    side = len(linear)
    if settings.vignette:
        y, x = np.mgrid[0:side, 0:side] / side - 0.5
        linear *= (1 - settings.vignette * 1.6 * (x**2 + y**2))[..., None].astype(np.float32)
    if settings.reduced > 1:
        small = max(8, round(side / settings.reduced))
        linear = cv2.resize(linear, (small, small), interpolation=cv2.INTER_AREA)
    shown = _tone(linear, settings)
    if settings.noise:
        shot = np.sqrt(np.clip(shown, 0.05, 1)) * settings.noise * 1.4
        shown = (shown + rng.normal(0, 1, shown.shape) * shot).astype(np.float32)
    if settings.grey:
        shown = np.repeat(shown @ np.array([[0.3], [0.59], [0.11]], np.float32), 3, 2)
    image = (np.clip(shown[:, :, ::-1], 0, 1) * 255 + 0.5).astype(np.uint8)
    if settings.jpeg:
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg])[1]
        image = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    if len(image) != side:
        image = np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.ascontiguousarray(image)


def _blur(linear: F32, settings: Post) -> F32:
    side = len(linear)
    if settings.defocus:
        linear = np.asarray(cv2.GaussianBlur(linear, (0, 0), max(0.3, settings.defocus * side)), np.float32)
    if settings.motion:
        reach = settings.motion * side / 2
        half = int(np.ceil(reach)) + 1
        kernel = np.zeros((2 * half + 1,) * 2, np.float32)
        step = np.deg2rad(settings.motion_angle)
        for t in np.linspace(-reach, reach, 4 * half + 1):
            x, y = half + t * np.cos(step), half + t * np.sin(step)
            kernel[round(y), round(x)] += 1
        linear = np.asarray(cv2.filter2D(linear, -1, kernel / kernel.sum()), np.float32)
    return linear


def _tone(linear: F32, settings: Post) -> F32:
    """Map linear light to [0, 1] with gamma 2.2 and an S-shaped tone curve.

    The curve increases the saturation, so the drawn saturation compensates for part of it.
    """
    soft = np.where(linear > 0.6, 0.6 + 0.4 * (1 - np.exp(-(linear - 0.6) / 0.4)), linear)
    shown = np.clip(soft, 0, 1) ** (1 / 2.2)
    grey = shown.mean(2, keepdims=True)
    shown = grey + (shown - grey) * settings.saturation
    shown = 0.5 + 0.5 * np.tanh(settings.contrast * (shown - 0.5)) / np.tanh(settings.contrast * 0.5)
    return (np.clip(shown, 0, 1) * np.array(settings.tint)).astype(np.float32)
