"""Evaluate accuracy on AFLW2000-3D: Euler MAE, geodesic error, bins by |yaw|, bootstrap intervals and the protocol.

    python eval/aflw2000.py --data AFLW2000 --model student [--json result.json] [--predictions angles.csv]
    python eval/aflw2000.py --data AFLW2000 --adapter eval/adapters/fsanet.toml --peers DIR    # other people's networks
    python eval/aflw2000.py --data AFLW2000 --score angles.csv --audit      # every published protocol
    python eval/aflw2000.py --data AFLW2000 --score a.csv --versus b.csv    # paired test
    python eval/aflw2000.py --data AFLW2000 --model student --invariance    # batch, order, mirroring, rotated images
    python eval/aflw2000.py --data faces.csv --model student                # a manifest; see --set-kind

docs/protocols.md explains each choice and its effect on the result.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2

from headpose import files, geometry, weights
from headpose.choices import DETECTORS, DEVICES
from headpose.cli.arguments import positive
from headpose.cli.log import show_log
from headpose.cli.program import run_program
from headpose.datasets import biwi
from headpose.detection import create_detector
from headpose.errors import DataError
from headpose.evaluation import accuracy, audit, crops, invariance, paired, predictions, protocols, testsets
from headpose.evaluation.adapters import Adapter, load_adapter
from headpose.evaluation.predictions import Predictions
from headpose.evaluation.testsets import FaceSet
from headpose.geometry import Array
from headpose.inference import OnnxPoseModel, load_model

INVARIANCE_FACES = 400


@dataclass(frozen=True, slots=True)
class Source:
    """Source of predictions: a network or a file.

    Attributes:
        about: Description for the JSON record; the first value is the name.
        model: The network; None for a file.
        angles: Form of the predictions: rotations or angles of a network, or angles of a file.
        read: Predictions of the file after it has been read; None for a network.
    """

    about: dict[str, Any]
    model: OnnxPoseModel | Adapter | None
    angles: Literal["rotation", "network", "file"]
    read: Predictions | None = None

    @property
    def name(self) -> str:
        return str(next(iter(self.about.values())))


def main() -> int:
    return run_program("aflw2000", _main)


def _main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    if bool(arguments.adapter) != bool(arguments.peers):
        parser.error("--adapter FILE and --peers DIR must be used together")
    if arguments.score and (arguments.invariance or arguments.crop != "own"):
        parser.error("--invariance and --crop need a network and cannot be used with --score")
    show_log("aflw2000")
    _evaluate(arguments)
    return 0


def _evaluate(arguments: argparse.Namespace) -> None:
    # Check the inputs and outputs before the evaluation, which takes a minute.
    network = arguments.model if arguments.model and weights.is_path(arguments.model) else None
    files.check_outputs(
        [arguments.data, arguments.score, arguments.versus, network, arguments.adapter, arguments.peers],
        text={"--json": arguments.json, "--predictions": arguments.predictions},
    )
    source = _source(arguments)
    labeled = testsets.read(arguments.data, arguments.set_kind or "", arguments.sequences)
    faces = labeled
    if detector := _detector(arguments, source):
        faces = testsets.with_detected_boxes(labeled, create_detector(detector, threads=arguments.threads))
    read = {file: predictions.read_faces(file, faces) for file in (arguments.score, arguments.versus) if file}
    chosen = _found(faces.select(arguments.list), read)
    missed = len(labeled.select(arguments.list).names) - len(chosen.names)
    if faces.kind == "aflw2000" and not missed and len(chosen.names) != protocols.COMPLETE[arguments.list]:
        expected = protocols.COMPLETE[arguments.list]
        print(f"aflw2000: warning: {len(chosen.names)} pictures, a complete copy has {expected}", file=sys.stderr)
    others = predictions.in_order(arguments.versus, read[arguments.versus], chosen.names) if arguments.versus else None
    source = dataclasses.replace(source, read=read.get(arguments.score))

    scored = _audited(source, faces, chosen) if arguments.audit else chosen
    given = _predict(source, scored, arguments, arguments.crop)
    place = {name: index for index, name in enumerate(scored.names)}
    angles = given[[place[name] for name in chosen.names]]
    record = _score(source, chosen, angles, missed, arguments)
    if arguments.predictions:
        predictions.write(arguments.predictions, scored.names, given)
    if arguments.audit:
        record["audit"] = _audit(source, scored, given, chosen, angles, arguments)
    if others is not None:
        differences = paired.compare(angles, others, chosen.samples)
        print("\n" + paired.table(differences, source.name, arguments.versus))
        record["versus"] = {name: dataclasses.asdict(value) for name, value in differences.items()}
    if arguments.invariance and source.model:
        part = chosen.part(arguments.invariance)
        checks = invariance.check(source.model, part.samples, arguments.batch)
        print(f"\nInvariance, degrees between two predictions, {len(part.names)} faces\n\n{invariance.table(checks)}")
        record["invariance"] = [dataclasses.asdict(check) | {"verdict": check.verdict} for check in checks]
    if arguments.json:
        files.write_text(arguments.json, json.dumps(record, indent=2) + "\n")


def _score(source: Source, faces: FaceSet, angles: Array, missed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Print the main result and its protocol, and return both for JSON."""
    result = accuracy.score(geometry.rotation_from_euler(angles), faces.samples, angles=angles)
    setting = protocols.Setting(
        title=faces.title,
        kind=faces.kind,
        list_name=arguments.list,
        count=len(faces.names),
        crop=source.model.crop if source.model else None,
        angles=source.angles,
        rule=arguments.crop,
        detector="the file" if source.read and source.read.detected else _detector(arguments, source),
        missed=missed,
    )
    protocol = protocols.in_words(setting)
    print(f"{source.name} on {faces.title}, n {result.n}, list sha256 {faces.sha256}\n")
    print(accuracy.table(result))
    print("\n" + textwrap.fill(protocol, 100))
    record = {**source.about, **dataclasses.asdict(result), "list_sha256": faces.sha256, "protocol": protocol}
    record["bias"] = result.bias._asdict()
    return record


