"""Live head pose of a camera, a video or a GStreamer pipeline, in a window.

    python apps/webcam.py                                    # the first camera
    python apps/webcam.py video.mp4 --draw cube
    python apps/webcam.py 0 --no-window --json - --frames 100
    python apps/webcam.py 0 --send opentrack://127.0.0.1:4242

Press h to list the keys. Key m mirrors the window only. Mirroring flips the signs of yaw and roll, so poses are
estimated on the original image, and recordings and saved images are not mirrored.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import cv2

from headpose.cli.arguments import (
    add_detect_every_option,
    add_draw_option,
    add_face_options,
    add_network_options,
    add_threads_option,
    named_path,
    non_empty,
    positive,
)
from headpose.cli.live import Live, add_live_arguments, check_stdout
from headpose.cli.log import add_verbose, show_log
from headpose.cli.program import run_program
from headpose.detection import create_detector
from headpose.draw import draw_mirrored, draw_panel, draw_poses
from headpose.errors import HeadPoseError
from headpose.estimator import HeadPoseEstimator
from headpose.facestream import FaceStream
from headpose.files import check_outputs
from headpose.images import write_image
from headpose.inference import bounded_threads, load_model
from headpose.smoothing import Smoothing
from headpose.streams import (
    Frame,
    FrameSource,
    NewestFrames,
    Recorder,
    Sink,
    Window,
    json_lines,
    open_source,
    silence_codecs,
    source_files,
)
from headpose.streams.chart import History, draw_chart
from headpose.streams.keys import HELP, View, press
from headpose.streams.stopwatch import Stopwatch, TimedDetector, TimedModel
from headpose.types import HeadPose, Image
from headpose.weights import is_path, list_models

MESSAGE_S = 3.0  # seconds for which a message is shown


class Estimation:
    """Estimator of a stream that measures the time of each stage and can switch the network."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        smallest = args.min_face if args.detector == "blazeface" else None
        detector = create_detector(
            args.detector, threads=args.threads, device=args.device, model_path=args.detector_model, min_face=smallest
        )
        self._detector = TimedDetector(detector, args.min_score)
        self._models: dict[str, TimedModel] = {}
        self._whole = Stopwatch()
        self._load(args.model)
        # It smooths at all times, so that numbers stay when the user switches smoothing.
        self._stream = FaceStream(self._estimator(), smoothing=Smoothing(), detect_every=args.detect_every)

    def switch(self, name: str) -> None:
        """Switch to another network, and load it on first use. After a HeadPoseError the current one stays in use."""
        self._load(name)
        self._stream.estimator = self._estimator()

    def _load(self, name: str) -> None:
        if name not in self._models:
            self._models[name] = TimedModel(load_model(name, device=self._args.device, threads=self._args.threads))
        self.name, self._model = name, self._models[name]

    def _estimator(self) -> HeadPoseEstimator:
        return HeadPoseEstimator(
            self._model,
            detector=self._detector,
            max_faces=self._args.max_faces,
            min_confidence=self._args.min_confidence,
        )

    def __call__(
        self, frame: Frame, smooth: bool, refine: Callable[[HeadPoseEstimator, list[HeadPose]], list[HeadPose]]
    ) -> list[HeadPose]:
        """Return the poses of a frame, numbered: smoothed, or as measured, from left to right."""
        with self._whole:
            estimator = self._stream.estimator
            smoothed = self._stream.update(frame.image, frame.time_s, functools.partial(refine, estimator))
        for watch in (self._whole, self._detector.watch, self._model.watch):
            watch.end_frame()
        if smooth:
            return smoothed
        # The order by score changes from frame to frame.
        return sorted(self._stream.measured, key=lambda pose: pose.box.center[0])

    def times(self) -> dict[str, float]:
        """Return the mean time of each stage in milliseconds a frame, also of frames without the stage."""
        whole, faces, poses = (watch.milliseconds for watch in (self._whole, self._detector.watch, self._model.watch))
        return {"faces": faces, "crops": max(0.0, whole - faces - poses), "poses": poses, "all": whole}


def dated(suffix: str) -> Path:
    """Return a path in the working directory such as ``headpose-20260131-235959-123`` plus the suffix."""
    return Path(f"headpose-{datetime.now():%Y%m%d-%H%M%S-%f}"[:-3] + suffix)


