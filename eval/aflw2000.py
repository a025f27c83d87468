"""Accuracy on AFLW2000-3D: Euler MAE, geodesic error, bins by |yaw|, bootstrap intervals, and the protocol in words.

    python eval/aflw2000.py --data AFLW2000 --model student [--json result.json] [--predictions angles.csv]
    python eval/aflw2000.py --data AFLW2000 --adapter eval/adapters/fsanet.toml --peers DIR    # other people's networks
    python eval/aflw2000.py --data AFLW2000 --score angles.csv --audit      # every published protocol
    python eval/aflw2000.py --data AFLW2000 --score a.csv --versus b.csv    # paired test
    python eval/aflw2000.py --data AFLW2000 --model student --invariance    # batch, order, mirror, turned pictures
    python eval/aflw2000.py --data faces.csv --model student                # a manifest; see --set-kind

docs/protocols.md says what each choice is and how much it moves.
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
from headpose.cli.arguments import positive
from headpose.cli.log import show_log
from headpose.cli.program import run_program
from headpose.datasets import biwi
from headpose.detection import DETECTORS, create_detector
from headpose.errors import DataError
from headpose.evaluation import accuracy, audit, crops, invariance, paired, predictions, protocols, testsets
from headpose.evaluation.adapters import Adapter, load_adapter
from headpose.evaluation.predictions import Predictions
from headpose.evaluation.testsets import FaceSet
from headpose.geometry import Array
from headpose.inference import DEVICES, OnnxPoseModel, load_model

INVARIANCE_FACES = 400


@dataclass(frozen=True, slots=True)
class Source:
    """Where predictions come from: a network, or a file of them, once it is ``read``."""

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
        parser.error("--adapter FILE and --peers DIR go together")
    if arguments.score and (arguments.invariance or arguments.crop != "own"):
        parser.error("--invariance and --crop need a network: they do not go with --score")
    show_log("aflw2000")
    _evaluate(arguments)
    return 0


def _evaluate(arguments: argparse.Namespace) -> None:
    # What can fail at once fails before the minute of work.
    network = arguments.model if arguments.model and weights.is_path(arguments.model) else None
    files.check_outputs(
        [arguments.data, arguments.score, arguments.versus, network, arguments.adapter, arguments.peers],
        text={"--json": arguments.json, "--predictions": arguments.predictions},
    )
    source = _source(arguments)
    labelled = testsets.read(arguments.data, arguments.set_kind or "", arguments.sequences)
    faces = labelled
    if detector := _detector(arguments, source):
        faces = testsets.with_detected_boxes(labelled, create_detector(detector, threads=arguments.threads))
    read = {file: predictions.read_faces(file, faces) for file in (arguments.score, arguments.versus) if file}
    chosen = _found(faces.select(arguments.list), read)
    missed = len(labelled.select(arguments.list).names) - len(chosen.names)
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
        print(f"\nInvariance, degrees between two answers, {len(part.names)} faces\n\n{invariance.table(checks)}")
        record["invariance"] = [dataclasses.asdict(check) | {"verdict": check.verdict} for check in checks]
    if arguments.json:
        files.write_text(arguments.json, json.dumps(record, indent=2) + "\n")


def _score(source: Source, faces: FaceSet, angles: Array, missed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Prints the headline result and its protocol; gives both for JSON."""
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
    """The faces that a detector has found for each file that says where its faces are. The others are counted."""
    for file, given in read.items():
        if not given.detected:
            continue
        kept = faces.among(given.angles)
        if not kept.names:
            raise DataError(
                f"{file} has none of the {len(faces.names)} faces of the data: its column image must name their "
                f"pictures, such as {faces.samples[0].image.name}, and the boxes lie on their faces"
            )
        if len(kept.names) < len(faces.names):
            part = f"{len(kept.names)} of the {len(faces.names)} faces"
            print(f"aflw2000: warning: {file} has {part}; the others are left out", file=sys.stderr)
        faces = kept
    return faces


def _audited(source: Source, faces: FaceSet, chosen: FaceSet) -> FaceSet:
    """All faces, or those that a file of predictions has; those of the chosen list it must have."""
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
    """BIWI's labels have no box that a network's input could be cut from."""
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
    """Prints every protocol, and with a network the other crops; gives the same for JSON."""
    result = audit.audit(given, scored.samples)
    print(f"\nAudit of {source.name} on {scored.title}\n\n{audit.markdown(result)}")
    record = dataclasses.asdict(result)
    record["crops"] = {}
    for rule in crops.RULES if source.model else []:
        if rule == arguments.crop:
            continue
        try:
            other = _predict(source, chosen, arguments, rule)
        except DataError as error:  # a set without such points: the rest of the audit stands
            print(f"\ncrop {rule}: not measured, {error}")
            continue
        differences = paired.compare(other, angles, chosen.samples)
        print(f"\n{paired.table(differences, f'crop {rule}', f'crop {arguments.crop}')}")
        record["crops"][rule] = {name: dataclasses.asdict(value) for name, value in differences.items()}
    return record


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aflw2000", description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, metavar="PATH", help="folder of the test set, or a manifest's .csv")
    parser.add_argument(
        "--set-kind", choices=testsets.KINDS, help="what --data is (default: manifest for a .csv, else aflw2000)"
    )
    parser.add_argument(
        "--sequences", type=_sequences, default=biwi.ALL, metavar="LIST", help="of BIWI: all, held-out, or 1,5,9"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="NAME", help="a name of the manifest, or an .onnx file")
    what.add_argument("--adapter", metavar="FILE", help="somebody else's network: a .toml as in eval/adapters/")
    what.add_argument("--score", metavar="FILE", help="score a CSV (of --predictions, or of headpose estimate --csv)")
    parser.add_argument("--peers", metavar="DIR", help="folder of the networks that --adapter names")
    parser.add_argument("--crop", choices=crops.RULES, default="own", help="how inputs are cut (default: %(default)s)")
    parser.add_argument(
        "--boxes", choices=("labels", *DETECTORS), help="what the crop starts from (default: labels; BIWI: blazeface)"
    )
    parser.add_argument("--audit", action="store_true", help="score under every published protocol")
    parser.add_argument("--versus", metavar="FILE", help="paired test against another CSV of predictions")
    parser.add_argument(
        "--invariance", type=positive, nargs="?", const=INVARIANCE_FACES, metavar="N",
        help="check batch, order, mirror and turned pictures on N faces (default: %(const)s)",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the result to a file")
    parser.add_argument("--predictions", metavar="FILE", help="write a CSV: image, yaw, pitch, roll in degrees")
    parser.add_argument("--list", choices=protocols.LISTS, default="99", help="largest |angle| (default: %(default)s)")
    parser.add_argument("--batch", type=positive, default=64, metavar="N", help="faces a call (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="of the processor (default: its cores)")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    return parser


def _sequences(text: str) -> tuple[int, ...]:
    named = {"all": biwi.ALL, "held-out": biwi.HELD_OUT}
    if text in named:
        return named[text]
    numbers = text.split(",")
    if not all(number.isdecimal() and int(number) in biwi.ALL for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is neither all, held-out nor numbers of 1 to 24 with commas")
    return tuple(sorted({int(number) for number in numbers}))


if __name__ == "__main__":
    cv2.setNumThreads(1)  # one picture at a time is too little work to share
    sys.exit(main())
