"""Write scikit-learn's handwritten digits in the layout of CIFAR-10's binary version.

python scripts/digits_as_cifar10.py data/digits

The 1,797 digits of 8x8 pixels are enlarged to 32x32; every fifth goes into the test batch. They replace CIFAR-10 where
it (https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz) is not available.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.cli.arguments import named_path
from headpose.cli.program import imports_from, run_program
from headpose.datasets import cifar10
from headpose.datasets.cifar10 import LabeledImages

with imports_from("test", "digits_as_cifar10"):
    from sklearn.datasets import load_digits


def main() -> int:
    return run_program("digits_as_cifar10", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="digits_as_cifar10", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=named_path, metavar="DIR", help="folder to write")
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = digits()
    test = np.arange(len(labels)) % 5 == 4
    training = LabeledImages(images[~test], labels[~test])
    cifar10.write(folder, training, LabeledImages(images[test], labels[test]), [str(i) for i in range(10)])
    print(f"{folder}: {np.count_nonzero(~test)} training and {np.count_nonzero(test)} test images")
    return 0


def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return (1797, 32, 32, 3) uint8 BGR images and (1797,) int64 classes."""
    found = load_digits()
    small = np.round(found.images * (255.0 / 16.0)).astype(np.uint8)
    large = [cv2.resize(image, (cifar10.SIDE,) * 2, interpolation=cv2.INTER_CUBIC) for image in small]
    return np.repeat(np.stack(large)[..., None], 3, axis=-1), found.target.astype(np.int64)


if __name__ == "__main__":
    sys.exit(main())
