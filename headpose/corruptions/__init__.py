"""Image corruptions: the three sets of Aghli & Ribeiro's Table 2, and 15 common corruptions with five severities.

A corruption is applied to the whole image before the crop. The result depends only on the image, the face box, a seed
and the name of the image file, so all machines produce the same pixels (except ``jpeg``, which depends on the JPEG
library). This is why the arithmetic uses integers and random numbers come from raw bits. The package needs NumPy and
OpenCV only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from headpose.corruptions import cover, exact, field, paper, place
from headpose.corruptions.draws import Draws
from headpose.errors import HeadPoseError
from headpose.types import Box, Image


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Corrupted image with its face box.

    Attributes:
        image: (H, W, 3) uint8 BGR, of the same size as the original; smaller after ``cut``.
        box: Face box in pixels. Only ``crop_jitter``, ``cut`` and ``in_plane`` change it.
        clockwise_degrees: In-plane rotation of the image; ``geometry.turn_picture`` rotates the label.
    """

    image: Image
    box: Box
    clockwise_degrees: float = 0.0


Effect = Callable[[Image, Box, int, Draws], Image | View]
"""Function (image, box, setting, draws) that returns the corrupted image, or a ``View`` if more than pixels change."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """One corruption with its setting.

    Attributes:
        name: Name such as "defocus". Name, seed and image name determine the random numbers, so the levels of one
            corruption differ only in strength.
        level: Severity, 1 to 5; 0 if the corruption has no levels.
        setting: Parameter of the effect; see ``LEVELS`` and the docstring of the effect.
    """

    name: str
    level: int
    setting: int

    @property
    def label(self) -> str:
        """Name as ``parse`` accepts it: "MB", "defocus-3", or "OC@20" for an unnamed setting."""
        if self.level:
            return f"{self.name}-{self.level}"
        named = self.name == CLEAN.name or any(self == each for each in PAPER)
        return self.name if named else f"{self.name}@{self.setting}"

    @property
    def is_random(self) -> bool:
        """True if the result depends on the seed."""
        return self.name in _RANDOM

    @property
    def moves(self) -> bool:
        """True if the box or the label changes. Such corruptions cannot be applied to a crop."""
        return self.name in _MOVING

    def __call__(self, image: Image, box: Box, key: str, seed: int = 0) -> View:
        """Corrupt an image.

        Args:
            image: (H, W, 3) uint8 BGR; it is not modified.
            box: Face box in pixels.
            key: Name of the image file without its extension.
            seed: Random seed.

        Returns:
            The corrupted image with its box.
        """
        made = _EFFECTS[self.name](image, box, self.setting, Draws(self.name, seed, key))
        return made if isinstance(made, View) else View(made, box)


def parse(text: str) -> list[Corruption]:
    """Parse the name of a corruption.

    Args:
        text: "clean", "MB", "LB" or "OC" for one corruption, "defocus" for its five levels, "defocus-3" for one level,
            "OC@20" for an arbitrary setting.

    Returns:
        The corruptions, mildest first.

    Raises:
        HeadPoseError: The name, level or setting does not exist.
    """
    match = re.fullmatch(r"([A-Za-z_]+(?:-[a-z]+)?)(?:-([1-5])|@(\d{1,5}))?", text)
    if not match or match[1] not in _EFFECTS:
        raise HeadPoseError(f"there is no corruption {text!r}: use {', '.join(NAMES)}, or one level as in defocus-3")
    name, level, setting = match[1], match[2], match[3]
    if setting is not None:
        return [Corruption(name, 0, int(setting))]
    if name in LEVELS:
        chosen = [int(level)] if level else range(1, len(LEVELS[name]) + 1)
        return [Corruption(name, each, LEVELS[name][each - 1]) for each in chosen]
    named = [each for each in (CLEAN, *PAPER) if each.name == name]
    if level or not named:
        raise HeadPoseError(f"{text!r} needs a setting, as in {name}@4" if not named else f"{name} has no levels")
    return named


CLEAN = Corruption("clean", 0, 0)
"""No corruption."""

PAPER_MB = Corruption("MB", 0, 12)
"""AFLW2000-MB: 25 x 25 motion blur along a diagonal that descends to the right at 45 degrees."""

PAPER_LB = Corruption("LB", 0, -paper.BRIGHTNESS_DELTA)
"""AFLW2000-LB: 102 (of 255) subtracted from every value."""

PAPER_OC = Corruption("OC", 0, 16)
"""AFLW2000-OC: 16 black squares of 35 x 35 pixels at random positions in the image."""

PAPER = (PAPER_MB, PAPER_LB, PAPER_OC)

LEVELS: dict[str, tuple[int, ...]] = {
    "motion_blur": (50, 100, 150, 220, 300),  # length, thousandths of the face
    "darken": (40, 75, 110, 140, 170),  # gray levels subtracted
    "occlusion": (200, 300, 400, 500, 600),  # diameter, thousandths of the face
    "defocus": (15, 30, 45, 65, 90),  # radius, thousandths of the face
    "low_light": (500, 300, 180, 100, 60),  # exposure, thousandths
    "over_exposure": (1300, 1700, 2200, 3000, 4000),  # exposure, thousandths
    "noise": (6, 12, 20, 30, 45),  # standard deviation, gray levels
    "jpeg": (40, 25, 15, 9, 5),  # quality
    "low_resolution": (64, 40, 28, 20, 14),  # length of the face, pixels
    "grey": (200, 400, 600, 800, 1000),  # desaturation, thousandths
    "fog": (150, 250, 350, 475, 600),  # mean opacity, thousandths
    "glasses": (120, 180, 240, 300, 360),  # height of the band, thousandths of the face height
    "hand": (150, 250, 350, 450, 600),  # reach into the face, thousandths
    "crop_jitter": (50, 100, 150, 200, 300),  # shift, thousandths of the face
    "turn": (10, 20, 30, 45, 60),  # in-plane rotation, degrees
}
"""Settings of the five severities, mild to severe."""

SELECTION = tuple(Corruption(name, 3, LEVELS[name][2]) for name in ("motion_blur", "defocus", "low_light", "occlusion"))
"""Corruptions for model selection on held-out training data: medium severity, none of the paper's settings."""


