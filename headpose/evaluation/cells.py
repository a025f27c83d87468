"""Resumable robustness measurements: one JSON file per cell (network, condition, seed)."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headpose import files
from headpose.corruptions import CLEAN, Corruption
from headpose.errors import DataError, HeadPoseError
from headpose.evaluation.adapters import Adapter
from headpose.evaluation.robustness import ERRORS, SECOND_LOOK, Cell, Setup, errors
from headpose.geometry import Array
from headpose.inference import OnnxPoseModel, PoseModel
from headpose.types import Sample

_DIGITS = 4  # decimal digits of errors in a file


class Cells:
    """Folder of measurements on one list of samples.

    The file of a cell contains an ``identity`` of everything that determines its result. A cell with another identity,
    such as a changed network of the same name, is measured again and replaced.
    """

    def __init__(self, folder: str | os.PathLike[str], samples: Sequence[Sample]) -> None:
        """Create the folder ``folder``/cells/LIST.

        Args:
            folder: Parent folder.
            samples: Samples of all measurements.

        Raises:
            HeadPoseError: The folder cannot be created.
        """
        self._list = samples_sha256(samples)
        self._count = len(samples)
        self._networks: dict[str, str] = {}  # cached hashes by name, because networks may be large
        self._folder = Path(folder) / "cells" / f"{len(samples)}-{self._list[:8]}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HeadPoseError(f"cannot make the folder {self._folder}: {error.strerror}") from error

    def path(self, cell: Cell) -> Path:
        """Return the file of a cell."""
        name = re.sub(r"[^A-Za-z0-9._@-]+", "-", cell.network).strip("-")
        return self._folder / f"{name}--{cell.condition}--seed{cell.seed}.json"

    def read(self, cell: Cell, setup: Setup, corruption: Corruption) -> Array | None:
        """Read the (N, 5) errors of a cell; return None if it has not been measured with this setup.

        Raises:
            DataError: The file is damaged.
        """
        file = self.path(cell)
        try:
            stored = json.loads(file.read_text())
            if stored["identity"] != self._identity(setup, corruption):
                return None
            each = np.array([stored["errors"][name] for name in ERRORS], np.float64).T
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} cannot be read ({error}): remove it, and it is measured again") from None
        if each.shape != (self._count, len(ERRORS)) or not np.isfinite(each).all():
            raise DataError(f"{file} does not hold {self._count} faces: remove it, and it is measured again")
        return each

    def write(self, cell: Cell, setup: Setup, corruption: Corruption, each: Array) -> None:
        """Write the (N, 5) errors of a cell.

        Raises:
            HeadPoseError: The file cannot be written.
        """
        record = {
            **cell._asdict(),
            "identity": self._identity(setup, corruption),
            "means": dict(zip(ERRORS, each.mean(0).round(_DIGITS).tolist(), strict=True)),
            "errors": dict(zip(ERRORS, each.T.round(_DIGITS).tolist(), strict=True)),
        }
        files.write_text(self.path(cell), json.dumps(record) + "\n")

    def _identity(self, setup: Setup, corruption: Corruption) -> dict[str, Any]:
        name = setup.name
        if name not in self._networks:
            self._networks[name] = network_sha256(setup.model)
        return {
            "samples_sha256": self._list,
            **({"second_look": True} if corruption.name in SECOND_LOOK else {}),
            "network_sha256": self._networks[name],
            "on": setup.on,
            "downsample": setup.downsample,
            "corruption": corruption.name,
            "setting": corruption.setting,
        }


def collect(
    cells: Cells, setups: Sequence[Setup], conditions: Iterable[Corruption], samples: Sequence[Sample], seeds: int = 1
) -> dict[Cell, Array]:
    """Measure missing cells, including those of clean images, and read the others.

    There is one pass per corruption name. It decodes each image once and corrupts it once per level and seed for all
    networks. The cells of a pass are written when it ends.

    Args:
        cells: Folder of measurements.
        setups: Networks with different names.
        conditions: Corruptions. Deterministic ones are measured with one seed, 0.
        samples: Samples of ``cells``.
        seeds: Number of seeds.

    Returns:
        (N, 5) errors of each cell.

    Raises:
        ImageError: An image cannot be read.
        HeadPoseError: Two networks have the same name, an output is not a rotation, or a file cannot be written.
    """
    if len({setup.name for setup in setups}) < len(setups):
        raise HeadPoseError(f"two of the networks have one name: {', '.join(setup.name for setup in setups)}")
    wanted: dict[Cell, tuple[Setup, Corruption]] = {}
    for corruption in dict.fromkeys([CLEAN, *conditions]):
        for seed in range(seeds if corruption.is_random else 1):
            wanted |= {Cell(setup.name, corruption.label, seed): (setup, corruption) for setup in setups}
    found = {cell: cells.read(cell, *task) for cell, task in wanted.items()}
    passes: dict[str, dict[Cell, tuple[Setup, Corruption]]] = {}
    for cell, task in wanted.items():
        if found[cell] is None:
            passes.setdefault(task[1].name, {})[cell] = task
    for number, (name, missing) in enumerate(passes.items(), 1):
        for cell, each in errors(missing, samples, f"{name} ({number} of {len(passes)})").items():
            cells.write(cell, *wanted[cell], each)
            found[cell] = each.round(_DIGITS)
    return {cell: each for cell, each in found.items() if each is not None}


def samples_sha256(samples: Sequence[Sample]) -> str:
    """Return the SHA-256 of the image names, boxes and labels of samples, in order, in hexadecimal."""
    numbers = ([f"{value:.3f}" for value in (*sample.box.as_tuple(), *sample.euler)] for sample in samples)
    lines = (" ".join([sample.image.stem, *each]) for sample, each in zip(samples, numbers, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def hashed_subset(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Select ``count`` samples by the hash of their image names, in the original order; equal on all machines."""
    order = sorted(range(len(samples)), key=lambda i: hashlib.sha256(samples[i].image.stem.encode()).digest())
    return [samples[i] for i in sorted(order[:count])]


def network_sha256(model: PoseModel | Adapter) -> str:
    """Return the SHA-256 of the files of a network and of its adapter."""
    if isinstance(model, OnnxPoseModel):
        return files.sha256_of(model.path)
    if not isinstance(model, Adapter):
        return ""
    digests = [files.sha256_of(path) for path in model.paths]
    return hashlib.sha256("\n".join([*digests, repr(model.spec)]).encode()).hexdigest()
