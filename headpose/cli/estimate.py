"""``headpose estimate``: poses of the heads in a picture, a folder, a video or a camera's stream."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headpose.cli.arguments import non_empty, positive, share, whole
from headpose.cli.program import INTERRUPTED, NO_READER, printable
from headpose.errors import HeadPoseError, ImageError

if TYPE_CHECKING:  # what these import (OpenCV, ONNX Runtime) would slow --help down
    from headpose.estimator import HeadPoseEstimator
    from headpose.streams import Frame, FrameSource, Sink
    from headpose.tracking import FaceTracker
    from headpose.types import HeadPose

_INTERRUPTED_LINE = "headpose: interrupted: the results end where it stopped"

_EPILOG = """\
angles, in degrees:
  yaw > 0    the nose points to the left of the picture
  pitch > 0  up
  roll > 0   the head is tilted clockwise on the screen

Heads that lie in the picture by more than about 45 degrees are unreliable: with the picture turned by 90
degrees the median error is 44 degrees, upside down 171, with scores as usual. Turn such pictures first.
Profiles seen from well above or below are read worse than others, too.

--json writes one object a face and line: frame, source (of several); for pictures image (the path from
the folder of the JSON or CSV file; on stdout as given) and face (its number in the drawn picture); for
videos and cameras time_s (seconds from the first frame) and track (with --track); box [x1, y1, x2, y2]
(the tight box, in pixels of the picture as it is shown: upright, pixels square), score, yaw, pitch, roll,
rotation (3x3, rows). --csv has the same columns, but for the rotation: a table that headpose train
takes as data and eval/aflw2000.py --score scores. No face is no line, and no error.

A video's --out keeps the time of every frame: where its rate varies, frames are repeated or left out.
.mp4, .m4v and .mov hold MPEG-4 part 2, which browsers do not play; .webm holds VP8, which they do.
Several sources may be pictures, folders and videos; --out is then a folder. A playlist (.m3u8 and its
like) is refused: it may refer to any file.

An output that is an input too is refused. One that is a link is replaced; what it points to stays.

