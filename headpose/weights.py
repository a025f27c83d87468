"""Which networks there are, where their files lie, and whether those files are what they claim to be."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import math
import os
import sys
from pathlib import Path
from typing import Any

import platformdirs

from headpose import files, licenses
from headpose.errors import WeightsError
from headpose.types import CropSpec, ModelInfo

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PACKAGE = Path(__file__).parent
_MANIFEST = _PACKAGE / "models.toml"
_PRECISIONS, _LICENSES = ("fp32", "fp16", "int8"), ("permissive", "research-only")


@functools.cache
def _packaged_manifest() -> dict[str, ModelInfo]:
    return read_manifest(_MANIFEST)


def manifest() -> dict[str, ModelInfo]:
    """The networks of this package by name, in the order of ``models.toml``."""
    return dict(_packaged_manifest())


def list_models(pattern: str = "*") -> list[str]:
    """List the names of the networks that ``HeadPoseEstimator`` and ``load_model`` take.

    Args:
        pattern: a glob that the names must match, for example ``"student*"``.

    Returns:
        The names, in the order of ``models.toml``; empty if none matches.

    Example:
        >>> "student" in list_models("student*")
        True
    """
    return [name for name in manifest() if fnmatch.fnmatchcase(name, pattern)]


def read_manifest(path: str | os.PathLike[str]) -> dict[str, ModelInfo]:
    """Reads a manifest of weights.

    Raises:
        WeightsError: the file is missing or no TOML, or an entry has an unknown key, lacks one, or
            has a value of the wrong type or out of range.
    """
    try:
        tables = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WeightsError(f"cannot read the manifest {path}: {error}") from None
    return {name: _entry(name, table, path) for name, table in tables.items()}


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """The file of a network.

    A path (it has a folder in it or ends in ``.onnx``) is taken as it is. A name of the manifest is
    looked for in ``$HEADPOSE_WEIGHTS``, the checkout's ``weights/``, the installed package and the
    user's cache, in that order; the first file found must have the manifest's SHA-256.

    Raises:
        WeightsError: no such file, no such name, or a file that is not the manifest's.
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
        f"model {info.name} is not here: headpose fetch {info.name} brings it ({info.file} is in none of {looked_in})"
    )


def lookup(name: str) -> ModelInfo:
    """The manifest's entry of that name; WeightsError, with the names there are, if there is none."""
    models = manifest()
    if name not in models:
        there_is = ", ".join(models) or "none"
        raise WeightsError(f"unknown model {name!r}: there is {there_is}; or give the path of an .onnx file")
    return models[name]


def is_path(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether ``find`` takes the argument for a file's path rather than for a name."""
    if not isinstance(name_or_path, str):
        return True
    return name_or_path.endswith(".onnx") or "/" in name_or_path or os.sep in name_or_path


def verify(path: Path, info: ModelInfo) -> None:
    """WeightsError unless the file has the SHA-256 of the manifest's entry."""
    actual = files.sha256_of(path)
    if actual != info.sha256:
        raise WeightsError(
            f"{path} is not model {info.name} of this version: its SHA-256 is {actual[:12]}..., "
            f"not {info.sha256[:12]}...; get that file again, or give its path to use it as it is"
        )


def search_folders() -> list[Path]:
    """Where ``find`` looks for a named network's file, in order. Folders that may not exist."""
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
        raise wrong("an entry is a table")
    table = licenses.with_current_keys(table)
    fields = {field.name for field in dataclasses.fields(ModelInfo)} - {"name"}
    if unknown := set(table) - fields:
        raise wrong(f"unknown key {', '.join(sorted(unknown))}")
    if missing := fields - set(table) - {"metrics"}:
        raise wrong(f"missing key {', '.join(sorted(missing))}")
    texts = fields - {"bytes", "crop", "metrics"}
    if bad := [key for key in sorted(texts) if not isinstance(table[key], str)]:
        raise wrong(f"{bad[0]} must be text")
    if table["file"] in ("", "..") or Path(table["file"]).name != table["file"]:
        raise wrong("file must be a file's name, without a folder")
    if isinstance(table["bytes"], bool) or not isinstance(table["bytes"], int) or table["bytes"] <= 0:
        raise wrong("bytes must be a whole number above 0")
    if len(table["sha256"]) != 64 or set(table["sha256"]) - set("0123456789abcdef"):
        raise wrong("sha256 must be 64 lower-case hexadecimal digits")
    if table["precision"] not in _PRECISIONS or table["license"] not in _LICENSES:
        raise wrong(f"precision must be one of {', '.join(_PRECISIONS)}, license one of {', '.join(_LICENSES)}")
    metrics = table.get("metrics", {})
    if not isinstance(metrics, dict) or not all(_is_finite(value) for value in metrics.values()):
        raise wrong("metrics must be a table of numbers")
    try:
        crop = CropSpec.from_dict(table["crop"])
    except ValueError as error:
        raise wrong(str(error)) from None
    metrics = {key: float(value) for key, value in metrics.items()}
    return ModelInfo(**{**table, "name": name, "crop": crop, "metrics": metrics})
