"""Augmentation of the crop geometry and of the pixels.

The geometry uses ``headpose.crop`` and rotates the label; the pixels use albumentations. All random numbers come from
one generator per sample, so a view depends on nothing else.
"""

from __future__ import annotations

import dataclasses
import math
import os
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose import crop, geometry
from headpose.datasets.points import MIRRORED, Landmarks
from headpose.recipes.training import AugmentRecipe
from headpose.types import Box, CropSpec, Image

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # disables its online version check
import albumentations

_RAMP, _PATCHES = 0.35, 0.1  # deviations of the logarithm of light: of its slope to one side, of each patch and color
_MOST_CUT, _CORNERS = 0.5, 0.25  # of the box's area outside of a cut picture; share of the cuts that are at a corner


class View(NamedTuple):
    """Training view of a face.

    Attributes:
        image: (S, S, 3) uint8 BGR crop.
        rotation: (3, 3) float64 rotation from head axes to camera axes.
        region: (4,) float64 tight box of the face in the crop, as ``crop.region_in_crop`` returns it. It is the whole
            box also where the edge of the picture cuts the face.
        landmarks: Landmarks in units of the crop's side (``crop.points_in_crop``), also those outside of the crop;
            None for a face without.
    """

    image: Image
    rotation: NDArray[np.float64]
    region: NDArray[np.float64]
    landmarks: Landmarks | None = None


class Augmenter:
    """Create training views: from an image, a box and a rotation to an augmented crop and its labels."""

    def __init__(self, recipe: AugmentRecipe, spec: CropSpec) -> None:
        self.recipe = recipe
        self.spec = spec
        self._pixels = _pixel_steps(recipe, spec.size)

    def __call__(
        self,
        image: Image,
        box: Box,
        rotation: NDArray[np.float64],
        rng: np.random.Generator,
        landmarks: Landmarks | None = None,
    ) -> View:
        """Draw a random view.

        Args:
            image: (H, W, 3) uint8 BGR.
            box: Tight box in pixels.
            rotation: (3, 3) rotation from head axes to camera axes.
            rng: Generator of this sample.
            landmarks: Landmarks in pixels of the image, which move with it; None for none.
        """
        recipe = self.recipe
        if recipe.share < 1.0 and rng.random() >= recipe.share:
            return plain_view(image, box, rotation, self.spec, landmarks)
        low, high = recipe.scale
        scale = math.exp(rng.uniform(math.log(low), math.log(high)))
        turn = rng.normal(0.0, recipe.turn)
        if rng.random() < recipe.wide_turn:
            turn = rng.uniform(-recipe.wide_turn_degrees, recipe.wide_turn_degrees)
        if recipe.cut and rng.random() < recipe.cut:  # 0 draws no number, so older recipes give the same views
            old = box
            image, box = cut_through(image, box, rng)
            landmarks = _shifted(landmarks, box.x1 - old.x1, box.y1 - old.y1)
        spec = dataclasses.replace(self.spec, scale=scale)
        around = _jittered(box, recipe, rng)
        view, region = crop.cut(image, around, spec, turn), crop.region_in_crop(box, around, spec, turn)
        rotation = geometry.turn_picture(rotation, turn)
        landmarks = _in_crop(landmarks, around, spec, turn)
        if rng.random() < recipe.flip:
            view, rotation = cv2.flip(view, 1), geometry.mirror(rotation)
            region[0] = 1.0 - region[0]
            landmarks = _mirrored(landmarks)
        if recipe.shade and rng.random() < recipe.shade:  # as for ``cut``
            view = _shaded(view, rng)
        self._pixels.set_random_seed(int(rng.integers(1 << 31)))
        return View(self._pixels(image=view)["image"], rotation, region, landmarks)


def plain_view(
    image: Image, box: Box, rotation: NDArray[np.float64], spec: CropSpec, landmarks: Landmarks | None = None
) -> View:
    """Return the view of a face without augmentation. The arguments are those of ``Augmenter``."""
    where = crop.region_in_crop(box, box, spec)
    return View(crop.cut(image, box, spec), rotation, where, _in_crop(landmarks, box, spec))


def _in_crop(landmarks: Landmarks | None, around: Box, spec: CropSpec, turn: float = 0.0) -> Landmarks | None:
    if landmarks is None:
        return None
    return Landmarks(crop.points_in_crop(landmarks.points, around, spec, turn), landmarks.known)


def _shifted(landmarks: Landmarks | None, x: float, y: float) -> Landmarks | None:
    return None if landmarks is None else Landmarks(landmarks.points + np.array([x, y]), landmarks.known)


