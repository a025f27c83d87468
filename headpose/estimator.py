"""From a picture to the head poses in it."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from headpose import crop
from headpose.errors import HeadPoseError, ImageError
from headpose.images import LONGEST_SIDE
from headpose.inference import PoseModel, load_model
from headpose.types import Box, Face, HeadPose, Image

if TYPE_CHECKING:
    from headpose.detection import FaceDetector

DEFAULT_MODEL = "student"
"""Name of the network that everything takes when none is named."""

_LARGEST_BOX = 10  # longer sides of the picture; of a larger face the picture shows a patch of skin


class HeadPoseEstimator:
    """Finds the faces of a picture and reads their poses.

    Example:
        >>> estimator = HeadPoseEstimator()
        >>> for pose in estimator.estimate(read_image("photo.jpg")):
        ...     print(pose.euler.yaw, pose.euler.pitch, pose.euler.roll)

    Attributes:
        model: the network.
        detector: what finds the faces.
        max_faces: how many of the best faces are read; None for all.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | PoseModel = DEFAULT_MODEL,
        *,
        detector: str | FaceDetector = "blazeface",
        device: str = "auto",
        threads: int = 0,
        max_faces: int | None = None,
    ) -> None:
        """Loads the network and the detector.

        Args:
            model: a name (``headpose models`` lists them), the path of an .onnx file, or a loaded network.
            detector: a name of ``headpose.detection.DETECTORS``, or a detector.
            device: one of ``headpose.inference.DEVICES``.
            threads: of the processor, for what is loaded here by name; 0 leaves it to ONNX Runtime, and more than the
                machine has are that many.
            max_faces: read only that many faces, the best by score.

        Raises:
            HeadPoseError: no such network, detector or device, or a file of theirs is unusable.
        """
        if max_faces is not None and max_faces < 1:
            raise HeadPoseError(f"max_faces must be 1 or more, got {max_faces}")
        self.max_faces = max_faces
        self.model: PoseModel = (
            load_model(model, device=device, threads=threads) if isinstance(model, str | os.PathLike) else model
        )
        if isinstance(detector, str):
            from headpose.detection import create_detector

            detector = create_detector(detector, device=device, threads=threads)
        self.detector: FaceDetector = detector

    def estimate(self, image: Image, boxes: Sequence[Box | Sequence[float]] | None = None) -> list[HeadPose]:
        """Reads the poses of the heads in a picture.

        Args:
            image: (H, W, 3) uint8 BGR, not mirrored (a mirrored picture flips yaw and roll).
            boxes: tight boxes (or x1, y1, x2, y2 in pixels) to use instead of the detector's.

        Returns:
            One pose a face: the detector's best score first, at most ``max_faces``; for given ``boxes``
            all of them, in their order, with score 1. Empty if there is no face.

        Raises:
            ImageError: ``image`` is not (H, W, 3) uint8, or longer than 32766 pixels on a side.
            HeadPoseError: a given box is empty, not finite, smaller than a pixel, ten times as large as the picture,
                or does not touch it.
        """
        check_image(image)
        if boxes is None:
            faces = sorted(self.detector.detect(image), key=lambda face: -face.score)[: self.max_faces]
        else:
            faces = [Face(_given_box(box, index, image), 1.0) for index, box in enumerate(boxes)]
        inputs = crop.network_input(image, [face.box for face in faces], self.model.crop)
        rotations = self.model.predict(inputs)
        return [HeadPose(face, rotation) for face, rotation in zip(faces, rotations, strict=True)]


class Estimators:
    """One estimator for each of ``models``, loaded when it is first asked for. Threads take turns."""

    def __init__(self, models: Sequence[str], detector: str, device: str = "auto", threads: int = 0) -> None:
        """Loads nothing yet; the arguments are those of ``HeadPoseEstimator``."""
        self.models = tuple(models)
        self._detector: str | FaceDetector = detector
        self._device, self._threads = device, threads
        self._loaded: dict[str, HeadPoseEstimator] = {}
        self._lock = threading.Lock()

    def load(self, model: str) -> HeadPoseEstimator:
        """The estimator of one of ``models``; HeadPoseError if it is none of them."""
        if model not in self.models:  # a request may hold anything: no file is loaded because a page says so
            raise HeadPoseError(f"there is no model {str(model)[:80]} here")
        with self._lock:
            if model not in self._loaded:
                self._loaded[model] = HeadPoseEstimator(
                    model, detector=self._detector, device=self._device, threads=self._threads
                )
                self._detector = self._loaded[model].detector  # one for all models
            return self._loaded[model]

    def estimate(self, image: Image, model: str, max_faces: int, min_score: float) -> list[HeadPose]:
        """Poses of the ``max_faces`` best faces that score ``min_score`` or more."""
        estimator = self.load(model)
        # A lock for each picture, not a queue of jobs: a photo gets its turn between two frames of a video.
        with self._lock:
            poses = estimator.estimate(image)
        return [pose for pose in poses if pose.face.score >= min_score][: int(max_faces)]


def check_image(image: Image) -> None:
    """ImageError, in one line, unless ``image`` is a non-empty (H, W, 3) uint8 array of a usable size."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"an image is an array, (H, W, 3) uint8 BGR; got {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ImageError(f"an image is (H, W, 3) uint8 BGR; got shape {image.shape}, {image.dtype}")
    if max(image.shape) > LONGEST_SIDE:
        raise ImageError(
            f"the image is {image.shape[1]}x{image.shape[0]}: make it {LONGEST_SIDE} pixels at most a side"
        )


def _given_box(box: Box | Sequence[float], index: int, image: Image) -> Box:
    if not isinstance(box, Box):
        try:
            x1, y1, x2, y2 = map(float, box)
            box = Box(x1, y1, x2, y2)
        except (TypeError, ValueError, OverflowError) as error:
            raise HeadPoseError(f"box {index} is not x1, y1, x2, y2: {error}") from None
    height, width = image.shape[:2]
    if box.x1 >= width or box.y1 >= height or box.x2 <= 0 or box.y2 <= 0:
        raise HeadPoseError(f"box {index} lies outside the {width}x{height} picture: {box.as_tuple()}")
    if min(box.width, box.height) < 1 or max(box.width, box.height) > _LARGEST_BOX * max(width, height):
        raise HeadPoseError(f"box {index} is no face's in a {width}x{height} picture, by its size: {box.as_tuple()}")
    return box