def _found(faces: FaceSet, read: Mapping[str, Predictions]) -> FaceSet:
    """Return the faces that are in every file with detected boxes; warn about the number of missing faces.

    Args:
        faces: Faces of the test set.
        read: Predictions by file name.

    Raises:
        DataError: A file with detected boxes has none of the faces.
    """
    for file, given in read.items():
        if not given.detected:
            continue
        kept = faces.among(given.angles)
        if not kept.names:
            raise DataError(
                f"{file} has none of the {len(faces.names)} faces of the data: its column image must name their "
                f"images, such as {faces.samples[0].image.name}, and its boxes must overlap the faces"
            )
        if len(kept.names) < len(faces.names):
            part = f"{len(kept.names)} of the {len(faces.names)} faces"
            print(f"aflw2000: warning: {file} has {part}; the others are left out", file=sys.stderr)
        faces = kept
    return faces


def _audited(source: Source, faces: FaceSet, chosen: FaceSet) -> FaceSet:
    """Return the faces to audit: all of them, or those in the file of predictions plus the chosen list."""
    whole = faces.select("all")
    return whole.among({*source.read.angles, *chosen.names}) if source.read else whole


def _source(arguments: argparse.Namespace) -> Source:
    if arguments.score:
        return Source({"predictions": arguments.score}, None, "file")
    if arguments.adapter:
        adapter = load_adapter(arguments.adapter, arguments.peers, device=arguments.device, threads=arguments.threads)
        sha256 = {path.name: files.sha256_of(path) for path in adapter.paths}
        angles: Literal["network", "rotation"] = "network" if adapter.gives_angles else "rotation"
        return Source({"adapter": adapter.name, "sha256": sha256, "device": adapter.device}, adapter, angles)
    model = load_model(arguments.model, device=arguments.device, threads=arguments.threads)
    about = {"model": model.name, "model_sha256": files.sha256_of(model.path), "device": model.device}
    return Source(about, model, "rotation")


