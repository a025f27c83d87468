"""``headpose estimate``: estimate head poses in images, folders, videos and camera streams."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headpose.cli.arguments import (
    add_detect_every_option,
    add_draw_option,
    add_face_options,
    add_landmark_option,
    add_network_options,
    add_threads_option,
    non_empty,
)
from headpose.cli.frames import check_tracking, frame_estimator
from headpose.cli.live import EPILOG, Live, add_live_arguments, check_stdout, events_target
from headpose.cli.program import INTERRUPTED, NO_READER, printable, sigterm_as_interrupt
from headpose.errors import HeadPoseError, ImageError, InputError

if TYPE_CHECKING:  # these import OpenCV and ONNX Runtime, which would slow --help down
    from headpose.estimator import HeadPoseEstimator
    from headpose.streams import Frame, FrameSource, Sink
    from headpose.types import HeadPose

_INTERRUPTED_LINE = "headpose: interrupted: the results end at the last processed frame"

_EPILOG = f"""\
angles, in degrees:
  yaw > 0    the nose points to the left side of the image
  pitch > 0  the nose points up
  roll > 0   the head is tilted clockwise on the screen

Heads that lie on their side or are upside down are read in a crop that is turned with them. The detector misses
15 % of them, and takes one in ten for a head of another angle: turn such images where you can. Errors are also
larger for profiles seen from well above or below.

--json writes one object per face and line: frame; source (with several sources); for images, image (path
relative to the folder of the JSON or CSV file, on stdout as given) and face (number in the drawn image);
for videos and cameras, time_s (seconds from the first frame) and track (with --track); box [x1, y1, x2, y2]
(tight box in pixels of the upright image with square pixels), score, yaw, pitch, roll, azimuth, elevation
and tilt (direction of the nose and tilt about it, degrees), rotation (3x3, rows), uncertainty (expected
error, degrees), readable (probability of a face whose pose can be read; both empty for networks without
these outputs), reliable (false if readable is below --min-confidence), quality (pose terms of ISO/IEC
29794-5, 0 to 100), place (with --fov or --camera: x right, y up, z towards the camera, in centimeters),
landmarks (with --landmarks: 68 times [x, y] in pixels, in the order of 300W).
--csv writes the same columns except rotation, quality, place and landmarks. headpose train reads this CSV as data, and
eval/aflw2000.py --score evaluates it. An image or frame without a face adds no line and is not an error.

--out of a video keeps the time of every frame: if the frame rate varies, frames are repeated or dropped.
.mp4, .m4v and .mov files contain MPEG-4 Part 2, which browsers do not play; .webm files contain VP8, which
browsers play. With several sources (images, folders, videos), --out is a folder. Playlists (such as .m3u8)
are rejected because they may refer to any file.

{EPILOG}
An output must not be an input as well. If an output is a symbolic link, the link is replaced and its target
stays unchanged.

Ctrl-C stops the program; the results so far are kept in complete files. Exit status: 0 after success and
after stopping a camera; 1 after an error or if part of SOURCE could not be read; 130 after Ctrl-C.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``headpose estimate``."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="image, folder of images, video, number or device of a camera, URL (rtsp, rtmp, http, ...), or "
        "GStreamer pipeline in quotes; an existing file or folder of that name takes precedence",
    )
    add_network_options(parser)
    add_threads_option(parser)
    parser.add_argument("--json", type=non_empty, metavar="FILE", help="write JSON Lines to a file; - for stdout")
    parser.add_argument("--csv", type=non_empty, metavar="FILE", help="write CSV to a file; - for stdout")
    parser.add_argument("--out", type=non_empty, metavar="FILE|DIR", help="write the images or video with drawn poses")
    add_draw_option(parser)
    add_face_options(parser)
    add_landmark_option(parser)
    parser.add_argument("--track", action="store_true", help="assign each face of a video a stable track number")
    parser.add_argument("--smooth", action="store_true", help="smooth the angles and boxes; implies --track")
    add_detect_every_option(parser)
    add_live_arguments(parser, neutral="give poses relative to the neutral pose in FILE (JSON, saved by the window)")
    parser.add_argument("-q", "--quiet", action="store_true", help="print no results on stdout and no progress bar")


