"""Score one set of predictions under every published protocol.

Published MAEs on the same test set differ in the images that count, in the Euler triple of a rotation that is compared
and in how angles are subtracted. All of these can be applied to one file of predictions. The crop cannot, because it
changes the predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headpose import geometry, metrics
from headpose.evaluation import accuracy, protocols
from headpose.evaluation.accuracy import LEVEL, RESAMPLES
from headpose.geometry import Array
from headpose.metrics import DIFFERENCES, Difference
from headpose.types import Sample

READINGS = ("given", "asin", "smallest")
"""Triples of angles that are compared with the label: the one of the network or file, the one with |yaw| <= 90, the one
with the smaller |pitch| + |roll|."""

_AXES = ("yaw", "pitch", "roll")
_DIFFERENCE_IN_WORDS = {
    "wrapped": "the short way round 360 degrees",
    "plain": "as they stand, without wrapping (Hopenet, FSA-Net)",
    "folded": "folded at 180 degrees (6DRepNet's test.py and its kin): an error of 160 counts 20",
}


@dataclass(frozen=True, slots=True)
class Row:
    """Mean errors under one protocol, in degrees.

    Attributes:
        list_name: List of images, one of ``protocols.LISTS``.
        reading: One of ``READINGS``.
        difference: One of ``metrics.DIFFERENCES``.
        n: Number of faces.
        yaw: Mean absolute error of yaw.
        pitch: Mean absolute error of pitch.
        roll: Mean absolute error of roll.
        mae: Mean of the three.
        low: Lower bound of the bootstrap interval of ``mae``.
        high: Upper bound of the bootstrap interval of ``mae``.
    """

    list_name: str
    reading: str
    difference: Difference
    n: int
    yaw: float
    pitch: float
    roll: float
    mae: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Geodesic:
    """Mean geodesic error over a list of images and its bootstrap interval, in degrees."""

    n: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Part:
    """Errors of the faces with one angle of the label in a range: MAE of that angle, MAE of all three, geodesic."""

    axis: str
    range: str
    n: int
    own: float
    mae: float
    geodesic: float


@dataclass(frozen=True, slots=True)
class Audit:
    """Results of one set of predictions under all protocols.

    Attributes:
        rows: One row for each combination of list, reading and difference.
        geodesic: Geodesic error by list.
        parts: Errors by |yaw|, |pitch| and |roll| of the label, for the first list, ``given`` and ``wrapped``.
    """

    rows: list[Row]
    geodesic: dict[str, Geodesic]
    parts: list[Part]

    def row(self, list_name: str = "99", reading: str = "given", difference: str = "wrapped") -> Row:
        """Return the result under one protocol."""
        wanted = (list_name, reading, difference)
        return next(row for row in self.rows if (row.list_name, row.reading, row.difference) == wanted)


def audit(angles: Array, samples: Sequence[Sample], seed: int = 0) -> Audit:
    """Score predictions under all protocols.

    Args:
        angles: (N, 3) predicted yaw, pitch, roll in degrees, unchanged, for all faces of the test set.
        samples: N labeled samples in the same order. The bootstrap resamples whole groups.
        seed: Random seed of the bootstrap.
    """
    rotations = geometry.rotation_from_euler(angles)
    readings = {
        "given": angles,
        "asin": geometry.euler_from_rotation(rotations, "asin"),
        "smallest": geometry.euler_from_rotation(rotations, "smallest"),
    }
    distance = geometry.geodesic_degrees(rotations, np.stack([sample.rotation for sample in samples]))
    rows, geodesic = [], {}
    for list_name in protocols.LISTS:
        mask = np.array([protocols.holds(list_name, sample) for sample in samples])
        if not mask.any():
            continue
        kept = [sample for sample, keep in zip(samples, mask, strict=True) if keep]
        columns = [distance[mask], *_errors({name: given[mask] for name, given in readings.items()}, kept)]
        groups = accuracy.drawn_together(kept)
        means = [column.mean(0) for column in columns]
        values = np.column_stack([columns[0], *(column.mean(1) for column in columns[1:])])
        low, high = metrics.bootstrap_interval(values, level=LEVEL, resamples=RESAMPLES, seed=seed, groups=groups)
        geodesic[list_name] = Geodesic(len(kept), *map(float, (means[0], low[0], high[0])))
        keys = [(reading, difference) for reading in READINGS for difference in DIFFERENCES]
        for (reading, difference), mean, a, b in zip(keys, means[1:], low[1:], high[1:], strict=True):
            each = map(float, (*mean, mean.mean(), a, b))
            rows.append(Row(list_name, reading, difference, len(kept), *each))
    first = np.array([protocols.holds(protocols.LISTS[0], sample) for sample in samples])
    return Audit(
        rows, geodesic, _parts(angles[first], distance[first], [s for s, k in zip(samples, first, strict=True) if k])
    )


def markdown(audit: Audit) -> str:
    """Format the audit as Markdown tables: all protocols, the effect of each single choice, and errors by angle."""
    lines = [
        f"Euler MAE in degrees with its {LEVEL:.0%} interval, by pictures, reading of the angles and difference.",
        "",
        "| pictures | n | reading | wrapped | plain | folded |",
        "|---|---|---|---|---|---|",
    ]
    for list_name in audit.geodesic:
        for reading in READINGS:
            rows = [audit.row(list_name, reading, difference) for difference in DIFFERENCES]
            cells = " | ".join(f"{row.mae:.2f} ({row.low:.2f} to {row.high:.2f})" for row in rows)
            lines.append(f"| {list_name} | {rows[0].n} | {reading} | {cells} |")
    lines += ["", *_key(), "", "| pictures | n | geodesic error |", "|---|---|---|"]
    lines += [f"| {name} | {g.n} | {g.mean:.2f} ({g.low:.2f} to {g.high:.2f}) |" for name, g in audit.geodesic.items()]
    lines += ["", "| one choice changed | yaw | pitch | roll | MAE | moves it by |", "|---|---|---|---|---|---|"]
    base = next(iter(audit.geodesic))
    for title, row in _single_changes(audit, base):
        moved = round(row.mae - audit.row(base).mae, 2) + 0.0  # no -0.00
        lines.append(f"| {title} | {row.yaw:.2f} | {row.pitch:.2f} | {row.roll:.2f} | {row.mae:.2f} | {moved:+.2f} |")
    lines += ["", "| label | n | MAE of that angle | MAE of all three | geodesic |", "|---|---|---|---|---|"]
    lines += [
        f"| \\|{part.axis}\\| {part.range} | {part.n} | {part.own:.2f} | {part.mae:.2f} | {part.geodesic:.2f} |"
        for part in audit.parts
    ]
    return "\n".join(lines)


def _errors(readings: dict[str, Array], samples: Sequence[Sample]) -> list[Array]:
    """Return the (N, 3) absolute errors for each reading and difference, in that order."""
    labels = np.array([sample.euler for sample in samples])
    return [metrics.angle_errors(readings[name], labels, how) for name in READINGS for how in DIFFERENCES]


def _parts(angles: Array, distance: Array, samples: Sequence[Sample]) -> list[Part]:
    labels = np.array([sample.euler for sample in samples]).reshape(-1, 3)
    each = metrics.angle_errors(angles, labels)
    return [
        Part(axis, name, int(mask.sum()), *map(float, (each[mask, i].mean(), each[mask].mean(), distance[mask].mean())))
        for i, axis in enumerate(_AXES)
        for name, mask in metrics.yaw_bins(labels[:, i]).items()
        if mask.any()
    ]


def _single_changes(audit: Audit, base: str) -> list[tuple[str, Row]]:
    """Return the default protocol and each protocol that differs from it in one choice."""
    changes = [(f"none: list {base}, given, wrapped", audit.row(base))]
    changes += [(f"pictures: {name}", audit.row(name)) for name in audit.geodesic if name != base]
    changes += [(f"reading: {name}", audit.row(base, name)) for name in READINGS[1:]]
    changes += [(f"difference: {name}", audit.row(base, difference=name)) for name in DIFFERENCES[1:]]
    return changes


def _key() -> list[str]:
    lists = "; ".join(f"{name}, {words}" for name, words in protocols.LISTS_IN_WORDS.items())
    differences = "; ".join(f"{name}, {words}" for name, words in _DIFFERENCE_IN_WORDS.items())
    return [
        f"Pictures: {lists}. Reading: given, the angles as the network or the file gave them; asin, those with "
        "|yaw| <= 90 that give the same rotation; smallest, those with the smaller |pitch| + |roll|. "
        f"Difference: {differences}."
    ]
