"""The option ``--data``: replace the sources of a recipe by other data sets, whose kind is detected."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from headpose.errors import DataError


def add_argument(parser: argparse.ArgumentParser, recipe: str = "recipe") -> None:
    """Add the option ``--data PATH`` (a list ``data``) to a parser.

    Args:
        parser: Parser of a command that takes a recipe.
        recipe: Name of the recipe in the help text.
    """
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="PATH",
        help=f"a CSV manifest or a folder in 300W-LP's layout, in place of the {recipe}'s sources (repeatable); "
        "its license is unknown unless you state it: --set license=, license_terms=, data_note=",
    )


def read(paths: Sequence[str]) -> list[dict[str, str]]:
    """Convert paths to sources of a recipe.

    Raises:
        DataError: A path does not exist, or the layout of a folder is unknown.
    """
    return [{"kind": _kind(path), "path": path} for path in paths]


def _kind(path: str) -> str:
    try:
        if Path(path).is_file():
            return "manifest"
        if not Path(path).is_dir():
            raise DataError(f"--data {path}: there is no such file or folder")
        if any(Path(path).glob("data_batch_*.bin")):
            return "cifar-10"
        if any(next(Path(path).glob(pattern), None) for pattern in ("*.mat", "*/*.mat")):
            return "300w-lp"
    except (OSError, ValueError) as error:
        raise DataError(f"--data {path}: cannot read it: {error}") from error
    raise DataError(
        f"--data {path}: a folder in 300W-LP's layout has a .mat file beside each .jpg, in it or in its subfolders, "
        "and this one has none: give such a folder, or a CSV file with image,x1,y1,x2,y2,yaw,pitch,roll"
    )
