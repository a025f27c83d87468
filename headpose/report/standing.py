"""Comparison of all networks, measured and published, by size, time, error and robustness, with Pareto fronts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from headpose.evaluation import latency as stages
from headpose.evaluation.published import PAPER_SETS, Published
from headpose.report.records import Results, Robustness, TimedRun

FRONTS = {"size": "megabytes", "time": "time"}
"""Names of the Pareto fronts, and the field of ``Standing`` that each one compares with the Euler MAE."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One network in the comparison; unknown values are None.

    Attributes:
        name: Name of the network.
        kind: Key of ``records.KINDS``, or "published".
        mae: Euler MAE on clean images, degrees.
        geodesic: Mean geodesic error on clean images, degrees.
        megabytes: Size of its files, 10^6 bytes.
        macs: Number of multiply-accumulates for one face.
        corrupted: Mean of the MAE on the paper's three corrupted sets, degrees.
        time: Time of the network alone on one thread, divided by the reference's in the same run. This ratio is
            comparable between machines.
        frames: Frames per second on one thread of the measured machine, from the JPEG of a frame to the pose, including
            the detector.
        fronts: Keys of ``FRONTS`` for which the network is on the Pareto front of the measured networks.
    """

    name: str
    kind: str
    mae: float
    geodesic: float | None = None
    megabytes: float | None = None
    macs: int | None = None
    corrupted: float | None = None
    time: float | None = None
    frames: float | None = None
    fronts: tuple[str, ...] = ()


def standings(results: Results, published: Published, headline: bool = False) -> list[Standing]:
    """Return the measured networks in their order, then the published ones.

    Args:
        results: Results of the measured networks.
        published: Published results.
        headline: Whether to include only the main published networks.
    """
    measured = [
        Standing(
            name=n.name,
            kind=n.kind,
            mae=n.mae,
            geodesic=n.geodesic,
            megabytes=None if n.bytes is None else n.bytes / 1e6,
            macs=n.macs,
            corrupted=_corrupted(results.robustness, n.name),
            time=_time(results, n.name),
            frames=_frames(results, n.name),
        )
        for n in results.networks
    ]
    quoted = []
    for row in published.errors:
        corrupted = published.corrupted_of(row.name)
        mean = corrupted.mean_mae if corrupted else None
        quoted.append(Standing(row.name, "published", row.mae, megabytes=row.megabytes, corrupted=mean))
    shown = {row.name for row in published.errors if row.headline or not headline}
    return [_with_fronts(each, measured) for each in measured] + [each for each in quoted if each.name in shown]


def _corrupted(robustness: Robustness | None, name: str) -> float | None:
    found = [robustness.of(name, each) for each in PAPER_SETS] if robustness else []
    errors = [each.mae for each in found if each]
    return sum(errors) / len(errors) if len(errors) == len(PAPER_SETS) else None


def _time(results: Results, name: str) -> float | None:
    run = single_threaded(results)
    if results.latency is None or run is None:
        return None
    own, unit = (run.median(each, stages.NETWORK) for each in (name, results.latency.reference))
    return own / unit if own and unit else None


def _frames(results: Results, name: str) -> float | None:
    run = single_threaded(results)
    whole = run.median(name, stages.WHOLE) if run else None
    return 1000 / whole if whole else None


def single_threaded(results: Results) -> TimedRun | None:
    """Return the run with one thread, or None."""
    return next((run for run in results.latency.runs if run.threads == 1), None) if results.latency else None


def _with_fronts(one: Standing, measured: Sequence[Standing]) -> Standing:
    """Return the network with its fronts. Only measured networks compete: published errors use other protocols."""
    fronts = tuple(name for name, cost in FRONTS.items() if _unbeaten(one, measured, cost))
    return dataclasses.replace(one, fronts=fronts)


def _unbeaten(one: Standing, measured: Sequence[Standing], cost: str) -> bool:
    own = getattr(one, cost)
    if own is None:
        return False
    rivals = [(getattr(each, cost), each.mae) for each in measured if getattr(each, cost) is not None]
    return not any(c <= own and e <= one.mae and (c, e) != (own, one.mae) for c, e in rivals)
