"""From a picture to the head poses in it."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headpose import crop
from headpose.errors import HeadPoseError, ImageError, InputError
from headpose.images import Color, ImageLike, as_image, is_pillow
from headpose.inference import PoseModel, load_model
from headpose.types import Box, Face, HeadPose, Image

if TYPE_CHECKING:
    from headpose.detection import FaceDetector

DEFAULT_MODEL = "student"
"""Name of the network that everything takes when none is named."""

Boxes = Sequence[Box | Sequence[float]]
"""Tight boxes, each a ``Box`` or x1, y1, x2, y2 in pixels."""

_LARGEST_BOX = 10  # longer sides of the picture; of a larger face the picture shows a patch of skin


class HeadPoseEstimator:
    """Find the faces of a picture and read their poses.

    An estimator can be called: ``estimator(image)`` is ``estimator.estimate(image)``. It can be pickled, for example
    into the processes of ``multiprocessing``: the copy loads the network and the detector from their files again.

    Example:
        >>> estimator = HeadPoseEstimator()
        >>> for pose in estimator("photo.jpg"):
        ...     print(f"yaw {pose.yaw:+.1f}  pitch {pose.pitch:+.1f}  roll {pose.roll:+.1f}")
        yaw +0.5  pitch -7.0  roll +2.8

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
        if max_faces is not None and (
            isinstance(max_faces, bool) or not isinstance(max_faces, int | np.integer) or max_faces < 1
        ):
            raise InputError(f"max_faces must be a whole number, 1 or more, or None; got {max_faces!r}")
        self.max_faces = max_faces
        self.model: PoseModel = (
            load_model(model, device=device, threads=threads) if isinstance(model, str | os.PathLike) else model
        )
        if isinstance(detector, str):
            from headpose.detection import create_detector

            detector = create_detector(detector, device=device, threads=threads)
        self.detector: FaceDetector = detector

    def estimate(self, image: ImageLike, boxes: Boxes | None = None, *, color: Color = "bgr") -> list[HeadPose]:
        """Read the poses of the heads in a picture.

        Args:
            image: the path of a picture file, a PIL image, or a (H, W, 3) uint8 array; not mirrored (a mirrored
                picture flips yaw and roll).
            boxes: tight boxes (or x1, y1, x2, y2 in pixels) to use instead of the detector's.
            color: channel order of an array, ``"bgr"`` (OpenCV, ``read_image``) or ``"rgb"`` (imageio, Matplotlib).

        Returns:
            One pose a face: the detector's best score first, at most ``max_faces``; for given ``boxes``
            all of them, in their order, with score 1. Empty if there is no face.

        Raises:
            ImageError: ``image`` cannot be read, is not (H, W, 3) uint8, or is longer than 32766 pixels on a side.
            InputError: a given box is empty, not finite, smaller than a pixel, ten times as large as the picture,
                or does not touch it; or ``color`` is unknown.
        """
        pixels = as_image(image, color=color)
        faces = self._faces(pixels, boxes)
        return self._poses(faces, [crop.network_input(pixels, [face.box for face in faces], self.model.crop)])

    def __call__(self, image: ImageLike, boxes: Boxes | None = None, *, color: Color = "bgr") -> list[HeadPose]:
        """Read the poses of the heads in a picture; the same as ``estimate``."""
        return self.estimate(image, boxes, color=color)

    def estimate_batch(
        self, images: Iterable[ImageLike], boxes: Iterable[Boxes | None] | None = None, *, color: Color = "bgr"
    ) -> list[list[HeadPose]]:
        """Read the poses of the heads in several pictures, with one call of the network for all faces.

        Pictures are read one after the other; only the crops are kept.

        Args:
            images: pictures as ``estimate`` takes them; a generator too.
            boxes: for each picture its boxes, or None to use the detector.
            color: channel order of the arrays, ``"bgr"`` or ``"rgb"``.

        Returns:
            For each picture what ``estimate`` returns.

        Raises:
            ImageError, InputError: as for ``estimate``, with the number of the picture, from 0 on.
            InputError: ``images`` is one picture, or ``boxes`` is not as long as ``images``.

        Example:
            >>> one, other = HeadPoseEstimator().estimate_batch(["photo.jpg", read_image("photo.jpg")])
            >>> len(one), len(other)
            (1, 1)
        """
        if isinstance(images, str | os.PathLike) or is_pillow(images) or not isinstance(images, Iterable):
            raise InputError("images is a list of pictures: give [image], or use estimate for one")
        pictures = ((image, None) for image in images) if boxes is None else _paired(images, boxes)
        found: list[list[Face]] = []
        crops = []
        for index, (image, given) in enumerate(pictures):
            try:
                pixels = as_image(image, color=color)
                found.append(self._faces(pixels, given))
            except (ImageError, InputError) as error:
                raise type(error)(f"image {index}: {error}") from None
            crops.append(crop.network_input(pixels, [face.box for face in found[-1]], self.model.crop))
        poses = iter(self._poses([face for faces in found for face in faces], crops))
        return [[next(poses) for _ in faces] for faces in found]

    def _faces(self, image: Image, boxes: Boxes | None) -> list[Face]:
        if boxes is None:
            return sorted(self.detector.detect(image), key=lambda face: -face.score)[: self.max_faces]
        if _is_single(boxes):
            raise InputError("boxes is a list of boxes: give [box] for one face")
        return [Face(_given_box(box, index, image), 1.0) for index, box in enumerate(boxes)]

    def _poses(self, faces: list[Face], crops: list[NDArray[np.float32]]) -> list[HeadPose]:
        if not faces:
            return []
        rotations = self.model.predict(crops[0] if len(crops) == 1 else np.concatenate(crops))
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


def _paired(images: Iterable[ImageLike], boxes: Iterable[Boxes | None]) -> Iterator[tuple[ImageLike, Boxes | None]]:
    """Each picture with its boxes; InputError if one of the two ends before the other."""
    if _is_single(boxes):
        raise InputError("boxes is a list with the boxes of each picture")
    missing = object()
    for image, given in itertools.zip_longest(images, boxes, fillvalue=missing):
        if image is missing or given is missing:
            raise InputError("boxes must have one entry for each picture, a list of boxes or None")
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
        raise InputError(f"box {index} lies outside the {width}x{height} picture: {box.as_tuple()}")
    if min(box.width, box.height) < 1 or max(box.width, box.height) > _LARGEST_BOX * max(width, height):
        raise InputError(f"box {index} is no face's in a {width}x{height} picture, by its size: {box.as_tuple()}")
    return box
