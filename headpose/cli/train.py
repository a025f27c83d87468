"""``headpose train``: train a network from a recipe, and write weights, log, curves and an ONNX network."""

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
from headpose.landmarks import OnnxLandmarkModel
from headpose.networks import checkpoint, pretrained
from headpose.networks.build import build
from headpose.networks.export import ModelCard, export_onnx
from headpose.networks.plain import PlainNet
from headpose.networks.resnet import HeadPoseNet
from headpose.recipes import overrides, provenance
from headpose.recipes import training as recipe
from headpose.recipes.provenance import UNKNOWN, Origin
from headpose.training import distributed, forecast, log, sources
from headpose.training.loop import BEST, INIT, LAST, RECIPE, SPLIT, Trainer
from headpose.training.tasks.classification import ClassificationTask
from headpose.training.tasks.head_pose import HeadPoseTask
from headpose.training.tasks.landmarks import LandmarkTask, predict
from headpose.training.validation import read
from headpose.types import Image

_LARGEST_DIFFERENCE = 0.02  # degrees, between PyTorch and ONNX Runtime in float32
_RELATIVE = 2e-3  # largest relative difference of the optional outputs
_LARGEST_SHIFT = 1e-4  # of a landmark, in sides of the crop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``headpose train``."""
    parser.add_argument("recipe", help=f"one of {', '.join(recipe.names())}, or the path of a TOML file")
    sources.add_argument(parser)
    overrides.add_argument(parser, "run.images=100000")
    parser.add_argument("--out", type=non_empty, metavar="DIR", help="folder of the run (default: runs/NAME)")
    parser.add_argument(
        "--resume", action="store_true", help="resume from the last checkpoint in the folder, with its recipe"
    )
    parser.add_argument(
        "--changed-data",
        action="store_true",
        help="with --resume: continue although the data differ from those that the run started with",
    )
    parser.add_argument(
        "--init",
        metavar="NAME|FILE",
        help="initialize from weights: a network of this package (a name, .onnx, .safetensors), or a ResNet with "
        "the parameter names of torchvision or VGGFace2 (.safetensors, .pth)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what is sampled, and the size, speed and duration, and exit"
    )


def run(args: argparse.Namespace) -> int:
    """Train, then write ``curves.png`` and ``NAME.onnx`` next to the weights, and return the exit status.

    Several processes may be started by ``torchrun``.
    """
    settings, folder, start = _settings(args)
    if not args.resume:  # a resumed run may be given the recipe in its own folder
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
    """Initial weights from ``--init``.

    Attributes:
        file: File of the weights.
        origin: Name, parent and license statement of the network in it.
    """

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
        # Other data may change the license statement, which the next resumed run reads.
        if args.changed_data and not args.dry_run:
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
    """Draw the curves, then test or export the best weights."""
    progress, task = trainer.progress, trainer.task
    if trainer.log.rows:  # empty if the log of a completed run was deleted
        log.draw_curves(trainer.log.rows, folder / "curves.png", settings.name, task.unit)
    best = build(settings.spec)
    checkpoint.load_weights(best, folder / BEST)
    best.eval()
    print(
        f"best validation: {progress.best_error:.3f} {task.unit} after {progress.best_step * settings.run.batch} images"
    )
    if isinstance(task, ClassificationTask):
        print(f"test: {task.test(best).error:.2f} {task.unit}; weights are in {folder / BEST}")
        return
    target = folder / f"{settings.name}.onnx"
    about = settings.license, settings.license_terms, settings.data_note
    card = ModelCard(settings.name, "fp32", *about, recipe=settings.name, parent=trainer.parent)
    if isinstance(task, HeadPoseTask) and isinstance(best, HeadPoseNet):
        export_onnx(best, settings.crop, card, target, task.calibration(best))
        _check_parity(best, target, task.validator.crops[:64])
    elif isinstance(task, LandmarkTask) and isinstance(best, PlainNet):
        export_onnx(best, settings.crop, card, target)
        _check_landmark_parity(best, target, [view.image for view in task.views[:64]])
    print(f"exported to {target}")


def _check_parity(network: HeadPoseNet, file: Path, crops: list[Image]) -> None:
    """Check that the exported file gives the same outputs as the network on held-out faces.

    Raises:
        WeightsError: The outputs differ.
    """
    exported = OnnxPoseModel(file, device="cpu")
    found = exported.read(crop.normalize(np.stack(crops), exported.crop))
    wanted = read(network, crops, exported.crop, len(crops))
    difference = geometry.geodesic_degrees(found.rotation, wanted.rotation)
    if not difference.max() <= _LARGEST_DIFFERENCE:  # also for NaN
        raise WeightsError(f"{file} differs from the trained network by {difference.max():.3f} degrees: do not use it")
    optional = {name: getattr(wanted, name) for name in exported.outputs}
    for name, values in exported.calibration.apply(optional).items():
        if not np.allclose(getattr(found, name), values, rtol=_RELATIVE, atol=_RELATIVE):
            raise WeightsError(f"the output {name} of {file} differs from the trained network's: do not use it")


def _check_landmark_parity(network: PlainNet, file: Path, crops: list[Image]) -> None:
    """Check that the exported file gives the same landmarks as the network on held-out faces.

    Raises:
        WeightsError: The landmarks differ.
    """
    exported = OnnxLandmarkModel(file, device="cpu")
    found = exported.predict(crop.normalize(np.stack(crops), exported.crop))
    difference = np.abs(found - predict(network, crops, exported.crop)).max()
    if not difference <= _LARGEST_SHIFT:  # also for NaN
        raise WeightsError(f"{file} differs from the trained network by {difference:.1g} of the crop: do not use it")


def _settings(args: argparse.Namespace) -> tuple[recipe.Recipe, Path, _Start | None]:
    """Return the recipe, the folder of the run and its initial weights. A resumed run keeps its recipe."""
    if args.changed_data and not args.resume:
        raise RecipeError("--changed-data is for a resumed run: add --resume, or leave it out")
    if args.init and args.resume:
        raise RecipeError("--init starts a run and --resume continues one: leave one of them out")
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
    """Return the recipe of a resumed run."""
    if os.path.lexists(folder / LAST) and not (args.changed_data or os.path.lexists(folder / SPLIT)):
        raise DataError(
            f"{folder / SPLIT} is missing, which lists the data of the run: restore it, or add --changed-data"
        )
    saved = recipe.load_saved(folder / RECIPE, args.overrides, args.changed_data)
    if saved.name != named.name:
        raise RecipeError(f"{folder} holds a run of the recipe {saved.name}, not {named.name}: give another --out")
    places = [source.path for source in saved.data.sources]
    if args.data and args.data != places:
        raise RecipeError(
            f"a resumed run uses the data that it started with ({', '.join(places)}): leave out --data, or give their "
            "new location with --set data.sources.0.path=PATH"
        )
    return recipe.restate(saved, changed=False)
