"""Effects of cameras, light and weather.

Each function takes an image ((H, W, 3) uint8 BGR), the face box in pixels, an integer setting and random numbers, and
returns a new image of the same shape. Lengths are in thousandths of the face, the longer side of its box.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.corruptions import exact
from headpose.corruptions.draws import NOISE_UNIT, Draws
from headpose.corruptions.paper import brightness
from headpose.types import Box, Image

_FOG_COLOR = 224
_FOG_GRID = 5  # fog density varies on a grid of this many points per side
_READ_NOISE = 3  # sensor noise in the dark, gray levels


def motion_blur(image: Image, box: Box, length: int, draws: Draws) -> Image:
    """Average along a line of ``length`` thousandths of the face in a random direction."""
    taps = 2 * round(length * face_size(box) / 2000) + 1
    return exact.mean_of_shifts(image, exact.line(taps, draws.below(exact.DIRECTIONS)))


def defocus(image: Image, box: Box, radius: int, draws: Draws) -> Image:
    """Average over a disc with a radius of ``radius`` thousandths of the face."""
    return exact.mean_of_shifts(image, exact.disc(max(10, round(radius * face_size(box) / 100))))


def darken(image: Image, box: Box, delta: int, draws: Draws) -> Image:
    """Subtract ``delta`` from every value, as in the paper's low-brightness set."""
    return brightness(image, -delta)


def low_light(image: Image, box: Box, gain: int, draws: Draws) -> Image:
    """Scale the exposure by ``gain`` thousandths and add sensor noise."""
    dark = (image.astype(np.int32) * gain + 500) // 1000
    return _with_noise(dark, _READ_NOISE, draws)


def over_exposure(image: Image, box: Box, gain: int, draws: Draws) -> Image:
    """Scale the exposure by ``gain`` thousandths and clip at white."""
    table = np.minimum((np.arange(256) * gain + 500) // 1000, 255).astype(np.uint8)
    return table[image]


def noise(image: Image, box: Box, deviation: int, draws: Draws) -> Image:
    """Add approximately normal noise with a standard deviation of ``deviation`` gray levels to every value."""
    return _with_noise(image.astype(np.int32), deviation, draws)


def jpeg(image: Image, box: Box, quality: int, draws: Draws) -> Image:
    """Encode and decode as JPEG with ``quality``. This is the only effect that depends on a library's arithmetic."""
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def low_resolution(image: Image, box: Box, pixels: int, draws: Draws) -> Image:
    """Shrink the image so that the face is ``pixels`` long, and enlarge it again. Smaller faces are left unchanged."""
    height, width = image.shape[:2]
    factor = face_size(box) / pixels
    if factor <= 1:
        return image.copy()
    small = exact.shrink(image, max(1, round(width / factor)), max(1, round(height / factor)))
    return exact.enlarge(small, width, height)


def grey(image: Image, box: Box, share: int, draws: Draws) -> Image:
    """Desaturate by ``share`` thousandths; 1000 gives a gray image."""
    blue, green, red = (image[..., i : i + 1].astype(np.int32) for i in range(3))
    luma = (29 * blue + 150 * green + 77 * red + 128) >> 8
    return exact.blend(image, luma, round(share * 256 / 1000))


def fog(image: Image, box: Box, share: int, draws: Draws) -> Image:
    """Blend with bright fog. Its mean opacity is ``share`` thousandths and varies by position by up to 50 %."""
    grid = np.array([draws.between(128, 384) for _ in range(_FOG_GRID**2)])
    thickness = np.minimum(grid * share // 1000, 255).astype(np.uint8).reshape(_FOG_GRID, _FOG_GRID)
    veil = exact.enlarge(thickness, image.shape[1], image.shape[0]).astype(np.int32)[..., None]
    return exact.blend(image, _FOG_COLOR, veil)


def face_size(box: Box) -> float:
    """Return the longer side of a box in pixels."""
    return max(box.width, box.height)


def _with_noise(values: NDArray[np.int32], deviation: int, draws: Draws) -> Image:
    added = draws.noise(values.size).reshape(values.shape) * deviation
    return np.clip(values + (added + NOISE_UNIT // 2) // NOISE_UNIT, 0, 255).astype(np.uint8)
