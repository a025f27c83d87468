"""Paired comparison of two networks on the same faces."""

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
    """Difference of the mean errors of two networks, in degrees; negative if the first one is better.

    Attributes:
        first: Mean error of the first network.
        second: Mean error of the second network.
        mean: First minus second.
        low: Lower bound of the paired bootstrap interval of the difference.
        high: Upper bound of the interval.
        p: Two-sided p-value of no difference.
        better: Share of faces with a smaller error of the first network, in [0, 1].
    """

    first: float
    second: float
    mean: float
    low: float
    high: float
    p: float
    better: float


def compare(first: Array, second: Array, samples: Sequence[Sample], seed: int = 0) -> dict[str, Difference]:
    """Compare two networks with a paired bootstrap.

    Args:
        first: (N, 3) yaw, pitch, roll in degrees, predicted by the first network.
        second: (N, 3) yaw, pitch, roll in degrees, predicted by the second network.
        samples: N labeled samples in the same order. The bootstrap resamples whole groups.
        seed: Random seed of the bootstrap.

    Returns:
        The difference of each of ``accuracy.MEASURES``.
    """
    a, b = (accuracy.errors(angles, geometry.rotation_from_euler(angles), samples) for angles in (first, second))
    groups = accuracy.drawn_together(samples)
    low, high = metrics.bootstrap_interval(a - b, level=LEVEL, resamples=RESAMPLES, seed=seed, groups=groups)
    p = metrics.bootstrap_p_value(a - b, resamples=RESAMPLES, seed=seed, groups=groups)
    columns = np.stack([a.mean(0), b.mean(0), (a - b).mean(0), low, high, p, (a < b).mean(0)])
    return {name: Difference(*map(float, column)) for name, column in zip(accuracy.MEASURES, columns.T, strict=True)}


def table(differences: dict[str, Difference], first: str, second: str) -> str:
    """Format the comparison as a Markdown table, geodesic error first."""
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