def _detector(arguments: argparse.Namespace, source: Source) -> str:
    """Return the name of the detector, or "" to use the labels' boxes. BIWI's labels have no usable boxes."""
    default = "blazeface" if arguments.set_kind == "biwi" and source.model else "labels"
    boxes = arguments.boxes or default
    return "" if boxes == "labels" else str(boxes)


def _predict(source: Source, faces: FaceSet, arguments: argparse.Namespace, rule: str) -> Array:
    if source.read:
        return predictions.in_order(arguments.score, source.read, faces.names)
    assert source.model
    return accuracy.predict_angles(source.model, faces.samples, arguments.batch, rule)


def _audit(
    source: Source, scored: FaceSet, given: Array, chosen: FaceSet, angles: Array, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Print the result under every protocol and, for a network, with the other crops; return the same for JSON."""
    result = audit.audit(given, scored.samples)
    print(f"\nAudit of {source.name} on {scored.title}\n\n{audit.markdown(result)}")
    record = dataclasses.asdict(result)
    record["crops"] = {}
    for rule in crops.RULES if source.model else []:
        if rule == arguments.crop:
            continue
        try:
            other = _predict(source, chosen, arguments, rule)
        except DataError as error:  # the set lacks the landmarks for this crop: continue with the others
            print(f"\ncrop {rule}: not measured, {error}")
            continue
        differences = paired.compare(other, angles, chosen.samples)
        print(f"\n{paired.table(differences, f'crop {rule}', f'crop {arguments.crop}')}")
        record["crops"][rule] = {name: dataclasses.asdict(value) for name, value in differences.items()}
    return record


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aflw2000", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", required=True, metavar="PATH", help="folder of the test set, or .csv file of a manifest"
    )
    parser.add_argument(
        "--set-kind", choices=testsets.KINDS, help="kind of --data (default: manifest for a .csv file, else aflw2000)"
    )
    parser.add_argument(
        "--sequences", type=_sequences, default=biwi.ALL, metavar="LIST",
        help="sequences of BIWI: all, held-out, or a list such as 1,5,9 (default: all)",
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="NAME", help="name of a network, or an .onnx file")
    what.add_argument("--adapter", metavar="FILE", help="third-party network: a .toml file as in eval/adapters/")
    what.add_argument("--score", metavar="FILE", help="CSV from --predictions or headpose estimate --csv to score")
    parser.add_argument("--peers", metavar="DIR", help="folder of the third-party networks")
    parser.add_argument("--crop", choices=crops.RULES, default="own", help="crop of the inputs (default: %(default)s)")
    parser.add_argument(
        "--boxes", choices=("labels", *DETECTORS), help="boxes of the crops (default: labels; for BIWI blazeface)"
    )
    parser.add_argument("--audit", action="store_true", help="score under every published protocol")
    parser.add_argument("--versus", metavar="FILE", help="paired test against another CSV of predictions")
    parser.add_argument(
        "--invariance", type=positive, nargs="?", const=INVARIANCE_FACES, metavar="N",
        help="check batch size, order, mirroring and rotated images on N faces (default: %(const)s)",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the result to a file")
    parser.add_argument("--predictions", metavar="FILE", help="write a CSV: image, yaw, pitch, roll in degrees")
    parser.add_argument("--list", choices=protocols.LISTS, default="99", help="maximum |angle| (default: %(default)s)")
    parser.add_argument("--batch", type=positive, default=64, metavar="N", help="batch size (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="number of CPU threads (default: all)")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="device of the networks (default: auto)")
    return parser


def _sequences(text: str) -> tuple[int, ...]:
    named = {"all": biwi.ALL, "held-out": biwi.HELD_OUT}
    if text in named:
        return named[text]
    numbers = text.split(",")
    if not all(number.isdecimal() and int(number) in biwi.ALL for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} must be all, held-out, or numbers from 1 to 24 separated by commas")
    return tuple(sorted({int(number) for number in numbers}))


if __name__ == "__main__":
    cv2.setNumThreads(1)  # a single image is too little work for several threads
    sys.exit(main())
