"""Overrides of recipe settings from the command line: ``--set key=value``."""

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
    """Add the option ``--set KEY=VALUE`` to a command that takes a recipe. ``overrides`` is the list of its values.

    Args:
        parser: Parser of the command.
        example: Example of an override, for --help.
    """
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"change a setting of the recipe, for example --set {example} (repeatable)",
    )


def apply(values: dict[str, Any], override: str) -> None:
    """Change one value of a recipe, in place.

    Args:
        values: Values of the recipe: nested tables and lists.
        override: ``section.key=value``. The value is TOML; any other text is read as a string. A number in the path is
            the index in a list, from 0.

    Raises:
        RecipeError: The override has no key, or its path leads into a value that is not a table or list. Whether the
            recipe knows the key is checked when it is parsed.
    """
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise RecipeError(f"--set needs key=value, got {override!r}")
    try:
        parsed = tomllib.loads(f"value = {text}")
        value = parsed["value"] if len(parsed) == 1 else text  # after a line break TOML would read another key
    except (ValueError, RecursionError):  # not TOML, or a number or nesting that Python cannot parse
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
        raise RecipeError(f"--set {override}: {'.'.join(sections)} is not a table")


def _item(values: Any, key: str, override: str) -> Any:
    if not isinstance(values, list):
        raise RecipeError(f"--set {override}: {key} is not inside a table")
    return values[_index(values, key, override)]


def _index(values: list[Any], key: str, override: str) -> int:
    if not key.isdecimal() or int(key) >= len(values):
        raise RecipeError(f"--set {override}: {key} is not an index from 0 to {len(values) - 1}")
    return int(key)
