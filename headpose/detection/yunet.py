"""YuNet (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023), run by OpenCV.

The model file is not part of this package: download ``face_detection_yunet_2023mar.onnx`` from the OpenCV model zoo
(MIT). OpenCV runs the network at the image's full size, so this module first shrinks large images.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from headpose.detection.offsets import YUNET
from headpose.errors import WeightsError
from headpose.inference import bounded_threads
from headpose.types import Face, Image

_LARGEST_SIDE = 1280  # pixels; YuNet detects faces of 10 pixels and more
_OVERLAP = 0.3  # IoU above which two boxes are the same face
_SIDE = 64  # side of the image that checks the model on loading, pixels


class YuNet:
    """Detector that runs ``cv2.FaceDetectorYN`` with a model file of the user.

    Attributes:
        name: "yunet".
    """

    name = "yunet"

    def __init__(self, model_path: str | os.PathLike[str] | None, *, threads: int = 0, min_score: float = 0.6) -> None:
        """Load the network.

        Args:
            model_path: YuNet's ONNX file.
            threads: Number of OpenCV's threads, which applies to the whole process; 0 leaves it unchanged.
            min_score: Minimum score of a face, in (0, 1).

        Raises:
            WeightsError: ``model_path`` is None or missing, or this OpenCV cannot run it as a YuNet.
        """
        if model_path is None:
            raise WeightsError(
                "the yunet detector needs a file: name face_detection_yunet_2023mar.onnx from the OpenCV model zoo"
            )
        if not Path(model_path).is_file():
            raise WeightsError(f"model file {model_path} does not exist")
        self._again = functools.partial(YuNet, Path(model_path).absolute(), threads=threads, min_score=min_score)
        if threads := bounded_threads(threads):
            cv2.setNumThreads(threads)
        try:
            self._detector = cv2.FaceDetectorYN.create(str(model_path), "", (_SIDE, _SIDE), min_score, _OVERLAP)
            self._detector.detect(np.zeros((_SIDE, _SIDE, 3), np.uint8))
        except cv2.error as error:
            raise WeightsError(f"{model_path} is no YuNet that OpenCV {cv2.__version__} can run: {error.err}") from None

    def __reduce__(self) -> tuple[Callable[[], YuNet], tuple[()]]:
        return self._again, ()

    def detect(self, image: Image) -> list[Face]:
        """Detect faces (see ``FaceDetector.detect``)."""
        height, width = image.shape[:2]
        scale = min(1.0, _LARGEST_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if size != (width, height):
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        self._detector.setInputSize(size)
        _, rows = self._detector.detect(image)  # x, y, width, height, five points, score
        back = np.tile([width / size[0], height / size[1]], 2)
        faces = []
        for row in rows if rows is not None else ():
            x, y, w, h = map(float, row[:4] * back)
            if w > 0 and h > 0:
                faces.append(Face(YUNET.apply(x, y, x + w, y + h), float(np.clip(row[-1], 0.0, 1.0))))
        return sorted(faces, key=lambda face: -face.score)
