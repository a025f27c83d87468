"""Is one network better than another on the same faces, or was it the draw of the faces?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headpose import geometry, metrics
from headpose.evaluation import accuracy
from headpose.evaluation.accuracy import LEVEL, RESAMPLES
from headpose.geometry import Array
from headpose.types import Sample


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean error of the first minus that of the second network, degrees: below 0 the first is better.

    Attributes:
        first, second: their mean errors.
        mean: the difference.
        low, high: its bootstrap interval, both errors of a face drawn together.
        p: two-sided, of no difference.
        better: share of the faces on which the first one errs less.
    """

    first: float
    second: float
    mean: float
    low: float
    high: float
    p: float
    better: float


def compare(first: Array, second: Array, samples: Sequence[Sample], seed: int = 0) -> dict[str, Difference]:
    """Paired bootstrap of two networks' errors.

    Args:
        first, second: (N, 3) predicted yaw, pitch, roll in degrees, as the networks or files gave them.
        samples: N, in the same order. Those of one group are drawn together.
        seed: of the bootstrap.

    Returns:
        Differences by the names of ``accuracy.MEASURES``.
    """
    a, b = (accuracy.errors(angles, geometry.rotation_from_euler(angles), samples) for angles in (first, second))
    groups = accuracy.drawn_together(samples)
    low, high = metrics.bootstrap_interval(a - b, level=LEVEL, resamples=RESAMPLES, seed=seed, groups=groups)
    p = metrics.bootstrap_p_value(a - b, resamples=RESAMPLES, seed=seed, groups=groups)
    columns = np.stack([a.mean(0), b.mean(0), (a - b).mean(0), low, high, p, (a < b).mean(0)])
    return {name: Difference(*map(float, column)) for name, column in zip(accuracy.MEASURES, columns.T, strict=True)}


def table(differences: dict[str, Difference], first: str, second: str) -> str:
    """The comparison as Markdown, geodesic error first."""
    lines = [
        f"A: {first}. B: {second}. Degrees; {LEVEL:.0%} intervals and p of a paired bootstrap, {RESAMPLES} resamples.",
        "",
        "| | A | B | A - B | interval | p | A closer on |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("geodesic", "mae", "yaw", "pitch", "roll"):
        d = differences[name]
        lines.append(
            f"| {name} | {d.first:.2f} | {d.second:.2f} | {d.mean:+.2f} | {d.low:+.2f} to {d.high:+.2f} | "
            f"{'< 0.001' if d.p < 0.001 else f'{d.p:.3f}'} | {d.better:.0%} |"
        )
    return "\n".join(lines)
