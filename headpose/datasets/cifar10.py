"""CIFAR-10 in the layout of its binary version (Krizhevsky, "Learning Multiple Layers of Features", 2009).

A folder with ``data_batch_1.bin``, ... and ``test_batch.bin``; ``batches.meta.txt`` names the classes, one
a line. A record is one byte, the class, and 3072 bytes: 32 rows of 32 pixels in red, then green, then blue.
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
FILES = ("batches.meta.txt", "data_batch_1.bin", "test_batch.bin")  # that `write` makes
_RECORD = 1 + 3 * SIDE * SIDE


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Attributes: ``images`` (N, 32, 32, 3) uint8 BGR, ``labels`` (N,) int64 from 0 on."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def class_names(folder: str | os.PathLike[str]) -> list[str]:
    """Names of the classes; DataError if ``batches.meta.txt`` cannot be read."""
    path = Path(folder) / "batches.meta.txt"
    try:
        names = path.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read {path}: {error}; the folder of CIFAR-10's binary version (cifar-10-batches-bin) is wanted"
        ) from None
    if not names:
        raise DataError(f"{path} names no class")
    return names


def read_training(folder: str | os.PathLike[str]) -> LabelledImages:
    """The images of all ``data_batch_*.bin``, in the order of their names."""
    files = sorted(Path(folder).glob("data_batch_*.bin"))
    if not files:
        raise DataError(f"{folder} holds no data_batch_1.bin: give the folder of CIFAR-10's binary version")
    return _read(files, len(class_names(folder)))


def read_test(folder: str | os.PathLike[str]) -> LabelledImages:
    """The images of ``test_batch.bin``."""
    return _read([Path(folder) / "test_batch.bin"], len(class_names(folder)))


def write(folder: str | os.PathLike[str], training: LabelledImages, test: LabelledImages, names: list[str]) -> None:
    """Writes a data set in this layout, into a folder that exists."""
    write_text(Path(folder) / FILES[0], "".join(f"{name}\n" for name in names))
    for file, part in zip(FILES[1:], (training, test), strict=True):
        planes = part.images[..., ::-1].transpose(0, 3, 1, 2).reshape(len(part.images), -1)
        records = np.column_stack([part.labels.astype(np.uint8), planes])
        write_bytes(Path(folder) / file, records.astype(np.uint8).tobytes())


def _read(files: list[Path], classes: int) -> LabelledImages:
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
        raise DataError(f"{files[0].parent}: a class is {labels.max()}, batches.meta.txt names 0 to {classes - 1}")
    planes = records[:, 1:].reshape(-1, 3, SIDE, SIDE)
    return LabelledImages(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)[..., ::-1]), labels)
