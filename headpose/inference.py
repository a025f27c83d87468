"""Networks that turn crops into rotations, run by ONNX Runtime.

The contract of a network's file: input ``image`` (N, 3, S, S) float32, output ``rotation`` (N, 3, 3),
N dynamic; metadata ``headpose.crop``, the JSON of ``CropSpec.to_dict()``, and ``headpose.model``, the
JSON of an object with at least ``name``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headpose import geometry, weights
from headpose.errors import HeadPoseError, WeightsError
from headpose.types import CropSpec

DEVICES = ("auto", "cpu", "cuda", "tensorrt", "openvino")

_CPU = "CPUExecutionProvider"
_PROVIDER = {
    "cpu": _CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
# Where a provider cannot take an operator, the next one does.
_FALLBACK = {"tensorrt": ["cuda", "cpu"], "cuda": ["cpu"], "openvino": ["cpu"], "cpu": []}
# TensorRT is not among them: it spends minutes on building an engine before the first face.
_AUTO = ("cuda", "openvino", "cpu")
_PACKAGE = {"cuda": "onnxruntime-gpu", "tensorrt": "onnxruntime-gpu", "openvino": "onnxruntime-openvino"}
_FATAL = 4  # ONNX Runtime's log severity; what goes wrong is raised besides

# Departure of R^T R from the identity: what fp32 arithmetic leaves, and what fp16 or int8 may.
_EXACT, _ROUNDED = 1e-4, 0.1


class PoseModel(Protocol):
    """A network that reads head poses.

    Attributes:
        name: what it is called.
        crop: how its input is cut out of a picture.
    """

    name: str
    crop: CropSpec

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, 3, S, S) float32 of ``crop.network_input`` -> (N, 3, 3) float64 rotations, N >= 0."""
        ...


