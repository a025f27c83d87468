"""Checkpoints: written atomically, read without unpickling anything but tensors and plain values."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from headpose.errors import DataError
from headpose.files import atomic_path

FORMAT = 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes the state of a run; a crash leaves the previous checkpoint whole."""
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, **state}, temporary)


def load(path: Path) -> dict[str, Any]:
    """Reads what ``save`` wrote.

    Raises:
        DataError: the file is missing, damaged, or of another format.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise DataError(f"cannot read the checkpoint {path}: {_first_line(error)}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DataError(f"{path} is not a checkpoint of this version")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
