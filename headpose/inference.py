"""Inference: ONNX Runtime sessions that predict rotations from crops.

A network's file has one input, ``image`` (N, 3, S, S) float32, and an output ``rotation`` (N, 3, 3), with dynamic N.
Its metadata has ``headpose.crop``, the JSON of ``CropSpec.to_dict()``, and ``headpose.model``, a JSON object with at
least ``name``.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headpose import geometry, licenses, weights
from headpose.errors import HeadPoseError, InputError, WeightsError
from headpose.types import CropSpec

DEVICES = ("auto", "cpu", "cuda", "tensorrt", "openvino", "directml", "coreml")

_CPU = "CPUExecutionProvider"
_PROVIDER = {
    "cpu": _CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
# The next provider runs the operators that a provider does not support.
_FALLBACK = {"cpu": [], "tensorrt": ["cuda", "cpu"]}
# Not TensorRT: it builds an engine for minutes before the first face. Not Core ML: every ONNX Runtime for macOS has it,
# and it may compute in fp16.
_AUTO = ("cuda", "directml", "openvino", "cpu")
_INSTALL = {
    "cuda": "pip uninstall onnxruntime, then pip install onnxruntime-gpu",
    "tensorrt": "pip uninstall onnxruntime, then pip install onnxruntime-gpu",
    "openvino": "pip uninstall onnxruntime, then pip install onnxruntime-openvino",
    "directml": "on Windows, pip uninstall onnxruntime, then pip install onnxruntime-directml",
    "coreml": "it comes with onnxruntime on macOS only",
}
_FATAL = 4  # ONNX Runtime's log severity; errors are raised as exceptions too

# Maximum difference of R^T R from the identity: in fp32 arithmetic, and in fp16 or int8.
_EXACT, _ROUNDED = 1e-4, 0.1

_log = logging.getLogger(__name__)


class PoseModel(Protocol):
    """Interface of a head pose network.

    Attributes:
        name: Name of the network.
        crop: Crop settings of its input.
    """

    name: str
    crop: CropSpec

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict (N, 3, 3) float64 rotations from (N, 3, S, S) float32 of ``crop.network_input``; N may be 0."""
        ...


