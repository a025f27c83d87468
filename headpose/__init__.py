"""Head pose (yaw, pitch, roll) of every face in a picture, from small networks on any processor.

    from headpose import HeadPoseEstimator, read_image

    for pose in HeadPoseEstimator().estimate(read_image("photo.jpg")):
        print(pose.euler)

The names below are the public ones; ``headpose.geometry`` has the convention of the angles. They are
imported on first use, so ``import headpose`` costs nothing.
"""

from __future__ import annotations

import importlib
import logging
import os
from typing import TYPE_CHECKING, Any

from headpose._version import __version__

# A library says nothing unless its user asks: logging.getLogger("headpose") has what there is to say.
logging.getLogger("headpose").addHandler(logging.NullHandler())

# ONNX Runtime (1.31, say) otherwise keeps a device's number in the home folder and sends events to its maker. It reads
# this when it is first imported; whoever wants the events sets the variable, and this leaves it as it is.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from headpose.detection import FaceDetector, create_detector
    from headpose.draw import draw_pose, draw_poses
    from headpose.errors import DataError, HeadPoseError, ImageError, RecipeError, WeightsError
    from headpose.estimator import HeadPoseEstimator
    from headpose.images import decode_image, list_images, read_image, write_image
    from headpose.inference import PoseModel, load_model
    from headpose.smoothing import Smoothing
    from headpose.streams import Frame, FrameSource, open_source
    from headpose.tracking import FaceTracker
    from headpose.types import Box, CropSpec, EulerAngles, Face, HeadPose, ModelInfo, Sample

# The names stand three times here because a type checker reads only literal imports and a literal __all__;
# tests/test_package.py compares them. The package lazy-loader would state them once, in a stub, but it reads that
# stub at run time (a frozen program has none), mypy then no longer checks this file, and dir() loses other names.
_HOME = {
    "Box": "types",
    "CropSpec": "types",
    "DataError": "errors",
    "EulerAngles": "types",
    "Face": "types",
    "FaceDetector": "detection",
    "FaceTracker": "tracking",
    "Frame": "streams",
    "FrameSource": "streams",
    "HeadPose": "types",
    "HeadPoseError": "errors",
    "HeadPoseEstimator": "estimator",
    "ImageError": "errors",
    "ModelInfo": "types",
    "PoseModel": "inference",
    "RecipeError": "errors",
    "Sample": "types",
    "Smoothing": "smoothing",
    "WeightsError": "errors",
    "create_detector": "detection",
    "decode_image": "images",
    "draw_pose": "draw",
    "draw_poses": "draw",
    "list_images": "images",
    "load_model": "inference",
    "open_source": "streams",
    "read_image": "images",
    "write_image": "images",
}

__all__ = [
    "Box",
    "CropSpec",
    "DataError",
    "EulerAngles",
    "Face",
    "FaceDetector",
    "FaceTracker",
    "Frame",
    "FrameSource",
    "HeadPose",
    "HeadPoseError",
    "HeadPoseEstimator",
    "ImageError",
    "ModelInfo",
    "PoseModel",
    "RecipeError",
    "Sample",
    "Smoothing",
    "WeightsError",
    "__version__",
    "create_detector",
    "decode_image",
    "draw_pose",
    "draw_poses",
    "list_images",
    "load_model",
    "open_source",
    "read_image",
    "write_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'headpose' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"headpose.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