Ctrl-C ends the work; what is done by then is kept, in whole files. exit status: 0 (also for a camera
that was stopped), 1 after an error or if a part of SOURCE could not be read, 130 after Ctrl-C.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``headpose estimate``."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="a picture, a folder of pictures, a video, a camera's number or device, a URL (rtsp, rtmp, http, ...), or "
        "a GStreamer pipeline in quotes; a file or folder of that name comes first",
    )
    parser.add_argument("--model", default="student", help="a name (headpose models lists them) or an .onnx file")
    parser.add_argument("--detector", default="blazeface", help="blazeface (default), mediapipe or yunet")
    parser.add_argument(
        "--detector-model", type=non_empty, metavar="FILE", help="the detector's own file (yunet needs one)"
    )
    parser.add_argument(
        "--min-face",
        type=positive,
        metavar="PX",
        help="smallest face to look for with blazeface, pixels (40); larger is faster",
    )
    parser.add_argument("--json", type=non_empty, metavar="FILE", help="write JSON lines; - for stdout")
    parser.add_argument("--csv", type=non_empty, metavar="FILE", help="write CSV; - for stdout")
    parser.add_argument(
        "--out", type=non_empty, metavar="FILE|DIR", help="write the picture, the pictures or the video with the poses"
    )
    parser.add_argument("--draw", choices=("axes", "cube", "none"), default="axes", help="what --out draws (axes)")
    parser.add_argument("--max-faces", type=positive, metavar="N", help="only the N best faces of a picture (all)")
    parser.add_argument(
        "--min-score",
        type=share,
        default=0.0,
        metavar="S",
        help="leave out faces whose score is below S, 0 to 1 (all that the detector gives: blazeface from 0.5)",
    )
    parser.add_argument("--track", action="store_true", help="give each face of a video a number that stays")
    parser.add_argument("--smooth", action="store_true", help="--track, and calm the tremble of angles and boxes")
    parser.add_argument(
        "--threads", type=whole, default=0, metavar="N", help="processor threads (as many as there are)"
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
    _guard_outputs(args)
    if len(args.source) > 1:
        return _run_several(args)
    with open_source(args.source[0]) as source:
        tracker = _tracker(args, source)
        rows, drawn = _row_files(args), _drawing(args, source)
        estimator = _estimator(args)
        with contextlib.ExitStack() as stack, _sigterm_as_interrupt():
            for sink in (*rows, *drawn):
                stack.enter_context(sink)
            status = _process(source, estimator, tracker, (*rows, *drawn), args)
    _print_codec(drawn, args)
    _print_remarks(source, drawn)
    if status == INTERRUPTED and source.kind == "camera":  # the only way to end it
        status = 0
    elif status == INTERRUPTED:
        print(_INTERRUPTED_LINE, file=sys.stderr)
    return status or int(bool(source.problems))


def _run_several(args: argparse.Namespace) -> int:
    """Pictures and folders first, as one source, then each video; all rows go to the same files."""
    from headpose.streams import open_pictures, open_source

    pictures = open_pictures(args.source)
    videos = [text for text in args.source if pictures is None or text not in pictures.sources]
    if args.out:
        _make_folder(Path(args.out), pictures.paths if pictures else [], [Path(text) for text in videos])
    if pictures:
        _tracker(args, pictures)  # an error if one is wanted
    rows, estimator, status, faulty = _row_files(args), _estimator(args), 0, False
    every: list[Sink] = []
    with contextlib.ExitStack() as stack, _sigterm_as_interrupt():
        for sink in rows:
            stack.enter_context(sink)
        for text in [*([""] if pictures else []), *videos]:
            try:
                with open_source(text) if text or not pictures else pictures as source:
                    drawn = _drawing(args, source)
                    every += drawn
                    with contextlib.ExitStack() as of_source:
                        for sink in drawn:
                            of_source.enter_context(sink)
                        status = _process(source, estimator, _tracker(args, source), (*rows, *drawn), args, text)
            except ImageError as error:  # not the end of the others
                print(f"headpose: error: {printable(str(error))}", file=sys.stderr)
                faulty = True
                continue
            _print_remarks(source, drawn)
            faulty |= bool(source.problems)
            if status:
                break
    _print_codec(every, args)
    if status == INTERRUPTED:
        print(_INTERRUPTED_LINE, file=sys.stderr)
    return status or int(faulty)


def _make_folder(out: Path, pictures: Sequence[Path], videos: Sequence[Path]) -> None:
    """Makes the folder that --out of several sources is; HeadPoseError if two of them would have one name in it."""
    from headpose.images import writable_name

    names: dict[str, Path] = {}
    targets = [(path, writable_name(path.name)) for path in pictures]
    for path, name in (*targets, *((path, f"{path.stem}.mp4") for path in videos)):
        other = names.setdefault(name.casefold(), path)
        if other is not path:
            raise HeadPoseError(f"{other} and {path} would both be {out / name}: give them one after the other")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if out.is_file() else error.strerror or error
        raise HeadPoseError(f"--out {out} must be a folder for several sources: {reason}") from None


def _print_remarks(source: FrameSource, drawn: Sequence[Sink]) -> None:
    """What was lost of a source, and what else there is to know of it and of its --out."""
    for note in (*source.notes, *(note for sink in drawn for note in getattr(sink, "notes", ()))):
        print(f"headpose: {printable(note)}", file=sys.stderr)
    for problem in source.problems:
        print(f"headpose: error: {printable(problem)}", file=sys.stderr)


def _print_codec(drawn: Sequence[Sink], args: argparse.Namespace) -> None:
    """Says once, and not with --quiet, that browsers do not play the videos that were written."""
    from headpose import streams

    notes = (sink.browser_note for sink in drawn if isinstance(sink, streams.VideoFile))
    if not args.quiet and (note := next(filter(None, notes), "")):
        print(f"headpose: {note}", file=sys.stderr)


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
    estimator = HeadPoseEstimator(
        args.model, detector=detector, device=args.device, threads=args.threads, max_faces=args.max_faces
    )
    if sys.stderr.isatty() and not args.quiet:
        _print_license(estimator)
    return estimator


def _print_license(estimator: HeadPoseEstimator) -> None:
    """One line if not everybody may use the network for everything."""
    stated = str(getattr(estimator.model, "metadata", {}).get("license"))
    terms = {"research-only": "are for research only", "unknown": "have an unknown license"}.get(stated)
    if terms:
        print(f"headpose: the weights of {estimator.model.name} {terms} (headpose models says more)", file=sys.stderr)


def _tracker(args: argparse.Namespace, source: FrameSource) -> FaceTracker | None:
    from headpose.smoothing import Smoothing
    from headpose.tracking import FaceTracker

    if not (args.track or args.smooth):
        return None
    if source.kind not in ("video", "camera"):
        raise HeadPoseError(f"{source.name} has no frames in time: --track and --smooth are for videos and cameras")
    return FaceTracker(Smoothing() if args.smooth else None)


def _row_files(args: argparse.Namespace) -> list[Sink]:
    """--json and --csv, made before any work is done so that a wrong target is an error at once."""
    from headpose import streams

    rows: list[Sink] = []
    if args.json:
        rows.append(streams.json_lines(args.json))
    if args.csv:
        rows.append(streams.csv_file(args.csv, tracks=args.track or args.smooth, sources=len(args.source) > 1))
    return rows


def _drawing(args: argparse.Namespace, source: FrameSource) -> list[Sink]:
    """--out, if it is wanted."""
    from headpose import streams

    if not args.out:
        return []
    target = _target(Path(args.out), source)
    if source.kind == "image":
        return [streams.PictureFile(target, args.draw)]
    if source.kind == "folder":
        return [streams.PictureFolder(target, args.draw)]
    return [streams.VideoFile(target, source.fps, args.draw, by_clock=True)]


def _guard_outputs(args: argparse.Namespace) -> None:
    """HeadPoseError if an output is an input, or another output too."""
    from headpose import files, weights
    from headpose.images import writable_name
    from headpose.streams import source_files

    read = [file for source in args.source for file in source_files(source)]
    drawn: str | list[Path] | None = args.out
    if args.out:  # in a folder a picture keeps its name, a video becomes an .mp4
        folder = Path(args.out)
        names = (name for file in read for name in (writable_name(file.name), f"{file.stem}.mp4"))
        drawn = [folder, *(folder / name for name in names)]
    network = args.model if weights.is_path(args.model) else None
    files.check_outputs(
        [*read, network, args.detector_model],
        text={"--json": args.json, "--csv": args.csv},
        data={"--out": drawn},
    )


def _target(out: Path, source: FrameSource) -> Path:
    """The file or folder that --out means."""
    from headpose.images import writable_name

    if source.kind in ("image", "video") and out.is_dir():
        name = Path(source.name)
        return out / (writable_name(name.name) if source.kind == "image" else f"{name.stem}.mp4")
    return out


def _process(
    source: FrameSource,
    estimator: HeadPoseEstimator,
    tracker: FaceTracker | None,
    sinks: Sequence[Sink],
    args: argparse.Namespace,
    label: str = "",
) -> int:
    """Reads every frame; returns 0, or the status of what ended it early: Ctrl-C, or nobody reading stdout.

    ``label`` is the ``Frame.source`` of frames that have none of their own.
    """
    from tqdm import tqdm

    frames = faces = 0
    quiet, lines = args.quiet, _wants_lines(args)
    single = source.kind == "image"
    noun = "picture" if source.kind == "folder" else "frame"
    hidden = quiet or single or not sys.stderr.isatty()
    progress = tqdm(total=source.length, unit=f" {noun}", disable=hidden, leave=False, dynamic_ncols=True)
    status = 0
    try:
        for frame in source:
            frame = dataclasses.replace(frame, source=frame.source or label)
            poses = [pose for pose in estimator.estimate(frame.image) if pose.face.score >= args.min_score]
            if tracker is not None:
                poses = tracker.update(poses, frame.time_s)
            for sink in sinks:
                sink.write(frame, poses)
            frames, faces = frames + 1, faces + len(poses)
            if lines:
                _print_lines(frame, poses, progress.write)
            progress.update()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        status = NO_READER
    finally:
        progress.close()
    if faces == 0 and frames and not (lines and frame.name):
        print(f"headpose: no face found in {printable(source.name)}", file=sys.stderr)
    elif not quiet and not single:
        print(
            f"headpose: {printable(source.name)}: {_counted(frames, noun)}, {_counted(faces, 'face')}", file=sys.stderr
        )
    return status


def _print_lines(frame: Frame, poses: Sequence[HeadPose], write: Callable[[str], None]) -> None:
    """One line a face; a picture without a face has a line too, a frame of a video has none."""
    where = frame.name or f"frame {frame.index}"
    if frame.source:
        where = frame.source if Path(frame.source).name == frame.name else f"{frame.source}  {where}"
    where = printable(where)
    if not poses and frame.name:
        write(f"{where}  no face found")
    for place, pose in enumerate(poses, 1):
        yaw, pitch, roll = pose.euler
        # The number that ``draw_labels`` writes. Without a track the one of a video's frame says nothing.
        number = pose.track or (place if frame.name and len(poses) > 1 else None)
        name = f"{where}  face {number}" if number else where
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
