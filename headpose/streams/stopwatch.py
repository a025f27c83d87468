"""Durations of the stages of an estimator, for live displays."""

from __future__ import annotations

import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

from headpose.detection import FaceDetector
from headpose.inference import PoseModel, read
from headpose.reading import Reading
from headpose.types import Face, Image


class Stopwatch:
    """Context manager that adds up its uses in each frame, and returns their mean over the last 30 frames."""

    def __init__(self) -> None:
        """Start without a measurement."""
        self._taken: deque[float] = deque(maxlen=30)
        self._running = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *exc_info: object) -> None:
        self._running += time.perf_counter() - self._started

    def end_frame(self) -> None:
        """End a frame, whether the stage ran in it or not."""
        self._taken.append(self._running)
        self._running = 0.0

    @property
    def milliseconds(self) -> float:
        """Mean time per frame in milliseconds; 0 before the first frame."""
        return 1e3 * sum(self._taken) / max(1, len(self._taken))


class TimedDetector:
    """Detector that measures its time and drops faces with a score below ``min_score``."""

    def __init__(self, detector: FaceDetector, min_score: float = 0.0) -> None:
        """Wrap a detector; ``min_score`` is in [0, 1]."""
        self.name, self._detector, self._min_score, self.watch = detector.name, detector, min_score, Stopwatch()

    def detect(self, image: Image) -> list[Face]:
        """Detect faces (see ``FaceDetector.detect``)."""
        with self.watch:
            return [face for face in self._detector.detect(image) if face.score >= self._min_score]


class TimedModel:
    """Network that measures its time."""

    def __init__(self, model: PoseModel) -> None:
        """Wrap a network."""
        self.name, self.crop, self._model, self.watch = model.name, model.crop, model, Stopwatch()
        self.outputs: tuple[str, ...] = getattr(model, "outputs", ())

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict rotations (see ``PoseModel.predict``)."""
        return self.read(inputs).rotation

    def read(self, inputs: NDArray[np.float32]) -> Reading:
        """Read all outputs (see ``inference.read``)."""
        with self.watch:
            return read(self._model, inputs)
