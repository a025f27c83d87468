"""Corrupted pictures: the three sets of Aghli & Ribeiro's Table 2, and what pictures suffer elsewhere, by severity.

A corruption is applied to the whole picture before the crop. It depends on the picture, the face's box,
a seed and the name of the picture's file, and on nothing else: two machines get the same pixels (``jpeg``
excepted, which is as exact as the JPEG library). Integers do the arithmetic, raw bits the draws.
Numpy and OpenCV only.
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
    """What a corruption makes of a labelled face.

    Attributes:
        image: (H, W, 3) uint8 BGR, as large as it was.
        box: of the face; another one after ``crop_jitter`` only.
        clockwise_degrees: by how much the picture was turned (``geometry.turn_picture`` has the label).
    """

    image: Image
    box: Box
    clockwise_degrees: float = 0.0


Effect = Callable[[Image, Box, int, Draws], Image | View]
"""(picture, box, setting, draws) -> the picture, or all of a ``View`` where more than pixels change."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """One corruption with its setting.

    Attributes:
        name: such as "defocus"; with the seed and the picture's name it decides what is drawn, so that the
            levels of one name differ in strength alone.
        level: severity 1 ... 5; 0 for what has none.
        setting: the one number of the effect, see ``LEVELS`` and the effect's docstring.
    """

    name: str
    level: int
    setting: int

    @property
    def label(self) -> str:
        """The name that ``parse`` takes: "MB", "defocus-3", or "OC@20" for a setting that has no name."""
        if self.level:
            return f"{self.name}-{self.level}"
        named = self.name == CLEAN.name or any(self == each for each in PAPER)
        return self.name if named else f"{self.name}@{self.setting}"

    @property
    def is_random(self) -> bool:
        """Whether another seed gives another picture."""
        return self.name in _RANDOM

    @property
    def moves(self) -> bool:
        """Whether the box or the label changes, so that it has no meaning on a crop."""
        return self.name in _MOVING

    def __call__(self, image: Image, box: Box, key: str, seed: int = 0) -> View:
        """Corrupts a picture.

        Args:
            image: (H, W, 3) uint8 BGR; it is not changed.
            box: of the face, pixels.
            key: name of the picture's file without its ending.
            seed: another one draws anew.
        """
        made = _EFFECTS[self.name](image, box, self.setting, Draws(self.name, seed, key))
        return made if isinstance(made, View) else View(made, box)


def parse(text: str) -> list[Corruption]:
    """The corruptions that a text names.

    "clean", "MB", "LB", "OC": one. "defocus": its five levels. "defocus-3": one level. "OC@20": any setting.

    Raises:
        HeadPoseError: there is no such name, level or setting.
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
"""AFLW2000-MB: a motion-blur kernel of 25 x 25 whose line falls to the right at 45 degrees."""

PAPER_LB = Corruption("LB", 0, -paper.BRIGHTNESS_DELTA)
"""AFLW2000-LB: 102 of 255 taken from every value."""

PAPER_OC = Corruption("OC", 0, 16)
"""AFLW2000-OC: 16 black squares of 35 x 35 anywhere in the picture."""

PAPER = (PAPER_MB, PAPER_LB, PAPER_OC)

LEVELS: dict[str, tuple[int, ...]] = {
    "motion_blur": (50, 100, 150, 220, 300),  # length, thousandths of the face
    "darken": (40, 75, 110, 140, 170),  # grey levels taken away
    "occlusion": (200, 300, 400, 500, 600),  # across, thousandths of the face
    "defocus": (15, 30, 45, 65, 90),  # radius, thousandths of the face
    "low_light": (500, 300, 180, 100, 60),  # exposure, thousandths
    "over_exposure": (1300, 1700, 2200, 3000, 4000),  # exposure, thousandths
    "noise": (6, 12, 20, 30, 45),  # standard deviation, grey levels
    "jpeg": (40, 25, 15, 9, 5),  # quality
    "low_resolution": (64, 40, 28, 20, 14),  # length of the face, pixels
    "grey": (200, 400, 600, 800, 1000),  # share of colour taken out, thousandths
    "fog": (150, 250, 350, 475, 600),  # share of the veil, thousandths
    "glasses": (120, 180, 240, 300, 360),  # height of the band, thousandths of the face's
    "hand": (150, 250, 350, 450, 600),  # reach into the face, thousandths
    "crop_jitter": (50, 100, 150, 200, 300),  # distance, thousandths of the face
    "turn": (10, 20, 30, 45, 60),  # degrees in the plane of the picture
}
"""The setting of each of the five severities, from mild to severe."""

SELECTION = tuple(Corruption(name, 3, LEVELS[name][2]) for name in ("motion_blur", "defocus", "low_light", "occlusion"))
"""What networks may be chosen by, on held-out training data: medium severity, and none of the paper's settings."""


def _turned(image: Image, box: Box, degrees: int, draws: Draws) -> View:
    clockwise = degrees if draws.below(2) else -degrees
    return View(place.turn(image, box, clockwise), box, float(clockwise))


_EFFECTS: dict[str, Effect] = {
    "clean": lambda image, box, setting, draws: image,
    "MB": lambda image, box, direction, draws: paper.motion_blur(image, paper.BLUR_TAPS, direction),
    "LB": lambda image, box, delta, draws: paper.brightness(image, -delta),
    "OC": lambda image, box, count, draws: paper.black_patches(image, box, count, "picture", draws),
    # What the paper's words may also mean, for the scan by which the settings above were chosen.
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
}
_RANDOM = {"OC", "MB-random", "OC-face", "motion_blur", "occlusion", "low_light", "noise", "fog", "hand"}
_RANDOM |= {"crop_jitter", "turn"}
_MOVING = {"crop_jitter", "turn"}
NAMES = (CLEAN.name, *(each.name for each in PAPER), *LEVELS)
"""What ``parse`` takes."""
