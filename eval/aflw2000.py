"""Accuracy on AFLW2000-3D: Euler MAE, geodesic error, bins by |yaw|, bootstrap intervals, and the protocol in words.

python eval/aflw2000.py --data AFLW2000 --model compact [--json result.json] [--predictions angles.csv]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import textwrap
from typing import Any

import cv2

from headpose import files
from headpose.datasets import aflw2000
from headpose.errors import HeadPoseError
from headpose.evaluation import accuracy, predictions, protocols
from headpose.inference import DEVICES, load_model


def main() -> int:
    arguments = _parser().parse_args()
    try:
        _evaluate(arguments)
    except HeadPoseError as error:
        print(f"aflw2000: error: {error}", file=sys.stderr)
        return 1
    return 0


def _evaluate(arguments: argparse.Namespace) -> None:
    # What can fail at once fails before the minute of work.
    source: dict[str, Any]
    if arguments.score:
        model, source = None, {"predictions": arguments.score}
    else:
        model = load_model(arguments.model, device=arguments.device, threads=arguments.threads)
        source = {"model": model.name, "model_sha256": files.sha256_of(model.path), "device": model.device}
    samples = protocols.select(aflw2000.read(arguments.data), arguments.list)
    if len(samples) != protocols.COMPLETE[arguments.list]:
        expected = protocols.COMPLETE[arguments.list]
        print(f"aflw2000: warning: {len(samples)} pictures, a complete copy has {expected}", file=sys.stderr)
    if model:
        rotations = accuracy.predict(model, samples, arguments.batch)
    else:
        rotations = predictions.read(arguments.score, samples)
    result = accuracy.score(rotations, samples)
    list_sha256 = protocols.list_sha256(samples)
    protocol = protocols.in_words(arguments.list, len(samples), model.crop if model else None)
    print(f"{next(iter(source.values()))} on AFLW2000-3D, n {result.n}, list sha256 {list_sha256}\n")
    print(accuracy.table(result))
    print("\n" + textwrap.fill(protocol, 100))
    if arguments.predictions:
        predictions.write(arguments.predictions, samples, rotations)
    if arguments.json:
        record = {**source, **dataclasses.asdict(result), "list_sha256": list_sha256, "protocol": protocol}
        record["bias"] = result.bias._asdict()
        files.write_text(arguments.json, json.dumps(record, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aflw2000", description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of the 2000 .jpg and .mat files")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="NAME", help="a name of the manifest, or an .onnx file")
    what.add_argument("--score", metavar="FILE", help="score a CSV of predictions (as --predictions writes) instead")
    parser.add_argument("--json", metavar="FILE", help="write the result to a file")
    parser.add_argument("--predictions", metavar="FILE", help="write a CSV: image, yaw, pitch, roll in degrees")
    parser.add_argument("--list", choices=protocols.LISTS, default="99", help="largest |angle| (default: %(default)s)")
    parser.add_argument("--batch", type=_count, default=64, metavar="N", help="faces a call (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="of the processor (default: its cores)")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


if __name__ == "__main__":
    cv2.setNumThreads(1)  # one picture at a time is too little work to share
    sys.exit(main())