def run(args: argparse.Namespace) -> int:
    """Run ``headpose estimate`` and return the exit status."""
    import cv2

    from headpose.inference import bounded_threads
    from headpose.streams import open_source, silence_codecs

    check_stdout(args)
    silence_codecs()
    if threads := bounded_threads(args.threads):
        cv2.setNumThreads(threads)
    _guard_outputs(args)
    if len(args.source) > 1:
        return _run_several(args)
    with open_source(args.source[0]) as source:
        check_tracking(args, source)
        rows, drawn, live = _row_files(args), _drawing(args, source), Live(args)
        estimator = _estimator(args)
        with contextlib.ExitStack() as stack, sigterm_as_interrupt():
            for sink in (*rows, *drawn):
                stack.enter_context(sink)
            stack.enter_context(live)
            status = _process(source, estimator, rows, drawn, live, args)
    _print_codec(drawn, args)
    _print_remarks(source, [*drawn, live])
    if status == INTERRUPTED and source.kind == "camera":  # Ctrl-C is the only way to end a camera
        status = 0
    elif status == INTERRUPTED:
        print(_INTERRUPTED_LINE, file=sys.stderr)
    return status or int(bool(source.problems))


def _run_several(args: argparse.Namespace) -> int:
    """Process several sources: all images and folders as one source, then each video. Rows go to the same files."""
    from headpose.streams import open_pictures, open_source

    if events_target(args):
        raise InputError("--events and --away take one video or camera")
    pictures = open_pictures(args.source)
    videos = [text for text in args.source if pictures is None or text not in pictures.sources]
    if args.out:
        _make_folder(Path(args.out), pictures.paths if pictures else [], [Path(text) for text in videos])
    if pictures:
        check_tracking(args, pictures)
    rows, live, estimator, status, faulty = _row_files(args), Live(args), _estimator(args), 0, False
    every: list[Sink] = []
    with contextlib.ExitStack() as stack, sigterm_as_interrupt():
        for sink in rows:
            stack.enter_context(sink)
        stack.enter_context(live)
        for text in [*([""] if pictures else []), *videos]:
            try:
                with open_source(text) if text or not pictures else pictures as source:
                    drawn = _drawing(args, source)
                    every += drawn
                    with contextlib.ExitStack() as of_source:
                        for sink in drawn:
                            of_source.enter_context(sink)
                        check_tracking(args, source)
                        status = _process(source, estimator, rows, drawn, live, args, text)
            except ImageError as error:  # continue with the other sources
                print(f"headpose: error: {printable(str(error))}", file=sys.stderr)
                faulty = True
                continue
            _print_remarks(source, drawn)
            faulty |= bool(source.problems)
            if status:
                break
    _print_codec(every, args)
    _print_notes(live.notes)
    if status == INTERRUPTED:
        print(_INTERRUPTED_LINE, file=sys.stderr)
    return status or int(faulty)


def _make_folder(out: Path, pictures: Sequence[Path], videos: Sequence[Path]) -> None:
    """Create the output folder of several sources; HeadPoseError if two would be written to the same file in it."""
    from headpose.images import writable_name

    names: dict[str, Path] = {}
    targets = [(path, writable_name(path.name)) for path in pictures]
    for path, name in (*targets, *((path, f"{path.stem}.mp4") for path in videos)):
        other = names.setdefault(name.casefold(), path)
        if other is not path:
            raise HeadPoseError(f"{other} and {path} would both be written to {out / name}: process them separately")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if out.is_file() else error.strerror or error
        raise HeadPoseError(f"--out {out} must be a folder for several sources: {reason}") from None


def _print_remarks(source: FrameSource, outputs: Sequence[Sink | Live]) -> None:
    """Print the notes and problems of a source and the notes of its outputs."""
    _print_notes([*source.notes, *(note for output in outputs for note in getattr(output, "notes", ()))])
    for problem in source.problems:
        print(f"headpose: error: {printable(problem)}", file=sys.stderr)


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"headpose: {printable(note)}", file=sys.stderr)


def _print_codec(drawn: Sequence[Sink], args: argparse.Namespace) -> None:
    """Print once, unless --quiet is set, that browsers do not play the written videos."""
    from headpose import streams

    notes = (sink.browser_note for sink in drawn if isinstance(sink, streams.VideoFile))
    if not args.quiet and (note := next(filter(None, notes), "")):
        print(f"headpose: {note}", file=sys.stderr)


def _wants_lines(args: argparse.Namespace) -> bool:
    return not args.quiet and "-" not in (args.json, args.csv, events_target(args))


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
        args.model,
        detector=detector,
        device=args.device,
        threads=args.threads,
        max_faces=args.max_faces,
        min_confidence=args.min_confidence,
        landmarks=args.landmarks,
    )
    if sys.stderr.isatty() and not args.quiet:
        _print_license(estimator)
    return estimator


def _print_license(estimator: HeadPoseEstimator) -> None:
    """Print one line for each network whose license restricts its use or is unknown."""
    for model in filter(None, (estimator.model, estimator.landmarks)):
        stated = str(getattr(model, "metadata", {}).get("license"))
        terms = {"research-only": "are for research only", "unknown": "have an unknown license"}.get(stated)
        if terms:
            print(f"headpose: the weights of {model.name} {terms} (see headpose models)", file=sys.stderr)


