"""Which pictures of AFLW2000-3D count, and how that choice is named in a result.

Published numbers differ by what they leave out: of the 2000 pictures 1969 have every angle within
+-99 degrees, the range of the networks with angle classes, and 1964 below 90.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from headpose.errors import DataError
from headpose.evaluation.accuracy import BRANCH, LEVEL, RESAMPLES
from headpose.types import CropSpec, Sample

_LARGEST = {"99": 99.0, "90": 90.0, "all": float("inf")}
_WORDS = {
    "99": "those whose every |angle| is at most 99 degrees",
    "90": "those whose every |angle| is below 90 degrees",
    "all": "all of them, labels of up to 972 degrees included",
}
LISTS = tuple(_LARGEST)
COMPLETE = {"99": 1969, "90": 1964, "all": 2000}
"""How many pictures each list has in a complete copy."""


def select(samples: Sequence[Sample], name: str = "99") -> list[Sample]:
    """The samples of a list, sorted by file stem.

    Args:
        samples: of ``headpose.datasets.aflw2000.read``.
        name: one of ``LISTS``.

    Raises:
        DataError: no sample is left.
    """
    limit = _LARGEST[name]
    kept = [sample for sample in samples if max(map(abs, sample.euler)) <= limit]
    if name == "90":
        kept = [sample for sample in kept if max(map(abs, sample.euler)) < limit]
    if not kept:
        raise DataError(f"no picture is left of {len(samples)}; kept are {_WORDS[name]}")
    return sorted(kept, key=lambda sample: sample.image.stem)


def list_sha256(samples: Sequence[Sample]) -> str:
    """SHA-256, in hexadecimal, of the sorted file stems joined by newlines."""
    return hashlib.sha256("\n".join(sorted(sample.image.stem for sample in samples)).encode()).hexdigest()


def in_words(name: str, count: int, crop: CropSpec | None) -> str:
    """The protocol of a result as text.

    Args:
        name: one of ``LISTS``.
        count: number of pictures.
        crop: of the network; None if the predictions came from elsewhere.
    """
    return (
        f"AFLW2000-3D, {count} pictures, {_WORDS[name]}. Labels: Pose_Para as stored. {_crop_in_words(crop)} "
        f"Angles: the triple with |yaw| <= 90 ({BRANCH} branch); mae_smallest has the one with the smaller "
        "|pitch| + |roll|. Errors: the short way round 360 degrees, not folded at 180; mae is the mean of yaw, pitch "
        "and roll; geodesic is the angle of the rotation from the label to the prediction. Bias: mean of predicted "
        "minus label. Bins: by |yaw| of the label. "
        f"Intervals: {LEVEL:.0%}, percentile bootstrap over pictures, {RESAMPLES} resamples, seed 0."
    )


def _crop_in_words(crop: CropSpec | None) -> str:
    if crop is None:
        return "Predictions: read from a file."
    shape = "a square of its longer side" if crop.square else "its own sides"
    shift = f", moved down by {crop.shift_y:g} of its height" if crop.shift_y else ""
    return (
        f"Input: one crop a picture, no averaging; tight box of pt3d_68, {shape} times {crop.scale:g}{shift}, "
        f"{crop.size} x {crop.size} pixels, border {crop.border}."
    )
