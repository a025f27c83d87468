"""Head pose estimation: detect the faces of an image and predict their poses."""

from __future__ import annotations

import dataclasses
import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from headpose import looking
from headpose.choices import DEFAULT_DETECTOR, DEFAULT_MODEL
from headpose.errors import HeadPoseError, ImageError, InputError
from headpose.images import Color, ImageLike, as_image, is_pillow
from headpose.inference import PoseModel, load_model
from headpose.landmarks import LandmarkModel, load_landmark_model, locate
from headpose.looking import Look
from headpose.types import Box, Face, HeadPose, Image

if TYPE_CHECKING:
    from headpose.detection import FaceDetector

Boxes = Sequence[Box | Sequence[float]]
"""Tight boxes, each a ``Box`` or x1, y1, x2, y2 in pixels."""

_LARGEST_BOX = 10  # maximum box side, relative to the image's longer side; of larger faces only skin is visible


class HeadPoseEstimator:
    """Detect the faces of an image and estimate their poses.

    An estimator is callable: ``estimator(image)`` is the same as ``estimator.estimate(image)``. It can be pickled, for
    example for ``multiprocessing``: the copy loads the network and the detector from their files again.

    Example:
        >>> estimator = HeadPoseEstimator()
        >>> for pose in estimator("photo.jpg"):
        ...     print(f"yaw {pose.yaw:+.1f}  pitch {pose.pitch:+.1f}  roll {pose.roll:+.1f}")
        yaw +1.0  pitch -6.5  roll +3.2

    Attributes:
        model: Head pose network.
        detector: Face detector.
        landmarks: Landmark network; None for none.
        max_faces: Maximum number of faces per image, highest score first; None for all.
        min_confidence: Probability of a readable face below which a pose is marked as not ``reliable``.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | PoseModel = DEFAULT_MODEL,
        *,
        detector: str | FaceDetector = DEFAULT_DETECTOR,
        device: str = "auto",
        threads: int = 0,
        max_faces: int | None = None,
        min_confidence: float = 0.0,
        landmarks: str | os.PathLike[str] | LandmarkModel | None = None,
    ) -> None:
        """Load the network and the detector.

        Args:
            model: Name of a network (``headpose models`` lists them), path of its file (.onnx, or .safetensors after
                product quantization), or a loaded network.
            detector: One of ``choices.DETECTORS``, or a detector object.
            device: One of ``choices.DEVICES``, for a network or detector that is loaded here.
            threads: Number of CPU threads per call, for a network or detector that is loaded here. 0 uses ONNX
                Runtime's default; values above the number of CPUs are reduced to it.
            max_faces: Maximum number of faces per image, highest score first; None for all.
            min_confidence: In [0, 1]. Poses with ``readable`` below it are kept, and marked as not ``reliable``. Values
                above 0 need a network with the output ``face``.
            landmarks: Landmark network, which sets ``landmarks`` of each pose: a path of an .onnx file, a name, or a
                loaded network. None leaves them out.

        Raises:
            HeadPoseError: The network, detector or device does not exist, or a file is unusable.
        """
        if max_faces is not None and (
            isinstance(max_faces, bool) or not isinstance(max_faces, int | np.integer) or max_faces < 1
        ):
            raise InputError(f"max_faces must be a whole number, 1 or more, or None; got {max_faces!r}")
        if not isinstance(min_confidence, int | float | np.number) or not 0.0 <= min_confidence <= 1.0:
            raise InputError(f"min_confidence must be a number from 0 to 1, got {min_confidence!r}")
        self.max_faces, self.min_confidence = max_faces, float(min_confidence)
        self.model: PoseModel = (
            load_model(model, device=device, threads=threads) if isinstance(model, str | os.PathLike) else model
        )
        if min_confidence > 0 and "face" not in getattr(self.model, "outputs", ("face",) * hasattr(self.model, "read")):
            raise InputError(f"model {self.model.name} has no output face: it cannot be used with min_confidence")
        if isinstance(detector, str):
            from headpose.detection import create_detector

            detector = create_detector(detector, device=device, threads=threads)
        self.detector: FaceDetector = detector
        self.landmarks: LandmarkModel | None = (
            load_landmark_model(landmarks, device=device, threads=threads)
            if isinstance(landmarks, str | os.PathLike)
            else landmarks
        )

    def estimate(self, image: ImageLike, boxes: Boxes | None = None, *, color: Color = "bgr") -> list[HeadPose]:
        """Estimate the head poses in an image.

        Args:
            image: Path of an image file, PIL image, or (H, W, 3) uint8 array. It must not be mirrored: mirroring flips
                the signs of yaw and roll.
            boxes: Tight boxes to use instead of the detector's, each a ``Box`` or x1, y1, x2, y2 in pixels.
            color: Channel order of an array, ``"bgr"`` (OpenCV, ``read_image``) or ``"rgb"`` (imageio, Matplotlib).

        Returns:
            One pose per face: at most ``max_faces``, highest score first. If ``boxes`` is given, one pose per box, in
            the same order, with score 1. Empty if no face is found. ``pose.face.region`` is set where the face was read
            in a turned crop (see ``headpose.looking``).

        Raises:
            ImageError: ``image`` cannot be read, is not (H, W, 3) uint8, or has a side longer than 32766 pixels.
            InputError: A given box is empty, not finite, smaller than a pixel, more than ten times as large as the
                image, or outside of it; or ``color`` is unknown.
        """
        return self._read(as_image(image, color=color), boxes)

    def __call__(self, image: ImageLike, boxes: Boxes | None = None, *, color: Color = "bgr") -> list[HeadPose]:
        """Estimate the head poses in an image; same as ``estimate``."""
        return self.estimate(image, boxes, color=color)

    def estimate_batch(
        self, images: Iterable[ImageLike], boxes: Iterable[Boxes | None] | None = None, *, color: Color = "bgr"
    ) -> list[list[HeadPose]]:
        """Estimate the head poses in several images, with one call of the network for all faces.

        Images are read one at a time, and only the crops are kept in memory. With a landmark network, which needs the
        image after the pose, the networks are called for each image.

        Args:
            images: Images, each as in ``estimate``. May be a generator.
            boxes: Boxes of each image, as in ``estimate``, or None to use the detector.
            color: Channel order of arrays, ``"bgr"`` or ``"rgb"``.

        Returns:
            The poses of each image, as ``estimate`` returns them.

        Raises:
            ImageError: An image is invalid (see ``estimate``). The message has its index, which starts at 0.
            InputError: A box or ``color`` is invalid (see ``estimate``), ``images`` is a single image, or ``boxes``
                and ``images`` differ in length.

        Example:
            >>> one, other = HeadPoseEstimator().estimate_batch(["photo.jpg", read_image("photo.jpg")])
            >>> len(one), len(other)
            (1, 1)
        """
        if isinstance(images, str | os.PathLike) or is_pillow(images) or not isinstance(images, Iterable):
            raise InputError("images must be a list of images: pass [image], or use estimate for one image")
        pictures = ((image, None) for image in images) if boxes is None else _paired(images, boxes)
        found: list[list[Face]] = []
        looks: list[Look] = []
        located: list[list[HeadPose]] = []
        for index, (image, given) in enumerate(pictures):
            try:
                pixels = as_image(image, color=color)
                if self.landmarks is not None:
                    located.append(self._read(pixels, given))
                    continue
                found.append(self._faces(pixels, given))
            except (ImageError, InputError) as error:
                raise type(error)(f"image {index}: {error}") from None
            looks += self._looks(pixels, found[-1])
        if self.landmarks is not None:
            return located
        poses = iter(self._poses([face for faces in found for face in faces], looks))
        return [[next(poses) for _ in faces] for faces in found]

    def with_landmarks(self, image: Image, poses: list[HeadPose]) -> list[HeadPose]:
        """Return poses with their landmarks, or as they are if there is no landmark network.

        ``estimate`` calls it; it is for poses that were read otherwise.

        Args:
            image: (H, W, 3) uint8 BGR.
            poses: Poses of the faces in the image.

        Raises:
            HeadPoseError: The network fails.
        """
        return poses if self.landmarks is None else locate(self.landmarks, image, poses)

    def _read(self, image: Image, boxes: Boxes | None) -> list[HeadPose]:
        faces = self._faces(image, boxes)
        return self.with_landmarks(image, self._poses(faces, self._looks(image, faces)))

    def _faces(self, image: Image, boxes: Boxes | None) -> list[Face]:
        if boxes is None:
            return sorted(self.detector.detect(image), key=lambda face: -face.score)[: self.max_faces]
        if _is_single(boxes):
            raise InputError("boxes must be a list of boxes: pass [box] for one face")
        return [Face(_given_box(box, index, image), 1.0) for index, box in enumerate(boxes)]

    def _looks(self, image: Image, faces: list[Face]) -> list[Look]:
        return [looking.look(image, face, self.model.crop) for face in faces]

    def _poses(self, faces: list[Face], looks: list[Look]) -> list[HeadPose]:
        return looking.poses(faces, *looking.read(self.model, looks), self.min_confidence)


class Estimators:
    """Several estimators with one detector, each loaded on first use. Thread-safe: calls run one at a time."""

    def __init__(self, models: Sequence[str], detector: str, device: str = "auto", threads: int = 0) -> None:
        """Store the settings; nothing is loaded yet.

        Args:
            models: Names of networks, or paths of their files.
            detector: One of ``choices.DETECTORS``.
            device: One of ``choices.DEVICES``.
            threads: Number of CPU threads per call; 0 uses ONNX Runtime's default.
        """
        self.models = tuple(models)
        self._detector: str | FaceDetector = detector
        self._device, self._threads = device, threads
        self._loaded: dict[str, HeadPoseEstimator] = {}
        self._lock = threading.Lock()

    def load(self, model: str) -> HeadPoseEstimator:
        """Return the estimator of a network, and load it on the first call.

        Args:
            model: One of ``models``.

        Raises:
            HeadPoseError: ``model`` is not one of ``models``, or cannot be loaded.
        """
        if model not in self.models:  # a web request may contain anything: never load a file that it names
            raise HeadPoseError(f"model {str(model)[:80]} is not available here")
        with self._lock:
            if model not in self._loaded:
                self._loaded[model] = HeadPoseEstimator(
                    model, detector=self._detector, device=self._device, threads=self._threads
                )
                self._detector = self._loaded[model].detector  # one for all models
            return self._loaded[model]

    def exclusive(self) -> AbstractContextManager[object]:
        """Return a context in which no other call runs, for callers that use a loaded estimator themselves."""
        return self._lock

    def estimate(
        self, image: Image, model: str, max_faces: int, min_score: float, min_confidence: float = 0.0
    ) -> list[HeadPose]:
        """Estimate the head poses in an image with one of the networks.

        Args:
            image: (H, W, 3) uint8 BGR.
            model: One of ``models``.
            max_faces: Maximum number of faces, highest score first.
            min_score: Minimum score of a face, in [0, 1].
            min_confidence: As in ``HeadPoseEstimator``; it has no effect on networks without the output ``face``.

        Raises:
            HeadPoseError: ``model`` is not one of ``models``, or estimation fails.
        """
        estimator = self.load(model)
        # The lock is held for one image, not for a whole video, so a photo runs between two frames of a video.
        with self._lock:
            poses = estimator.estimate(image)
        kept = [pose for pose in poses if pose.face.score >= min_score][: int(max_faces)]
        certain = [pose.readable is None or pose.readable >= min_confidence for pose in kept]
        return [dataclasses.replace(pose, reliable=each) for pose, each in zip(kept, certain, strict=True)]


def _paired(images: Iterable[ImageLike], boxes: Iterable[Boxes | None]) -> Iterator[tuple[ImageLike, Boxes | None]]:
    """Yield each image with its boxes; InputError if ``images`` and ``boxes`` differ in length."""
    if _is_single(boxes):
        raise InputError("boxes must be a list with one entry for each image")
    missing = object()
    for image, given in itertools.zip_longest(images, boxes, fillvalue=missing):
        if image is missing or given is missing:
            raise InputError("boxes must have one entry for each image: a list of boxes or None")
        yield image, given  # type: ignore[misc]


def _is_single(boxes: object) -> bool:
    return isinstance(boxes, Box | str) or not isinstance(boxes, Iterable)


def _given_box(box: Box | Sequence[float], index: int, image: Image) -> Box:
    if not isinstance(box, Box):
        try:
            x1, y1, x2, y2 = map(float, box)
            box = Box(x1, y1, x2, y2)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"box {index} is not x1, y1, x2, y2: {error}") from None
    height, width = image.shape[:2]
    if box.x1 >= width or box.y1 >= height or box.x2 <= 0 or box.y2 <= 0:
        raise InputError(f"box {index} lies outside of the {width}x{height} image: {box.as_tuple()}")
    if min(box.width, box.height) < 1 or max(box.width, box.height) > _LARGEST_BOX * max(width, height):
        raise InputError(f"box {index} is too small or too large for a {width}x{height} image: {box.as_tuple()}")
    return box
