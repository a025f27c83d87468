"""``headpose fetch``: brings networks that do not come with the package."""

from __future__ import annotations

import argparse
from pathlib import Path

from headpose import download, weights
from headpose.cli.arguments import named_path
from headpose.errors import WeightsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``headpose fetch``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks (headpose models lists them)")
    parser.add_argument("--all", action="store_true", help="every network of this version")
    parser.add_argument(
        "--to",
        type=named_path,
        metavar="DIR",
        help="folder for the files (default: the user's cache, where they are found)",
    )


def run(args: argparse.Namespace) -> int:
    """Fetches what is not here yet; returns the exit status."""
    if bool(args.names) == args.all:
        raise WeightsError("say which networks to fetch, or --all of them")
    for name in weights.manifest() if args.all else args.names:
        info = weights.lookup(name)
        here = _here(name) if args.to is None else None
        print(f"{name}: {here or download.fetch(info, args.to or weights.cache_folder())}")
    return 0


def _here(name: str) -> Path | None:
    """Where a network lies already, whole."""
    try:
        return weights.find(name)
    except WeightsError:
        return None
