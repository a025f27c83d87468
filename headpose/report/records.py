"""What a report is made of, as value objects and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args, get_origin

from headpose.errors import DataError
from headpose.evaluation.accuracy import Bin
from headpose.evaluation.robustness import Result
from headpose.evaluation.stability import Stability

Kind = Literal["ours", "peer", "file"]
KINDS: dict[str, str] = {"ours": "ours", "peer": "measured", "file": "a file of predictions"}
"""What tables call a network of this package, somebody else's measured here, and predictions of unknown origin."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Mean errors, degrees, of the faces whose yaw lies in [low, high)."""

    low: float
    high: float
    n: int
    geodesic: float
    mae: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One network on the test set.

    Attributes:
        name: for tables; robustness and latency know the network by it.
        kind: a key of ``KINDS``.
        n ... ci: as in ``headpose.evaluation.accuracy.Accuracy``.
        protocol: in words.
        sha256: of its files, by name.
        bytes, macs, arithmetic: as in ``headpose.evaluation.networks.NetworkFacts``; None and "" where not known.
        curve: error over signed yaw; empty where the predictions of each face were not at hand.
    """

    name: str
    kind: Kind
    n: int
    geodesic: float
    mae: float
    yaw: float
    pitch: float
    roll: float
    ci: dict[str, list[float]]
    bins: dict[str, Bin]
    protocol: str
    sha256: dict[str, str] = field(default_factory=dict)
    bytes: int | None = None
    macs: int | None = None
    arithmetic: str = ""
    curve: list[CurvePoint] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Robustness:
    """Errors on corrupted pictures: the protocol in words, and a result for each network and condition."""

    protocol: str
    results: list[Result]

    def of(self, network: str, condition: str) -> Result | None:
        """The result of one network under one condition."""
        return next((r for r in self.results if (r.network, r.condition) == (network, condition)), None)


@dataclass(frozen=True, slots=True)
class TimedRow:
    """Milliseconds of one stage (``headpose.evaluation.latency``), and the ratio to the reference."""

    network: str
    stage: str
    median: float
    p95: float
    cpu: float
    ratio: float


@dataclass(frozen=True, slots=True)
class TimedRun:
    """All stages with one number of threads; ``peak_gflops`` by arithmetic, empty off the processor."""

    threads: int
    peak_gflops: dict[str, float]
    warnings: list[str]
    times_ms: list[TimedRow]

    def row(self, network: str, stage: str) -> TimedRow | None:
        """A network's stage."""
        return next((r for r in self.times_ms if (r.network, r.stage) == (network, stage)), None)

    def median(self, network: str, stage: str) -> float | None:
        """Milliseconds of a network's stage."""
        found = self.row(network, stage)
        return found.median if found else None


@dataclass(frozen=True, slots=True)
class TimedNetwork:
    """What ``eval/latency.py`` says of a network; ``memory`` has the peaks of the runtime and with it, bytes."""

    name: str
    bytes: int
    sha256: dict[str, str]
    macs: int
    arithmetic: str
    memory: dict[str, int] | None


@dataclass(frozen=True, slots=True)
class Latency:
    """A run of ``eval/latency.py``."""

    setting: str
    reference: str
    networks: list[TimedNetwork]
    runs: list[TimedRun]


@dataclass(frozen=True, slots=True)
class Variant:
    """A network of a compression; ``figures`` are held-out errors, the first of them chooses."""

    name: str
    precision: str
    parameters: int
    macs: int
    bytes: int
    figures: dict[str, float]
    latency_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Compressed:
    """What ``headpose compress`` reported."""

    name: str
    machine: str
    unit: str
    variants: list[Variant]


@dataclass(frozen=True, slots=True)
class Results:
    """All of it. ``list_sha256`` is that of the faces' names, the same for every network."""

    list_sha256: str
    networks: list[Measured]
    robustness: Robustness | None = None
    latency: Latency | None = None
    compressed: Compressed | None = None
    stability: Stability | None = None


def to_json(results: Results) -> str:
    """Figures only: no picture, and nothing of a single face."""
    text = json.dumps(dataclasses.asdict(results), indent=1, allow_nan=False)
    # What holds nothing nested takes one line: a curve's point, an interval.
    return re.sub(r"[\[{][^\[\]{}]*[\]}]", lambda found: re.sub(r"\n\s*", " ", found[0]), text) + "\n"


def build(kind: type[T], value: Any, where: str) -> T:
    """A value object from parsed JSON; keys that it does not have are passed over.

    Args:
        kind: a dataclass, or a type that a field of one may have.
        value: what ``json.loads`` gave.
        where: for the message: the file, and the place in it.

    Raises:
        DataError: a key is missing, or a value has another type or is not finite.
    """
    return typing.cast(T, _build(kind, value, where))


def _build(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build_object(kind, value, where)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, typing.Union):  # X | None
        return None if value is None else _build(inner[0], value, where)
    if origin is Literal and value in inner:
        return value
    if origin in (list, tuple) and isinstance(value, list):
        return origin(_build(inner[0], each, f"{where}[{i}]") for i, each in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _build(inner[1], each, f"{where}.{key}") for key, each in value.items()}
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is float and number:
        return float(value)
    if kind is int and number and int(value) == value:
        return int(value)
    if kind is str and isinstance(value, str):
        return value
    raise DataError(f"{where} is {str(value)[:40]!r}, which it cannot be: write the file again with its program")


def _build_object(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise DataError(f"{where} is no JSON object: write the file again with its program")
    hints = typing.get_type_hints(kind)
    given = {}
    for each in dataclasses.fields(kind):
        if each.name in value:
            given[each.name] = _build(hints[each.name], value[each.name], f"{where}: {each.name}")
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise DataError(f"{where} has no {each.name}: write the file again with its program")
    return kind(**given)
