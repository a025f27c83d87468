"""``headpose quantize``: convert a network to fp16 or int8 and check that its poses stay the same."""

from __future__ import annotations

import argparse
import dataclasses
import json
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
from headpose.files import check_outputs, sha256_of, write_text
from headpose.inference import OnnxPoseModel
from headpose.recipes import overrides
from headpose.recipes import training as recipe
from headpose.recipes.provenance import Statement
from headpose.training import data, sources
from headpose.training.validation import Validator
from headpose.types import CropSpec, Image, Sample

_NOISE = 64  # number of noise images


@dataclass(frozen=True, slots=True)
class _Faces:
    """Face crops for calibration and for comparison.

    Attributes:
        calibration: (S, S, 3) uint8 BGR crops from the training set.
        held_out: (S, S, 3) uint8 BGR crops from the validation set, or noise.
        validator: Labels of ``held_out``; None for noise.
        statement: Description of the data, for the metadata; None for noise.
    """

    calibration: list[Image]
    held_out: list[Image]
    validator: Validator | None = None
    statement: Statement | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``headpose quantize``."""
    parser.add_argument("model", help="fp32 network: a name (headpose models lists them) or the path of an .onnx file")
    parser.add_argument("--precision", choices=list(LIMITS), required=True, help="precision of the new network")
    parser.add_argument("--out", type=named_path, metavar="FILE", required=True, help="path of the .onnx file to write")
    parser.add_argument(
        "--recipe",
        help="training recipe that names the data: training faces calibrate int8, held-out faces check the result; "
        f"one of {', '.join(recipe.names())}, or the path of a TOML file",
    )
    sources.add_argument(parser)
    overrides.add_argument(parser, "data.validation=0.3")
    number = "maximum number of {} faces (default: %(default)s)"
    parser.add_argument("--calibration-images", type=int, default=512, metavar="N", help=number.format("training"))
    parser.add_argument("--validation-images", type=int, default=2048, metavar="N", help=number.format("held-out"))
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="random seed of the choice of faces (default: 0)"
    )
    usual = ", ".join(f"{limit:g} for {precision}" for precision, limit in LIMITS.items())
    parser.add_argument(
        "--limit",
        type=float,
        metavar="DEG",
        help="maximum mean geodesic distance between the rotations of the two networks, in degrees "
        f"(default: {usual}; {NOISE_LIMIT:g} without --recipe)",
    )
    parser.add_argument(
        "--full-range",
        action="store_true",
        help="use 8 bits instead of 7 for int8 weights; gives wrong angles on x86 processors without VNNI",
    )
    parser.add_argument("--json", type=named_path, metavar="FILE", help="write the comparison to a file, too")


def run(args: argparse.Namespace) -> int:
    """Write the converted network, print its error and its speed, and return the exit status."""
    source = weights.find(args.model)
    _check(args)
    check_outputs([source, args.recipe], text={"--json": args.json}, data={"--out": args.out})
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
    where = "held-out faces" if faces.validator else "noise images; give --recipe to compare on faces"
    print(f"distance from {before.name}: {parity} on {parity.faces} {where}")
    errors = None
    if faces.validator:
        errors = [faces.validator.score(predict(model, faces.held_out)).error for model in (before, after)]
        print(f"held-out geodesic error: {errors[0]:.3f} -> {errors[1]:.3f} degrees")
    times = latency({"before": source, "after": args.out}, threads=1)
    old, new = times["before"].median, times["after"].median
    print(f"latency, batch 1, one thread, interleaved: {old:.2f} -> {new:.2f} ms, ratio {new / old:.2f}")
    if args.json is not None:
        record = {
            "model_sha256": sha256_of(args.out),
            "reference_sha256": sha256_of(source),
            "parity": dataclasses.asdict(parity),
            "geodesic": dict(zip(("reference", "model"), errors, strict=True)) if errors else None,
            "latency_ratio": new / old,
        }
        write_text(args.json, json.dumps(record, indent=1) + "\n")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raise HeadPoseError if the arguments contradict each other or are out of range."""
    if args.out.suffix.lower() != ".onnx":
        raise HeadPoseError(f"--out {args.out}: the name of the network must end in .onnx")
    if args.precision == "int8" and not args.recipe:
        raise HeadPoseError("int8 is calibrated on training faces: give --recipe, and the folder of its data by --data")
    if (args.overrides or args.data) and not args.recipe:
        raise HeadPoseError("--set and --data change a recipe: give --recipe as well")
    if args.full_range and args.precision != "int8":
        raise HeadPoseError("--full-range needs --precision int8")
    if min(args.calibration_images, args.validation_images) < 1 or args.seed < 0:
        raise HeadPoseError("--calibration-images and --validation-images must be 1 or more, --seed 0 or more")
    if args.limit is not None and not args.limit >= 0:
        raise HeadPoseError(f"--limit must be an angle in degrees, 0 or more, got {args.limit:g}")


def _faces(args: argparse.Namespace, spec: CropSpec) -> _Faces:
    if not args.recipe:
        return _Faces([], noise_pictures(_NOISE, spec.size, args.seed))
    settings = recipe.restate(recipe.load(args.recipe, args.overrides, sources.read(args.data)), changed=False)
    if settings.task != "head-pose":
        raise RecipeError(f"the recipe {settings.name} trains a classifier: give the recipe of a head pose network")
    split = data.read(settings.data)
    if not (split.training and split.validation):
        raise DataError("the training or the validation set is empty: add data or change data.validation")
    training = _some(split.training, args.calibration_images, args.seed) if args.precision == "int8" else []
    held_out = _some(split.validation, args.validation_images, args.seed)
    pictures = data.Pictures(0)
    progress = tqdm(training, "training faces", unit="face", leave=False, disable=None)
    calibration = [crop.cut(pictures.read(sample), sample.box, spec) for sample in progress]
    validator = Validator(held_out, spec, pictures)
    return _Faces(calibration, validator.crops, validator, settings.statement)


def _some(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """Return at most ``count`` random samples, in their original order."""
    chosen = np.random.default_rng(seed).permutation(len(samples))[:count]
    return [samples[i] for i in np.sort(chosen)]
