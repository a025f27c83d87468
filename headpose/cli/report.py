"""``headpose report``: write a report of measured results."""

from __future__ import annotations

import argparse
from pathlib import Path

from headpose.cli.arguments import named_path
from headpose.errors import HeadPoseError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``headpose report``."""
    parser.description = (
        "Read result files and write one report, without measuring. DIR contains accuracy/NAME.json (required),\n"
        "predictions/NAME.csv, networks.json, robustness/results.json, latency.json and compress/report.json,\n"
        "all written by python eval/all.py."
    )
    parser.add_argument("source", type=named_path, metavar="DIR", help="folder of results, or an earlier results.json")
    parser.add_argument(
        "--out", type=named_path, metavar="OUT", help="folder for report.html, report.md and results.json"
    )
    parser.add_argument(
        "--data",
        type=named_path,
        metavar="AFLW2000",
        help="folder of the test set, for curves over yaw and, in --out, the worst cases",
    )
    parser.add_argument(
        "--docs", type=named_path, metavar="FILE", help="write a page of tables, and results.json in the same folder"
    )
    parser.add_argument(
        "--readme",
        type=named_path,
        metavar="FILE",
        help="update the table between the <!-- results --> markers of this file",
    )


def run(args: argparse.Namespace) -> int:
    """Write the requested files, and return the exit status."""
    from headpose import files
    from headpose.report import faces, folder, write
    from headpose.report.records import to_json

    if not (args.out or args.docs or args.readme):
        raise HeadPoseError("nothing to write: give a folder (--out), or files (--docs, --readme)")
    if args.data and args.source.is_file():
        raise HeadPoseError(f"--data needs the predictions in a folder of results, but {args.source} is a file")
    results = folder.read(args.source)
    _check_outputs(args)
    predicted = None
    if args.data:
        predicted = faces.read(args.source, results, args.data)
        results = faces.with_curves(results, predicted)
    readme = write.with_readme_block(_text(args.readme), results) if args.readme else ""
    if args.out:
        print(f"report: {write.write_folder(args.out, results, predicted)}")
    if args.docs:
        files.write_text(args.docs, write.docs_page(results))
        beside = args.docs.with_name(write.JSON)
        if not _is_source(beside, args):
            files.write_text(beside, to_json(results))
        print(f"report: {args.docs}")
    if args.readme:
        files.write_text(args.readme, readme)
        print(f"report: {args.readme}")
    return 0


def _check_outputs(args: argparse.Namespace) -> None:
    """Check that no output is an input or another output.

    Raises:
        HeadPoseError: Two of the files are the same.
    """
    from headpose import files
    from headpose.report import folder, page, write

    read = [args.source]
    if args.source.is_dir():
        parts = (folder.ACCURACY, folder.PREDICTIONS, folder.NETWORKS)
        read = [args.source / part for part in (*parts, folder.ROBUSTNESS, folder.LATENCY, folder.COMPRESS)]
    beside = args.docs and args.docs.with_name(write.JSON)
    files.check_outputs(
        [*read, args.data],
        text={"--docs": args.docs, "--readme": args.readme},
        data={
            "--out": args.out and [args.out / name for name in (write.JSON, page.MARKDOWN, page.HTML)],
            "--docs, results.json": None if not beside or _is_source(beside, args) else [beside],
        },
    )


def _is_source(path: Path, args: argparse.Namespace) -> bool:
    return path.exists() and path.samefile(args.source)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HeadPoseError(f"cannot read {path}: {error}") from None
