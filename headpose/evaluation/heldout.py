r"""Held-out sets by name, and the errors of several networks on them: what a choice between networks may look at.

    paths = read_config("sets.toml")                     # [sets]: aflw = "aflw-held.csv", cut = "aflw-held.csv"
    sets = [HeldOutSet.of(name, manifest.read(path)) for name, path in paths.items()]
    results = [score(each, measure(setups, each)) for each in sets]
    print(pivot(results), table(results), sep="\n\n")

A set is a list of labeled faces and a change that is made to each picture. The name says which change: ``cut``,
``in-plane``, or a name that ends in one of them after a slash, such as ``web/cut``. Under any other name the pictures
stay as they are.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headpose import geometry, metrics
from headpose.corruptions import CLEAN, Corruption, parse
from headpose.errors import DataError
from headpose.evaluation import doubt, robustness
from headpose.evaluation.accuracy import LEVEL, RESAMPLES, Bin, drawn_together
from headpose.evaluation.cells import Cells
from headpose.evaluation.doubt import Doubt
from headpose.evaluation.robustness import ERRORS, Cell, Setup
from headpose.geometry import Array
from headpose.reading import Reading
from headpose.types import Sample

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHANGES: dict[str, dict[str, Corruption]] = {
    "cut": {"1/3": parse("cut@333")[0], "1/2": parse("cut@500")[0]},
    "in-plane": {f"{degrees}": parse(f"in_plane@{degrees}")[0] for degrees in (45, 90, 135, 180)},
}
"""Changes of pictures by name, each with its strengths: part of the box outside of the picture; degrees of the turn."""

FAR_DEGREES = 15.0
"""Geodesic error from which a face counts as read wrong."""

YAW_EDGES = (0.0, 30.0, 60.0, 180.0)
"""Edges of the bins by |yaw|, degrees: held-out faces may look further to the side than AFLW2000-3D's 99."""

_GEODESIC, _MAE = ERRORS.index("geodesic"), ERRORS.index("mae")


@dataclass(frozen=True, slots=True)
class HeldOutSet:
    """Labeled faces that no network trained on, and what is done to their pictures.

    Attributes:
        name: Name of the set, for tables.
        samples: The faces, at least one.
        parts: Corruptions by the name of the part of the set; one without a change.
    """

    name: str
    samples: list[Sample]
    parts: dict[str, Corruption]

    @classmethod
    def of(cls, name: str, samples: Sequence[Sample]) -> HeldOutSet:
        """Make the set of a name: the name decides the change.

        Args:
            name: Name of the set, such as "aflw", "cut" or "web/in-plane".
            samples: Upright labeled faces.

        Raises:
            DataError: There are no samples.
        """
        if not samples:
            raise DataError(f"the held-out set {name} has no faces")
        changes = CHANGES.get(name.rpartition("/")[2], {"": CLEAN})
        return cls(name, list(samples), {f"{name} {strength}".strip(): each for strength, each in changes.items()})


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean geodesic error of a network minus that of the first network, degrees, of the same faces.

    Attributes:
        mean: Mean difference; below 0 the network errs less than the first.
        low: Lower end of the bootstrap interval.
        high: Upper end of the bootstrap interval.
        p: Two-sided p-value of no difference.
    """

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of one network on one part of a held-out set, degrees. Every face counts once, whatever its weight.

    Attributes:
        part: Name of the set, with the strength of the change.
        network: Name of the network.
        n: Number of faces.
        geodesic: Mean geodesic error.
        median: Median geodesic error.
        far: Share of the faces that err by more than ``FAR_DEGREES``, in [0, 1].
        mae: Mean absolute error of yaw, pitch and roll.
        bins: Errors by |yaw| of the label of the unchanged picture (``YAW_EDGES``).
        ci: Ends of the bootstrap intervals of ``geodesic``, ``far`` and ``mae``.
        versus: Comparison with the first network; None for the first network itself.
    """

    part: str
    network: str
    n: int
    geodesic: float
    median: float
    far: float
    mae: float
    bins: dict[str, Bin]
    ci: dict[str, tuple[float, float]]
    versus: Difference | None


def read_config(file: str | os.PathLike[str]) -> dict[str, Path]:
    """Read the paths of held-out sets from a TOML file.

    The file has one table, ``[sets]``, with a line ``NAME = "PATH"`` for each set. A relative path starts at the
    folder of the file.

    Args:
        file: TOML file.

    Returns:
        Paths by the name of the set, in the order of the file.

    Raises:
        DataError: The file cannot be read, is no TOML, or holds something else.
    """
    path = Path(file)
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"cannot read the sets of {path}: {error}") from None
    sets = content.get("sets")
    if set(content) != {"sets"} or not isinstance(sets, dict) or not sets:
        raise DataError(f'{path} needs one table [sets] with lines NAME = "PATH", and nothing else')
    for name, value in sets.items():
        check_name(name)
        if not isinstance(value, str) or not value:
            raise DataError(f"{path}: sets.{name} is a path in quotes, got {value!r}")
    return {name: path.parent / value for name, value in sets.items()}


