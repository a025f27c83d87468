"""``headpose compress``: make a teacher, students, their files and a report from a recipe."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from headpose import folders
from headpose.cli.arguments import named_path
from headpose.coded import SUFFIX
from headpose.compression import forecast, recipe, report
from headpose.compression.pipeline import BASELINE, CONTROL, STRIDED, TEACHER, Compression
from headpose.files import check_outputs, write_text
from headpose.recipes import overrides
from headpose.report import page
from headpose.training import distributed, sources

STAGES = ("prune", "control", "distill", "connections", "encode", "export", "quantize", "report")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``headpose compress``."""
    parser.description = (
        "Prune a trained network, distill the result into students, store networks as codewords,\n"
        "export and quantize them, and write a report. "
        "To resume an interrupted run, give the same command again."
    )
    parser.add_argument("recipe", help=f"one of {', '.join(recipe.names())}, or the path of a TOML file")
    sources.add_argument(parser, "training recipe")
    overrides.add_argument(parser, "prune.steps=4")
    parser.add_argument("--out", type=named_path, metavar="DIR", help="folder of the run (default: runs/compress-NAME)")
    parser.add_argument(
        "--only",
        action="append",
        choices=STAGES,
        metavar="STAGE",
        help=f"run only this stage, one of {', '.join(STAGES)} (repeatable)",
    )
    parser.add_argument("--student", action="append", metavar="NAME", help="distill only this student (repeatable)")
    parser.add_argument(
        "--changed-data",
        action="store_true",
        help="continue although the data differ from those that the parts in the folder were made with",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print how long each stage will take on this machine, and exit",
    )
    parser.add_argument("--target-mb", type=float, metavar="MB", help="prune to this size (prune.stop.megabytes)")
    parser.add_argument(
        "--target-latency-ms",
        type=float,
        metavar="MS",
        help="prune to this time for one image, measured on this machine with one thread (prune.stop.latency_ms)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the stages in order, and return the exit status.

    Processes started by ``torchrun`` train together; the first one runs the other stages.
    """
    changes = list(args.overrides)
    for value, key in ((args.target_mb, "megabytes"), (args.target_latency_ms, "latency_ms")):
        if value is not None:
            changes.append(f"prune.stop.{key}={value}")
    settings = recipe.load(args.recipe, changes, sources.read(args.data))
    folder: Path = args.out or Path("runs") / f"compress-{settings.name}"
    networks = [BASELINE, STRIDED, TEACHER, CONTROL, *settings.students, *settings.connections]
    names = [f"{network}{ending}.onnx" for network in networks for ending in ("", "-fp16", "-int8")]
    names += [f"{network}{SUFFIX}" for network in settings.product]
    check_outputs(
        [args.recipe, settings.baseline.recipe, settings.baseline.weights, settings.baseline.teacher or None],
        data={"--out": [folder / name for name in ("recipe.json", report.JSON, page.MARKDOWN, page.HTML, *names)]},
    )
    if args.dry_run:
        print(forecast.text(forecast.measure(Compression(settings, folder), args.only or STAGES, args.student)))
        return 0
    with contextlib.ExitStack() as stack:
        if distributed.is_first():
            stack.enter_context(folders.occupied(folder))
        return _run(args, Compression(settings, folder, args.changed_data))


def _run(args: argparse.Namespace, compression: Compression) -> int:
    stages, folder = args.only or STAGES, compression.folder
    if "prune" in stages:
        compression.prune()
    if "control" in stages:
        compression.control()
    if "distill" in stages:
        compression.distill(args.student)
    if "connections" in stages:
        compression.sparsify()
    if "encode" in stages:
        compression.encode()
    processes = distributed.join()
    distributed.leave()
    if not processes.first:
        return 0
    files = compression.export() if {"export", "quantize", "report"} & {*stages} else {}
    if {"quantize", "report"} & {*stages}:
        files |= compression.quantize(files)
    if "report" in stages:
        write_text(folder / "recipe.json", compression.recipe.to_json())
        print(f"report: {report.write(compression, files)}")
    else:
        print(f"done: {', '.join(stages)} in {folder}")
    return 0
