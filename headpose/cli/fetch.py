"""``headpose fetch``: download networks that are not part of the package."""

from __future__ import annotations

import argparse
from pathlib import Path

from headpose import download, weights
from headpose.cli.arguments import named_path
from headpose.errors import WeightsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``headpose fetch``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="name of a network (headpose models lists them)")
    parser.add_argument("--all", action="store_true", help="fetch every network of this version")
    parser.add_argument(
        "--to",
        type=named_path,
        metavar="DIR",
        help="folder to write to (default: the user's cache, where headpose looks for networks)",
    )


def run(args: argparse.Namespace) -> int:
    """Fetch the networks that are not available yet, and return the exit status."""
    if bool(args.names) == args.all:
        raise WeightsError("give either the names of networks to fetch or --all")
    for name in weights.manifest() if args.all else args.names:
        info = weights.lookup(name)
        here = _here(name) if args.to is None else None
        print(f"{name}: {here or download.fetch(info, args.to or weights.cache_folder())}")
    return 0


def _here(name: str) -> Path | None:
    """Return the path of a network's file, or None if it is missing or damaged."""
    try:
        return weights.find(name)
    except WeightsError:
        return None
