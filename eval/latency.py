"""Time of the crop, the network, the detector and a whole frame, and of other networks beside them in one run.

python eval/latency.py --model compact [--threads 1] [--peers FOLDER_OF_ONNX_FILES] [--json times.json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from pathlib import Path

import cv2
import onnxruntime

from headpose import files
from headpose.detection import DETECTORS
from headpose.errors import HeadPoseError
from headpose.estimator import HeadPoseEstimator
from headpose.evaluation import latency
from headpose.images import read_image
from headpose.inference import DEVICES, load_model

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "astronaut.jpg"


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.threads > 0:
        cv2.setNumThreads(arguments.threads)
    try:
        _measure(arguments)
    except HeadPoseError as error:
        print(f"latency: error: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(arguments: argparse.Namespace) -> None:
    options = {"device": arguments.device, "threads": arguments.threads}
    models = [load_model(name, **options) for name in arguments.model]
    if len({model.name for model in models}) < len(models):
        raise HeadPoseError(f"two of the networks have one name: {', '.join(model.name for model in models)}")
    estimator = HeadPoseEstimator(models[0], detector=arguments.detector, **options)
    frame = latency.fit_frame(read_image(arguments.image), *arguments.frame)
    box = latency.only_face(estimator.detector, frame)

    tasks: dict[str, latency.Task] = {}
    for model in models:
        tasks |= latency.network_stages(model, frame, box)
    for file in _networks(arguments.peers):
        tasks[f"{file.stem}: crop + network"] = latency.foreign_network(file, frame, box, arguments.threads)
    tasks |= latency.frame_stages(estimator, frame)
    timings = latency.interleave(tasks, arguments.rounds, arguments.calls)

    reference = f"{models[0].name}: crop + network"
    unit = timings[reference].median
    setting = (
        f"{latency.machine()}; ONNX Runtime {onnxruntime.__version__} on {models[0].device}, "
        f"threads {arguments.threads or 'all'}; {frame.shape[1]} x {frame.shape[0]} frame, "
        f"face of {box.width:.0f} x {box.height:.0f} pixels; "
        f"{arguments.rounds} rounds of {arguments.calls} calls, in turns"
    )
    print(setting + "\n")
    print(f"{'milliseconds':<60}{'median':>9}{'p95':>9}{'ratio':>8}{'a second':>10}")
    for name, timing in timings.items():
        print(f"{name:<60}{timing.median:9.3f}{timing.p95:9.3f}{timing.median / unit:8.2f}{1000 / timing.median:10.1f}")
    print(f"\nratio: to {reference}")
    if arguments.json:
        times = {
            name: {**dataclasses.asdict(timing), "ratio": timing.median / unit} for name, timing in timings.items()
        }
        files.write_text(arguments.json, json.dumps({"setting": setting, "times_ms": times}, indent=2) + "\n")


def _networks(folder: str | None) -> list[Path]:
    if folder is None:
        return []
    found = sorted(Path(folder).glob("*.onnx"))
    if not found:
        raise HeadPoseError(f"no .onnx file in {folder}")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="latency", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, nargs="+", metavar="NAME", help="names, or .onnx files")
    parser.add_argument("--peers", metavar="DIR", help="folder of other people's ONNX networks, timed beside")
    parser.add_argument("--detector", choices=DETECTORS, default="blazeface")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the processor (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=30, metavar="N", help="turns of each (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=5, metavar="N", help="timed calls a turn (default: %(default)s)")
    parser.add_argument("--image", default=EXAMPLE, metavar="FILE", help="a photo with one face")
    parser.add_argument("--frame", type=_size, default=(640, 480), metavar="WxH", help="its size (default: 640x480)")
    parser.add_argument("--json", metavar="FILE", help="write the times to a file")
    return parser


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, as in 640x480")
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    sys.exit(main())
