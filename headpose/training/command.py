"""``headpose train``: from a recipe to a folder with weights, log, curves and an ONNX network."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file

from headpose.training import log, recipe
from headpose.training.export import ModelCard, export_onnx
from headpose.training.loop import BEST, LOG, Trainer
from headpose.training.network import HeadPoseNet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``headpose train``."""
    parser.add_argument("recipe", help=f"one of {', '.join(recipe.names())}, or the path of a TOML file")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the recipe, for example --set run.images=100000 (may be repeated)",
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the run (default: runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the folder")


def run(args: argparse.Namespace) -> int:
    """Trains, then writes ``curves.png`` and ``NAME.onnx`` beside the weights."""
    settings = recipe.load(args.recipe, args.overrides)
    folder = Path(args.out) if args.out else Path("runs") / settings.name
    trainer = Trainer(settings, folder, resume=args.resume)
    split = trainer.split
    print(f"{settings.name}: {len(split.training)} faces to train on, {len(split.validation)} to validate on")
    trainer.run()
    log.draw_curves(log.read(folder / LOG), folder / "curves.png", settings.name)
    best = HeadPoseNet(settings.network.build())
    best.load_state_dict(load_file(folder / BEST), strict=False)
    target = folder / f"{settings.name}.onnx"
    card = ModelCard(settings.name, "fp32", settings.lane, settings.licence, settings.data_note, settings.name)
    with torch.no_grad():
        export_onnx(best, settings.crop, card, target)
    progress = trainer.progress
    print(
        f"best validation: geodesic error {progress.best_geodesic:.3f} degrees after "
        f"{progress.best_step * settings.run.batch} images; exported to {target}"
    )
    return 0
