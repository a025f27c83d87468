"""Finding faces: one interface, three back ends, and boxes that mean the same whichever is used."""

from __future__ import annotations

import os
from typing import Protocol

from headpose.errors import HeadPoseError
from headpose.types import Face, Image

DETECTORS = ("blazeface", "mediapipe", "yunet")


class FaceDetector(Protocol):
    """Something that finds faces.

    Attributes:
        name: one of ``DETECTORS``, or a name of your own.
    """

    name: str

    def detect(self, image: Image) -> list[Face]:
        """Finds the faces of a picture.

        Args:
            image: (H, W, 3) uint8 BGR, any size from 1x1.

        Returns:
            Faces with the TIGHT box of the 68 landmarks (it may reach outside the picture), the best score first;
            empty if there is none. The same picture gives the same faces.
        """
        ...


def create_detector(
    name: str = "blazeface",
    *,
    threads: int = 0,
    device: str = "auto",
    model_path: str | os.PathLike[str] | None = None,
    min_score: float | None = None,
    min_face: float | None = None,
) -> FaceDetector:
    """Makes a detector by name.

    Args:
        name: one of ``DETECTORS``: ``blazeface`` needs nothing else; ``mediapipe`` the package mediapipe; ``yunet``
            a file that you have.
        threads: of the processor for one call; 0 leaves it to the library. mediapipe takes no number.
        device: one of ``headpose.inference.DEVICES``, for blazeface; the others run on the processor.
        model_path: a file to use instead of the one that comes with the package (yunet: needed).
        min_score: faces below it are dropped, in (0, 1); None is the back end's own default.
        min_face: for blazeface, the longer side, in pixels, of the smallest tight box to look for: the larger, the
            faster. None is its default of 40; the others have no such setting.

    Raises:
        WeightsError: the file is missing or of another kind.
        HeadPoseError: no such detector, its package is not installed, or the device is not there.
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