class OnnxPoseModel:
    """Network in an ONNX Runtime session. Threads may share it.

    It can be pickled: the copy loads the file again, on the same ``device`` setting and number of threads.

    Attributes:
        name: Name in the file's metadata.
        crop: Crop settings in the file's metadata.
        metadata: The ``headpose.model`` object of the file's metadata, with the current keys.
        path: Path of the file.
        device: Device that it runs on: one of ``DEVICES`` except "auto".
    """

    def __init__(self, path: str | os.PathLike[str], *, device: str = "auto", threads: int = 0) -> None:
        """Load a file. ``load_model`` also takes names and checks them against the manifest.

        Args:
            path: Path of the .onnx file.
            device: One of ``DEVICES``. "auto" selects the best one that is installed and works.
            threads: Number of CPU threads per call; 0 uses ONNX Runtime's default.

        Raises:
            WeightsError: The file does not exist, or its tensors or metadata are wrong.
            HeadPoseError: ``device`` is unknown or not installed.
        """
        self.path = Path(path)
        self._again = functools.partial(OnnxPoseModel, self.path.absolute(), device=device, threads=threads)
        self._session, self.device = create_session(path, device=device, threads=threads)
        stored = self._session.get_modelmeta().custom_metadata_map
        self.crop = _stored_crop(stored, self.path)
        self.metadata = _stored_description(stored, self.path)
        self.name: str = self.metadata["name"]
        _check_signature(self._session, self.crop, self.path)

    def __reduce__(self) -> tuple[Callable[[], OnnxPoseModel], tuple[()]]:
        return self._again, ()

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict rotations.

        Args:
            inputs: (N, 3, S, S) float32 crops from ``crop.network_input``; N may be 0.

        Returns:
            (N, 3, 3) float64 rotations from head to camera axes.

        Raises:
            HeadPoseError: An input value is not finite, the output is not a rotation, or the device fails.
        """
        if len(inputs) == 0:
            return np.zeros((0, 3, 3))
        # The output does not always reveal this: an INT8 network converts NaN to a number, and returns an angle.
        if not np.isfinite(inputs).all():
            raise HeadPoseError(f"the input of model {self.name} has a value that is not a finite number")
        (output,) = self._session.run(["rotation"], {"image": inputs})
        return _checked_rotations(np.asarray(output, np.float64), len(inputs), self.name)


def load_model(name_or_path: str | os.PathLike[str], *, device: str = "auto", threads: int = 0) -> OnnxPoseModel:
    """Load a network by name or path.

    Args:
        name_or_path: Name in the manifest (``headpose models`` lists them) or path of an .onnx file.
        device: One of ``DEVICES``. "auto" selects the best one that is installed and works.
        threads: Number of CPU threads per call; 0 uses ONNX Runtime's default.

    Raises:
        WeightsError: There is no such network, or its file does not match the manifest.
        HeadPoseError: ``device`` is unknown or not installed.
    """
    model = OnnxPoseModel(weights.find(name_or_path), device=device, threads=threads)
    if not weights.is_path(name_or_path):
        info = weights.lookup(str(name_or_path))
        if info.crop != model.crop:
            raise WeightsError(
                f"the crop in {model.path} differs from that in models.toml for {info.name}: export it again"
            )
    return model


class Session(onnxruntime.InferenceSession):  # type: ignore[misc]  # its own base has no types
    """ONNX Runtime session that prints nothing and raises one-line errors. Threads may share it.

    A session from ``create_session`` can be pickled: the copy opens the file again.
    """

    again: Callable[[], Session] | None = None  # opens the file with the same settings

    def __init__(self, path: str, options: onnxruntime.SessionOptions, providers: list[str]) -> None:
        # ONNX Runtime's fallback prints a banner to stdout, between our results.
        super().__init__(path, options, providers=providers, enable_fallback=0)
        # DirectML's sessions, unlike others, allow only one call at a time.
        one_by_one = self.get_providers()[0] == _PROVIDER["directml"]
        self._turn: Any = threading.Lock() if one_by_one else contextlib.nullcontext()

    def __reduce__(self) -> tuple[Callable[[], Session], tuple[()]]:
        if self.again is None:
            raise TypeError("only a session of create_session can be pickled")
        return self.again, ()

    def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:
        """Run the network as ``InferenceSession.run`` does; HeadPoseError if the device fails (out of memory, say)."""
        try:
            with self._turn:
                return super().run(output_names, input_feed, run_options)
        except Exception as error:  # ONNX Runtime's own exceptions have no common base
            raise HeadPoseError(f"ONNX Runtime failed: {_first_line(error)}") from None


def create_session(path: str | os.PathLike[str], *, device: str = "auto", threads: int = 0) -> tuple[Session, str]:
    """Create an ONNX Runtime session on a device.

    The logger ``headpose.inference`` reports the device, and warns once if an installed accelerator does not start.

    Args:
        path: Path of an .onnx file.
        device: One of ``DEVICES``.
        threads: Number of CPU threads per call; 0 uses ONNX Runtime's default (see ``bounded_threads``).

    Returns:
        The session, and its device: one of ``DEVICES`` except "auto".

    Raises:
        WeightsError: The file does not exist, or ONNX Runtime cannot run it.
        HeadPoseError: ``device`` is unknown, not installed, or does not start; ``threads`` is negative.
    """
    if not Path(path).is_file():
        raise WeightsError(f"model file {path} does not exist")
    threads = bounded_threads(threads)
    failed = ""
    for candidate in _candidates(device):
        try:
            session = _open(path, candidate, threads)
        except Exception as error:
            if candidate == "cpu":
                raise WeightsError(f"{path} is not a network that ONNX Runtime can run: {_first_line(error)}") from None
            failed = failed or f"device {candidate} is installed but does not start ({_first_line(error)})"
            continue
        # ONNX Runtime silently drops a provider whose libraries are missing.
        if session.get_providers()[0] == _PROVIDER[candidate]:
            _check_texts(session, path)
            session.again = functools.partial(_session_only, Path(path).absolute(), device, threads)
            if failed:
                warn_once(f"{failed}: using {candidate}")
            _log.info("%s runs on %s, threads: %s", Path(path).name, candidate, threads or "all")
            return session, candidate
        failed = failed or f"device {candidate} is installed but does not start"
    create_session(path, device="cpu")  # raises if the file is the cause
    raise HeadPoseError(f"{failed}: check its driver and libraries, or use cpu")


def _session_only(path: Path, device: str, threads: int) -> Session:
    return create_session(path, device=device, threads=threads)[0]


def _check_texts(session: Session, path: str | os.PathLike[str]) -> None:
    """Raise WeightsError unless names and metadata are UTF-8. ONNX Runtime decodes them on access only."""
    try:
        session.get_modelmeta().custom_metadata_map  # noqa: B018
        for tensor in (*session.get_inputs(), *session.get_outputs()):
            tensor.name  # noqa: B018
    except UnicodeDecodeError:
        raise WeightsError(f"{path} is damaged: its names or metadata are not UTF-8 text") from None


def bounded_threads(threads: int) -> int:
    """Limit a number of threads to that of the machine: more threads only cost memory and time.

    Args:
        threads: Requested number of threads, 0 or more.

    Returns:
        ``threads`` or the number of the machine's CPUs, whichever is less. A reduction logs one warning. 0 stays 0.

    Raises:
        InputError: ``threads`` is negative.
    """
    if threads < 0:
        raise InputError(f"threads must be 0 or more, got {threads}")
    there = os.cpu_count() or 1
    if threads > there:
        warn_once(f"{threads} threads are more than this machine has CPUs: using {there}")
    return min(threads, there)


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning the first time it is passed, and never again."""
    _log.warning(message)


