"""Head pose estimation: yaw, pitch and roll of every face in an image, with small networks on any processor.

    from headpose import HeadPoseEstimator

    for pose in HeadPoseEstimator()("photo.jpg"):
        print(pose.yaw, pose.pitch, pose.roll)

This module exports the public names. They are imported on first use, so ``import headpose`` is fast.
``headpose.geometry`` defines the angles.
"""

from __future__ import annotations

import importlib
import logging
import os
from typing import TYPE_CHECKING, Any

from headpose._version import __version__

# A library prints no log records by default; configure the logger "headpose" to see them.
logging.getLogger("headpose").addHandler(logging.NullHandler())

# By default ONNX Runtime (for example 1.31) stores a device ID in the home folder and sends telemetry. It reads the
# variable at its first import. A value set by the user is kept.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from headpose.attention import Attention, AttentionSettings, Event
    from headpose.best import BestPictures
    from headpose.camera import Camera
    from headpose.dataframe import to_dataframe
    from headpose.detection import FaceDetector, create_detector
    from headpose.draw import draw_pose, draw_poses
    from headpose.errors import DataError, HeadPoseError, ImageError, InputError, RecipeError, WeightsError
    from headpose.estimator import HeadPoseEstimator
    from headpose.facestream import FaceStream
    from headpose.images import decode_image, list_images, read_image, write_image
    from headpose.inference import PoseModel, load_model
    from headpose.landmarks import LandmarkModel, load_landmark_model
    from headpose.neutral import NeutralPose
    from headpose.reading import Reading
    from headpose.smoothing import Smoothing
    from headpose.streams import (
        EventFile,
        Frame,
        FrameSource,
        PictureFile,
        PictureFolder,
        RowFile,
        Sender,
        Sink,
        VideoFile,
        csv_file,
        json_lines,
        open_source,
        send_to,
    )
    from headpose.tracking import FaceTracker
    from headpose.types import Box, CropSpec, Direction, EulerAngles, Face, HeadPose, ModelInfo, Region, Sample
    from headpose.weights import list_models

# The names are listed three times because a type checker reads only literal imports and a literal __all__;
# tests/test_package.py compares the lists. With the package lazy-loader they would be listed once, in a stub. But it
# reads the stub at run time (a frozen program has none), mypy no longer checks this file, and dir() lacks other names.
_HOME = {
    "Attention": "attention",
    "AttentionSettings": "attention",
    "BestPictures": "best",
    "Box": "types",
    "Camera": "camera",
    "CropSpec": "types",
    "DataError": "errors",
    "Direction": "types",
    "EulerAngles": "types",
    "Event": "attention",
    "EventFile": "streams",
    "Face": "types",
    "FaceDetector": "detection",
    "FaceStream": "facestream",
    "FaceTracker": "tracking",
    "Frame": "streams",
    "FrameSource": "streams",
    "HeadPose": "types",
    "HeadPoseError": "errors",
    "HeadPoseEstimator": "estimator",
    "ImageError": "errors",
    "InputError": "errors",
    "LandmarkModel": "landmarks",
    "ModelInfo": "types",
    "NeutralPose": "neutral",
    "PictureFile": "streams",
    "PictureFolder": "streams",
    "PoseModel": "inference",
    "Reading": "reading",
    "RecipeError": "errors",
    "Region": "types",
    "RowFile": "streams",
    "Sample": "types",
    "Sender": "streams",
    "Sink": "streams",
    "Smoothing": "smoothing",
    "VideoFile": "streams",
    "WeightsError": "errors",
    "create_detector": "detection",
    "csv_file": "streams",
    "decode_image": "images",
    "draw_pose": "draw",
    "draw_poses": "draw",
    "json_lines": "streams",
    "list_images": "images",
    "list_models": "weights",
    "load_landmark_model": "landmarks",
    "load_model": "inference",
    "open_source": "streams",
    "read_image": "images",
    "send_to": "streams",
    "to_dataframe": "dataframe",
    "write_image": "images",
}

__all__ = [
    "Attention",
    "AttentionSettings",
    "BestPictures",
    "Box",
    "Camera",
    "CropSpec",
    "DataError",
    "Direction",
    "EulerAngles",
    "Event",
    "EventFile",
    "Face",
    "FaceDetector",
    "FaceStream",
    "FaceTracker",
    "Frame",
    "FrameSource",
    "HeadPose",
    "HeadPoseError",
    "HeadPoseEstimator",
    "ImageError",
    "InputError",
    "LandmarkModel",
    "ModelInfo",
    "NeutralPose",
    "PictureFile",
    "PictureFolder",
    "PoseModel",
    "Reading",
    "RecipeError",
    "Region",
    "RowFile",
    "Sample",
    "Sender",
    "Sink",
    "Smoothing",
    "VideoFile",
    "WeightsError",
    "__version__",
    "create_detector",
    "csv_file",
    "decode_image",
    "draw_pose",
    "draw_poses",
    "json_lines",
    "list_images",
    "list_models",
    "load_landmark_model",
    "load_model",
    "open_source",
    "read_image",
    "send_to",
    "to_dataframe",
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