def _row_files(args: argparse.Namespace) -> list[Sink]:
    """Return the sinks of --json and --csv. They are created first, so that an invalid path is an error at once."""
    from headpose import streams

    rows: list[Sink] = []
    if args.json:
        rows.append(streams.json_lines(args.json))
    if args.csv:
        rows.append(streams.csv_file(args.csv, tracks=args.track or args.smooth, sources=len(args.source) > 1))
    return rows


def _drawing(args: argparse.Namespace, source: FrameSource) -> list[Sink]:
    """Return the sink of --out in a list, or an empty list without --out."""
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
    """Raise HeadPoseError if an output is also an input or another output."""
    from headpose import files, weights
    from headpose.images import writable_name
    from headpose.streams import source_files

    read = [file for source in args.source for file in source_files(source)]
    drawn: str | list[Path] | None = args.out
    if args.out:  # in a folder an image keeps its name, a video becomes an .mp4 file
        folder = Path(args.out)
        names = (name for file in read for name in (writable_name(file.name), f"{file.stem}.mp4"))
        drawn = [folder, *(folder / name for name in names)]
    networks = [name for name in (args.model, args.landmarks) if name and weights.is_path(name)]
    files.check_outputs(
        [*read, *networks, args.detector_model, args.camera, args.neutral],
        text={"--json": args.json, "--csv": args.csv, "--events": args.events},
        data={"--out": drawn},
    )


def _target(out: Path, source: FrameSource) -> Path:
    """Return the file or folder to write: a file in ``out`` if ``out`` is a folder and the source is one file."""
    from headpose.images import writable_name

    if source.kind in ("image", "video") and out.is_dir():
        name = Path(source.name)
        return out / (writable_name(name.name) if source.kind == "image" else f"{name.stem}.mp4")
    return out


def _process(
    source: FrameSource,
    estimator: HeadPoseEstimator,
    rows: Sequence[Sink],
    drawn: Sequence[Sink],
    live: Live,
    args: argparse.Namespace,
    label: str = "",
) -> int:
    """Estimate the poses of every frame and write them: ``live`` returns the poses to draw and those to report.

    Returns 0, ``INTERRUPTED`` after Ctrl-C, or ``NO_READER`` if the reader of stdout has closed it. ``label`` is the
    ``Frame.source`` of frames without one.
    """
    from tqdm import tqdm

    frames = faces = 0
    estimate = frame_estimator(estimator, source, args, live)
    quiet, lines = args.quiet, _wants_lines(args)
    single = source.kind == "image"
    noun = "picture" if source.kind == "folder" else "frame"
    hidden = quiet or single or not sys.stderr.isatty()
    progress = tqdm(total=source.length, unit=f" {noun}", disable=hidden, leave=False, dynamic_ncols=True)
    status = 0
    try:
        for frame in source:
            frame = dataclasses.replace(frame, source=frame.source or label)
            poses = estimate(frame)
            shown, reported = live.read(frame, poses)
            for sinks, of_sinks in ((rows, reported), (drawn, shown)):
                for sink in sinks:
                    sink.write(frame, of_sinks)
            frames, faces = frames + 1, faces + len(poses)
            if lines:
                _print_lines(frame, reported, progress.write)
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
    """Print one line per face, and one line for an image (not a video frame) without faces."""
    where = frame.name or f"frame {frame.index}"
    if frame.source:
        where = frame.source if Path(frame.source).name == frame.name else f"{frame.source}  {where}"
    where = printable(where)
    if not poses and frame.name:
        write(f"{where}  no face found")
    for place, pose in enumerate(poses, 1):
        yaw, pitch, roll = pose.euler
        # The same number as ``draw_labels`` draws. In videos, numbers mean nothing without tracking.
        number = pose.track or (place if frame.name and len(poses) > 1 else None)
        name = f"{where}  face {number}" if number else where
        box = " ".join(f"{side:.0f}" for side in pose.box.as_tuple())
        error = "" if pose.uncertainty is None else f"  error {pose.uncertainty:4.1f}"
        readable = "" if pose.readable is None else f"  readable {pose.readable:.2f}"
        doubt = f"{error}{readable}{'' if pose.reliable else '  unreliable'}"
        angles = f"yaw {yaw:+6.1f}  pitch {pitch:+6.1f}  roll {roll:+6.1f}{doubt}"
        write(f"{name}  {angles}  score {pose.face.score:.2f}  box {box}")
    if poses or frame.name:
        sys.stdout.flush()


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
