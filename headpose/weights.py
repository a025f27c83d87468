"""Manifest of the networks, search for their files, and check of the files' hashes."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import math
import os
import sys
from pathlib import Path
from typing import Any, get_args

import platformdirs

from headpose import files, licenses
from headpose.errors import WeightsError
from headpose.types import CropSpec, Kind, ModelInfo

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PACKAGE = Path(__file__).parent
_MANIFEST = _PACKAGE / "models.toml"
_KINDS: tuple[str, ...] = get_args(Kind)
_PRECISIONS, _LICENSES = ("fp32", "fp16", "int8"), ("permissive", "research-only")


@functools.cache
def _packaged_manifest() -> dict[str, ModelInfo]:
    return read_manifest(_MANIFEST)


def manifest() -> dict[str, ModelInfo]:
    """Return the networks of this package by name, in the order of ``models.toml``."""
    return dict(_packaged_manifest())


def list_models(pattern: str = "*", kind: Kind = "pose") -> list[str]:
    """List the names of the networks that ``HeadPoseEstimator`` and ``load_model`` accept.

    Args:
        pattern: Glob pattern that the names must match, for example ``"student*"``.
        kind: ``"landmarks"`` lists those that ``load_landmark_model`` accepts instead.

    Returns:
        The names, in the order of ``models.toml``; empty if no name matches.

    Example:
        >>> "student" in list_models("student*")
        True
    """
    return [name for name, info in manifest().items() if info.kind == kind and fnmatch.fnmatchcase(name, pattern)]


def read_manifest(path: str | os.PathLike[str]) -> dict[str, ModelInfo]:
    """Read a manifest of weights.

    Args:
        path: Path of a TOML file with the layout of ``models.toml``.

    Returns:
        The entries by name, in the order of the file.

    Raises:
        WeightsError: The file is missing or is not TOML, or an entry has an unknown key, lacks a key, or has a value of
            the wrong type or out of range.
    """
    try:
        tables = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WeightsError(f"cannot read the manifest {path}: {error}") from None
    return {name: _entry(name, table, path) for name, table in tables.items()}


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the path of a network's file.

    The file of a name in the manifest is searched for in ``$HEADPOSE_WEIGHTS``, the checkout's ``weights/``, the
    installed package and the user's cache, in that order. The first file found must have the SHA-256 of the manifest.

    Args:
        name_or_path: Name in the manifest, or path of a file (see ``is_path``), which is returned unchanged.

    Raises:
        WeightsError: The file does not exist, the name is unknown, or the file has another SHA-256.
    """
    if is_path(name_or_path):
        path = Path(name_or_path)
        if not path.is_file():
            raise WeightsError(f"model file {path} does not exist")
        return path
    info = lookup(str(name_or_path))
    for folder in search_folders():
        path = folder / info.file
        if path.is_file():
            verify(path, info)
            return path
    looked_in = ", ".join(map(str, search_folders()))
    raise WeightsError(
        f"model {info.name} is missing: run headpose fetch {info.name} ({info.file} is not in {looked_in})"
    )


def lookup(name: str) -> ModelInfo:
    """Return the manifest's entry of a network.

    Args:
        name: Name of the network.

    Raises:
        WeightsError: The name is unknown. The message lists the known names.
    """
    models = manifest()
    if name not in models:
        known = ", ".join(models) or "none"
        raise WeightsError(f"unknown model {name!r}: the known models are {known}; or give the path of an .onnx file")
    return models[name]


def is_path(name_or_path: str | os.PathLike[str]) -> bool:
    """Return whether ``find`` reads the argument as a path.

    A path is no string, contains a separator, or ends in ``.onnx`` or ``.safetensors``.
    """
    if not isinstance(name_or_path, str):
        return True
    return name_or_path.endswith((".onnx", ".safetensors")) or "/" in name_or_path or os.sep in name_or_path


def verify(path: Path, info: ModelInfo) -> None:
    """Check a file against the manifest.

    Args:
        path: Path of the file.
        info: Entry of the manifest.

    Raises:
        WeightsError: The SHA-256 of the file differs from that of the entry.
    """
    actual = files.sha256_of(path)
    if actual != info.sha256:
        raise WeightsError(
            f"{path} is not model {info.name} of this version: its SHA-256 is {actual[:12]}..., "
            f"not {info.sha256[:12]}...; fetch the file again, or give its path to use it unchecked"
        )


def check_crop(name_or_path: str | os.PathLike[str], crop: CropSpec, path: Path) -> None:
    """Check the crop settings of a loaded network against the manifest, if it was loaded by name.

    Args:
        name_or_path: Argument of ``find``.
        crop: Crop settings in the file's metadata.
        path: Path of the file, for messages.

    Raises:
        WeightsError: They differ.
    """
    if not is_path(name_or_path) and (info := lookup(str(name_or_path))).crop != crop:
        raise WeightsError(f"the crop in {path} differs from that in models.toml for {info.name}: export it again")


def search_folders() -> list[Path]:
    """Return the folders in which ``find`` searches for a named network, in order. They may not exist."""
    named = os.environ.get("HEADPOSE_WEIGHTS")
    first = [Path(named).expanduser()] if named else []
    return [*first, _PACKAGE.parent / "weights", _PACKAGE / "_weights", cache_folder()]


def cache_folder() -> Path:
    """Return the user's cache folder, where ``headpose fetch`` stores networks. It may not exist."""
    return platformdirs.user_cache_path("headpose", appauthor=False, opinion=False)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf


def _entry(name: str, table: Any, path: str | os.PathLike[str]) -> ModelInfo:
    def wrong(what: str) -> WeightsError:
        return WeightsError(f"{path}, model {name}: {what}")

    if not isinstance(table, dict):
        raise wrong("an entry must be a table")
    table = licenses.with_current_keys(table)
    fields = {field.name for field in dataclasses.fields(ModelInfo)} - {"name"}
    if unknown := set(table) - fields:
        raise wrong(f"unknown key {', '.join(sorted(unknown))}")
    if missing := fields - set(table) - {"metrics", "kind"}:
        raise wrong(f"missing key {', '.join(sorted(missing))}")
    texts = fields - {"bytes", "crop", "metrics"}
    if bad := [key for key in sorted(texts & set(table)) if not isinstance(table[key], str)]:
        raise wrong(f"{bad[0]} must be text")
    if table["file"] in ("", "..") or Path(table["file"]).name != table["file"]:
        raise wrong("file must be a file name without a folder")
    if isinstance(table["bytes"], bool) or not isinstance(table["bytes"], int) or table["bytes"] <= 0:
        raise wrong("bytes must be a whole number above 0")
    if len(table["sha256"]) != 64 or set(table["sha256"]) - set("0123456789abcdef"):
        raise wrong("sha256 must be 64 lower-case hexadecimal digits")
    if table["precision"] not in _PRECISIONS or table["license"] not in _LICENSES:
        raise wrong(f"precision must be one of {', '.join(_PRECISIONS)}, license one of {', '.join(_LICENSES)}")
    if table.get("kind", "pose") not in _KINDS:
        raise wrong(f"kind must be one of {', '.join(_KINDS)}")
    metrics = table.get("metrics", {})
    if not isinstance(metrics, dict) or not all(_is_finite(value) for value in metrics.values()):
        raise wrong("metrics must be a table of numbers")
    try:
        crop = CropSpec.from_dict(table["crop"])
    except ValueError as error:
        raise wrong(str(error)) from None
    metrics = {key: float(value) for key, value in metrics.items()}
    return ModelInfo(**{**table, "name": name, "crop": crop, "metrics": metrics})
