"""Does an answer depend on what it must not depend on?

Two checks have one right outcome: the faces of a call, and their order, must not matter. Two measure how
far a network is from what a picture's geometry demands: a mirrored picture is the mirrored pose, a picture
turned in its plane is the turned pose. None needs a label.
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
"""Degrees, clockwise."""

TOLERANCE = 0.01
"""Degrees by which answers may differ where they must not: rounding of one network on one machine."""


@dataclass(frozen=True, slots=True)
class Check:
    """How far two answers for the same faces lie apart, degrees of geodesic distance.

    Attributes:
        name: what was changed.
        exact: whether nothing but rounding may change.
        mean, p95, largest: of the distances.
    """

    name: str
    exact: bool
    mean: float
    p95: float
    largest: float

    @property
    def verdict(self) -> str:
        """Empty for a check that only measures."""
        return "" if not self.exact else "same" if self.largest <= TOLERANCE else "DIFFERS"


def check(model: PoseModel | Adapter, samples: Sequence[Sample], batch: int = 64, seed: int = 0) -> list[Check]:
    """Asks a network for the same faces in other ways.

    Args:
        model: the network; its own crop is used.
        samples: some hundred are enough.
        batch: number of faces in one call, against 1.
        seed: of the order.

    Raises:
        ImageError: a picture cannot be read.
        HeadPoseError: the network gives no rotation.
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
    """The checks as Markdown."""
    lines = ["| changed | mean | 95 % below | largest | |", "|---|---|---|---|---|"]
    return "\n".join(
        lines + [f"| {c.name} | {c.mean:.3f} | {c.p95:.3f} | {c.largest:.3f} | {c.verdict} |" for c in checks]
    )


def mirrored(image: Image, box: Box) -> tuple[Image, Box]:
    """The picture left for right, and the box of the same face in it."""
    width = image.shape[1]
    return np.ascontiguousarray(image[:, ::-1]), Box(width - box.x2, box.y1, width - box.x1, box.y2)


def turned(image: Image, box: Box, clockwise_degrees: float) -> tuple[Image, Box]:
    """The picture turned in its plane about the middle of the box, which stays as it is.

    The tight box of a turned face is a little larger than that: part of what the check measures is how far
    a network minds its crop.
    """
    center = box.center[0] - 0.5, box.center[1] - 0.5  # of pixels, which OpenCV counts from
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
