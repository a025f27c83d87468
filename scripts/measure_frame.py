"""Measure the constant rotation between the axes of rendered heads and those of labeled photographs.

python eval/aflw2000.py --data faces.csv --list all --model runs/clean/compact-clean.onnx --predictions angles.csv
python scripts/measure_frame.py --data faces.csv --predictions angles.csv

The network must be trained on rendered heads only, so that its predictions are in their axes. The mean rotation between
its predictions and the labels is the correction of ``headpose.synth.anatomy.FRAME``.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from headpose import geometry, metrics
from headpose.cli.program import imports_from, run_program
from headpose.evaluation import predictions, testsets
from headpose.geometry import Array

with imports_from("synth", "measure_frame"):
    from headpose.synth.anatomy import FRAME

RESAMPLES = 500


def main() -> int:
    return run_program("measure_frame", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="measure_frame", description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, metavar="FILE", help="manifest of labeled photographs")
    parser.add_argument("--predictions", required=True, metavar="FILE", help="CSV from eval/aflw2000.py --predictions")
    arguments = parser.parse_args()
    report(arguments.data, arguments.predictions)
    return 0


def report(data: str, file: str) -> None:
    """Print the mean rotation over all faces and by |yaw|, and the corrected frame.

    Args:
        data: Path of the manifest.
        file: Path of the predictions.
    """
    faces = testsets.read(data)
    true = np.array([sample.euler for sample in faces.samples], np.float64)
    weights = np.array([sample.weight for sample in faces.samples], np.float64)
    turns = offsets(true, predictions.read(file, faces.names))
    print("| photographs | faces | pitch | yaw | roll |\n|---|---|---|---|---|")
    for name, chosen in {"all": np.ones(len(true), bool), **metrics.yaw_bins(true[:, 0])}.items():
        if chosen.any():
            print(f"| {name} | {chosen.sum()} | {_in_words(turns[chosen], weights[chosen])} |")
    whole = geometry.euler_from_rotation(mean_turn(turns, weights) @ geometry.rotation_from_euler(FRAME))
    print(f"\nFRAME is pitch {FRAME.pitch:g}, yaw {FRAME.yaw:g}, roll {FRAME.roll:g} degrees.")
    print(f"With the rotation of all faces: pitch {whole[1]:.2f}, yaw {whole[0]:.2f}, roll {whole[2]:.2f}.")


def offsets(true: Array, predicted: Array) -> Array:
    """Return (N, 3, 3) rotations from the head axes of the predictions to those of the labels.

    Args:
        true: (N, 3) yaw, pitch, roll of the labels in degrees.
        predicted: (N, 3) yaw, pitch, roll of the predictions in degrees.
    """
    labels, read = (geometry.rotation_from_euler(angles) for angles in (true, predicted))
    return np.asarray(labels.swapaxes(-1, -2) @ read)


def mean_turn(turns: Array, weights: Array) -> Array:
    """Return the (3, 3) rotation with the least sum of weighted squared distances to (N, 3, 3) rotations."""
    return geometry.nearest_rotation(metrics.weighted_mean(turns, weights))


def _in_words(turns: Array, weights: Array) -> str:
    """Return the angles of the mean of (N, 3, 3) rotations in degrees, with 95 % bootstrap intervals over faces."""
    random = np.random.default_rng(0)
    drawn = (random.integers(0, len(turns), len(turns)) for _ in range(RESAMPLES))
    means = [geometry.euler_from_rotation(mean_turn(turns[i], weights[i])) for i in drawn]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    yaw, pitch, roll = geometry.euler_from_rotation(mean_turn(turns, weights))
    cells = [(pitch, 1), (yaw, 0), (roll, 2)]
    return " | ".join(f"{value:+.2f} [{low[i]:+.2f}, {high[i]:+.2f}]" for value, i in cells)


if __name__ == "__main__":
    sys.exit(main())
