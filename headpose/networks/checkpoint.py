"""Checkpoints and weight files: written atomically, and read without unpickling arbitrary objects."""

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
    """Write a checkpoint atomically; a crash leaves the previous one intact.

    Args:
        path: File to write.
        state: Tensors and plain values by name.

    Raises:
        HeadPoseError: The file cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save({"format": FORMAT, **state}, temporary)
        except RuntimeError as error:  # torch raises this for any error, without a reason
            raise OSError(f"is the disk full? ({_first_line(error)})") from error


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint written by ``save``.

    Raises:
        DataError: The file is missing, damaged, or has another format.
    """
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is damaged")
        state = read_torch(path)
    except Exception as error:  # torch raises many types for damaged files
        raise DataError(f"cannot read the checkpoint {path}: {_first_line(error)}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DataError(f"{path} is not a checkpoint of this version")
    return state


def read_torch(path: Path) -> Any:
    """Read tensors and plain values written by ``torch.save`` to the CPU.

    Raises:
        ValueError: The file is compressed, so it was not written by ``torch.save``.
        Exception: Any type that torch raises for a damaged file.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:  # torch does not compress, so a small file holds no large tensor
            whole = sum(entry.file_size for entry in archive.infolist())
        if whole > path.stat().st_size:
            raise ValueError(f"it unpacks to {whole:,} bytes, more than torch.save would write")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged files; the error says what is wrong with them
        return torch.load(path, map_location="cpu", weights_only=True)


def save_weights(path: Path, state: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a state dict and metadata as .safetensors, atomically.

    Raises:
        HeadPoseError: The file cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            save_file(state, temporary, metadata)
        except SafetensorError as error:
            raise OSError(_first_line(error)) from error


def to_bytes(state: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """Serialize a state dict as .safetensors with reproducible bytes (the library shuffles the metadata)."""
    data = safetensors.save(state, metadata)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at multiples of 8
    return len(text).to_bytes(8, "little") + text + data[end:]


def load_weights(network: nn.Module, path: Path) -> None:
    """Load the weights of a .safetensors file into a network; step counters of BatchNorm are ignored.

    Raises:
        WeightsError: The file is missing or damaged, or belongs to another network.
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