def _turned(image: Image, box: Box, degrees: int, draws: Draws) -> View:
    clockwise = degrees if draws.below(2) else -degrees
    return View(place.turn(image, box, clockwise), box, float(clockwise))


def _in_plane(image: Image, box: Box, degrees: int, draws: Draws) -> View:
    turned = _turned(image, box, degrees, draws)
    return View(turned.image, place.box_of_turned_face(box, degrees), turned.clockwise_degrees)


_EFFECTS: dict[str, Effect] = {
    "clean": lambda image, box, setting, draws: image,
    "MB": lambda image, box, direction, draws: paper.motion_blur(image, paper.BLUR_TAPS, direction),
    "LB": lambda image, box, delta, draws: paper.brightness(image, -delta),
    "OC": lambda image, box, count, draws: paper.black_patches(image, box, count, "picture", draws),
    # Other readings of the paper, for the scan that chose the settings above.
    "MB-random": lambda image, box, taps, draws: paper.motion_blur(image, taps, draws.below(exact.DIRECTIONS)),
    "MB-box": lambda image, box, side, draws: exact.mean_of_shifts(image, exact.square(side)),
    "OC-face": lambda image, box, count, draws: paper.black_patches(image, box, count, "face", draws),
    "motion_blur": field.motion_blur,
    "darken": field.darken,
    "occlusion": cover.occlusion,
    "defocus": field.defocus,
    "low_light": field.low_light,
    "over_exposure": field.over_exposure,
    "noise": field.noise,
    "jpeg": field.jpeg,
    "low_resolution": field.low_resolution,
    "grey": field.grey,
    "fog": field.fog,
    "glasses": cover.glasses,
    "hand": cover.hand,
    "crop_jitter": lambda image, box, share, draws: View(image, place.crop_jitter(box, share, draws)),
    "turn": _turned,
    # Held-out sets (headpose.evaluation.heldout): cut@333 leaves a third of the box outside of the picture.
    "cut": lambda image, box, share, draws: View(*place.cut(image, box, share, draws)),
    "in_plane": _in_plane,
}
_RANDOM = {"OC", "MB-random", "OC-face", "motion_blur", "occlusion", "low_light", "noise", "fog", "hand"}
_MOVING = {"crop_jitter", "turn", "cut", "in_plane"}
_RANDOM |= _MOVING
NAMES = (CLEAN.name, *(each.name for each in PAPER), *LEVELS)
"""Names that ``parse`` accepts."""
