"""What cameras, light and weather do to a picture. Lengths are shares of the face: the longer side of its box.

Every function takes (H, W, 3) uint8 BGR, the face's box and a setting, and returns a new picture of the
same shape. Shares are in 1/1000, so that settings are integers.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.corruptions import exact
from headpose.corruptions.draws import NOISE_UNIT, Draws
from headpose.corruptions.paper import brightness
from headpose.types import Box, Image

_FOG_COLOUR = 224
_FOG_GRID = 5  # patches of thicker and thinner fog along a side
_READ_NOISE = 3  # of a sensor in the dark, grey levels


def motion_blur(image: Image, box: Box, length: int, draws: Draws) -> Image:
    """The mean along a line of ``length`` thousandths of the face, in a random direction."""
    taps = 2 * round(length * face_size(box) / 2000) + 1
    return exact.mean_of_shifts(image, exact.line(taps, draws.below(exact.DIRECTIONS)))


def defocus(image: Image, box: Box, radius: int, draws: Draws) -> Image:
    """The mean over a disc with a radius of ``radius`` thousandths of the face."""
    return exact.mean_of_shifts(image, exact.disc(max(10, round(radius * face_size(box) / 100))))


def darken(image: Image, box: Box, delta: int, draws: Draws) -> Image:
    """``delta`` taken from every value, as the paper's low brightness does."""
    return brightness(image, -delta)


def low_light(image: Image, box: Box, gain: int, draws: Draws) -> Image:
    """Exposure of ``gain`` thousandths, and the noise of a sensor that is left with few levels."""
    dark = (image.astype(np.int32) * gain + 500) // 1000
    return _with_noise(dark, _READ_NOISE, draws)


def over_exposure(image: Image, box: Box, gain: int, draws: Draws) -> Image:
    """Exposure of ``gain`` thousandths; what exceeds white is lost."""
    table = np.minimum((np.arange(256) * gain + 500) // 1000, 255).astype(np.uint8)
    return table[image]


def noise(image: Image, box: Box, deviation: int, draws: Draws) -> Image:
    """Nearly normal noise of ``deviation`` grey levels in each channel of each pixel."""
    return _with_noise(image.astype(np.int32), deviation, draws)


def jpeg(image: Image, box: Box, quality: int, draws: Draws) -> Image:
    """Saved as a JPEG of a quality, and read again: the one effect that rests on a library's arithmetic."""
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def low_resolution(image: Image, box: Box, pixels: int, draws: Draws) -> Image:
    """The picture as it is when the face is ``pixels`` long, enlarged again; smaller faces stay as they are."""
    height, width = image.shape[:2]
    factor = face_size(box) / pixels
    if factor <= 1:
        return image.copy()
    small = exact.shrink(image, max(1, round(width / factor)), max(1, round(height / factor)))
    return exact.enlarge(small, width, height)


def grey(image: Image, box: Box, share: int, draws: Draws) -> Image:
    """Colour taken out by ``share`` thousandths; 1000 leaves none."""
    blue, green, red = (image[..., i : i + 1].astype(np.int32) for i in range(3))
    luma = (29 * blue + 150 * green + 77 * red + 128) >> 8
    return exact.blend(image, luma, round(share * 256 / 1000))


def fog(image: Image, box: Box, share: int, draws: Draws) -> Image:
    """A bright veil of ``share`` thousandths on average, between half and one and a half times that by place."""
    grid = np.array([draws.between(128, 384) for _ in range(_FOG_GRID**2)])
    thickness = np.minimum(grid * share // 1000, 255).astype(np.uint8).reshape(_FOG_GRID, _FOG_GRID)
    veil = exact.enlarge(thickness, image.shape[1], image.shape[0]).astype(np.int32)[..., None]
    return exact.blend(image, _FOG_COLOUR, veil)


def face_size(box: Box) -> float:
    """The longer side of a box, pixels."""
    return max(box.width, box.height)


def _with_noise(values: NDArray[np.int32], deviation: int, draws: Draws) -> Image:
    added = draws.noise(values.size).reshape(values.shape) * deviation
    return np.clip(values + (added + NOISE_UNIT // 2) // NOISE_UNIT, 0, 255).astype(np.uint8)
