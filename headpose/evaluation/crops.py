"""Crop rules of evaluations: the network's own crop, or Hopenet's.

Networks perform best on the crop that they were trained on, while tables in papers use one rule for all networks. The
most common one is that of Hopenet (Ruiz et al., "Fine-Grained Head Pose Estimation Without Keypoints", CVPRW 2018,
``datasets.AFLW2000`` in its code). It moves the left edge first and then the right edge by a share of the new width,
which gives 0.4 widths to the left and 0.56 to the right. It also starts from ``pt2d``, in which AFLW2000-3D marks
unseen points with -1, so many of its crops extend to the corner of the image.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from headpose.datasets import matlab5
from headpose.errors import DataError
from headpose.types import Box, CropSpec, Sample

RULES = ("own", "hopenet", "hopenet-pt2d")
"""Crop rules: the network's own crop; Hopenet's margins around the tight box; the same around ``pt2d`` as stored."""

IN_WORDS = {
    "hopenet": "Hopenet's margins around the tight box of pt3d_68 (0.40 widths to the left and 0.56 to the right, "
    "0.40 heights up and 0.168 down), of that the middle square of the shorter side, black outside the picture",
    "hopenet-pt2d": "Hopenet's margins around the box of pt2d with its -1 for unseen points, as in its code, of that "
    "the middle square of the shorter side, black outside the picture",
}


def apply(rule: str, sample: Sample, spec: CropSpec) -> tuple[Box, CropSpec]:
    """Return the arguments of ``crop.cut`` for a crop rule.

    Args:
        rule: One of ``RULES``.
        sample: Sample with its tight box.
        spec: The network's own crop.

    Returns:
        A box, and a crop with the size and normalization of the network.

    Raises:
        DataError: The rule needs ``pt2d``, and the sample has no label file with it.
    """
    if rule == "own":
        return sample.box, spec
    loose = hopenet_box(sample.box if rule == "hopenet" else _stored_box(sample))
    return loose, dataclasses.replace(spec, scale=1.0, shift_y=0.0, square=False, border="black")


def hopenet_box(box: Box) -> Box:
    """Return the square that Hopenet's evaluation resizes to 224 x 224."""
    k = 0.2
    x1, y1, x2, y2 = box.as_tuple()
    x1 -= 2 * k * (x2 - x1)
    y1 -= 2 * k * (y2 - y1)
    x2 += 2 * k * (x2 - x1)  # uses the new width, as in Hopenet's code
    y2 += 0.6 * k * (y2 - y1)
    x1, y1, x2, y2 = map(int, (x1, y1, x2, y2))
    half, center_x, center_y = min(x2 - x1, y2 - y1) / 2, (x1 + x2) / 2, (y1 + y2) / 2
    return Box(center_x - half, center_y - half, center_x + half, center_y + half)


def _stored_box(sample: Sample) -> Box:
    file = sample.image.with_suffix(".mat")
    try:
        points = matlab5.read_file(file)["pt2d"]
        return Box(*map(float, (*np.min(points[:2], 1), *np.max(points[:2], 1))))
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise DataError(f"{file} has no points pt2d that Hopenet's crop could start from: {error}") from None
