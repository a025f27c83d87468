"""Compares training runs on the faces that all of them held out: clean, blurred, defocused, in low light, covered.

python eval/heldout.py runs/a runs/b [--json FILE]

The folders are ones that ``headpose train`` has finished, on the same data with the same split. This is what a
choice between networks may look at; the corruptions are none of the test's (docs/robustness.md).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from headpose import corruptions
from headpose.cli.arguments import named_path
from headpose.cli.program import imports_from, run_program
from headpose.errors import DataError
from headpose.evaluation import robustness
from headpose.evaluation.robustness import Result
from headpose.files import check_outputs, write_text
from headpose.inference import OnnxPoseModel

with imports_from("train", "heldout"):
    from headpose.networks.spec import macs, parameters
    from headpose.recipes import training as recipe
    from headpose.training import data
    from headpose.training.loop import RECIPE


def main() -> int:
    return run_program("heldout", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="heldout", description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=named_path, nargs="+", metavar="DIR", help="folders of finished runs")
    parser.add_argument("--json", type=named_path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--seed", type=int, default=0, help="of the corruptions (default: 0)")
    arguments = parser.parse_args()
    check_outputs(arguments.runs, text={"--json": arguments.json})
    compare(arguments.runs, arguments.seed, arguments.json)
    return 0


def compare(runs: Sequence[Path], seed: int, target: Path | None) -> None:
    """Prints the table, and writes the figures."""
    recipes = [recipe.load_saved(run / RECIPE) for run in runs]
    if different := [run for run, each in zip(runs, recipes, strict=True) if each.data != recipes[0].data]:
        raise DataError(f"{different[0]} was trained on other data than {runs[0]}, or split otherwise")
    samples = data.read(recipes[0].data).validation
    print("| run | px | parameters, M | M MACs | geodesic error, degrees: clean | " + " | ".join(_conditions()) + " |")
    print("|" + "---|" * (5 + len(_conditions())))
    record = {}
    for run, each in zip(runs, recipes, strict=True):
        model = OnnxPoseModel(run / f"{each.name}.onnx", device="cpu")
        results = robustness.measure(model, samples, corruptions.SELECTION, seed=seed)
        size = each.crop.size
        cost = f"{parameters(each.spec) / 1e6:.2f} | {macs(each.spec, size) / 1e6:.0f}"
        print(f"| {run.name} | {size} | {cost} | " + " | ".join(f"{result.geodesic:.2f}" for result in results) + " |")
        record[run.name] = [_as_object(result) for result in results]
    print(f"\n{len(samples)} held-out faces, means weighted as in training; seed {seed}.")
    if target:
        write_text(target, json.dumps(record, indent=1))


def _conditions() -> list[str]:
    return [condition.label for condition in corruptions.SELECTION]


def _as_object(result: Result) -> dict[str, object]:
    return {"condition": result.condition, "n": result.n, "geodesic": result.geodesic, "mae": result.mae}


if __name__ == "__main__":
    sys.exit(main())
