"""``headpose synth``: render heads with exact labels, as a data set or a contact sheet."""

from __future__ import annotations

import argparse

from headpose import files, images
from headpose.cli import synth_turn
from headpose.cli.arguments import named_path
from headpose.errors import HeadPoseError
from headpose.synth import scene, sheet, writer
from headpose.synth.groups import GROUPS
from headpose.synth.pose import DENSITIES
from headpose.synth.writer import Settings

_SIZES = (48, 1024)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``headpose synth``."""
    parser.add_argument("--n", type=int, default=64, metavar="N", help="number of heads (default: %(default)s)")
    parser.add_argument("--size", type=int, default=128, metavar="S", help="side in pixels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="random seed of the heads (default: 0)")
    parser.add_argument(
        "--out", type=named_path, metavar="DIR", help="folder in 300W-LP's layout; resumed if it exists"
    )
    parser.add_argument(
        "--poses", choices=list(DENSITIES), default="people", metavar="NAME",
        help=f"density of the poses: {', '.join(DENSITIES)} (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=1, metavar="W", help="number of processes (default: 1)")
    parser.add_argument(
        "--assets", default="", metavar="DIR", help="folder with additional skins, hair, hats and light"
    )
    parser.add_argument(
        "--without", nargs="+", default=[], choices=list(GROUPS), metavar="GROUP",
        help=f"leave out groups of ingredients, to measure their effect: {', '.join(GROUPS)}",
    )  # fmt: skip
    parser.add_argument(
        "--sheet", type=named_path, metavar="FILE", help="write one image of all heads instead of a folder"
    )
    parser.add_argument(
        "--columns", type=int, default=8, metavar="C", help="number of columns of the sheet (default: 8)"
    )
    parser.add_argument("--axes", action="store_true", help="draw the labels as axes on the sheet")
    turn = parser.add_subparsers(metavar="turn").add_parser(
        "turn",
        help="rotate the heads of existing photographs",
        description="Rotate the heads of photographs in yaw and pitch.",
    )
    synth_turn.add_arguments(turn)
    turn.set_defaults(run=synth_turn.run)


def run(args: argparse.Namespace) -> int:
    """Write the folder or the sheet, and return the exit status."""
    _check(args)
    settings = Settings(args.seed, args.size, args.assets, tuple(args.without), args.poses)
    if args.sheet is not None:
        studio = scene.open_studio(args.assets or None)
        images.write_image(args.sheet, sheet.contact_sheet(settings, args.n, studio, args.columns, args.axes))
        print(f"{args.n} heads in {args.sheet}")
        return 0
    made = writer.write(settings, args.n, args.out, args.workers)
    print(f"{args.n} heads in {args.out}, {made} of them new")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Check the arguments.

    Raises:
        HeadPoseError: A value is out of range, or options conflict.
    """
    if (args.out is None) == (args.sheet is None):
        raise HeadPoseError("give one of --out DIR, for a data set, or --sheet FILE.jpg, for one image of all heads")
    if args.sheet is not None and not images.is_writable_format(args.sheet):
        raise HeadPoseError(f"--sheet {args.sheet} is not the name of an image file: use .jpg or .png")
    files.check_outputs([args.assets or None], data={"--sheet": args.sheet, "--out": [args.out] if args.out else None})
    for name, least in (("n", 1), ("workers", 1), ("columns", 1), ("seed", 0)):
        if getattr(args, name) < least:
            raise HeadPoseError(f"--{name} must be {least} or more, got {getattr(args, name)}")
    if not _SIZES[0] <= args.size <= _SIZES[1]:
        raise HeadPoseError(f"--size must be {_SIZES[0]} to {_SIZES[1]} pixels, got {args.size}")