def _mirrored(landmarks: Landmarks | None) -> Landmarks | None:
    """Mirror landmarks in units of a crop: each takes the place of its counterpart on the other side of the face."""
    if landmarks is None:
        return None
    points = landmarks.points[MIRRORED] * (-1.0, 1.0) + np.array([1.0, 0.0])
    return Landmarks(points, landmarks.known[MIRRORED])


def _jittered(box: Box, recipe: AugmentRecipe, rng: np.random.Generator) -> Box:
    side = max(box.width, box.height)
    x, y = np.array(box.center) + rng.normal(0.0, recipe.shift * side, 2)
    stretch = math.exp(rng.normal(0.0, recipe.stretch) / 2)
    width, height = box.width * stretch, box.height / stretch
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def cut_through(image: Image, box: Box, rng: np.random.Generator) -> tuple[Image, Box]:
    """Crop the image so that its border cuts the face, as at the edge of a camera's view.

    One border moves into the tight box, or in a quarter of the cases two adjacent ones. The fraction of the box outside
    of the image is uniform in [0, 0.5] for one border, and at most 0.5 for two.

    Args:
        image: (H, W, 3) uint8 BGR.
        box: Tight box in pixels.
        rng: Generator of this sample.

    Returns:
        The remaining image (a view of ``image`` with at least one pixel), and the box in its coordinates.
    """
    height, width = image.shape[:2]
    across = rng.uniform(0.0, _MOST_CUT)
    down = rng.uniform(0.0, 1 - (1 - _MOST_CUT) / (1 - across)) if rng.random() < _CORNERS else 0.0
    if rng.random() < 0.5:
        across, down = down, across
    x1, x2 = _kept(box.x1, box.x2, width, across, low=rng.random() < 0.5)
    y1, y2 = _kept(box.y1, box.y2, height, down, low=rng.random() < 0.5)
    return image[y1:y2, x1:x2], Box(box.x1 - x1, box.y1 - y1, box.x2 - x1, box.y2 - y1)


def _kept(first: float, last: float, extent: int, share: float, *, low: bool) -> tuple[int, int]:
    """Return the range [start, stop) of pixels that remain after a share of [first, last] is cut off at one end."""
    if share == 0:
        return 0, extent
    if low:
        return min(max(math.floor(first + share * (last - first)), 0), extent - 1), extent
    return 0, min(max(math.ceil(last - share * (last - first)), 1), extent)


def _shaded(view: Image, rng: np.random.Generator) -> Image:
    """Multiply by a smooth, uneven brightness gradient, as from another lamp.

    The gradients of albumentations are weaker (at most a fifth), and its plasma noise is too fine.
    """
    size = view.shape[0]
    across = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    direction, strength = rng.uniform(0.0, 2 * math.pi), rng.normal(0.0, _RAMP)
    ramp = strength * (math.cos(direction) * across + math.sin(direction) * across[:, None])
    patches = rng.normal(0.0, _PATCHES, (3, 3, 3)).astype(np.float32)  # independent for each color channel
    gain = np.exp(ramp[:, :, None] + cv2.resize(patches, (size, size), interpolation=cv2.INTER_CUBIC))
    return np.clip(view * gain + 0.5, 0, 255).astype(np.uint8)


def _pixel_steps(recipe: AugmentRecipe, size: int) -> albumentations.Compose:
    """Return the pixel augmentations in the order of a camera's image formation."""
    a = albumentations
    hole = (0.08, 0.35)
    steps = [
        a.CoarseDropout((1, 3), hole, hole, fill="random_uniform", p=recipe.occlude),
        a.RandomBrightnessContrast((-0.25, 0.25), (0.0, 0.0), p=recipe.brightness),
        a.OneOf(
            [
                a.RandomBrightnessContrast((-0.25, 0.25), (-0.4, 0.3)),
                a.RandomGamma((35, 220)),
                a.HueSaturationValue(12, 40, 25),
                a.PlanckianJitter(),
                a.RandomShadow(shadow_intensity_range=(0.3, 0.7)),
                a.MultiplicativeNoise((0.25, 1.0)),  # one factor per image: underexposure
            ],
            p=recipe.light,
        ),
        a.ToGray(p=recipe.grey),
        a.OneOf(
            [
                a.GaussianBlur(blur_limit=0, sigma_limit=(0.4, size / 40)),
                a.MotionBlur((3, max(3, int(size * recipe.motion_blur)) | 1)),
            ],
            p=recipe.blur,
        ),
        a.Downscale(
            (0.2, 0.7),
            interpolation_pair={"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR},
            p=recipe.low_resolution,
        ),
        a.GaussNoise((0.01, 0.08), p=recipe.noise),
        a.ImageCompression(quality_range=(25, 90), p=recipe.jpeg),
    ]
    return a.Compose([step for step in steps if step.p > 0])
