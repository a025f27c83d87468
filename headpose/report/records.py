"""Results that a report shows, as value objects and as JSON."""

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
"""Names in the tables for a network of this package, another network measured here, and predictions of unknown origin.
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Mean errors of the faces whose yaw lies in [low, high), all in degrees."""

    low: float
    high: float
    n: int
    geodesic: float
    mae: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Results of one network on the test set.

    The fields from ``n`` to ``bins`` are those of ``headpose.evaluation.accuracy.Accuracy``.

    Attributes:
        name: Name in the tables, the same in robustness and latency.
        kind: Key of ``KINDS``.
        protocol: Description of the protocol.
        sha256: SHA-256 of its files, by name.
        bytes: Size of its files, as in ``headpose.evaluation.networks.NetworkFacts``; None if unknown.
        macs: Number of multiply-accumulates, as in ``NetworkFacts``; None if unknown.
        arithmetic: Arithmetic of the network, as in ``NetworkFacts``; empty if unknown.
        curve: Error over signed yaw; empty without predictions for single faces.
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
    """Errors on corrupted images.

    Attributes:
        protocol: Description of the protocol.
        results: Result of each network under each condition.
    """

    protocol: str
    results: list[Result]

    def of(self, network: str, condition: str) -> Result | None:
        """Return the result of one network under one condition, or None."""
        return next((r for r in self.results if (r.network, r.condition) == (network, condition)), None)


@dataclass(frozen=True, slots=True)
class TimedRow:
    """Time of one stage (``headpose.evaluation.latency``) in milliseconds, and its ratio to the reference."""

    network: str
    stage: str
    median: float
    p95: float
    cpu: float
    ratio: float


@dataclass(frozen=True, slots=True)
class TimedRun:
    """Times of all stages with one number of threads; ``peak_gflops`` by arithmetic, empty unless run on the CPU."""

    threads: int
    peak_gflops: dict[str, float]
    warnings: list[str]
    times_ms: list[TimedRow]

    def row(self, network: str, stage: str) -> TimedRow | None:
        """Return the times of one stage of a network, or None."""
        return next((r for r in self.times_ms if (r.network, r.stage) == (network, stage)), None)

    def median(self, network: str, stage: str) -> float | None:
        """Return the median time of one stage of a network in milliseconds, or None."""
        found = self.row(network, stage)
        return found.median if found else None


@dataclass(frozen=True, slots=True)
class TimedNetwork:
    """A network in the result of ``eval/latency.py``.

    ``memory`` has the peak memory in bytes: ``runtime`` without the network, ``peak`` with it.
    """

    name: str
    bytes: int
    sha256: dict[str, str]
    macs: int
    arithmetic: str
    memory: dict[str, int] | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Result of ``eval/latency.py``."""

    setting: str
    reference: str
    networks: list[TimedNetwork]
    runs: list[TimedRun]


@dataclass(frozen=True, slots=True)
class Variant:
    """Network of a compression. ``figures`` are held-out errors by name; the first one is used for selection."""

    name: str
    precision: str
    parameters: int
    macs: int
    bytes: int
    figures: dict[str, float]
    latency_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Compressed:
    """Result of ``headpose compress``."""

    name: str
    machine: str
    unit: str
    variants: list[Variant]


@dataclass(frozen=True, slots=True)
class Results:
    """All results; ``list_sha256`` is the SHA-256 of the list of faces, the same for all networks."""

    list_sha256: str
    networks: list[Measured]
    robustness: Robustness | None = None
    latency: Latency | None = None
    compressed: Compressed | None = None
    stability: Stability | None = None


def to_json(results: Results) -> str:
    """Return the results as JSON. It contains no images and no data of single faces."""
    text = json.dumps(dataclasses.asdict(results), indent=1, allow_nan=False)
    # Objects and lists without nested ones, such as points of a curve and intervals, take one line.
    return re.sub(r"[\[{][^\[\]{}]*[\]}]", lambda found: re.sub(r"\n\s*", " ", found[0]), text) + "\n"


def build(kind: type[T], value: Any, where: str) -> T:
    """Return a value object from parsed JSON. Unknown keys are ignored.

    Args:
        kind: Dataclass, or type of one of its fields.
        value: Value returned by ``json.loads``.
        where: File, and position in it, for error messages.

    Raises:
        DataError: A key is missing, or a value has the wrong type or is not finite.
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
    raise DataError(f"{where} has the invalid value {str(value)[:40]!r}: write the file again with its program")


def _build_object(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise DataError(f"{where} is not a JSON object: write the file again with its program")
    hints = typing.get_type_hints(kind)
    given = {}
    for each in dataclasses.fields(kind):
        if each.name in value:
            given[each.name] = _build(hints[each.name], value[each.name], f"{where}: {each.name}")
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise DataError(f"{where} has no {each.name}: write the file again with its program")
    return kind(**given)
