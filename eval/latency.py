"""Measure latency, memory and the fraction of the machine's peak of several networks in one run.

python eval/latency.py --model student [--threads 1,2] [--json latency.json]
python eval/latency.py --models student,opentrack,fsanet --peers NETWORKS     # adapters of eval/adapters by name
python eval/latency.py --model student --device tensorrt --rounds 50          # see docs/devices.md
python eval/latency.py --model student-int8 --pipeline CLIP [--mediapipe PYTHON]   # the loop over a video's frames
python eval/latency.py --model student --pipeline CLIP --send    # from a camera's frame to the packet at a receiver

Each network is timed alone, with its crop, and from the JPEG of a frame to the smoothed pose (decode, detect, crop,
network, track). Times are for one face.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import cv2
import onnxruntime

from headpose import files
from headpose.choices import DEFAULT_DETECTOR, DETECT_EVERY, DETECTORS, DEVICES
from headpose.cli.arguments import positive
from headpose.cli.log import add_verbose, show_log
from headpose.cli.program import run_program
from headpose.detection import FaceDetector, create_detector
from headpose.errors import HeadPoseError
from headpose.evaluation import latency, memory, networks, peak, pipeline, sending
from headpose.evaluation.latency import Part, Timing
from headpose.evaluation.networks import NetworkFacts
from headpose.evaluation.pipeline import Steady
from headpose.evaluation.sending import Sending
from headpose.images import read_image
from headpose.inference import OnnxPoseModel, bounded_threads
from headpose.types import Box, Image

ADAPTERS = Path(__file__).resolve().parent / "adapters"
EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "astronaut.jpg"
PEAK = "(peak)"  # stands for a network's name: the matrix product that measures the peak


def main() -> int:
    return run_program("latency", _main)


def _main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    if not (arguments.model or arguments.models):
        parser.error("give a network: --model NAME or --models A,B")
    if arguments.adapter and not arguments.peers:
        parser.error("--adapter FILE needs --peers DIR, the folder of its networks")
    show_log("latency", arguments.verbose)
    arguments.threads = list(dict.fromkeys(map(bounded_threads, arguments.threads)))
    if arguments.pipeline:
        _measure_pipeline(arguments)
    elif arguments.mediapipe or arguments.send:
        parser.error("--mediapipe PYTHON and --send need --pipeline CLIP")
    else:
        _measure(arguments)
    return 0


def _measure(arguments: argparse.Namespace) -> None:
    names = _names(arguments)
    networks_read = [networks.adapter_file(name, ADAPTERS) or name for name in names]
    files.check_outputs([*networks_read, arguments.peers, arguments.image], text={"--json": arguments.json})
    frame = latency.fit_frame(read_image(arguments.image), *arguments.frame)
    models = _models(names, arguments, arguments.threads[0])
    reference = arguments.reference or models[0].name
    if reference not in {model.name for model in models}:
        raise HeadPoseError(f"the reference {reference} is not one of {', '.join(model.name for model in models)}")
    arguments.device = next((model.device for model in models if isinstance(model, OnnxPoseModel)), "cpu")
    box = latency.only_face(_detector(arguments, 1), frame)
    known = {model.name: networks.facts(model) for model in models}
    memories = {model.name: memory.measure(networks.parts(model), device=arguments.device) for model in models}
    setting = _setting(arguments, frame, box)
    runs = [_run(names, arguments, threads, frame, box, reference) for threads in arguments.threads]
    print(f"{setting}\n")
    for run in runs:
        _print(run, known)
    _print_networks(known, memories)
    print(f"\nratio: to {reference}, {latency.BOTH}; cpu: CPU time of the process; peak: the product's fastest call")
    for run in runs:
        _print_shares(run, reference)
    if arguments.json:
        record = {
            "setting": setting,
            "machine": latency.machine(),
            "onnxruntime": onnxruntime.__version__,
            "device": arguments.device,
            "reference": reference,
            "networks": [
                {**dataclasses.asdict(known[name]), "memory": taken and dataclasses.asdict(taken)}
                for name, taken in memories.items()
            ],
            "runs": runs,
        }
        files.write_text(arguments.json, json.dumps(record, indent=2) + "\n")


def _measure_pipeline(arguments: argparse.Namespace) -> None:
    """Time the loop over the frames of a clip with one thread, without or with a sender, and print a table."""
    names = _names(arguments)
    files.check_outputs([*names, arguments.pipeline, arguments.peers], text={"--json": arguments.json})
    cv2.setNumThreads(1)
    models = _models(names, arguments, 1)
    if foreign := [model.name for model in models if not isinstance(model, OnnxPoseModel)]:
        raise HeadPoseError(f"{foreign[0]} is not a network of this project: --pipeline times no others")
    own = [model for model in models if isinstance(model, OnnxPoseModel)]
    width, height = arguments.frame
    frames = pipeline.read_clip(arguments.pipeline, width, height, 300)
    size = f"{frames[0].shape[1]} x {frames[0].shape[0]}"
    setting = f"{latency.machine()}; one core, one thread; {size}, {len(frames)} frames, {arguments.rounds} passes"
    detector = _detector(arguments, 1)
    options = {key: getattr(arguments, key) for key in ("rounds", "detect_every", "max_faces")}
    rows: list[Steady] | list[Sending]
    if arguments.send:
        rows = sending.measure(own, detector, frames, seconds=arguments.seconds, fps=arguments.fps, **options)
        setting, shown = f"{setting}, {arguments.fps:g} frames/s for {arguments.seconds:g} s", sending.table(rows)
    else:
        rows = pipeline.measure(own, detector, frames, mediapipe=arguments.mediapipe, **options)
        shown = pipeline.table(rows)
    print(f"{setting}\n\n{shown}")
    if arguments.json:
        record = {"setting": setting, "rows": [dataclasses.asdict(row) for row in rows]}
        files.write_text(arguments.json, json.dumps(record, indent=2) + "\n")


def _run(
    names: list[str], arguments: argparse.Namespace, threads: int, frame: Image, box: Box, reference: str
) -> dict[str, Any]:
    """Time all networks with one number of threads, and return the record for JSON."""
    cv2.setNumThreads(threads if threads > 0 else -1)
    models, detector = _models(names, arguments, threads), _detector(arguments, threads)
    tasks: dict[Part, latency.Task] = {}
    if arguments.device == "cpu":
        tasks |= {Part(PEAK, kind): task for kind, task in peak.products(threads).items()}
    tasks |= latency.frame_stages(detector, frame)
    for model in models:
        tasks |= latency.network_stages(model, detector, frame, box)
    timings = latency.interleave(tasks, arguments.rounds, arguments.calls)
    unit = timings[Part(reference, latency.BOTH)].median
    rows = {part: timing for part, timing in timings.items() if part.network != PEAK}
    single = threads == 1 and arguments.device == "cpu"
    return {
        "threads": threads,
        "peak_gflops": {
            part.stage: 1000 * peak.GFLOP / timing.best for part, timing in timings.items() if part.network == PEAK
        },
        "warnings": _disturbed(rows) if single else [],
        "times_ms": [{**part._asdict(), **_as_record(timing, unit)} for part, timing in rows.items()],
    }


def _disturbed(rows: dict[Part, Timing]) -> list[str]:
    """Return a warning if the machine was busy. On an idle one, the CPU time of one thread equals the wall time."""
    found = [part for part, timing in rows.items() if timing.disturbed]
    if not found:
        return []
    worst = max(found, key=lambda part: abs(rows[part].median / max(rows[part].cpu, 1e-6) - 1))
    timing = rows[worst]
    return [
        f"the machine was busy: {len(found)} of {len(rows)} rows differ by more than 20 % from their CPU time, "
        f"{' '.join(worst).strip()} the most ({timing.median:.3f} against {timing.cpu:.3f} ms)"
    ]


def _as_record(timing: Timing, unit: float) -> dict[str, float]:
    return {**dataclasses.asdict(timing), "ratio": timing.median / unit}


def _print(run: dict[str, Any], known: dict[str, NetworkFacts]) -> None:
    title = f"threads {run['threads'] or 'all'}"
    print(f"{title:<62}{'median':>9}{'p95':>9}{'cpu':>9}{'ratio':>8}{'calls/s':>10}   milliseconds")
    for row in run["times_ms"]:
        name = f"{row['network']}: {row['stage']}" if row["network"] else row["stage"]
        times = f"{row['median']:9.3f}{row['p95']:9.3f}{row['cpu']:9.3f}"
        print(f"{name:<62}{times}{row['ratio']:8.2f}{1000 / row['median']:10.1f}")
    peaks = run["peak_gflops"]
    if peaks:
        print(
            f"\npeak, {peak.SIDE} x {peak.SIDE} products: " + ", ".join(f"{k} {v:.0f} GFLOPS" for k, v in peaks.items())
        )
    alone = {row["network"]: row["median"] for row in run["times_ms"] if row["stage"] == latency.NETWORK}
    for name, facts in known.items() if peaks else ():
        speed = 1000 * facts.gflop / alone[name]
        print(f"{name:<40}{speed:9.1f} GFLOPS, {speed / peaks[facts.arithmetic]:.0%} of the {facts.arithmetic} peak")
    for warning in run["warnings"]:
        print(f"latency: warning: {warning}", file=sys.stderr)
    print()


def _print_shares(run: dict[str, Any], reference: str) -> None:
    """Print the share of each stage in the time of a frame. With a small network the detector takes most of it."""
    rows = run["times_ms"]
    whole = next(row["median"] for row in rows if (row["network"], row["stage"]) == (reference, latency.WHOLE))
    shared = [(row["stage"], row["median"]) for row in rows if not row["network"]]
    own = next(row["median"] for row in rows if (row["network"], row["stage"]) == (reference, latency.BOTH))
    shares = ", ".join(f"{stage} {time / whole:.0%}" for stage, time in [*shared, (latency.BOTH, own)])
    print(f"threads {run['threads'] or 'all'}: of the {whole:.1f} ms of a frame with {reference}: {shares}")


def _print_networks(known: dict[str, NetworkFacts], memories: dict[str, memory.Memory | None]) -> None:
    print(f"{'network':<40}{'MB':>8}{'M MACs':>9}{'MB of memory':>14}{'and runtime':>13}")
    for name, facts in known.items():
        taken = memories[name]
        shown = f"{taken.network / 1e6:14.1f}{taken.runtime / 1e6:13.1f}" if taken else f"{'-':>14}{'-':>13}"
        print(f"{name:<40}{facts.bytes / 1e6:8.2f}{facts.macs / 1e6:9.0f}{shown}")


def _setting(arguments: argparse.Namespace, frame: Image, box: Box) -> str:
    return (
        f"{latency.machine()}; ONNX Runtime {onnxruntime.__version__} on {arguments.device}; "
        f"{frame.shape[1]} x {frame.shape[0]} frame, face of {box.width:.0f} x {box.height:.0f} pixels, "
        f"detector {arguments.detector}; {arguments.rounds} rounds of {arguments.calls} calls, in turns"
    )


def _names(arguments: argparse.Namespace) -> list[str]:
    names = [*(arguments.model or []), *(arguments.models or []), *(arguments.adapter or [])]
    given = any(networks.adapter_file(name, ADAPTERS) for name in names)
    if arguments.peers and not given:
        names += networks.present(ADAPTERS, arguments.peers)
    return names


def _models(names: list[str], arguments: argparse.Namespace, threads: int) -> list[networks.AnyModel]:
    options = {"adapters": ADAPTERS, "peers": arguments.peers, "device": arguments.device, "threads": threads}
    models = [networks.load(name, **options) for name in names]
    if len({model.name for model in models}) < len(models):
        raise HeadPoseError(f"two networks have the same name: {', '.join(model.name for model in models)}")
    return models


def _detector(arguments: argparse.Namespace, threads: int) -> FaceDetector:
    return create_detector(arguments.detector, threads=threads, device="cpu", min_face=arguments.min_face)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", metavar="NAME", help="names of networks, or .onnx files")
    parser.add_argument(
        "--models", type=networks.listed, metavar="A,B", help="networks as in --model, or names or files of adapters"
    )
    parser.add_argument(
        "--adapter", nargs="+", metavar="FILE", help="third-party networks: .toml files, see eval/adapters/"
    )
    parser.add_argument(
        "--peers", metavar="DIR", help="folder of third-party networks; if no adapter is named, all that it contains"
    )
    parser.add_argument("--reference", metavar="NAME", help="network that ratios refer to (default: the first)")
    parser.add_argument("--detector", choices=DETECTORS, default=DEFAULT_DETECTOR, help="detector (default: blazeface)")
    parser.add_argument("--min-face", type=positive, metavar="PX", help="smallest face that blazeface detects (40)")
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="device of the networks (default: cpu)")
    parser.add_argument(
        "--threads",
        type=_threads,
        default=[1],
        metavar="N,M",
        help="numbers of CPU threads, one run for each; 0 for all (default: 1)",
    )
    parser.add_argument(
        "--rounds", type=int, default=30, metavar="N", help="rounds over all networks (default: %(default)s)"
    )
    parser.add_argument(
        "--calls", type=int, default=5, metavar="N", help="timed calls of each in a round (default: %(default)s)"
    )
    parser.add_argument("--image", default=EXAMPLE, metavar="FILE", help="photo with one face")
    parser.add_argument(
        "--frame", type=_size, default=(640, 480), metavar="WxH", help="size of the frame (default: 640x480)"
    )
    parser.add_argument("--pipeline", metavar="CLIP", help="time the loop over the frames of a video instead")
    parser.add_argument(
        "--detect-every",
        type=positive,
        default=DETECT_EVERY,
        metavar="N",
        help="pipeline: frames between two looks for faces (%(default)s)",
    )
    parser.add_argument("--max-faces", type=positive, metavar="N", help="pipeline: maximum number of faces (all)")
    parser.add_argument(
        "--mediapipe",
        metavar="PYTHON",
        help="pipeline: Python with mediapipe 0.10.21, to time its face mesh, too",
    )
    parser.add_argument(
        "--send", action="store_true", help="pipeline: time from a frame to its packet at another program"
    )
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="send: time for each network (60)")
    parser.add_argument("--fps", type=float, default=60.0, metavar="N", help="send: frames a second (60)")
    parser.add_argument("--json", metavar="FILE", help="write the result to a file")
    add_verbose(parser)
    return parser


def _threads(text: str) -> list[int]:
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        raise argparse.ArgumentTypeError(f"{text!r} must be numbers separated by commas, such as 1,2")
    return list(map(int, text.split(",")))


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} must be WIDTHxHEIGHT, such as 640x480")
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    sys.exit(main())
