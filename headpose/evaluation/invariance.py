"""Invariance checks of a network. They need no labels.

Two checks are exact: the prediction of a face must not depend on the other faces of a batch or on their order. Two
checks measure equivariance: the pose of a mirrored or rotated image should be the mirrored or rotated pose.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from headpose import geometry
from headpose.evaluation import accuracy
from headpose.evaluation.accuracy import View
from headpose.evaluation.adapters import Adapter
from headpose.geometry import Array
from headpose.inference import PoseModel
from headpose.types import Box, Image, Sample

TURNS = (-30.0, -15.0, 15.0, 30.0)
"""Rotations of the image, degrees clockwise."""

TOLERANCE = 0.01
"""Maximum difference of an exact check, degrees: rounding of one network on one machine."""


@dataclass(frozen=True, slots=True)
class Check:
    """Geodesic distances between two predictions for the same faces, in degrees.

    Attributes:
        name: Name of the change.
        exact: True if only rounding may differ.
        mean: Mean distance.
        p95: 95th percentile.
        largest: Maximum distance.
    """

    name: str
    exact: bool
    mean: float
    p95: float
    largest: float

    @property
    def verdict(self) -> str:
        """Result of an exact check, "same" or "DIFFERS"; "" for a check that only measures."""
        return "" if not self.exact else "same" if self.largest <= TOLERANCE else "DIFFERS"


def check(model: PoseModel | Adapter, samples: Sequence[Sample], batch: int = 64, seed: int = 0) -> list[Check]:
    """Run all invariance checks.

    Args:
        model: Network to check, with its own crop.
        samples: Samples; a few hundred are enough.
        batch: Batch size that is compared with 1.
        seed: Random seed of the order.

    Raises:
        ImageError: An image cannot be read.
        HeadPoseError: The output of the network is not a rotation.
    """
    plain = accuracy.predict(model, samples, batch)
    order = np.random.default_rng(seed).permutation(len(samples))
    shuffled = np.empty_like(plain)
    shuffled[order] = accuracy.predict(model, [samples[index] for index in order], batch)
    checks = [
        _check(f"1 face a call against {batch}", True, accuracy.predict(model, samples, 1), plain),
        _check("order of the faces", True, shuffled, plain),
        _check("mirrored picture", False, geometry.mirror(_seen(model, samples, batch, mirrored)), plain),
    ]
    for angle in TURNS:
        answers = _seen(model, samples, batch, functools.partial(turned, clockwise_degrees=angle))
        checks.append(_check(f"picture turned {angle:+g}", False, geometry.turn_picture(answers, -angle), plain))
    return checks


def table(checks: Sequence[Check]) -> str:
    """Format the checks as a Markdown table."""
    lines = ["| changed | mean | 95 % below | largest | |", "|---|---|---|---|---|"]
    return "\n".join(
        lines + [f"| {c.name} | {c.mean:.3f} | {c.p95:.3f} | {c.largest:.3f} | {c.verdict} |" for c in checks]
    )


def mirrored(image: Image, box: Box) -> tuple[Image, Box]:
    """Return the mirrored image and the box of the same face in it."""
    width = image.shape[1]
    return np.ascontiguousarray(image[:, ::-1]), Box(width - box.x2, box.y1, width - box.x1, box.y2)


def turned(image: Image, box: Box, clockwise_degrees: float) -> tuple[Image, Box]:
    """Return the image rotated about the center of the box, and the unchanged box.

    The tight box of the rotated face is slightly larger, so the check also measures sensitivity to the crop.
    """
    center = box.center[0] - 0.5, box.center[1] - 0.5  # OpenCV's coordinates refer to pixel centers
    matrix = cv2.getRotationMatrix2D(center, -clockwise_degrees, 1.0)
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), box


def _seen(
    model: PoseModel | Adapter,
    samples: Sequence[Sample],
    batch: int,
    change: Callable[[Image, Box], tuple[Image, Box]],
) -> Array:
    def views() -> Iterator[View]:
        for image, box, spec in accuracy.views(model, samples):
            yield *change(image, box), spec

    return accuracy.run(model, views(), batch)


def _check(name: str, exact: bool, answers: Array, plain: Array) -> Check:
    distance = geometry.geodesic_degrees(answers, plain)
    return Check(name, exact, float(distance.mean()), float(np.quantile(distance, 0.95)), float(distance.max()))