def check_name(name: str) -> None:
    """Raise DataError unless ``name`` can name a held-out set: letters, digits and ``. _ - /``."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", name):
        raise DataError(f"{name!r} cannot name a held-out set: use letters, digits and . _ - /")


def measure(
    setups: Sequence[Setup],
    faces: HeldOutSet,
    cells: Cells | None = None,
    readings: dict[Cell, Reading] | None = None,
) -> dict[Cell, Array]:
    """Measure the errors of several networks on a held-out set, in one pass over its pictures.

    Each picture is read once, and changed once for all networks.

    Args:
        setups: Networks with different names.
        faces: The held-out set.
        cells: Files of earlier measurements of the same faces: what they hold is not measured again, and what is
            measured is written to them. None measures everything. They hold errors alone: with ``readings``, networks
            with optional outputs are measured again.
        readings: Gets what those networks read. None discards it.

    Returns:
        (N, 5) errors of every face, columns ``robustness.ERRORS``, for each network and part of the set.

    Raises:
        ImageError: A picture cannot be read.
        HeadPoseError: A network gives no rotation.
        DataError: A file of ``cells`` is damaged.
    """
    wanted = {Cell(setup.name, each.label, 0): (setup, each) for each in faces.parts.values() for setup in setups}
    stored = {cell: cells.read(cell, *task) if cells else None for cell, task in wanted.items()}
    found = {cell: each for cell, each in stored.items() if each is not None}
    again = {setup.name for setup in setups if readings is not None and getattr(setup.model, "outputs", None)}
    missing = {cell: task for cell, task in wanted.items() if cell not in found or cell.network in again}
    if missing:
        for cell, each in robustness.errors(missing, faces.samples, faces.name, readings).items():
            if cell in found:  # measured for its readings
                continue
            if cells:
                cells.write(cell, *wanted[cell], each)
            found[cell] = each
    return {cell: found[cell] for cell in wanted}


def score(faces: HeldOutSet, measured: Mapping[Cell, Array], seed: int = 0) -> list[Score]:
    """Summarise measured errors, each network beside the first.

    Args:
        faces: The held-out set.
        measured: Errors of ``measure``.
        seed: Seed of the bootstrap. All networks of a part share its draws; faces of one group are drawn together.

    Returns:
        A score for each part of the set and network, in the order of ``measured``.
    """
    names = list(dict.fromkeys(cell.network for cell in measured))
    yaw_bins = metrics.yaw_bins([sample.euler.yaw for sample in faces.samples], YAW_EDGES)
    groups = drawn_together(faces.samples)
    scores = []
    for part, corruption in faces.parts.items():
        each = [measured[Cell(name, corruption.label, 0)] for name in names]
        rows = [np.column_stack([one[:, _GEODESIC], one[:, _GEODESIC] > FAR_DEGREES, one[:, _MAE]]) for one in each]
        against = np.column_stack([one[:, _GEODESIC] - each[0][:, _GEODESIC] for one in each])
        columns = np.column_stack([*rows, against])
        ends = metrics.bootstrap_interval(columns, level=LEVEL, resamples=RESAMPLES, seed=seed, groups=groups).tolist()
        p = metrics.bootstrap_p_value(against, resamples=RESAMPLES, seed=seed, groups=groups)
        intervals = list(zip(*ends, strict=True))
        for i, name in enumerate(names):
            low, high = intervals[3 * len(names) + i]
            geodesic, far, mae = map(float, rows[i].mean(0))
            versus = Difference(float(against[:, i].mean()), low, high, float(p[i]))
            scores.append(
                Score(
                    part=part,
                    network=name,
                    n=len(rows[i]),
                    geodesic=geodesic,
                    median=float(np.median(rows[i][:, 0])),
                    far=far,
                    mae=mae,
                    bins={bin: _bin(each[i][mask]) for bin, mask in yaw_bins.items()},
                    ci=dict(zip(("geodesic", "far", "mae"), intervals[3 * i : 3 * i + 3], strict=True)),
                    versus=versus if i else None,
                )
            )
    return scores


def judge(sets: Sequence[tuple[Mapping[Cell, Array], Mapping[Cell, Reading]]]) -> list[tuple[str, Doubt]]:
    """Judge the uncertainty of each network that states one, over all sets and parts together.

    Args:
        sets: Errors and readings of each set, from ``measure``.
    """
    names = dict.fromkeys(cell.network for measured, _ in sets for cell in measured)
    judged = []
    for name in names:
        parts = [(measured[c], read[c]) for measured, read in sets for c in measured if c.network == name and c in read]
        known = [(errors[:, _GEODESIC], each.covariance) for errors, each in parts if each.covariance is not None]
        if known:
            errors, covariances = (np.concatenate(values) for values in zip(*known, strict=True))
            judged.append((name, doubt.judge(geometry.expected_angle(covariances), errors, FAR_DEGREES)))
    return judged


def face_logits(sets: Sequence[Mapping[Cell, Reading]], network: str) -> Array:
    """Return the logits ``face`` of a network for the faces of all sets; none if it lacks the output."""
    found = [each.face for read in sets for cell, each in read.items() if cell.network == network]
    return np.concatenate([np.zeros(0), *(each for each in found if each is not None)])


def pivot(scores: Sequence[Score]) -> str:
    """Return a Markdown table of mean geodesic errors: a row for each network, a column for each part, the mean rank.

    The rank of a network on a part is 1 plus the number of networks that err less there.
    """
    by_cell = {(each.network, each.part): each.geodesic for each in scores}
    networks, parts = (list(dict.fromkeys(names)) for names in zip(*by_cell, strict=True))
    lines = [f"| geodesic, degrees | {' | '.join(parts)} | mean rank |", "|---" * (len(parts) + 2) + "|"]
    for network in networks:
        own = [by_cell[network, part] for part in parts]
        ranks = [
            1 + sum(by_cell[other, part] < mine for other in networks) for part, mine in zip(parts, own, strict=True)
        ]
        cells = " | ".join(f"{error:.2f}" for error in own)
        lines.append(f"| {network} | {cells} | {np.mean(ranks):.1f} |")
    return "\n".join(lines)


def table(scores: Sequence[Score]) -> str:
    """Return every score as a Markdown table, geodesic error first."""
    bins = list(scores[0].bins)
    first = scores[0].network
    lines = [
        f"| set | network | n | geodesic [{LEVEL:.0%}] | median | > {FAR_DEGREES:g} degrees | "
        f"Euler MAE [{LEVEL:.0%}] | geodesic by \\|yaw\\| {' / '.join(bins)} | geodesic, less that of {first} |",
        "|---" * 9 + "|",
    ]
    for each in scores:
        low, high = each.ci["geodesic"]
        low_mae, high_mae = each.ci["mae"]
        by_yaw = " / ".join("-" if bin.geodesic is None else f"{bin.geodesic:.2f}" for bin in each.bins.values())
        lines.append(
            f"| {each.part} | {each.network} | {each.n} | {each.geodesic:.2f} [{low:.2f}, {high:.2f}] | "
            f"{each.median:.2f} | {each.far:.1%} | {each.mae:.2f} [{low_mae:.2f}, {high_mae:.2f}] | {by_yaw} | "
            f"{_versus(each.versus)} |"
        )
    return "\n".join(lines)


def in_words(sets: Sequence[HeldOutSet]) -> str:
    """Return the protocol of the tables as text."""
    changes = {name.rpartition("/")[2] for name in (each.name for each in sets)}
    words = [
        "Geodesic: angle of the rotation from label to prediction. Euler MAE: mean of yaw, pitch and roll, asin "
        "branch, the short way round 360 degrees, not folded at 180. Every face counts once. Each network cuts the "
        "box of the file by its own crop, once. Bins: by |yaw| of the label, before a turn.",
    ]
    if "cut" in changes:
        words.append(
            "Cut: the picture ends inside the face, a third or a half of the box is outside; the side is drawn for "
            "each face, the network is given the whole box."
        )
    if "in-plane" in changes:
        words.append(
            "In-plane: the picture is turned about the middle of the box, clockwise or counter-clockwise as drawn "
            "for each face; the box is that of a turned ellipse. Our networks read a face that is far tilted in the "
            "first answer once more, in an upright crop, as the estimator does; adapters read once."
        )
    words.append(
        f"Intervals and p: {LEVEL:.0%}, percentile bootstrap over source photographs, {RESAMPLES} resamples, the "
        "same draws for all networks, seed 0."
    )
    return " ".join(words)


def _versus(difference: Difference | None) -> str:
    if difference is None:
        return ""
    p = "p < 0.001" if difference.p < 0.001 else f"p {difference.p:.3f}"
    return f"{difference.mean:+.2f} ({difference.low:+.2f} to {difference.high:+.2f}), {p}"


def _bin(each: Array) -> Bin:
    if not len(each):
        return Bin(0, None, None)
    return Bin(len(each), float(each[:, _MAE].mean()), float(each[:, _GEODESIC].mean()))
