"""``headpose synth turn``: rotate the heads in photographs out of plane."""

from __future__ import annotations

import argparse

from headpose import files
from headpose.cli.arguments import named_path, positive, whole
from headpose.errors import HeadPoseError
from headpose.synth import turned
from headpose.synth.turned import Settings

_SIZES = (48, 1024)
_LARGEST = Settings()  # its defaults are the largest angles to which a head can be rotated


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``headpose synth turn``."""
    parser.add_argument(
        "--source", type=named_path, required=True, metavar="MANIFEST",
        help="CSV of labeled photographs: image,x1,y1,x2,y2,yaw,pitch,roll[,spread|weight][,group]",
    )  # fmt: skip
    parser.add_argument(
        "--landmarks", type=named_path, metavar="FILE",
        help=".npz with 68 landmarks of all or some photographs; the others are fitted by their bounding boxes",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=named_path, required=True, metavar="DIR", help="folder in 300W-LP's layout; resumed if it exists"
    )
    parser.add_argument(
        "--views", type=positive, default=3, metavar="N", help="number of images per photograph (default: %(default)s)"
    )
    parser.add_argument("--size", type=positive, default=128, metavar="S", help="side in pixels (default: %(default)s)")
    parser.add_argument(
        "--seed", type=whole, default=0, metavar="K", help="random seed of poses and framing (default: 0)"
    )
    parser.add_argument("--workers", type=positive, default=1, metavar="W", help="number of processes (default: 1)")
    for name in ("yaw", "pitch"):
        parser.add_argument(
            f"--{name}", type=float, default=getattr(_LARGEST, name), metavar="DEGREES",
            help=f"largest absolute {name} (default: %(default)g)",
        )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the folder, and return the exit status."""
    if not _SIZES[0] <= args.size <= _SIZES[1]:
        raise HeadPoseError(f"--size must be {_SIZES[0]} to {_SIZES[1]} pixels, got {args.size}")
    for name in ("yaw", "pitch"):
        if not 0 <= getattr(args, name) <= getattr(_LARGEST, name):
            raise HeadPoseError(f"--{name} must be 0 to {getattr(_LARGEST, name):g} degrees, got {getattr(args, name)}")
    files.check_outputs([args.source, args.landmarks], data={"--out": [args.out / name for name in turned.TABLES]})
    source = turned.read_source(args.source, args.landmarks)
    settings = Settings(args.seed, args.size, args.views, args.yaw, args.pitch)
    made = turned.write(settings, source, args.out, args.workers)
    print(f"{len(source.samples) * args.views} turned photographs in {args.out}, {made} of them new")
    return 0
