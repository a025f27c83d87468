"""``headpose models``: list the networks of the manifest."""

from __future__ import annotations

import argparse
import dataclasses
import json

from headpose import weights
from headpose.choices import DEFAULT_MODEL
from headpose.errors import WeightsError
from headpose.types import ModelInfo

LICENSES = """
license research-only: trained on photographs whose terms allow research only; the weights are for research only,
                       regardless of the license of the code; do not use them in products
license permissive:    trained on rendered heads only; Apache License 2.0, for any use
* the default, used if --model is not given"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``headpose models``."""
    parser.add_argument("--json", action="store_true", help="print a JSON list with one object per network")


def run(args: argparse.Namespace) -> int:
    """Print the networks and return the exit status."""
    models = list(weights.manifest().values())
    if args.json:
        print(json.dumps([_as_object(info) for info in models], indent=2, ensure_ascii=False))
    elif not models:
        print("no networks in this version's manifest")
    else:
        _print_table(models)
        print(LICENSES)
    return 0


def _as_object(info: ModelInfo) -> dict[str, object]:
    return {
        **dataclasses.asdict(info),
        "crop": info.crop.to_dict(),
        "path": _found(info),
        "default": info.name == DEFAULT_MODEL,
    }


def _found(info: ModelInfo) -> str | None:
    try:
        return str(weights.find(info.name))
    except WeightsError:
        return None


def _print_table(models: list[ModelInfo]) -> None:
    rows = [("name", "MB", "precision", "license", "measured")]
    for info in models:
        measured = ", ".join(f"{name} {value:g}" for name, value in info.metrics.items())
        measured = measured if info.kind == "pose" else f"{info.kind}: {measured}"
        here = "" if _found(info) else " (no file here)"
        name = f"{info.name} *" if info.name == DEFAULT_MODEL else info.name
        rows.append((name, f"{info.bytes / 1e6:.2f}", info.precision, info.license, measured + here))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
