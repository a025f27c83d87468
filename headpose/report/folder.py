"""The folder of results, the source of a report.

    DIR/accuracy/NAME.json       eval/aflw2000.py --json             required, one for each network
    DIR/predictions/NAME.csv     eval/aflw2000.py --predictions      curves over yaw, worst cases (with the data)
    DIR/networks.json            eval/all.py                         sizes and multiply-accumulates
    DIR/robustness/results.json  eval/robustness.py --out DIR/robustness
    DIR/latency.json             eval/latency.py --json
    DIR/compress/report.json     headpose compress
    DIR/stability.json           eval/stability.py --json

``eval/all.py`` writes all of them. Files that were measured on different networks of the same name, or on different
lists of faces, are rejected: a table must not mix them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headpose import weights
from headpose.errors import DataError
from headpose.evaluation.accuracy import MEASURES
from headpose.evaluation.stability import Stability
from headpose.report.records import Compressed, Latency, Measured, Results, Robustness, build

ACCURACY, PREDICTIONS, NETWORKS = "accuracy", "predictions", "networks.json"
ROBUSTNESS, LATENCY, COMPRESS = "robustness/results.json", "latency.json", "compress/report.json"
STABILITY = "stability.json"

_KINDS = {"model": "ours", "adapter": "peer", "predictions": "file"}
_ORDER = ("ours", "peer", "file")


def read(source: str | os.PathLike[str]) -> Results:
    """Read a folder of results, or ``results.json`` of an earlier report.

    Raises:
        DataError: There are no results, a file does not have the format of its program, or two files do not match.
    """
    path = Path(source)
    results = _read_folder(path) if path.is_dir() else build(Results, read_json(path), str(path))
    _check(results, path)
    return results


def stems(folder: Path) -> dict[str, str]:
    """Return the names of the networks in a folder, with their file names without extension."""
    return {_name(read_json(file), file): file.stem for file in sorted((folder / ACCURACY).glob("*.json"))}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: The file cannot be read, or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: give a folder of results, or the results.json of a report") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} is not a JSON object: it was not written by a program of this project")
    return value


def _check(results: Results, source: Path) -> None:
    """Check that all values in the tables are present.

    Raises:
        DataError: A value is missing.
    """
    complete = [
        set(MEASURES) <= set(network.ci) and list(network.bins) == list(results.networks[0].bins)
        for network in results.networks
    ]
    if not complete or not all(complete):
        raise DataError(
            f"{source} has a network without intervals, or with other bins than the first: measure it again"
        )
    if results.compressed and not results.compressed.variants:
        raise DataError(f"{source} has a compression without networks: write report.json with headpose compress")


def _read_folder(folder: Path) -> Results:
    records = {file: read_json(file) for file in sorted((folder / ACCURACY).glob("*.json"))}
    if not records:
        raise DataError(f"{folder / ACCURACY} has no .json file: write one with eval/all.py or eval/aflw2000.py")
    lists = {str(record.get("list_sha256")) for record in records.values()}
    if len(lists) > 1:
        files = ", ".join(file.name for file in records)
        raise DataError(f"{folder / ACCURACY}: {files} were measured on different faces: measure them on one --list")
    facts = read_json(folder / NETWORKS) if (folder / NETWORKS).exists() else {}
    networks = [_measured(record, file, facts) for file, record in records.items()]
    names = [network.name for network in networks]
    if len(set(names)) < len(names):
        raise DataError(f"{folder / ACCURACY}: two files have the same network: {', '.join(sorted(names))}")
    networks.sort(key=lambda network: (_ORDER.index(network.kind), network.geodesic))
    return Results(
        list_sha256=lists.pop(),
        networks=networks,
        robustness=_robustness(folder / ROBUSTNESS, networks),
        latency=_latency(folder / LATENCY, networks),
        compressed=_optional(Compressed, folder / COMPRESS),
        stability=_stability(folder / STABILITY, networks),
    )


def _measured(record: dict[str, Any], file: Path, facts: Mapping[str, Any]) -> Measured:
    name = _name(record, file)
    kind = next(kind for key, kind in _KINDS.items() if key in record)
    sha256 = record.get("sha256") or {f"{name}.onnx": record["model_sha256"]} if kind != "file" else {}
    known = facts.get(file.stem, {})
    if known and sorted(known.get("sha256", {}).values()) != sorted(sha256.values()):
        raise DataError(f"{file} was measured on another {name} than {NETWORKS} describes: run eval/all.py again")
    size = {key: known[key] for key in ("bytes", "macs", "arithmetic") if key in known}
    listed = {info.sha256: info.bytes for info in weights.manifest().values()}
    if "bytes" not in size and set(sha256.values()) <= set(listed):
        size["bytes"] = sum(listed[each] for each in sha256.values()) or None
    return build(Measured, {**record, "name": name, "kind": kind, "sha256": sha256, **size}, str(file))


def _name(record: dict[str, Any], file: Path) -> str:
    found = next((record[key] for key in _KINDS if key in record), None)
    if not isinstance(found, str) or ("model" in record and "model_sha256" not in record):
        raise DataError(f"{file} is not a result of eval/aflw2000.py --json")
    return found if "predictions" not in record else file.stem


def _robustness(file: Path, networks: list[Measured]) -> Robustness | None:
    _check_networks(file, networks)
    return _optional(Robustness, file)


def _stability(file: Path, networks: list[Measured]) -> Stability | None:
    _check_networks(file, networks)
    return _optional(Stability, file)


def _check_networks(file: Path, networks: list[Measured]) -> None:
    """Check the SHA-256 digests of the networks, if the file has any.

    Raises:
        DataError: The digest of a network differs.
    """
    digests = read_json(file).get("networks_sha256", {}) if file.exists() else {}
    for network in networks:
        if network.kind == "ours" and network.name in digests:
            _same(network, {digests[network.name]}, file)


def _latency(file: Path, networks: list[Measured]) -> Latency | None:
    latency = _optional(Latency, file)
    timed = {network.name: network for network in latency.networks} if latency else {}
    for network in networks:
        if network.kind != "file" and network.name in timed:
            _same(network, set(timed[network.name].sha256.values()), file)
    return latency


def _same(network: Measured, digests: set[str], file: Path) -> None:
    if digests != set(network.sha256.values()):
        raise DataError(f"{file} was measured on another {network.name} than its accuracy: measure it again")


def _optional(kind: Any, file: Path) -> Any:
    return build(kind, read_json(file), str(file)) if file.exists() else None
