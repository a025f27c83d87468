"""``headpose train``: from a recipe to a folder with weights, log, curves and an ONNX network."""

from __future__ import annotations

import argparse
import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headpose import crop, folders, geometry
from headpose.cli.arguments import non_empty
from headpose.errors import DataError, RecipeError, WeightsError
from headpose.files import check_outputs, write_text
from headpose.inference import OnnxPoseModel
from headpose.networks import checkpoint, pretrained
from headpose.networks.export import ModelCard, export_onnx
from headpose.networks.resnet import HeadPoseNet, build
from headpose.recipes import overrides, provenance
from headpose.recipes import training as recipe
from headpose.recipes.provenance import UNKNOWN, Origin
from headpose.training import distributed, forecast, log, sources
from headpose.training.loop import BEST, INIT, LAST, RECIPE, SPLIT, Trainer
from headpose.training.tasks.classification import ClassificationTask
from headpose.training.tasks.head_pose import HeadPoseTask
from headpose.training.validation import predict
from headpose.types import Image

_LARGEST_DIFFERENCE = 0.02  # degrees, between torch and ONNX Runtime in float32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``headpose train``."""
    parser.add_argument("recipe", help=f"one of {', '.join(recipe.names())}, or the path of a TOML file")
    sources.add_argument(parser)
    overrides.add_argument(parser, "run.images=100000")
    parser.add_argument("--out", type=non_empty, metavar="DIR", help="folder of the run (default: runs/NAME)")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in the folder, with its recipe"
    )
    parser.add_argument(
        "--changed-data",
        action="store_true",
        help="with --resume: go on though the data are others than those that the run began with",
    )
    parser.add_argument(
        "--init",
        metavar="NAME|FILE",
        help="start from weights: a network of this package (a name, .onnx, .safetensors), or a ResNet with "
        "torchvision's or VGGFace2's names (.safetensors, .pth)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what is drawn, how large, how fast and how long, and stop"
    )


def run(args: argparse.Namespace) -> int:
    """Trains, then writes ``curves.png`` and ``NAME.onnx`` beside the weights. ``torchrun`` may run many of it."""
    settings, folder, start = _settings(args)
    if not args.resume:  # the recipe that a run goes on with may be its own
        names = (RECIPE, SPLIT, INIT, BEST, LAST, log.FILE, "curves.png", "environment.txt", f"{settings.name}.onnx")
        lists = [source.path for source in settings.data.sources if Path(source.path).is_file()]
        check_outputs(
            [start.file if start else None, args.recipe, *lists], data={"--out": [folder / name for name in names]}
        )
    with contextlib.ExitStack() as stack:
        if distributed.is_first() and not args.dry_run:
            stack.enter_context(folders.occupied(folder))
        return _train(args, settings, folder, start)


@dataclass(frozen=True, slots=True)
class _Start:
    """What ``--init`` names: the file of the weights, and the network in it."""

    file: Path
    origin: Origin


def _train(args: argparse.Namespace, settings: recipe.Recipe, folder: Path, start: _Start | None) -> int:
    trainer = Trainer(settings, folder, resume=args.resume, changed_data=args.changed_data)
    if trainer.processes.first:
        examples = trainer.task.examples
        print(f"{settings.name}: {examples['training']} to train on, {examples['validation']} to validate on")
        if settings.license == UNKNOWN:
            words = "license=research-only (or permissive), license_terms=TEXT and data_note=TEXT"
            print(f"license: unknown; state it with --set {words}")
        else:
            print(f"license: {settings.license}; {settings.license_terms}")
        if args.changed_data and not args.dry_run:  # other data, other statement: the next one that goes on finds it
            write_text(folder / RECIPE, trainer.recipe.to_json())
    if start:
        match = trainer.start_from(start.file, start.origin.name)
        if trainer.processes.first:
            print(f"{args.init}: {match}")
    if args.dry_run:
        if isinstance(trainer.task, HeadPoseTask):
            print(forecast.sampling(trainer.task))
        print(forecast.text(forecast.measure(trainer)))
        return 0
    trainer.run()
    trainer.processes.wait()
    distributed.leave()
    if trainer.processes.first:
        _finish(trainer, settings, folder)
    return 0


