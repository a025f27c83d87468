"""The 68 landmarks of faces: a second network, which reads them off a crop of each face.

A landmark network's file has one input, ``image`` (N, 3, S, S) float32, and one output, ``landmarks`` (N, 68, 2), x and
y in sides of the crop, with dynamic N. ``headpose.metadata`` describes its metadata.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from headpose import crop, weights
from headpose.inference import OnnxModel, check_signature
from headpose.reading import LANDMARKS, checked_landmarks
from headpose.types import CropSpec, HeadPose, Image, Kind


class LandmarkModel(Protocol):
    """Interface of a landmark network.

    Attributes:
        name: Name of the network.
        crop: Crop settings of its input.
    """

    name: str
    crop: CropSpec

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict (N, 68, 2) float64 landmarks in sides of the crop from (N, 3, S, S) float32; N may be 0."""
        ...


class OnnxLandmarkModel(OnnxModel):
    """Landmark network in an ONNX Runtime session."""

    kind: ClassVar[Kind] = "landmarks"

    def __init__(self, path: str | os.PathLike[str], *, device: str = "auto", threads: int = 0) -> None:
        """Load a file, as ``OnnxModel`` does. ``load_landmark_model`` also takes names."""
        super().__init__(path, device=device, threads=threads)
        check_signature(self._session, self.crop, ("landmarks",), self.path)

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict landmarks.

        Args:
            inputs: (N, 3, S, S) float32 crops from ``crop.network_input``; N may be 0.

        Returns:
            (N, 68, 2) float64 x and y in sides of the crop, in the order of 300W.

        Raises:
            HeadPoseError: An input value is not finite, the output is invalid, or the device fails.
        """
        if len(inputs) == 0:
            return np.zeros((0, LANDMARKS, 2))
        (output,) = self._outputs(["landmarks"], inputs)
        return checked_landmarks(output, len(inputs), self.name)


def load_landmark_model(
    name_or_path: str | os.PathLike[str], *, device: str = "auto", threads: int = 0
) -> OnnxLandmarkModel:
    """Load a landmark network by name or path.

    Args:
        name_or_path: Name in the manifest, or path of an .onnx file.
        device: One of ``choices.DEVICES``. "auto" selects the best one that is installed and works.
        threads: Number of CPU threads per call; 0 uses ONNX Runtime's default.

    Raises:
        WeightsError: There is no such network, or its file is not a landmark network or does not match the manifest.
        HeadPoseError: ``device`` is unknown or not installed.
    """
    model = OnnxLandmarkModel(weights.find(name_or_path), device=device, threads=threads)
    weights.check_crop(name_or_path, model.crop, model.path)
    return model


def locate(model: LandmarkModel, image: Image, poses: Sequence[HeadPose]) -> list[HeadPose]:
    """Return poses with their landmarks.

    Each face is cut where its pose was read: upright in its region if it has one, otherwise by its box.

    Args:
        model: Landmark network.
        image: (H, W, 3) uint8 BGR.
        poses: Poses of the faces in the image.

    Raises:
        HeadPoseError: The network fails.
    """
    places = [pose.face.region or pose.box for pose in poses]
    found = model.predict(crop.network_input(image, places, model.crop))
    return [
        dataclasses.replace(pose, landmarks=crop.points_in_image(points, place, model.crop).astype(np.float32))
        for pose, place, points in zip(poses, places, found, strict=True)
    ]
