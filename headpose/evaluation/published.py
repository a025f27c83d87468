"""Figures that others have published: rows of tables, each with its source; this project measured none of them."""

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
"""The paper's corrupted copies of AFLW2000-3D, in the order of its Table 2."""

_FILE = Path(__file__).with_name("published.toml")


@dataclass(frozen=True, slots=True)
class PublishedError:
    """A network's errors on AFLW2000-3D, degrees, as its source counts them.

    Attributes:
        name: of the network.
        cited: the publication, and its table where there is one.
        mae: as printed; not always the mean of the three.
        yaw, pitch, roll: None where they are not printed.
        megabytes: 10^6 bytes; None where it is not printed.
        note: what to know about the row.
        headline: whether the README shows it.
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
    """A row of the paper's Table 2: yaw, pitch, roll and MAE on each of ``PAPER_SETS``, degrees."""

    name: str
    cited: str
    errors: dict[str, list[float]]

    @property
    def mean_mae(self) -> float:
        """Mean of the three sets' MAE."""
        return sum(each[3] for each in self.errors.values()) / len(self.errors)


@dataclass(frozen=True, slots=True)
class PublishedTime:
    """Seconds a picture, by device."""

    name: str
    cited: str
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Published:
    """All of it, in the order of the file; ``sources`` in full."""

    sources: tuple[str, ...]
    errors: tuple[PublishedError, ...]
    corrupted: tuple[PublishedCorrupted, ...]
    times: tuple[PublishedTime, ...]

    def corrupted_of(self, name: str) -> PublishedCorrupted | None:
        """The row of Table 2 of a network of that name."""
        return next((row for row in self.corrupted if row.name == name), None)


@cache
def load() -> Published:
    """Reads the package's own ``published.toml``."""
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
    """A row whose key of a source, and table, have become the citation."""
    rest = {key: value for key, value in row.items() if key not in ("source", "table")}
    return {**rest, "cited": ", ".join([sources[row["source"]]["short"], *([row["table"]] if "table" in row else [])])}
