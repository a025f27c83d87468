"""Every network, measured or published, by what counts: size, time, error, robustness; and who is beaten by none."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from headpose.evaluation import latency as stages
from headpose.evaluation.published import PAPER_SETS, Published
from headpose.report.records import Results, Robustness, TimedRun

FRONTS = {"size": "megabytes", "time": "time"}
"""Names of the fronts, and what each weighs against the Euler MAE."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One network.

    Attributes:
        name, kind: a key of ``records.KINDS``, or "published".
        mae, geodesic: degrees on clean pictures.
        megabytes: 10^6 bytes of its files.
        macs: multiply-accumulates of one face.
        corrupted: mean of the MAE on the paper's three corrupted sets, degrees.
        time: of the network alone, one thread, over the reference's in the same run: what travels between machines.
        frames: a second, one thread, from the JPEG of a frame to the pose, detector included, on the machine measured.
        fronts: the keys of ``FRONTS`` on which no measured network is better in both.
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
    """Measured networks in their order, then the published ones (of these the headlines alone, if so wanted)."""
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
    """The run with one thread, if there is one."""
    return next((run for run in results.latency.runs if run.threads == 1), None) if results.latency else None


def _with_fronts(one: Standing, measured: Sequence[Standing]) -> Standing:
    """Fronts are among what was measured alike: published errors are counted in other ways, on other machines."""
    fronts = tuple(name for name, cost in FRONTS.items() if _unbeaten(one, measured, cost))
    return dataclasses.replace(one, fronts=fronts)


def _unbeaten(one: Standing, measured: Sequence[Standing], cost: str) -> bool:
    own = getattr(one, cost)
    if own is None:
        return False
    rivals = [(getattr(each, cost), each.mae) for each in measured if getattr(each, cost) is not None]
    return not any(c <= own and e <= one.mae and (c, e) != (own, one.mae) for c, e in rivals)
