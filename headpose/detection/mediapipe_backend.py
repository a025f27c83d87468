"""MediaPipe's face detector. It needs the package ``mediapipe``.

It runs the same network as ``blazeface``, but only on the whole image at 128 pixels: it misses faces smaller than about
a sixth of the image's longer side.
"""

from __future__ import annotations

import contextlib
import functools
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.detection.offsets import MEDIAPIPE
from headpose.errors import HeadPoseError, WeightsError
from headpose.types import Face, Image

MODEL = Path(__file__).parent / "data" / "blazeface-short.tflite"

# x1, y1, x2, y2 in pixels, and the score
Row = tuple[float, float, float, float, float]


class MediaPipeDetector:
    """Detector that uses MediaPipe's Tasks API.

    With mediapipe up to 0.10.21 and without a model file, it uses the older ``solutions`` API.

    Attributes:
        name: "mediapipe".
    """

    name = "mediapipe"

    def __init__(self, model_path: str | os.PathLike[str] | None = None, *, min_score: float = 0.5) -> None:
        """Load mediapipe and its network.

        Args:
            model_path: A .tflite face detector for the Tasks API. None uses the packaged short-range BlazeFace.
            min_score: Minimum score of a face, in (0, 1).

        Raises:
            WeightsError: The file is missing or is not a face detector.
            HeadPoseError: mediapipe is not installed.
        """
        path = None if model_path is None else Path(model_path).absolute()
        self._again = functools.partial(MediaPipeDetector, path, min_score=min_score)
        # Registered before mediapipe is imported, so that it runs after mediapipe's own hook at the interpreter's exit.
        # In the other order mediapipe waits for a thread that has already ended, and logs an error.
        resources = contextlib.ExitStack()
        weakref.finalize(self, resources.close)
        try:
            import mediapipe
        except ImportError as error:
            raise HeadPoseError(
                f"the mediapipe detector needs the package mediapipe ({error}): pip install mediapipe, or use blazeface"
            ) from None
        if model_path is None and hasattr(mediapipe, "solutions"):
            self._find, close = _solutions(mediapipe, min_score)
        else:
            self._find, close = _tasks(mediapipe, Path(model_path or MODEL), min_score)
        resources.callback(close)

    def __reduce__(self) -> tuple[Callable[[], MediaPipeDetector], tuple[()]]:
        return self._again, ()

    def detect(self, image: Image) -> list[Face]:
        """Detect faces (see ``FaceDetector.detect``)."""
        rows = self._find(np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)))
        faces = [
            Face(MEDIAPIPE.apply(*row[:4]), min(row[4], 1.0)) for row in rows if row[2] > row[0] and row[3] > row[1]
        ]
        return sorted(faces, key=lambda face: -face.score)


Finder = Callable[[NDArray[np.uint8]], list[Row]]


def _tasks(mediapipe: Any, path: Path, min_score: float) -> tuple[Finder, Callable[[], None]]:
    if not path.is_file():
        raise WeightsError(f"model file {path} does not exist")
    from mediapipe.tasks.python import vision
    from mediapipe.tasks.python.core.base_options import BaseOptions

    try:
        # Bytes rather than a path: MediaPipe cannot open every path on Windows.
        options = BaseOptions(model_asset_buffer=path.read_bytes())
        detector = vision.FaceDetector.create_from_options(
            vision.FaceDetectorOptions(base_options=options, min_detection_confidence=min_score)
        )
    except (RuntimeError, ValueError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(f"{path} is no face detector that mediapipe can run: {reason}") from None

    def find(rgb: NDArray[np.uint8]) -> list[Row]:
        result = detector.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb))
        boxes = [(found.bounding_box, found.categories[0].score) for found in result.detections]
        return [(b.origin_x, b.origin_y, b.origin_x + b.width, b.origin_y + b.height, s) for b, s in boxes]

    return find, detector.close


def _solutions(mediapipe: Any, min_score: float) -> tuple[Finder, Callable[[], None]]:
    detector = mediapipe.solutions.face_detection.FaceDetection(model_selection=0, min_detection_confidence=min_score)

    def find(rgb: NDArray[np.uint8]) -> list[Row]:
        height, width = rgb.shape[:2]
        rows: list[Row] = []
        for found in detector.process(rgb).detections or ():
            b = found.location_data.relative_bounding_box  # fractions of the picture
            x, y = b.xmin * width, b.ymin * height
            rows.append((x, y, x + b.width * width, y + b.height * height, found.score[0]))
        return rows

    return find, detector.close
