"""Reader and writer of CIFAR-10's binary version (Krizhevsky, "Learning Multiple Layers of Features", 2009).

The folder contains ``data_batch_1.bin`` and so on, ``test_batch.bin``, and ``batches.meta.txt`` with one class name per
line. A record is one byte, the class, and 3072 bytes: the red, green and blue planes of 32 rows of 32 pixels.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headpose.errors import DataError
from headpose.files import write_bytes, write_text

SIDE = 32
FILES = ("batches.meta.txt", "data_batch_1.bin", "test_batch.bin")  # written by `write`
_RECORD = 1 + 3 * SIDE * SIDE


@dataclass(frozen=True, slots=True)
class LabeledImages:
    """Images and their class labels.

    Attributes:
        images: (N, 32, 32, 3) uint8 BGR.
        labels: (N,) int64 class indices, from 0.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def class_names(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names of the classes.

    Args:
        folder: Folder of the data set.

    Raises:
        DataError: ``batches.meta.txt`` cannot be read or is empty.
    """
    path = Path(folder) / "batches.meta.txt"
    try:
        names = path.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read {path}: {error}; give the folder of CIFAR-10's binary version (cifar-10-batches-bin)"
        ) from None
    if not names:
        raise DataError(f"{path} names no classes")
    return names


def read_training(folder: str | os.PathLike[str]) -> LabeledImages:
    """Read the training set: all ``data_batch_*.bin`` in the order of their names.

    Args:
        folder: Folder of the data set.

    Raises:
        DataError: A file is missing or damaged.
    """
    files = sorted(Path(folder).glob("data_batch_*.bin"))
    if not files:
        raise DataError(f"{folder} contains no data_batch_1.bin: give the folder of CIFAR-10's binary version")
    return _read(files, len(class_names(folder)))


def read_test(folder: str | os.PathLike[str]) -> LabeledImages:
    """Read the test set: ``test_batch.bin``.

    Args:
        folder: Folder of the data set.

    Raises:
        DataError: The file is missing or damaged.
    """
    return _read([Path(folder) / "test_batch.bin"], len(class_names(folder)))


def write(folder: str | os.PathLike[str], training: LabeledImages, test: LabeledImages, names: list[str]) -> None:
    """Write a data set in this layout.

    Args:
        folder: Existing folder.
        training: Training set, written to one file.
        test: Test set.
        names: Names of the classes, by index.
    """
    write_text(Path(folder) / FILES[0], "".join(f"{name}\n" for name in names))
    for file, part in zip(FILES[1:], (training, test), strict=True):
        planes = part.images[..., ::-1].transpose(0, 3, 1, 2).reshape(len(part.images), -1)
        records = np.column_stack([part.labels.astype(np.uint8), planes])
        write_bytes(Path(folder) / file, records.astype(np.uint8).tobytes())


def _read(files: list[Path], classes: int) -> LabeledImages:
    parts = []
    for path in files:
        try:
            data = np.frombuffer(path.read_bytes(), np.uint8)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        if len(data) == 0 or len(data) % _RECORD:
            raise DataError(f"{path} is damaged: {len(data)} bytes are not records of {_RECORD}")
        parts.append(data.reshape(-1, _RECORD))
    records = np.concatenate(parts)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= classes:
        raise DataError(
            f"{files[0].parent}: a record has class {labels.max()}, but batches.meta.txt names only 0 to {classes - 1}"
        )
    planes = records[:, 1:].reshape(-1, 3, SIDE, SIDE)
    return LabeledImages(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)[..., ::-1]), labels)
