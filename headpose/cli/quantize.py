"""``headpose quantize``: a network in fp16 or int8, with proof that it still reads the same poses."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from headpose import crop, weights
from headpose.cli.arguments import named_path
from headpose.compression.measure import latency
from headpose.compression.parity import noise_pictures, predict
from headpose.compression.quantization import LIMITS, NOISE_LIMIT, quantize
from headpose.errors import DataError, HeadPoseError, RecipeError
from headpose.files import check_outputs
from headpose.inference import OnnxPoseModel
from headpose.recipes import overrides
from headpose.recipes import training as recipe
from headpose.recipes.provenance import Statement
from headpose.training import data, sources
from headpose.training.validation import Validator
from headpose.types import CropSpec, Image, Sample

_NOISE = 64  # pictures


@dataclass(frozen=True, slots=True)
class _Faces:
    """Crops to calibrate on, and held-out ones to compare on.

    ``validator`` has the labels, if there are any, and ``statement`` is what is stated of the data.
    """

    calibration: list[Image]
    held_out: list[Image]
    validator: Validator | None = None
    statement: Statement | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``headpose quantize``."""
    parser.add_argument("model", help="a name (headpose models lists them) or an .onnx file, fp32")
    parser.add_argument("--precision", choices=list(LIMITS), required=True)
    parser.add_argument("--out", type=named_path, metavar="FILE", required=True, help="the .onnx file to write")
    parser.add_argument(
        "--recipe",
        help="training recipe whose faces calibrate int8 and, held out, check either: "
        f"one of {', '.join(recipe.names())}, or the path of a TOML file",
    )
    sources.add_argument(parser)
    overrides.add_argument(parser, "data.validation=0.3")
    number = "how many at most (default: %(default)s)"
    parser.add_argument("--calibration-images", type=int, default=512, metavar="N", help=f"training faces, {number}")
    parser.add_argument("--validation-images", type=int, default=2048, metavar="N", help=f"held-out faces, {number}")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the choice of faces (default: 0)")
    usual = ", ".join(f"{limit:g} for {precision}" for precision, limit in LIMITS.items())
    parser.add_argument(
        "--limit",
        type=float,
        metavar="DEG",
        help=f"largest mean distance between the two networks' rotations, degrees (default: {usual}; "
        f"without faces to compare on {NOISE_LIMIT:g})",
    )
    parser.add_argument(
        "--full-range",
        action="store_true",
        help="int8 weights of 8 bits instead of 7: wrong angles on x86 processors without VNNI",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the variant, then says what it costs and what it gains."""
    _check(args)
    source = weights.find(args.model)
    check_outputs([source, args.recipe], data={"--out": args.out})
    before = OnnxPoseModel(source, device="cpu", threads=1)
    faces = _faces(args, before.crop)
    parity = quantize(
        source,
        args.out,
        args.precision,
        faces.held_out,
        faces.calibration,
        limit_degrees=args.limit if args.limit is not None or faces.validator else NOISE_LIMIT,
        full_range=args.full_range,
        calibrated_on=faces.statement,
    )
    after = OnnxPoseModel(args.out, device="cpu", threads=1)
    megabytes = [model.path.stat().st_size / 1e6 for model in (before, after)]
    print(f"{args.out}: {after.name}, {megabytes[1]:.2f} MB ({before.name}: {megabytes[0]:.2f} MB)")
    where = "held-out faces" if faces.validator else "pictures of noise: give --recipe to compare on faces"
    print(f"distance from {before.name}: {parity} on {parity.faces} {where}")
    if faces.validator:
        errors = [faces.validator.score(predict(model, faces.held_out)).error for model in (before, after)]
        print(f"held-out geodesic error: {errors[0]:.3f} -> {errors[1]:.3f} degrees")
    times = latency({"before": source, "after": args.out}, threads=1)
    old, new = times["before"].median, times["after"].median
    print(f"one picture, one thread, in turns: {old:.2f} -> {new:.2f} ms, ratio {new / old:.2f}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """What needs no file to be seen as wrong."""
    if args.out.suffix.lower() != ".onnx":
        raise HeadPoseError(f"--out {args.out} is no name of a network: it ends in .onnx")
    if args.precision == "int8" and not args.recipe:
        raise HeadPoseError("int8 is calibrated on training faces: give --recipe, and --data where its faces lie")
    if (args.overrides or args.data) and not args.recipe:
        raise HeadPoseError("--set and --data change a recipe: give --recipe as well")
    if args.full_range and args.precision != "int8":
        raise HeadPoseError("--full-range is for --precision int8")
    if min(args.calibration_images, args.validation_images) < 1 or args.seed < 0:
        raise HeadPoseError("--calibration-images and --validation-images are 1 or more, --seed is 0 or more")
    if args.limit is not None and not args.limit >= 0:
        raise HeadPoseError(f"--limit is an angle in degrees, 0 or more, got {args.limit:g}")


def _faces(args: argparse.Namespace, spec: CropSpec) -> _Faces:
    if not args.recipe:
        return _Faces([], noise_pictures(_NOISE, spec.size, args.seed))
    settings = recipe.restate(recipe.load(args.recipe, args.overrides, sources.read(args.data)), changed=False)
    if settings.task != "head-pose":
        raise RecipeError(f"the recipe {settings.name} trains a classifier: give one of a head pose network")
    split = data.read(settings.data)
    if not (split.training and split.validation):
        raise DataError("faces to train on and to validate on are needed: add data or change data.validation")
    training = _some(split.training, args.calibration_images, args.seed) if args.precision == "int8" else []
    held_out = _some(split.validation, args.validation_images, args.seed)
    pictures = data.Pictures(0)
    progress = tqdm(training, "training faces", unit="face", leave=False, disable=None)
    calibration = [crop.cut(pictures.read(sample), sample.box, spec) for sample in progress]
    validator = Validator(held_out, spec, pictures)
    return _Faces(calibration, validator.crops, validator, settings.statement)


def _some(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """At most ``count`` of them, drawn evenly, in their order."""
    chosen = np.random.default_rng(seed).permutation(len(samples))[:count]
    return [samples[i] for i in np.sort(chosen)]
