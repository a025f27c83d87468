"""Options that ``headpose estimate`` and the window share: camera, neutral pose, filter, events and senders."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from headpose.cli.arguments import non_empty
from headpose.errors import InputError

if TYPE_CHECKING:  # these import OpenCV, which would slow --help down
    from headpose.camera import Camera
    from headpose.estimator import HeadPoseEstimator
    from headpose.neutral import NeutralPose
    from headpose.streams import EventFile, Frame, Sender
    from headpose.types import HeadPose

EPILOG = """\
--send ADDRESS sends each frame's pose to another program, and may be given several times: opentrack://HOST:PORT
(OpenTrack's input "UDP over network", port 4242), osc://HOST:PORT (OSC and VMC), ws://HOST:PORT (a WebSocket
server with one JSON message a frame). A receiver that is slow, missing or restarted never slows the program.

--fov or --camera gives poses in the axes of the camera, also for faces at the edge of a wide picture, and the
place of the head in centimeters. --neutral gives poses relative to a saved one. Both change what is written and
sent; drawings show the head as it stands in the picture.
"""


def angle(text: str) -> float:
    """Parse an angle above 0 and below 180 degrees."""
    return _number(text, "an angle above 0 and below 180 degrees", lambda value: 0 < value < 180)


def seconds(text: str) -> float:
    """Parse a time of 0 seconds or more."""
    return _number(text, "a time in seconds, 0 or more", lambda value: 0 <= value < math.inf)


def _number(text: str, wanted: str, fits: object) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not callable(fits) or not fits(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


def add_live_arguments(parser: argparse.ArgumentParser, *, neutral: str) -> None:
    """Add the options; ``neutral`` is the help of --neutral."""
    parser.add_argument(
        "--send",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="send the poses to opentrack://HOST:PORT or osc://HOST:PORT, or serve them at ws://HOST:PORT; repeatable",
    )
    parser.add_argument(
        "--send-face",
        choices=("largest", "first", "all"),
        help="face to send: the largest, the one with the lowest track number, or all (largest; ws: all)",
    )
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument("--fov", type=angle, metavar="DEGREES", help="horizontal field of view of the camera")
    camera.add_argument(
        "--camera", type=non_empty, metavar="FILE", help="calibration of the camera, from OpenCV (.yml) or in JSON"
    )
    parser.add_argument("--neutral", type=non_empty, metavar="FILE", help=neutral)
    parser.add_argument(
        "--frontal", type=angle, metavar="DEGREES", help="keep only faces whose nose points this close to the camera"
    )
    parser.add_argument(
        "--events",
        type=non_empty,
        metavar="FILE",
        help="write JSON Lines when a face is found, looks away, comes back or is lost; - for stdout",
    )
    parser.add_argument(
        "--away", type=angle, metavar="DEGREES", help="angle beyond which a face looks away (30); without --events to -"
    )
    parser.add_argument(
        "--after", type=seconds, default=1.5, metavar="SECONDS", help="time before a face counts as away (1.5)"
    )


def events_target(args: argparse.Namespace) -> str | None:
    """Return the target of events: a file, "-" for stdout, or None."""
    target: str | None = args.events or ("-" if args.away else None)
    return target


class Read(NamedTuple):
    """Poses of a frame.

    Attributes:
        shown: As estimated, for drawings.
        reported: In camera axes and relative to the neutral pose, for rows and messages.
    """

    shown: list[HeadPose]
    reported: list[HeadPose]


class Live:
    """Camera, neutral pose, filter, events and senders of a program. A context manager.

    Attributes:
        neutral: Neutral pose; None if poses are absolute.
        notes: Remarks for the user, one line each; complete after the block.
    """

    def __init__(self, args: argparse.Namespace, *, new_neutral: bool = False) -> None:
        """Check the options and read their files.

        Args:
            args: Parsed options of ``add_live_arguments``.
            new_neutral: The file of --neutral need not exist yet.

        Raises:
            HeadPoseError: An option is invalid, or a file cannot be read.
        """
        from headpose.attention import AttentionSettings
        from headpose.camera import Camera
        from headpose.neutral import NeutralPose, RecentPoses
        from headpose.streams import EventFile, send_to

        self._args = args
        self._camera: Camera | None = Camera.read(args.camera) if args.camera else None
        self._sized: Camera | None = None
        self._file: str | None = args.neutral
        absent = new_neutral and args.neutral is not None and not Path(args.neutral).exists()
        self.neutral: NeutralPose | None = NeutralPose.read(args.neutral) if args.neutral and not absent else None
        self._recent = RecentPoses()
        self.senders: list[Sender] = [send_to(url, faces=args.send_face) for url in args.send]
        target = events_target(args)
        settings = AttentionSettings(args.away or 30.0, args.after)
        self._events: EventFile | None = EventFile(target, settings) if target else None
        self.notes: list[str] = []
        self._left_out = self._seen = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Live:
        with contextlib.ExitStack() as stack:
            for sender in self.senders:
                stack.enter_context(sender)
            if self._events is not None:
                stack.enter_context(self._events)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.__exit__(*exc_info)  # type: ignore[arg-type]
        self.notes = [note for sender in self.senders for note in sender.notes]
        if self._args.frontal is not None:
            self.notes.append(
                f"--frontal {self._args.frontal:g}: {self._left_out} of {self._seen} faces left out, whose nose points "
                "farther away from the camera"
            )

    def straightened(self, frame: Frame, estimator: HeadPoseEstimator, poses: Sequence[HeadPose]) -> list[HeadPose]:
        """Return the poses, read again where the camera stretches a face (``Camera.straightened``)."""
        camera = self._camera_of(frame)
        return camera.straightened(frame.image, poses, estimator.estimate) if camera is not None else list(poses)

    def read(self, frame: Frame, poses: Sequence[HeadPose]) -> Read:
        """Correct, filter and send the poses of a frame, and write its events.

        Args:
            frame: The frame.
            poses: Its poses as estimated.
        """
        from headpose import attention

        corrected = [camera.correct(pose) for pose in poses] if (camera := self._camera_of(frame)) else list(poses)
        self._recent.add(corrected, frame.time_s)
        reported = self.neutral.apply(corrected) if self.neutral is not None else corrected
        # Who looks at the camera is a matter of the ray to the face, which the uncorrected pose is relative to.
        looks = reported if self.neutral is not None else poses
        if self._args.frontal is not None:
            kept = [bool(attention.frontal([pose], self._args.frontal)) for pose in looks]
            self._seen, self._left_out = self._seen + len(kept), self._left_out + kept.count(False)
            poses, reported, looks = (
                [p for p, keep in zip(each, kept, strict=True) if keep] for each in (poses, reported, looks)
            )
        for sender in self.senders:
            sender.write(frame, reported)
        if self._events is not None:
            self._events.write(frame, looks)
        return Read(list(poses), list(reported))

    def set_neutral(self) -> str:
        """Take the largest face's mean pose over the last second as neutral, and save it with --neutral FILE.

        Returns:
            A message for the user.

        Raises:
            HeadPoseError: No face was seen, or the file cannot be written.
        """
        neutral = self._recent.neutral()
        self._save(neutral)
        self.neutral = neutral
        return "neutral pose set" + (f" and saved in {self._file}" if self._file else "")

    def clear_neutral(self) -> str:
        """Return to absolute poses; the file of --neutral then holds the identity. Return a message for the user."""
        from headpose.neutral import NeutralPose

        self._save(NeutralPose())
        self.neutral = None
        return "neutral pose cleared"

    def _save(self, neutral: NeutralPose) -> None:
        if self._file is not None:
            neutral.write(self._file)

    def _camera_of(self, frame: Frame) -> Camera | None:
        """Return the camera for the size of a frame; None without --fov and --camera."""
        from headpose.camera import Camera

        height, width = frame.image.shape[:2]
        if self._sized is None or (self._sized.width, self._sized.height) != (width, height):
            if self._camera is not None:
                self._sized = self._camera.at_size(width, height)
            elif self._args.fov is not None:
                self._sized = Camera.from_fov(self._args.fov, width, height)
        return self._sized


def check_stdout(args: argparse.Namespace) -> None:
    """Raise InputError if two outputs of text share stdout."""
    targets = {"--json": args.json, "--csv": getattr(args, "csv", None), "--events": events_target(args)}
    on_stdout = [option for option, target in targets.items() if target == "-"]
    if len(on_stdout) > 1:
        raise InputError(f"{' - and '.join(on_stdout)} - cannot share stdout: write one of them to a file")
