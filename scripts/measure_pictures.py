"""Measure brightness, contrast, detail and saturation of faces, to compare rendered heads with photographs.

python scripts/measure_pictures.py photographs.csv heads/manifest.csv

The script prints medians and the range from the 10th to the 90th percentile over 400 faces of each manifest and range
of yaw. Faces are cropped as for a network, at 96 pixels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import cv2
import numpy as np

from headpose import crop, metrics
from headpose.cli.arguments import named_path
from headpose.cli.program import run_program
from headpose.datasets import manifest
from headpose.geometry import Array
from headpose.images import read_image
from headpose.types import CropSpec, Image, Sample

FACES = 400
SPEC = CropSpec(96)
_INSIDE = slice(22, 74)  # approximately the tight box, in pixels of the crop
MEASURES = ("brightness", "its spread", "2nd percentile", "98th", "detail under 3 pixels", "under 1", "saturation")


def main() -> int:
    return run_program("measure_pictures", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="measure_pictures", description=__doc__.splitlines()[0])
    parser.add_argument("faces", nargs="+", type=named_path, metavar="FILE", help="manifests of labeled faces")
    arguments = parser.parse_args()
    print(f"| faces | yaw | {' | '.join(MEASURES)} |\n|{'---|' * (len(MEASURES) + 2)}")
    for file in arguments.faces:
        samples = manifest.read(file)
        yaw = np.array([sample.euler.yaw for sample in samples])
        for name, chosen in metrics.yaw_bins(yaw).items():
            found = measure([samples[i] for i in np.flatnonzero(chosen)])
            print(f"| {file} | {name} | {' | '.join(_in_words(values) for values in found.T)} |")
    return 0


def measure(samples: Sequence[Sample]) -> Array:
    """Return (N, 7) measures in [0, 1] of at most ``FACES`` faces, chosen at random with a fixed seed."""
    chosen = np.random.default_rng(0).permutation(len(samples))[:FACES]
    views = [crop.cut(read_image(samples[i].image), samples[i].box, SPEC) for i in chosen]
    return np.array([_measure(view) for view in views]).reshape(-1, len(MEASURES))


def _measure(view: Image) -> list[float]:
    grey = cv2.cvtColor(view, cv2.COLOR_BGR2GRAY).astype(np.float32) / 255
    face = grey[_INSIDE, _INSIDE]
    detail = [(face - cv2.GaussianBlur(grey, (0, 0), size)[_INSIDE, _INSIDE]).std() for size in (3, 1)]
    saturation = cv2.cvtColor(view[_INSIDE, _INSIDE], cv2.COLOR_BGR2HSV)[:, :, 1].mean() / 255
    return [float(v) for v in (face.mean(), face.std(), *np.percentile(face, [2, 98]), *detail, saturation)]


def _in_words(values: Array) -> str:
    if not len(values):
        return ""
    low, middle, high = np.percentile(values, [10, 50, 90])
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
