"""Published results of other networks, each with its source. None was measured by this project."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAPER_SETS = ("MB", "LB", "OC")
"""The paper's corrupted versions of AFLW2000-3D, in the order of its Table 2."""

_FILE = Path(__file__).with_name("published.toml")


@dataclass(frozen=True, slots=True)
class PublishedError:
    """Published errors of a network on AFLW2000-3D, in degrees, by the protocol of the source.

    Attributes:
        name: Name of the network.
        cited: Publication and table.
        mae: MAE as published; not always the mean of the three angles.
        yaw: Mean absolute error of yaw; None if not published.
        pitch: Mean absolute error of pitch; None if not published.
        roll: Mean absolute error of roll; None if not published.
        megabytes: Size in 10^6 bytes; None if not published.
        note: Remark about the row.
        headline: True if the README shows the row.
    """

    name: str
    cited: str
    mae: float
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    megabytes: float | None = None
    note: str = ""
    headline: bool = False


@dataclass(frozen=True, slots=True)
class PublishedCorrupted:
    """Row of the paper's Table 2: yaw, pitch, roll and MAE on each of ``PAPER_SETS``, in degrees."""

    name: str
    cited: str
    errors: dict[str, list[float]]

    @property
    def mean_mae(self) -> float:
        """Mean of the MAE of the three sets, in degrees."""
        return sum(each[3] for each in self.errors.values()) / len(self.errors)


@dataclass(frozen=True, slots=True)
class PublishedTime:
    """Published time per image in seconds, by device."""

    name: str
    cited: str
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Published:
    """All published results in the order of the file, and their sources in full."""

    sources: tuple[str, ...]
    errors: tuple[PublishedError, ...]
    corrupted: tuple[PublishedCorrupted, ...]
    times: tuple[PublishedTime, ...]

    def corrupted_of(self, name: str) -> PublishedCorrupted | None:
        """Return the row of Table 2 for a network; None if there is none."""
        return next((row for row in self.corrupted if row.name == name), None)


@cache
def load() -> Published:
    """Read ``published.toml`` of this package."""
    table = tomllib.loads(_FILE.read_text("utf-8"))

    def rows(key: str) -> list[dict[str, Any]]:
        return [_cited(row, table["sources"]) for row in table[key]]

    return Published(
        tuple(source["full"] for source in table["sources"].values()),
        tuple(PublishedError(**row) for row in rows("accuracy")),
        tuple(
            PublishedCorrupted(row["name"], row["cited"], {key: row[key] for key in PAPER_SETS})
            for row in rows("corrupted")
        ),
        tuple(PublishedTime(**row) for row in rows("time")),
    )


def _cited(row: dict[str, Any], sources: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its source and table replaced by the citation."""
    rest = {key: value for key, value in row.items() if key not in ("source", "table")}
    return {**rest, "cited": ", ".join([sources[row["source"]]["short"], *([row["table"]] if "table" in row else [])])}
