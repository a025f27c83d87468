"""From the arguments of ``headpose estimate`` to a function from frames to poses."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from headpose.errors import HeadPoseError

if TYPE_CHECKING:  # these import OpenCV and ONNX Runtime, which would slow --help down
    from headpose.estimator import HeadPoseEstimator
    from headpose.streams import Frame, FrameSource
    from headpose.types import HeadPose


def check_tracking(args: argparse.Namespace, source: FrameSource) -> None:
    """Raise HeadPoseError if --track or --smooth is set for a source without timestamps."""
    if (args.track or args.smooth) and source.kind not in ("video", "camera"):
        raise HeadPoseError(f"{source.name} has no timestamps: --track and --smooth are only for videos and cameras")


def frame_estimator(
    estimator: HeadPoseEstimator, source: FrameSource, args: argparse.Namespace
) -> Callable[[Frame], list[HeadPose]]:
    """Return the function from a frame to its poses: a stream for videos and cameras, each image alone otherwise."""
    from headpose.facestream import FaceStream
    from headpose.smoothing import Smoothing

    if source.kind not in ("video", "camera"):
        return lambda frame: [pose for pose in estimator.estimate(frame.image) if pose.score >= args.min_score]
    stream = FaceStream(
        estimator,
        smoothing=Smoothing() if args.smooth else None,
        detect_every=args.detect_every,
        min_score=args.min_score,
    )
    if args.track or args.smooth:
        return lambda frame: stream.update(frame.image, frame.time_s)
    return lambda frame: [dataclasses.replace(pose, track=None) for pose in stream.update(frame.image, frame.time_s)]