def installed_devices() -> list[str]:
    """Return the devices that the installed ONNX Runtime was built for. Whether one starts is not checked."""
    available = onnxruntime.get_available_providers()
    return [device for device, provider in _PROVIDER.items() if provider in available]


def _open(path: str | os.PathLike[str], device: str, threads: int) -> Session:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = device != "directml"  # DirectML does not support it
    there = installed_devices()
    devices = [name for name in (device, *_FALLBACK.get(device, ["cpu"])) if name in there]
    return Session(str(path), options, [_PROVIDER[name] for name in devices])


def _candidates(device: str) -> list[str]:
    """Return the devices to try, best first."""
    if device not in DEVICES:
        raise InputError(f"unknown device {device!r}: use one of {', '.join(DEVICES)}")
    there = installed_devices()
    if device == "auto":
        return [name for name in _AUTO if name in there]
    if device not in there:
        raise HeadPoseError(f"device {device} is not in the ONNX Runtime installed here: {_INSTALL[device]}")
    return [device]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _stored_crop(stored: dict[str, str], path: Path) -> CropSpec:
    if "headpose.crop" not in stored:
        raise WeightsError(f"{path} has no headpose.crop in its metadata: export it with headpose")
    try:
        return CropSpec.from_dict(json.loads(stored["headpose.crop"]))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"headpose.crop in the metadata of {path} is damaged: {_first_line(error)}") from None


def _stored_description(stored: dict[str, str], path: Path) -> dict[str, Any]:
    try:
        description = json.loads(stored.get("headpose.model", "{}"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"headpose.model in the metadata of {path} is damaged: {_first_line(error)}") from None
    if not isinstance(description, dict):
        raise WeightsError(f"headpose.model in the metadata of {path} is not an object")
    description = licenses.with_current_keys(description)
    name = description.get("name", path.stem)
    if not isinstance(name, str) or not name:
        raise WeightsError(f"headpose.model in the metadata of {path} has a name that is not text")
    return {**description, "name": name}


def _check_signature(session: onnxruntime.InferenceSession, crop: CropSpec, path: Path) -> None:
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    if list(inputs) != ["image"] or "rotation" not in {tensor.name for tensor in session.get_outputs()}:
        raise WeightsError(f"{path} is not a head pose network: it needs one input, image, and an output rotation")
    shape = inputs["image"].shape
    if inputs["image"].type != "tensor(float)" or len(shape) != 4 or isinstance(shape[0], int):
        raise WeightsError(f"{path}: the input image must be float32 (N, 3, S, S) with a dynamic N, got {shape}")
    expected = (3, crop.size, crop.size)
    if any(isinstance(side, int) and side != wanted for side, wanted in zip(shape[1:], expected, strict=True)):
        raise WeightsError(f"{path} takes {shape[1:]} but its metadata crops to {list(expected)}: export it again")


def _checked_rotations(output: NDArray[np.float64], count: int, name: str) -> NDArray[np.float64]:
    """Return (N, 3, 3) rotations; raise HeadPoseError if the output is not a rotation, so that no angle is wrong."""
    if output.shape != (count, 3, 3) or not np.isfinite(output).all():
        raise HeadPoseError(
            f"model {name} returned no rotation: shape {list(output.shape)}, or a value that is not a number"
        )
    departure = np.abs(np.swapaxes(output, -1, -2) @ output - np.eye(3)).max()
    if departure > _ROUNDED or (np.linalg.det(output) < 0).any():
        raise HeadPoseError(
            f"model {name} returned no rotation: the matrix is not orthonormal (off by {departure:.2g})"
        )
    return output if departure <= _EXACT else geometry.nearest_rotation(output)
