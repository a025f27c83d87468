"""Evaluation protocols: which faces of a test set count, and a description of the protocol in words.

Published numbers on AFLW2000-3D differ in the images they leave out. Of its 2000 images, 1969 have all angles within
+-99 degrees, the range of networks with angle classes, and 1964 have all angles below 90.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headpose.errors import DataError
from headpose.evaluation import crops
from headpose.evaluation.accuracy import BRANCH, LEVEL, RESAMPLES
from headpose.types import CropSpec, Sample

_LARGEST = {"99": 99.0, "90": 90.0, "all": float("inf")}
LISTS_IN_WORDS = {
    "99": "those whose every |angle| is at most 99 degrees",
    "90": "those whose every |angle| is below 90 degrees",
    "all": "all of them, labels of up to 972 degrees included",
}
LISTS = tuple(_LARGEST)
COMPLETE = {"99": 1969, "90": 1964, "all": 2000}
"""Number of images of each list in a complete copy of AFLW2000-3D."""

_LABELS = {
    "aflw2000": "Pose_Para as stored",
    "300w-lp": "Pose_Para as stored",
    "manifest": "the angles of the file",
    "biwi": "the stored rotation of the depth camera's axes, decoded with |yaw| <= 90",
}
_DRAWN = {"aflw2000": "pictures", "300w-lp": "source photographs", "manifest": "pictures", "biwi": "sequences"}
_BOX = {
    "aflw2000": "tight box of pt3d_68",
    "300w-lp": "tight box of the 68 landmarks",
    "manifest": "box of the file",
    "biwi": "square of 160 mm around the label's head center",
}
_ANGLES = {
    "rotation": f"the triple with |yaw| <= 90 ({BRANCH} branch)",
    "network": "as the network gives them",
    "file": "as the file gives them",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """Settings of a measurement.

    Attributes:
        title: Title of the test set.
        kind: Kind of test set, a key of ``headpose.evaluation.testsets.KINDS``.
        list_name: One of ``LISTS``.
        count: Number of faces.
        crop: Crop of the network; None if the predictions were read from a file.
        angles: Source of the Euler angles: decoded from a rotation, output of the network, or read from a file.
        rule: One of ``headpose.evaluation.crops.RULES``.
        detector: Detector or file of predictions that provided the boxes; "" for the boxes of the labels.
        missed: Number of faces that were not detected and are left out.
    """

    title: str
    kind: str
    list_name: str
    count: int
    crop: CropSpec | None
    angles: Literal["rotation", "network", "file"] = "rotation"
    rule: str = "own"
    detector: str = ""
    missed: int = 0


def holds(name: str, sample: Sample) -> bool:
    """Return whether a sample is in a list of ``LISTS``."""
    largest = max(map(abs, sample.euler))
    return largest < _LARGEST[name] if name == "90" else largest <= _LARGEST[name]


def select(samples: Sequence[Sample], name: str = "99") -> list[Sample]:
    """Select the samples of a list, sorted by file stem.

    Args:
        samples: Samples from ``headpose.datasets.aflw2000.read``.
        name: One of ``LISTS``.

    Raises:
        DataError: No sample is left.
    """
    kept = [sample for sample in samples if holds(name, sample)]
    if not kept:
        raise DataError(f"no picture is left of {len(samples)}; kept are {LISTS_IN_WORDS[name]}")
    return sorted(kept, key=lambda sample: sample.image.stem)


def list_sha256(samples: Sequence[Sample]) -> str:
    """Return the SHA-256 of the sorted file stems joined by newlines, in hexadecimal."""
    return hashlib.sha256("\n".join(sorted(sample.image.stem for sample in samples)).encode()).hexdigest()


def in_words(setting: Setting) -> str:
    """Describe the protocol of a result in words."""
    drawn = _DRAWN[setting.kind]
    return (
        f"{setting.title}, {setting.count} {'pictures' if drawn == 'pictures' else 'faces'}, "
        f"{LISTS_IN_WORDS[setting.list_name]}. Labels: {_LABELS[setting.kind]}. {_crop_in_words(setting)} "
        f"Angles: {_ANGLES[setting.angles]}; mae_smallest has the one with the smaller "
        "|pitch| + |roll|. Errors: the short way round 360 degrees, not folded at 180; mae is the mean of yaw, pitch "
        "and roll; geodesic is the angle of the rotation from the label to the prediction. Bias: mean of predicted "
        "minus label. Bins: by |yaw| of the label. "
        f"Intervals: {LEVEL:.0%}, percentile bootstrap over {drawn}, {RESAMPLES} resamples, seed 0."
    )


def _crop_in_words(setting: Setting) -> str:
    crop = setting.crop
    if crop is None:
        if setting.detector:
            return (
                "Predictions: read from a file, of the faces in a picture the one whose box overlaps the label's most; "
                f"{setting.missed} faces that {setting.detector} does not have are left out."
            )
        return "Predictions: read from a file."
    box = _BOX[setting.kind] if not setting.detector else f"face of {setting.detector} that overlaps the label's most"
    missed = f"; {setting.missed} faces that it does not find are left out" if setting.detector else ""
    shape = "a square of its longer side" if crop.square else "its own sides"
    shift = f", moved down by {crop.shift_y:g} of its height" if crop.shift_y else ""
    cut = f"{box}{missed}, {shape} times {crop.scale:g}{shift}"
    border = crop.border
    if setting.rule != "own":
        cut, border = crops.IN_WORDS[setting.rule], "black"
    return f"Input: one crop a picture, no averaging; {cut}, {crop.size} x {crop.size} pixels, border {border}."
