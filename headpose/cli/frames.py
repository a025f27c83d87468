"""From the arguments of ``headpose estimate`` to a function from frames to poses."""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from headpose.cli.live import Live, events_target
from headpose.errors import HeadPoseError

if TYPE_CHECKING:  # these import OpenCV and ONNX Runtime, which would slow --help down
    from headpose.estimator import HeadPoseEstimator
    from headpose.streams import Frame, FrameSource
    from headpose.types import HeadPose


def check_tracking(args: argparse.Namespace, source: FrameSource) -> None:
    """Raise HeadPoseError if --track, --smooth or --events is set for a source without timestamps."""
    if (args.track or args.smooth or events_target(args)) and source.kind not in ("video", "camera"):
        raise HeadPoseError(
            f"{source.name} has no timestamps: --track, --smooth and --events are only for videos and cameras"
        )


def frame_estimator(
    estimator: HeadPoseEstimator, source: FrameSource, args: argparse.Namespace, live: Live
) -> Callable[[Frame], list[HeadPose]]:
    """Return the function from a frame to its poses: a stream for videos and cameras, each image alone otherwise."""
    from headpose.facestream import FaceStream
    from headpose.smoothing import Smoothing

    if source.kind not in ("video", "camera"):

        def alone(frame: Frame) -> list[HeadPose]:
            poses = [pose for pose in estimator.estimate(frame.image) if pose.score >= args.min_score]
            return live.straightened(frame, estimator, poses)

        return alone
    stream = FaceStream(
        estimator,
        smoothing=Smoothing() if args.smooth else None,
        detect_every=args.detect_every,
        min_score=args.min_score,
    )
    # A sender stays with one face, and an event names one.
    numbered = args.track or args.smooth or args.send or events_target(args)

    def in_stream(frame: Frame) -> list[HeadPose]:
        poses = stream.update(frame.image, frame.time_s, functools.partial(live.straightened, frame, estimator))
        return poses if numbered else [dataclasses.replace(pose, track=None) for pose in poses]

    return in_stream
