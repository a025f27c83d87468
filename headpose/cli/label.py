"""``headpose label``: label millions of pictures and hours of video, with processes or on a Ray cluster."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from headpose import files, weights
from headpose.bulk import commit, plan, storage
from headpose.bulk import run as runs
from headpose.bulk.plan import Settings
from headpose.bulk.progress import duration
from headpose.cli.arguments import add_network_options, named_path, non_empty, positive, share, whole

_EPILOG = """\
SOURCE is a picture, a video, a folder (with its subfolders), a pattern in quotes ("shots/*.jpg"), a tar file of
pictures (WebDataset), a Parquet file with a column of paths or of picture files, or a .txt file with a path in each
line; paths in a list are relative to its folder. It may be an fsspec address such as s3://bucket/folder.

DIR gets labels/part-*.parquet with one row per face, failures/part-*.parquet with what could not be read and why,
and summary.json. If the command is stopped or killed, run it again: it continues with the parts that are missing, and
the rows are those of an undisturbed run. The guide docs/guides/bulk.md describes the columns.

Exit status: 0 if every picture was read; 1 after an error, or if a picture could not be read; 130 after Ctrl-C.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``headpose label``."""
    parser.epilog = _EPILOG
    parser.add_argument("source", nargs="+", metavar="SOURCE", type=non_empty, help="what to label, see below")
    parser.add_argument("--out", type=named_path, metavar="DIR", help="folder of the labels; continued if it exists")
    parser.add_argument(
        "--ray", type=non_empty, metavar="auto|ADDRESS", help="run on a Ray cluster; auto starts one on this machine"
    )
    parser.add_argument(
        "--workers", type=whole, default=0, metavar="N", help="number of processes (default: one for each CPU)"
    )
    add_network_options(parser)
    parser.add_argument("--max-faces", type=positive, metavar="N", help="keep the N best-scoring faces of each picture")
    parser.add_argument(
        "--min-score", type=share, default=0.0, metavar="S", help="minimum score of a face, 0 to 1 (default: 0)"
    )
    parser.add_argument(
        "--every", type=positive, default=1, metavar="N", help="label one of N frames of a video (default: 1)"
    )
    parser.add_argument("--column", default="", metavar="NAME", help="column of a Parquet file with paths or pictures")
    parser.add_argument(
        "--shard-size", type=positive, default=runs.SHARD, metavar="N",
        help="number of pictures in a part, the most that is lost when a run is killed (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="label a sample, say how long all will take, and write nothing"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print no progress and no summary")


def run(args: argparse.Namespace) -> int:
    """Run ``headpose label`` and return the exit status."""
    # Workers on other machines have another working folder.
    model = str(Path(args.model).absolute()) if weights.is_path(args.model) else args.model
    detector_model = args.detector_model and str(Path(args.detector_model).absolute())
    settings = Settings(
        model, args.detector, detector_model, args.min_face, args.max_faces, args.min_score, args.every,
        args.device,
    )  # fmt: skip
    if args.dry_run:
        return _forecast(args, settings)
    _check(args)
    workers = args.workers or (0 if args.ray else os.cpu_count() or 1)
    summary = runs.label(
        args.source, args.out, settings, workers=workers, ray=args.ray or "", shard=args.shard_size,
        column=args.column, quiet=args.quiet,
    )  # fmt: skip
    if not args.quiet:
        _print(summary, args.out)
    return int(bool(summary["failures"]))


def _check(args: argparse.Namespace) -> None:
    from headpose.errors import HeadPoseError

    if args.out is None:
        raise HeadPoseError("headpose label needs --out DIR, the folder of the labels, or --dry-run")
    out: Path = args.out
    ours = [out / plan.MANIFEST, out / plan.PLAN, out / runs.SUMMARY]
    ours += [file for shard in range(2) for file in (commit.labels_file(out, shard), commit.failures_file(out, shard))]
    read = [source for source in args.source if not storage.is_url(source)]
    network = args.model if weights.is_path(args.model) else None
    files.check_outputs([*read, network, args.detector_model], data={"--out": ours})


def _forecast(args: argparse.Namespace, settings: Settings) -> int:
    found = runs.forecast(args.source, settings, args.column)
    workers = args.workers or os.cpu_count() or 1
    seconds = found.pictures / found.rate
    shares = ", ".join(f"{name} {share:.0%}" for name, share in found.shares.items())
    print(
        f"{found.pictures:,} pictures; {found.rate:.1f} per second with one worker ({shares}; {found.sampled} sampled)"
    )
    print(f"one worker: {duration(seconds)}; {workers} workers: about {duration(seconds / workers)}")
    return 0


def _print(summary: dict[str, Any], out: Path) -> None:
    this_run = summary["this_run"]
    failed = sum(summary["failures"].values())
    print(f"{out}: pictures: {summary['pictures']:,}, faces: {summary['faces']:,}, not readable: {failed:,}")
    taken, rate = duration(this_run["seconds"]), this_run["pictures_per_second"]
    print(f"this run: {this_run['pictures']:,} in {taken}, {rate:.1f}/s")
    for kind, count in summary["failures"].items():
        print(f"  {kind}: {count:,} (see {out / 'failures'})", file=sys.stderr)
