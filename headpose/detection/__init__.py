"""Face detection: one interface, three back ends that all return tight boxes."""

from __future__ import annotations

import os
from typing import Protocol

from headpose.choices import DEFAULT_DETECTOR, DETECTORS
from headpose.errors import HeadPoseError
from headpose.types import Face, Image


class FaceDetector(Protocol):
    """Interface of a face detector.

    Attributes:
        name: One of ``choices.DETECTORS``, or the name of a custom detector.
    """

    name: str

    def detect(self, image: Image) -> list[Face]:
        """Detect the faces of an image.

        Args:
            image: (H, W, 3) uint8 BGR image, at least 1x1.

        Returns:
            Faces sorted by descending score; empty if there is none. Each has the tight box of the 68 landmarks, which
            may extend outside of the image. Detection is deterministic.
        """
        ...


def create_detector(
    name: str = DEFAULT_DETECTOR,
    *,
    threads: int = 0,
    device: str = "auto",
    model_path: str | os.PathLike[str] | None = None,
    min_score: float | None = None,
    min_face: float | None = None,
) -> FaceDetector:
    """Create a detector by name.

    Args:
        name: One of ``choices.DETECTORS``. ``blazeface`` needs nothing else, ``mediapipe`` needs the package
            mediapipe, and ``yunet`` needs ``model_path``.
        threads: Number of CPU threads per call; 0 uses the library's default. Ignored by mediapipe.
        device: One of ``choices.DEVICES``, for blazeface. The other detectors run on the CPU.
        model_path: Model file that replaces the packaged one. Required for yunet.
        min_score: Minimum score of a face, in (0, 1). None uses the detector's default.
        min_face: Longer side, in pixels, of the smallest tight box to detect, for blazeface only. Larger values are
            faster. None uses the default of 40.

    Raises:
        WeightsError: The model file is missing or invalid.
        HeadPoseError: The detector is unknown, its package is not installed, or the device is not available.
    """
    if min_score is not None and not 0.0 < min_score < 1.0:
        raise HeadPoseError(f"the lowest score of a face lies between 0 and 1, got {min_score}")
    if min_face is not None and name != "blazeface":
        raise HeadPoseError(f"the {name} detector has no smallest face to set: leave it out, or use blazeface")
    score = {} if min_score is None else {"min_score": min_score}
    smallest = {} if min_face is None else {"min_face": min_face}
    if name == "blazeface":
        from headpose.detection.blazeface import BlazeFace

        return BlazeFace(model_path, device=device, threads=threads, **score, **smallest)
    if name == "mediapipe":
        from headpose.detection.mediapipe_backend import MediaPipeDetector

        return MediaPipeDetector(model_path, **score)
    if name == "yunet":
        from headpose.detection.yunet import YuNet

        return YuNet(model_path, threads=threads, **score)
    raise HeadPoseError(f"unknown detector {name!r}: use one of {', '.join(DETECTORS)}")
