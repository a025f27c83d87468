"""Writes docs/recipes.md, the reference of all keys of recipes, from the classes that read them.

python scripts/document_recipes.py
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from headpose.cli.program import imports_from, run_program
from headpose.files import write_text

with imports_from("train", "document_recipes"):
    from headpose import config
    from headpose.compression.recipe import CompressionRecipe
    from headpose.networks.spec import ResNetSpec
    from headpose.recipes.training import Recipe

PAGE = Path(__file__).resolve().parents[1] / "docs" / "recipes.md"
_HEAD = """\
# Keys of recipes

This page lists all keys of the TOML files that `headpose train` and `headpose compress` read. `--set KEY=VALUE` changes
a key on the command line. `N` is an index of a list, from 0; `NAME` is a name that you choose. Keys without a default
are required. The package's own recipes are in `headpose/recipes/`. `scripts/document_recipes.py` writes this page from
the classes that read recipes, and a test compares them.
"""
_WORDS = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


def main() -> int:
    return run_program("document_recipes", _main)


def _main() -> int:
    argparse.ArgumentParser(prog="document_recipes", description=__doc__.splitlines()[0]).parse_args()
    write_text(PAGE, page())
    return 0


def page() -> str:
    """Return the page as Markdown."""
    return "\n".join(
        [
            _HEAD,
            "## `headpose train`",
            "",
            *_tables(Recipe),
            "`network` may also list `block`, `stem`, `stages`, ... block by block, as in the `recipe.json` of a "
            "pruned network (`headpose.networks.spec.ResNetSpec`), or be a plain network with `size`, `layers` and "
            "`head` (`headpose.networks.spec.PlainSpec`).",
            "",
            "## `headpose compress`",
            "",
            *_tables(CompressionRecipe),
        ]
    )


def _tables(kind: type[Any]) -> list[str]:
    """One Markdown table for each table of a recipe, under its name; the keys outside of any table come first."""
    tables: dict[str, list[str]] = {}
    for key, may_be, default, meaning in sorted(_rows(kind), key=lambda row: "." in row[0]):
        meaning = meaning[:1].upper() + meaning[1:]
        cells = (cell.replace("|", "\\|") for cell in (f"`{key}`", may_be, default, meaning))
        tables.setdefault(key.partition(".")[0] if "." in key else "", []).append(f"| {' | '.join(cells)} |")
    lines = []
    for name, rows in tables.items():
        title = [f"### `[{name}]`", ""] if name else []
        lines += [*title, "| key | value | default | meaning |", "|---|---|---|---|", *rows, ""]
    return lines


def _rows(kind: type[Any], prefix: str = "", default: Any = dataclasses.MISSING) -> Iterator[tuple[str, str, str, str]]:
    """Key, what it may be, default and meaning of each setting of a table and of those within it."""
    meanings = attributes(kind)
    for name, hint, extras, own in config.fields(kind):
        value = getattr(default, name) if dataclasses.is_dataclass(default) else own
        table, path = _table_of(hint), f"{prefix}{name}"
        if table is not None:
            yield from _rows(table, f"{path}.", value)
            continue
        within = get_args(hint)
        if get_origin(hint) is dict:
            yield from _rows(within[1], f"{path}.NAME.")
        elif get_origin(hint) is tuple and (entry := _table_of(_plain(within[0])[0])) is not None:
            yield from _rows(entry, f"{path}.N.")
        else:
            shown = "" if value is dataclasses.MISSING else f"`{json.dumps(value)}`"
            yield path, _may_be(hint, extras), shown, meanings[name]


def _table_of(hint: Any) -> type[Any] | None:
    """Return the class of a table; for a network, the class that is written by hand."""
    options = get_args(hint) if ResNetSpec in get_args(hint) else (hint,)
    return next((each for each in options if dataclasses.is_dataclass(each) and isinstance(each, type)), None)


def _plain(hint: Any) -> tuple[Any, list[Any]]:
    extras: list[Any] = []
    while get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        extras += more
    return hint, extras


def _may_be(hint: Any, extras: Any) -> str:
    if words := config.allowed(hint, extras):
        return words
    options = get_args(hint)
    if get_origin(hint) is tuple:
        inner = _may_be(*_plain(options[0]))
        if options[-1] is Ellipsis:
            return f"a list, each {inner}"
        return f"a list of {len(options)}, each {inner}"
    if hint in _WORDS:
        return _WORDS[hint]
    return ", or ".join(_may_be(*_plain(option)) for option in options)


def attributes(kind: type[Any]) -> dict[str, str]:
    """Return the description of each attribute in the docstring of a class."""
    text = (inspect.getdoc(kind) or "").partition("Attributes:")[2]
    found: dict[str, str] = {}
    for match in re.finditer(r"^    (\w+(?:, \w+)*): (.+(?:\n      .+)*)", text, re.MULTILINE):
        meaning = " ".join(match[2].split()).replace("``", "`")
        found.update(dict.fromkeys(match[1].split(", "), meaning))
    return found


if __name__ == "__main__":
    sys.exit(main())
