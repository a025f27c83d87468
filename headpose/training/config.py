"""Configuration files: found by name or path, and turned into frozen dataclasses without a loose end."""

from __future__ import annotations

import importlib.resources
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import dacite

from headpose.errors import RecipeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from importlib.abc import Traversable

T = TypeVar("T")


def parse(kind: type[T], values: dict[str, Any]) -> T:
    """A frozen dataclass, and those within it, from plain values.

    Raises:
        RecipeError: an unknown key, a missing one, a wrong type, or a value that a class refuses.
    """
    config = dacite.Config(strict=True, cast=[tuple], type_hooks={float: _number})
    try:
        return dacite.from_dict(kind, values, config)
    except (dacite.DaciteError, ValueError, TypeError) as error:
        raise RecipeError(f"recipe: {' '.join(str(error).split())}") from error


def read_file(name_or_path: str, there_are: Mapping[str, Traversable]) -> dict[str, Any]:
    """The values of a recipe of the package, by name, of a TOML file, or of the ``recipe.json`` of a run.

    Raises:
        RecipeError: no such recipe, or the file is damaged.
    """
    try:
        if name_or_path in there_are:
            text = there_are[name_or_path].read_text("utf-8")
        else:
            text = Path(name_or_path).read_text("utf-8")
        values = json.loads(text) if name_or_path.endswith(".json") else tomllib.loads(text)
    except OSError as error:
        raise RecipeError(
            f"no recipe {name_or_path!r}: give one of {', '.join(there_are)}, or the path of a TOML file"
        ) from error
    except ValueError as error:  # of either format, or no text
        raise RecipeError(f"{name_or_path} is not a recipe: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{name_or_path} is not a recipe: an object is wanted")
    return values


def packaged(package: str) -> dict[str, Traversable]:
    """The recipes in a folder of the package, by name."""
    folder = importlib.resources.files(package)
    files = {Path(entry.name).stem: entry for entry in folder.iterdir() if entry.name.endswith(".toml")}
    return dict(sorted(files.items()))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"a number is needed, got {value!r}")
    return float(value)
