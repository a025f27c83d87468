"""``headpose estimate``: poses of the heads in a picture, a folder, a video or a camera's stream."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headpose.errors import HeadPoseError

if TYPE_CHECKING:  # what these import (OpenCV, ONNX Runtime) would slow --help down
    from headpose.estimator import HeadPoseEstimator
    from headpose.streams import Frame, FrameSource, Sink
    from headpose.tracking import FaceTracker
    from headpose.types import HeadPose

_INTERRUPTED, _NO_READER = 130, 141  # what a shell reports for SIGINT and SIGPIPE

_EPILOG = """\
angles, in degrees:
  yaw > 0    the nose points to the left of the picture
  pitch > 0  up
  roll > 0   the head is tilted clockwise on the screen

Heads that lie in the picture by more than about 45 degrees are unreliable: with the picture turned by 90
degrees the median error is 44 degrees, upside down 171, with scores as usual. Turn such pictures first.
Profiles seen from well above or below are read worse than others, too.

--json writes one object a face and line: frame, name (for pictures), track (with --track), box
[x1, y1, x2, y2] (the tight box, in pixels), score, yaw, pitch, roll, rotation (3x3, rows). No face is
no line, and no error.

An output that is an input too is refused. One that is a link is replaced; what it points to stays.

Ctrl-C ends the work; what is done by then is kept, in whole files. exit status: 0 (also for a camera
that was stopped), 1 after an error or if a part of SOURCE could not be read, 130 after Ctrl-C.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``headpose estimate``."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a picture, a folder of pictures, a video, a camera's number, or a GStreamer pipeline in quotes",
    )
    parser.add_argument("--model", default="student", help="a name (headpose models lists them) or an .onnx file")
    parser.add_argument("--detector", default="blazeface", help="blazeface (default), mediapipe or yunet")
    parser.add_argument("--detector-model", metavar="FILE", help="the detector's own file (yunet needs one)")
    parser.add_argument(
        "--min-face",
        type=_positive,
        metavar="PX",
        help="smallest face to look for with blazeface, pixels (40); larger is faster",
    )
    parser.add_argument("--json", metavar="FILE", help="write JSON lines; - for stdout")
    parser.add_argument("--csv", metavar="FILE", help="write CSV; - for stdout")
    parser.add_argument("--out", metavar="FILE|DIR", help="write the picture, the pictures or the video with the poses")
    parser.add_argument("--draw", choices=("axes", "cube", "none"), default="axes", help="what --out draws (axes)")
    parser.add_argument("--max-faces", type=_positive, metavar="N", help="only the N best faces of a picture (all)")
    parser.add_argument("--track", action="store_true", help="give each face of a video a number that stays")
    parser.add_argument("--smooth", action="store_true", help="--track, and calm the tremble of angles and boxes")
    parser.add_argument(
        "--threads", type=_count, default=0, metavar="N", help="processor threads (as many as there are)"
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda", "tensorrt", "openvino", "directml", "coreml"),
        default="auto",
        help="where the networks run (auto: the best that is installed)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no lines on stdout and no progress bar")


def run(args: argparse.Namespace) -> int:
    """Runs ``headpose estimate``; returns the exit status."""
    import cv2

    from headpose.inference import bounded_threads
    from headpose.streams import open_source, silence_codecs

    if args.json == "-" and args.csv == "-":
        raise HeadPoseError("--json - and --csv - cannot share stdout: give one of them a file")
    silence_codecs()
    if threads := bounded_threads(args.threads):
        cv2.setNumThreads(threads)
    with open_source(args.source) as source:
        _check_outputs(args)
        tracker = _tracker(args, source)
        sinks = _sinks(args, source)
        estimator = _estimator(args)
        with contextlib.ExitStack() as stack, _sigterm_as_interrupt():
            for sink in sinks:
                stack.enter_context(sink)
            status = _process(source, estimator, tracker, sinks, quiet=args.quiet, lines=_wants_lines(args))
    for problem in source.problems:
        print(f"headpose: error: {problem}", file=sys.stderr)
    if status == _INTERRUPTED and source.kind == "camera":  # the only way to end it
        status = 0
    elif status == _INTERRUPTED:
        print("headpose: interrupted: the results end where it stopped", file=sys.stderr)
    return status or int(bool(source.problems))


def _wants_lines(args: argparse.Namespace) -> bool:
    return not args.quiet and "-" not in (args.json, args.csv)


def _estimator(args: argparse.Namespace) -> HeadPoseEstimator:
    from headpose.detection import create_detector
    from headpose.estimator import HeadPoseEstimator

    detector = create_detector(
        args.detector,
        threads=args.threads,
        device=args.device,
        model_path=args.detector_model,
        min_face=args.min_face,
    )
    return HeadPoseEstimator(
        args.model, detector=detector, device=args.device, threads=args.threads, max_faces=args.max_faces
    )


