"""Checkpoints and weights: written atomically, read without unpickling anything but tensors and plain values."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from headpose.errors import DataError, WeightsError
from headpose.files import atomic_path

FORMAT = 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes the state of a run; a crash leaves the previous checkpoint whole.

    Raises:
        HeadPoseError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save({"format": FORMAT, **state}, temporary)
        except RuntimeError as error:  # torch's writer has no other kind, and no reason either
            raise OSError(f"is the disk full? ({_first_line(error)})") from error


def load(path: Path) -> dict[str, Any]:
    """Reads what ``save`` wrote.

    Raises:
        DataError: the file is missing, damaged, or of another format.
    """
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is damaged")
        state = read_torch(path)
    except Exception as error:  # a damaged file makes torch raise nearly anything
        raise DataError(f"cannot read the checkpoint {path}: {_first_line(error)}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DataError(f"{path} is not a checkpoint of this version")
    return state


def read_torch(path: Path) -> Any:
    """What ``torch.save`` wrote, of tensors and plain values, on the CPU.

    Raises:
        ValueError: the file unpacks to more than it holds: it was not written by ``torch.save``.
        Exception: whatever torch makes of a damaged file.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:  # torch packs nothing, so a small file cannot hold a large tensor
            whole = sum(entry.file_size for entry in archive.infolist())
        if whole > path.stat().st_size:
            raise ValueError(f"it unpacks to {whole:,} bytes, more than torch.save would write")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged files; the error says what is wrong with them
        return torch.load(path, map_location="cpu", weights_only=True)


def save_weights(path: Path, state: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes a state dict and metadata as .safetensors, atomically; HeadPoseError if it cannot be written."""
    with atomic_path(path) as temporary:
        try:
            save_file(state, temporary, metadata)
        except SafetensorError as error:
            raise OSError(_first_line(error)) from error


def to_bytes(state: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """A state dict as .safetensors, the same bytes each time: its writer shuffles the entries of the metadata."""
    data = safetensors.save(state, metadata)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at multiples of 8
    return len(text).to_bytes(8, "little") + text + data[end:]


def load_weights(network: nn.Module, path: Path) -> None:
    """Takes the weights of a .safetensors file over, step counters apart.

    Raises:
        WeightsError: the file is missing or damaged, lacks a tensor or has one of another network.
    """
    try:
        state = load_file(path)
        keys = network.load_state_dict(state, strict=False)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"cannot read the weights {path}: {_first_line(error)}") from error
    if lacking := [name for name in keys.missing_keys if not name.endswith("num_batches_tracked")]:
        raise WeightsError(f"{path} is of another network: it lacks {lacking[0]}")
    if keys.unexpected_keys:
        raise WeightsError(f"{path} is of another network: it has {keys.unexpected_keys[0]}")
    if wrong := [name for name, value in state.items() if not bool(value.isfinite().all())]:
        raise WeightsError(f"{path} is damaged: {wrong[0]} has values that are not finite")


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [""])[0] or type(error).__name__