def _finish(trainer: Trainer, settings: recipe.Recipe, folder: Path) -> None:
    """Curves, and the best weights measured or exported."""
    progress, task = trainer.progress, trainer.task
    if trainer.log.rows:  # none, if somebody has deleted the log of a run that is at its end
        log.draw_curves(trainer.log.rows, folder / "curves.png", settings.name, task.unit)
    best = build(settings.spec)
    checkpoint.load_weights(best, folder / BEST)
    best.eval()
    print(
        f"best validation: {progress.best_error:.3f} {task.unit} after {progress.best_step * settings.run.batch} images"
    )
    if isinstance(task, ClassificationTask):
        print(f"test: {task.test(best).error:.2f} {task.unit}; weights are in {folder / BEST}")
    elif isinstance(task, HeadPoseTask) and isinstance(best, HeadPoseNet):
        target = folder / f"{settings.name}.onnx"
        card = ModelCard(
            settings.name,
            "fp32",
            settings.license,
            settings.license_terms,
            settings.data_note,
            recipe=settings.name,
            parent=trainer.parent,
        )
        export_onnx(best, settings.crop, card, target)
        _check_parity(best, target, task.validator.crops[:64])
        print(f"exported to {target}")


def _check_parity(network: HeadPoseNet, file: Path, crops: list[Image]) -> None:
    """WeightsError unless the exported file gives the network's rotations on held-out faces."""
    exported = OnnxPoseModel(file, device="cpu")
    inputs = crop.normalise(np.stack(crops), exported.crop)
    difference = geometry.geodesic_degrees(exported.predict(inputs), predict(network, crops, exported.crop, len(crops)))
    if not difference.max() <= _LARGEST_DIFFERENCE:  # also for NaN
        raise WeightsError(f"{file} differs from the trained network by {difference.max():.3f} degrees: do not use it")


def _settings(args: argparse.Namespace) -> tuple[recipe.Recipe, Path, _Start | None]:
    """The recipe, the folder of the run and what it starts from. One that goes on keeps the recipe it began with."""
    if args.changed_data and not args.resume:
        raise RecipeError("--changed-data is for a run that goes on: add --resume, or leave it out")
    if args.init and args.resume:
        raise RecipeError("--init begins a run and --resume goes on with one: leave one of them out")
    named = recipe.load(
        args.recipe, [] if args.resume else args.overrides, [] if args.resume else sources.read(args.data)
    )
    folder = Path(args.out) if args.out else Path("runs") / named.name
    if args.resume and any(os.path.lexists(folder / name) for name in (RECIPE, LAST)):
        return _saved(args, named, folder), folder, None
    settings = recipe.restate(named, changed=False)
    if not args.init:
        return settings, folder, None
    file = pretrained.locate(args.init)
    start = _Start(file, provenance.of_network(file))
    statement = provenance.combine(settings.statement, start.origin, provenance.said(args.overrides))
    return settings.stating(statement), folder, start


def _saved(args: argparse.Namespace, named: recipe.Recipe, folder: Path) -> recipe.Recipe:
    """The recipe of a run that goes on."""
    if os.path.lexists(folder / LAST) and not (args.changed_data or os.path.lexists(folder / SPLIT)):
        raise DataError(
            f"{folder / SPLIT} is missing, which says what the run began with: put it back, or add --changed-data"
        )
    saved = recipe.load_saved(folder / RECIPE, args.overrides, args.changed_data)
    if saved.name != named.name:
        raise RecipeError(f"{folder} holds a run of the recipe {saved.name}, not {named.name}: give another --out")
    places = [source.path for source in saved.data.sources]
    if args.data and args.data != places:
        raise RecipeError(
            f"the run goes on with the data that it began with ({', '.join(places)}): leave --data out, or say with "
            "--set data.sources.0.path=PATH where they lie now"
        )
    return recipe.restate(saved, changed=False)