def _tracker(args: argparse.Namespace, source: FrameSource) -> FaceTracker | None:
    from headpose.tracking import FaceTracker, Smoothing

    if not (args.track or args.smooth):
        return None
    if source.kind not in ("video", "camera"):
        raise HeadPoseError(f"{source.name} has no frames in time: --track and --smooth are for videos and cameras")
    return FaceTracker(Smoothing() if args.smooth else None)


def _sinks(args: argparse.Namespace, source: FrameSource) -> list[Sink]:
    """What the results go to, made before any work is done so that a wrong ending is told at once."""
    from headpose import streams

    sinks: list[Sink] = []
    if args.json:
        sinks.append(streams.json_lines(args.json))
    if args.csv:
        sinks.append(streams.csv_file(args.csv, tracks=args.track or args.smooth))
    if args.out:
        target = _target(Path(args.out), source)
        if source.kind == "image":
            sinks.append(streams.PictureFile(target, args.draw))
        elif source.kind == "folder":
            sinks.append(streams.PictureFolder(target, args.draw))
        else:
            sinks.append(streams.VideoFile(target, source.fps, args.draw, by_clock=source.kind == "camera"))
    return sinks


def _check_outputs(args: argparse.Namespace) -> None:
    """HeadPoseError if an output is an input, or another output too."""
    from headpose import files, weights
    from headpose.streams import source_files

    read = source_files(args.source)
    drawn: str | list[Path] | None = args.out
    if args.out:  # in a folder a picture keeps its name, a video becomes an .mp4
        folder = Path(args.out)
        drawn = [folder, *(folder / name for file in read for name in (file.name, f"{file.stem}.mp4"))]
    network = args.model if weights.is_path(args.model) else None
    files.check_outputs(
        [*read, network, args.detector_model],
        text={"--json": args.json, "--csv": args.csv},
        data={"--out": drawn},
    )


def _target(out: Path, source: FrameSource) -> Path:
    """The file or folder that --out means."""
    if source.kind in ("image", "video") and out.is_dir():
        name = Path(source.name)
        return out / (name.name if source.kind == "image" else f"{name.stem}.mp4")
    return out


def _process(
    source: FrameSource,
    estimator: HeadPoseEstimator,
    tracker: FaceTracker | None,
    sinks: Sequence[Sink],
    *,
    quiet: bool,
    lines: bool,
) -> int:
    """Reads every frame; returns 0, or the status of what ended it early: Ctrl-C, or nobody reading stdout."""
    from tqdm import tqdm

    frames = faces = 0
    single = source.kind == "image"
    noun = "picture" if source.kind == "folder" else "frame"
    hidden = quiet or single or not sys.stderr.isatty()
    progress = tqdm(total=source.length, unit=f" {noun}", disable=hidden, leave=False, dynamic_ncols=True)
    status = 0
    try:
        for frame in source:
            poses = estimator.estimate(frame.image)
            if tracker is not None:
                poses = tracker.update(poses, frame.time_s)
            for sink in sinks:
                sink.write(frame, poses)
            frames, faces = frames + 1, faces + len(poses)
            if lines:
                _print_lines(frame, poses, progress.write)
            progress.update()
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except BrokenPipeError:
        status = _NO_READER
    finally:
        progress.close()
    if faces == 0 and frames and not (lines and frame.name):
        print(f"headpose: no face found in {source.name}", file=sys.stderr)
    elif not quiet and not single:
        print(f"headpose: {source.name}: {_counted(frames, noun)}, {_counted(faces, 'face')}", file=sys.stderr)
    return status


def _print_lines(frame: Frame, poses: Sequence[HeadPose], write: Callable[[str], None]) -> None:
    """One line a face; a picture without a face has a line too, a frame of a video has none."""
    where = frame.name or f"frame {frame.index}"
    if not poses and frame.name:
        write(f"{where}  no face found")
    for pose in poses:
        yaw, pitch, roll = pose.euler
        name = where if pose.track is None else f"{where}  face {pose.track}"
        box = " ".join(f"{side:.0f}" for side in pose.box.as_tuple())
        write(
            f"{name}  yaw {yaw:+6.1f}  pitch {pitch:+6.1f}  roll {roll:+6.1f}  score {pose.face.score:.2f}  box {box}"
        )
    if poses or frame.name:
        sys.stdout.flush()


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """A service is stopped by SIGTERM: its recording is worth finishing as much as after Ctrl-C."""
    try:
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)
