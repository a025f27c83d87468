"""Run third-party networks with the interface of our own (see ``headpose.evaluation.adapter_files``).

The networks are not part of the project. They are ONNX files in a folder that the user provides.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headpose import crop, geometry
from headpose.errors import HeadPoseError, WeightsError
from headpose.evaluation.adapter_files import AdapterSpec, read_adapter
from headpose.evaluation.outputs import Bins, Euler
from headpose.geometry import Array
from headpose.inference import PoseModel, create_session
from headpose.types import Box, CropSpec, Image

FacesPredictor = Callable[[Image, list[Box]], Array]
"""Function from an (H, W, 3) uint8 BGR image and N tight boxes to (N, 3, 3) rotations."""


class Adapter:
    """Third-party network with the interface of ``headpose.inference.PoseModel``.

    Attributes:
        name: Name of the network for tables.
        crop: Crop of its input.
        spec: Content of the adapter file.
        paths: ONNX files.
        device: Device that runs it, one of ``choices.DEVICES`` except "auto".
    """

    def __init__(
        self, spec: AdapterSpec, models: str | os.PathLike[str], *, device: str = "cpu", threads: int = 0
    ) -> None:
        """Load the networks of an adapter; see ``load_adapter`` for the arguments and errors."""
        self.spec, self.name, self.crop = spec, spec.name, spec.crop
        self.paths = [Path(models) / file for file in spec.files]
        if absent := [path for path in self.paths if not path.is_file()]:
            raise WeightsError(f"{spec.name} needs {absent[0].name}, which is not in {Path(models)}: name its folder")
        opened = [_open(path, spec, device, threads) for path in self.paths]
        self._sessions, self.device = [session for session, _ in opened], opened[0][1]

    @property
    def gives_angles(self) -> bool:
        """True if the network outputs angles rather than a rotation."""
        return isinstance(self.spec.output, Euler | Bins)

    def network_input(self, image: Image, boxes: list[Box], crop_spec: CropSpec | None = None) -> NDArray[np.float32]:
        """Cut and normalize the network input of each face in an image.

        Args:
            image: (H, W, 3) uint8 BGR.
            boxes: N tight boxes in pixels.
            crop_spec: Crop of the same size that replaces ``crop``.

        Returns:
            (N, C, S, S) float32 with C = 1 for a grayscale network, otherwise 3.
        """
        spec = crop_spec or self.crop
        if not boxes:
            return np.zeros((0, 1 if self.spec.grey else 3, spec.size, spec.size), np.float32)
        return np.stack([self._one_input(crop.cut(image, box, spec), spec) for box in boxes])

    def predict_angles(self, inputs: NDArray[np.float32]) -> Array:
        """Predict angles: those of the network, or its rotation decoded with |yaw| <= 90.

        Args:
            inputs: (N, C, S, S) float32 from ``network_input``, N >= 0.

        Returns:
            (N, 3) yaw, pitch, roll in degrees.

        Raises:
            HeadPoseError: The output does not match the adapter file, or is not finite.
        """
        if not len(inputs):
            return np.zeros((0, 3))
        first, *others = (self._decoded(session, inputs) for session in self._sessions)
        # Average wrapped differences, so that the mean of 179 and -179 is not 0.
        return first + sum(geometry.wrap_degrees(other - first) for other in others) / len(self._sessions)

    def predict(self, inputs: NDArray[np.float32]) -> Array:
        """Predict (N, 3, 3) float64 rotations; see ``predict_angles``."""
        return geometry.rotation_from_euler(self.predict_angles(inputs))

    def predict_faces(self, image: Image, boxes: list[Box]) -> Array:
        """Predict (N, 3, 3) float64 rotations of N tight boxes in an (H, W, 3) uint8 BGR image."""
        return self.predict(self.network_input(image, boxes))

    def _one_input(self, patch: Image, spec: CropSpec) -> NDArray[np.float32]:
        if self.spec.grey:
            patch = cv2.cvtColor(cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        values = crop.normalize(patch, spec)
        if self.spec.brighten:
            luminance = cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY)
            factor = np.float32(self.spec.brighten.factor(luminance))
            # Compute (f v - mean) / std from (v - mean) / std, because brightening precedes the normalization.
            zero = crop.normalize(np.zeros((1, 1, 3), np.uint8), spec)
            values = (values - zero) * factor + zero
        return values[:1] if self.spec.grey else values

    def _decoded(self, session: onnxruntime.InferenceSession, inputs: NDArray[np.float32]) -> Array:
        (tensor,) = session.get_inputs()
        fixed = tensor.shape[0] if isinstance(tensor.shape[0], int) else len(inputs)
        if fixed not in (1, len(inputs)):
            raise HeadPoseError(f"{self.name} takes {fixed} faces at a time, not {len(inputs)}: export it with 1")
        names = list(self.spec.output.tensors)
        calls = [session.run(names, {tensor.name: part}) for part in np.split(inputs, len(inputs) // fixed)]
        try:
            values = [
                np.concatenate([np.asarray(part, np.float64).reshape(fixed, -1) for part in parts])
                for parts in zip(*calls, strict=True)
            ]
            if not all(np.isfinite(value).all() for value in values):
                raise ValueError("a value that is not a number")
            return self.spec.output.decode(values)
        except ValueError as error:
            raise HeadPoseError(f"{self.name} gave something else than its adapter says: {error}") from None


def load_adapter(
    path: str | os.PathLike[str], models: str | os.PathLike[str], *, device: str = "cpu", threads: int = 0
) -> Adapter:
    """Load a third-party network.

    Args:
        path: Adapter file.
        models: Folder with its ONNX files.
        device: One of ``choices.DEVICES``.
        threads: Number of CPU threads per call; 0 uses ONNX Runtime's default.

    Raises:
        WeightsError: The adapter file is unreadable or invalid, or a network is missing or has other inputs or outputs
            than the file says.
        HeadPoseError: ``device`` is unknown, not installed or does not start, or ``threads`` is negative.
    """
    return Adapter(read_adapter(path), models, device=device, threads=threads)


def faces_predictor(model: PoseModel | Adapter) -> FacesPredictor:
    """Return a function from an image and tight boxes to rotations, for our networks and third-party ones."""
    if isinstance(model, Adapter):
        return model.predict_faces
    return lambda image, boxes: model.predict(crop.network_input(image, boxes, model.crop))


def _open(path: Path, spec: AdapterSpec, device: str, threads: int) -> tuple[onnxruntime.InferenceSession, str]:
    """Return the session and the device that runs it."""
    session, where = create_session(path, device=device, threads=threads)
    inputs = session.get_inputs()
    expected = [1 if spec.grey else 3, spec.crop.size, spec.crop.size]
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        raise WeightsError(f"{path} must have one input, float32 (N, C, S, S)")
    shape = inputs[0].shape[1:]
    if any(isinstance(side, int) and side != wanted for side, wanted in zip(shape, expected, strict=True)):
        raise WeightsError(f"{path} takes {shape}, its adapter gives {expected}: mend size or channels")
    there = [output.name for output in session.get_outputs()]
    if absent := [name for name in spec.output.tensors if name not in there]:
        raise WeightsError(f"{path} has no output {absent[0]}: it has {', '.join(there)}")
    return session, where
