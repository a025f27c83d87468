"""``--set key=value``: changes to a recipe before it is read."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from headpose.errors import RecipeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def add_argument(parser: argparse.ArgumentParser, example: str) -> None:
    """Adds ``--set KEY=VALUE``, a list of changes named ``overrides``, to a command that takes a recipe."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"change a setting of the recipe, for example --set {example} (may be repeated)",
    )


def apply(values: dict[str, Any], override: str) -> None:
    """Changes one value of a nested structure, in place.

    Args:
        values: tables within tables, and lists of them.
        override: ``section.key=value`` with the value in TOML, or a bare word for a string; a number
            in the path counts a list's entries from 0.

    Raises:
        RecipeError: there is no such place. Whether the key means anything is not checked here.
    """
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise RecipeError(f"--set needs key=value, got {override!r}")
    try:
        parsed = tomllib.loads(f"value = {text}")
        value = parsed["value"] if len(parsed) == 1 else text  # a line end in it begins another setting
    except (ValueError, RecursionError):  # no TOML, or a number or a nesting that is too long for Python
        value = text
    *sections, key = path.strip().split(".")
    at: Any = values
    for section in sections:
        at = at.setdefault(section, {}) if isinstance(at, dict) else _item(at, section, override)
    if isinstance(at, list):
        at[_index(at, key, override)] = value
    elif isinstance(at, dict):
        at[key] = value
    else:
        raise RecipeError(f"--set {override}: {'.'.join(sections)} has no parts")


def _item(values: Any, key: str, override: str) -> Any:
    if not isinstance(values, list):
        raise RecipeError(f"--set {override}: {key} is not a section")
    return values[_index(values, key, override)]


def _index(values: list[Any], key: str, override: str) -> int:
    if not key.isdecimal() or int(key) >= len(values):
        raise RecipeError(f"--set {override}: {key} is not one of the numbers 0 to {len(values) - 1}")
    return int(key)
