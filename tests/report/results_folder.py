"""A folder of results as the evaluators write it, small and with known figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from headpose import geometry
from headpose.evaluation import accuracy, predictions, testsets
from tests.evaluation.faces import write_colored_faces

SHA = {name: digit * 64 for name, digit in (("ours", "a"), ("theirs", "b"))}
EULERS = [(float(yaw), float(pitch), 0.0) for yaw in range(-43, 44, 2) for pitch in (-10, 0, 10)]
OFFSETS = {"ours": (2.0, 0.0, 0.0), "theirs": (0.0, 6.0, 0.0)}  # of their predictions to the labels: yaw, pitch, roll


def write_results(folder: Path) -> tuple[Path, Path]:
    """Writes DIR/accuracy, predictions, networks.json, robustness, stability and the rest; returns both."""
    data = write_colored_faces(folder / "faces", EULERS)
    faces = testsets.read(data).select("99")
    labels = np.array([sample.euler for sample in faces.samples])
    results = folder / "results"
    (results / "predictions").mkdir(parents=True)
    for name, offset in OFFSETS.items():
        angles = labels + np.array(offset)
        score = accuracy.score(geometry.rotation_from_euler(angles), faces.samples, angles=angles)
        about: dict[str, Any] = {"model": "ours", "model_sha256": SHA["ours"]}
        if name == "theirs":
            about = {"adapter": "Theirs (a + b)", "sha256": {"net.onnx": SHA["theirs"]}}
        write(results / "accuracy" / f"{name}.json", {**about, **_accuracy(score), "list_sha256": faces.sha256})
        predictions.write(results / "predictions" / f"{name}.csv", faces.names, angles)
    write(results / "networks.json", {"theirs": {"sha256": {"net.onnx": SHA["theirs"]}, "bytes": 2_500_000,
                                                 "macs": 40_000_000, "arithmetic": "int8"},
                                      "ours": {"sha256": {"ours.onnx": SHA["ours"]}, "bytes": 5_000_000,
                                               "macs": 160_000_000, "arithmetic": "fp32"}})  # fmt: skip
    write(results / "robustness" / "results.json", _robustness())
    write(results / "stability.json", _stability())
    write(results / "latency.json", _latency())
    variant = {"precision": "fp32", "parameters": 1234, "macs": 10**8, "figures": {"geodesic": 2.5}, "latency_ms": {}}
    variants = [{**variant, "name": "baseline", "bytes": 100}, {**variant, "name": "student", "bytes": 25}]
    record = {"name": "small", "machine": "a machine", "unit": "degrees", "variants": variants, "scan": {}}
    write(results / "compress" / "report.json", record)
    return results, data


def write(file: Path, record: dict[str, Any]) -> None:
    """Writes JSON, and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record))


def change(file: Path, *keys: Any, to: Any) -> None:
    """Puts another value into a JSON file; None takes the key out."""
    record = json.loads(file.read_text())
    place = record
    for key in keys[:-1]:
        place = place[key]
    if to is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = to
    file.write_text(json.dumps(record))


def _accuracy(score: accuracy.Accuracy) -> dict[str, Any]:
    bins = {name: {"n": b.n, "mae": b.mae, "geodesic": b.geodesic} for name, b in score.bins.items()}
    means = {name: getattr(score, name) for name in ("n", *accuracy.MEASURES)}
    return {**means, "ci": {k: list(v) for k, v in score.ci.items()}, "bins": bins, "protocol": "Faces. Input: a crop."}


def _robustness() -> dict[str, Any]:
    rows = []
    for network, clean in (("ours", 2.0), ("ours-DS64", 2.1)):
        for condition, factor in (("clean", 1.0), ("MB", 3.0), ("LB", 1.5), ("OC", 1.8)):
            error = clean * factor
            ends = {name: [error, error] for name in ("geodesic", "mae", "ratio", "ratio_mae")}
            mean = dict.fromkeys(("geodesic", "mae", "yaw", "pitch", "roll"), error)
            ratios = {"ratio": factor, "ratio_mae": factor, "seed_sd": 0.0}
            rows.append({"network": network, "condition": condition, "n": 93, "seeds": 1, **mean, **ratios, "ci": ends})
    return {"protocol": "Corrupted.", "networks_sha256": {"ours": SHA["ours"]}, "results": rows}


def _stability() -> dict[str, Any]:
    clips = [
        {"clip": clip, "network": network, "frames": 50, "median": median, "p95": 1.0, "smoothed": 0.1}
        for network, medians in {"ours": (0.2, 0.4), "Theirs (a + b)": (0.6, 0.8)}.items()
        for clip, median in zip("ab", medians, strict=True)
    ]
    return {"protocol": "Steady.", "networks_sha256": {"ours": SHA["ours"]}, "rendered": [], "clips": clips}


def _latency() -> dict[str, Any]:
    names = {"ours": 2.0, "Theirs (a + b)": 4.0}
    stages = {"crop": 0.1, "network": 1.0, "crop + network": 1.1, "decode + detect + crop + network + track": 9.0}
    rows = [{"network": "", "stage": "decode JPEG", "median": 1.0, "p95": 1.5, "cpu": 1.0, "ratio": 0.5}]
    for name, factor in names.items():
        for stage, ms in stages.items():
            ms *= factor
            rows.append({"network": name, "stage": stage, "median": ms, "p95": 2 * ms, "cpu": ms, "ratio": ms / 2.2})
    run = {"threads": 1, "peak_gflops": {"fp32": 320.0, "int8": 400.0}, "warnings": ["the machine was busy"]}
    networks = [
        {"name": name, "bytes": 10**6, "sha256": {"net.onnx": SHA[key]}, "macs": macs, "arithmetic": kind}
        for name, key, macs, kind in (("ours", "ours", 160e6, "fp32"), ("Theirs (a + b)", "theirs", 40e6, "int8"))
    ]
    networks[0]["memory"] = {"runtime": 50_000_000, "peak": 73_000_000}
    networks[1]["memory"] = None
    setting = "A machine"
    return {"setting": setting, "reference": "ours", "networks": networks, "runs": [{**run, "times_ms": rows}]}