class Session:
    """Main loop: estimate the poses of each frame, write the outputs, show the frame and handle keys."""

    def __init__(
        self,
        args: argparse.Namespace,
        estimation: Estimation,
        recorder: Recorder,
        rows: Sink | None,
        live: Live,
        window: Window | None,
    ) -> None:
        names = list_models()
        self.models = (names if args.model in names else [args.model, *names])[:9]
        self.view = View(args.model, args.draw, args.mirror, args.smooth, recording=args.record is not None)
        self.frames = 0
        self._interrupted = False
        self._limit = args.frames
        self._estimation, self._recorder, self._rows, self._window = estimation, recorder, rows, window
        self._live = live
        self._history = History()
        self._ended: deque[float] = deque(maxlen=30)
        self._message, self._message_until = "h: help", time.monotonic() + MESSAGE_S

    def run(self, frames: Iterable[Frame], keep_pace: bool) -> bool:
        """Process frames until the user or ``--frames`` stops the loop, or the source ends.

        Args:
            frames: Frames of the source.
            keep_pace: Show each frame at its time, for videos.

        Returns:
            False if the source ended, True otherwise.
        """
        started = time.monotonic()
        with self._signals_wait_for_the_frame():
            for frame in frames:
                straightened = functools.partial(self._live.straightened, frame)
                poses = self._estimation(frame, self.view.smooth, straightened)
                poses, reported = self._live.read(frame, poses)
                self._history.add(reported, frame.time_s)
                if not self.view.smooth:  # a number on a face promises smooth tracks
                    poses, reported = ([replace(pose, track=None) for pose in each] for each in (poses, reported))
                self._write(frame, poses, reported)
                if self._window is not None:
                    early_s = frame.time_s - (time.monotonic() - started) if keep_pace else 0.0
                    key = self._window.show(self._picture(frame, poses, reported), early_s)
                    self.view = press(self.view, key, self.models)
                    self._switch()
                if self._interrupted or not self.view.running or self.frames == self._limit:
                    return True
        return self._interrupted

    def finish_recording(self) -> None:
        """Finish a recording, if one runs, and print its path; HeadPoseError if the file is incomplete."""
        if finished := self._recorder.stop():
            self._say(f"saved {finished}")

    @contextlib.contextmanager
    def _signals_wait_for_the_frame(self) -> Iterator[None]:
        """Finish the current frame after Ctrl-C or SIGTERM (which stops a service), so that files are complete."""

        def interrupt(number: int, stack: object) -> None:
            if self._interrupted:
                raise KeyboardInterrupt  # second signal
            self._interrupted = True

        before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _write(self, frame: Frame, poses: Sequence[HeadPose], reported: Sequence[HeadPose]) -> None:
        """Write the rows, recording and snapshot of one frame, always of the image that is not mirrored."""
        self.frames += 1
        self._ended.append(time.monotonic())
        if self._rows is not None:
            self._rows.write(frame, reported)
        wanted, self.view = self.view, replace(self.view, snapshot=False, neutral="")
        try:
            if wanted.recording and self._recorder.target is None:
                self._recorder.start(dated(".mp4"))
            if wanted.recording or wanted.snapshot:
                annotated = draw_poses(frame.image, poses, wanted.style)
            if wanted.recording:
                self._recorder.write(frame, annotated)
            else:
                self.finish_recording()
            if wanted.snapshot:
                target = dated(".png")
                write_image(target, annotated)
                self._say(f"saved {target}")
            if wanted.neutral:
                self._say(self._live.set_neutral() if wanted.neutral == "set" else self._live.clear_neutral())
                self._history.clear()
        except HeadPoseError as error:
            if self._window is None:
                raise
            self._say(str(error))
            self.view = replace(self.view, recording=False)

    def _switch(self) -> None:
        """Switch to the network of the view; keep the current one if it cannot be loaded."""
        if self.view.model == self._estimation.name:
            return
        try:
            self._estimation.switch(self.view.model)
        except HeadPoseError as error:
            self._say(str(error))
            self.view = replace(self.view, model=self._estimation.name)

    def _say(self, message: str) -> None:
        print(f"webcam: {message}", file=sys.stderr)
        self._message, self._message_until = message, time.monotonic() + MESSAGE_S

    def _picture(self, frame: Frame, poses: Sequence[HeadPose], reported: Sequence[HeadPose]) -> Image:
        """Return the annotated image that the window shows: poses as they stand in it, with the reported angles."""
        draw = draw_mirrored if self.view.mirror else draw_poses
        picture = draw(frame.image, poses, self.view.style, numbers=reported)
        state = [f"{Path(self._estimation.name).stem}   {self.per_second:.0f} frames/s"]
        if self._live.neutral is not None:
            state.append("angles relative to the neutral pose")
        if self._recorder.target is not None:
            state.append(f"recording {self._recorder.target.name}")
        if self.view.times:
            state += [f"{stage}: {taken:.1f} ms" for stage, taken in self._estimation.times().items()]
        if self.view.help:
            state += [*HELP, *(f"{number}  {Path(name).stem}" for number, name in enumerate(self.models, 1))]
        draw_panel(picture, state)
        if self.view.chart:
            draw_chart(picture, self._history)
        if time.monotonic() < self._message_until:
            draw_panel(picture, [self._message], at_bottom=True)
        return picture

    @property
    def per_second(self) -> float:
        """Frames per second over the last 30 frames."""
        span = self._ended[-1] - self._ended[0] if len(self._ended) > 1 else 0.0
        return (len(self._ended) - 1) / span if span else 0.0