class OnnxPoseModel:
    """A network of the file contract above, in an ONNX Runtime session. Safe to share by threads.

    Attributes:
        name: from the file's metadata.
        crop: from the file's metadata.
        metadata: the file's ``headpose.model``.
        path: the file.
        device: where it runs, one of ``DEVICES`` but "auto".
    """

    def __init__(self, path: str | os.PathLike[str], *, device: str = "auto", threads: int = 0) -> None:
        """Loads a file (``load_model`` also takes names and checks them against the manifest).

        Raises:
            WeightsError: the file does not exist or does not keep the contract.
            HeadPoseError: ``device`` is unknown or not installed.
        """
        self.path = Path(path)
        self._session, self.device = create_session(path, device=device, threads=threads)
        stored = self._session.get_modelmeta().custom_metadata_map
        self.crop = _stored_crop(stored, self.path)
        self.metadata = _stored_description(stored, self.path)
        self.name: str = self.metadata["name"]
        _check_signature(self._session, self.crop, self.path)

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Rotations of crops.

        Args:
            inputs: (N, 3, S, S) float32 of ``crop.network_input``; N may be 0.

        Returns:
            (N, 3, 3) float64 rotations, head to camera.

        Raises:
            HeadPoseError: the network's answer is not a rotation.
        """
        if len(inputs) == 0:
            return np.zeros((0, 3, 3))
        (output,) = self._session.run(["rotation"], {"image": inputs})
        return _checked_rotations(np.asarray(output, np.float64), len(inputs), self.name)


def load_model(name_or_path: str | os.PathLike[str], *, device: str = "auto", threads: int = 0) -> OnnxPoseModel:
    """Loads a network.

    Args:
        name_or_path: a name of the manifest (``headpose models`` lists them) or the path of an .onnx file.
        device: one of ``DEVICES``. "auto" takes the best that is installed and works.
        threads: of the processor for one call; 0 leaves it to ONNX Runtime.

    Raises:
        WeightsError: no such network, or its file is altered or at odds with the manifest.
        HeadPoseError: ``device`` is unknown or not installed.
    """
    model = OnnxPoseModel(weights.find(name_or_path), device=device, threads=threads)
    if not weights.is_path(name_or_path):
        info = weights.lookup(str(name_or_path))
        if info.crop != model.crop:
            raise WeightsError(f"{model.path} has another crop than models.toml gives {info.name}: export it again")
    return model


def create_session(
    path: str | os.PathLike[str], *, device: str = "auto", threads: int = 0
) -> tuple[onnxruntime.InferenceSession, str]:
    """An ONNX Runtime session on a device, silent unless it raises.

    Returns:
        The session, and where it runs: one of ``DEVICES`` but "auto".

    Raises:
        WeightsError: the file does not exist or is no network that ONNX Runtime can run.
        HeadPoseError: ``device`` is unknown, not installed, or does not start; ``threads`` is negative.
    """
    if not Path(path).is_file():
        raise WeightsError(f"model file {path} does not exist")
    if threads < 0:
        raise HeadPoseError(f"threads must be 0 or more, got {threads}")
    candidates = _candidates(device)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    for candidate in candidates:
        providers = [_PROVIDER[name] for name in (candidate, *_FALLBACK[candidate])]
        installed = [name for name in providers if name in onnxruntime.get_available_providers()]
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=installed)
        except Exception as error:  # ONNX Runtime's own exceptions have no common base
            if candidate != candidates[-1]:
                continue
            raise WeightsError(f"{path} is no network that ONNX Runtime can run: {_first_line(error)}") from None
        # A provider that is installed but whose libraries are missing is dropped without an error.
        if session.get_providers()[0] == _PROVIDER[candidate]:
            return session, candidate
    raise HeadPoseError(f"device {device} is installed but does not start: check its driver and libraries, or use cpu")


def _candidates(device: str) -> list[str]:
    """The devices to try, best first."""
    if device not in DEVICES:
        raise HeadPoseError(f"unknown device {device!r}: use one of {', '.join(DEVICES)}")
    available = onnxruntime.get_available_providers()
    if device == "auto":
        return [name for name in _AUTO if _PROVIDER[name] in available]
    if _PROVIDER[device] not in available:
        raise HeadPoseError(
            f"device {device} is not in the ONNX Runtime installed here: "
            f"pip uninstall onnxruntime, then pip install {_PACKAGE[device]}"
        )
    return [device]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _stored_crop(stored: dict[str, str], path: Path) -> CropSpec:
    if "headpose.crop" not in stored:
        raise WeightsError(f"{path} has no headpose.crop in its metadata: export it with headpose")
    try:
        return CropSpec.from_dict(json.loads(stored["headpose.crop"]))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"headpose.crop in the metadata of {path} is damaged: {error}") from None


def _stored_description(stored: dict[str, str], path: Path) -> dict[str, Any]:
    try:
        description = json.loads(stored.get("headpose.model", "{}"))
    except ValueError as error:
        raise WeightsError(f"headpose.model in the metadata of {path} is damaged: {error}") from None
    if not isinstance(description, dict):
        raise WeightsError(f"headpose.model in the metadata of {path} is not an object")
    return {"name": path.stem, **description}


def _check_signature(session: onnxruntime.InferenceSession, crop: CropSpec, path: Path) -> None:
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    if list(inputs) != ["image"] or "rotation" not in {tensor.name for tensor in session.get_outputs()}:
        raise WeightsError(f"{path} is no head pose network: it needs one input, image, and an output rotation")
    shape = inputs["image"].shape
    if inputs["image"].type != "tensor(float)" or len(shape) != 4 or isinstance(shape[0], int):
        raise WeightsError(f"{path}: the input image must be float32 (N, 3, S, S) with a dynamic N, it is {shape}")
    expected = (3, crop.size, crop.size)
    if any(isinstance(side, int) and side != wanted for side, wanted in zip(shape[1:], expected, strict=True)):
        raise WeightsError(f"{path} takes {shape[1:]} but its metadata crops to {list(expected)}: export it again")


def _checked_rotations(output: NDArray[np.float64], count: int, name: str) -> NDArray[np.float64]:
    """(N, 3, 3) rotations, or an error: a wrong angle must not pass for a result."""
    if output.shape != (count, 3, 3) or not np.isfinite(output).all():
        raise HeadPoseError(
            f"model {name} gave no rotation: shape {list(output.shape)}, or a value that is not a number"
        )
    departure = np.abs(np.swapaxes(output, -1, -2) @ output - np.eye(3)).max()
    if departure > _ROUNDED or (np.linalg.det(output) < 0).any():
        raise HeadPoseError(f"model {name} gave no rotation: its matrix is not orthonormal (off by {departure:.2g})")
    return output if departure <= _EXACT else geometry.nearest_rotation(output)