def run(source: FrameSource, args: argparse.Namespace) -> None:
    """Run the program on an open source; a HeadPoseError has the message to print."""
    if source.kind not in ("camera", "video"):
        raise HeadPoseError(f"{source.name} is not a camera or a video: use `headpose estimate` for images")
    check_stdout(args)
    inputs = [*source_files(args.source), args.model if is_path(args.model) else None, args.detector_model, args.camera]
    text = {"--json": args.json, "--events": args.events, "--neutral": args.neutral}
    check_outputs(inputs, text=text, data={"--record": args.record})
    outputs, estimation = Live(args, new_neutral=True), Estimation(args)
    live = source.kind == "camera"
    with contextlib.ExitStack() as stack:
        rows = stack.enter_context(json_lines(args.json)) if args.json else None
        stack.enter_context(outputs)
        recorder = stack.enter_context(Recorder(source))
        if args.record:
            recorder.start(args.record)
        window = None if args.no_window else stack.enter_context(Window("headpose"))
        frames = stack.enter_context(NewestFrames(source)) if live else source
        session = Session(args, estimation, recorder, rows, outputs, window)
        stopped = session.run(frames, keep_pace=not live)
        session.finish_recording()
    times = ", ".join(f"{stage} {taken:.1f}" for stage, taken in estimation.times().items())
    print(f"webcam: {session.frames} frames, {session.per_second:.1f} frames/s; ms a frame: {times}", file=sys.stderr)
    for note in (*outputs.notes, *getattr(source, "notes", ())):  # optional in custom sources
        print(f"webcam: {note}", file=sys.stderr)
    if source.problems:
        raise HeadPoseError("; ".join(source.problems))
    if live and not stopped:
        raise HeadPoseError(f"{source.name} returns no more frames: is it still connected?")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; wrong usage exits with status 2."""
    parser = argparse.ArgumentParser(
        prog="webcam", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source",
        nargs="?",
        default="0",
        help="number (0) or device of a camera, video, URL (rtsp, http, ...), or GStreamer pipeline in quotes",
    )
    add_network_options(parser, min_face=80)
    add_threads_option(parser)
    add_face_options(parser)
    add_detect_every_option(parser)
    add_draw_option(parser)
    parser.add_argument("--mirror", action="store_true", help="mirror the window at the start")
    parser.add_argument("--smooth", action="store_true", help="smooth the poses at the start, with track numbers")
    parser.add_argument(
        "--record", type=named_path, metavar="FILE", help="record from the start (.mp4, .mkv, .avi, .webm)"
    )
    parser.add_argument(
        "--json", type=non_empty, metavar="FILE", help="write one JSON object per face and line; - for stdout"
    )
    parser.add_argument("--frames", type=positive, metavar="N", help="stop after N frames")
    parser.add_argument("--no-window", action="store_true", help="run without a window; Ctrl-C stops the program")
    add_live_arguments(parser, neutral="start with the neutral pose in FILE, and save it there with key z")
    add_verbose(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return the exit status."""
    return run_program("webcam", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    args = parse(arguments)
    silence_codecs()
    show_log("webcam", args.verbose)
    if threads := bounded_threads(args.threads):
        cv2.setNumThreads(threads)
    with open_source(args.source) as source:
        run(source, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
