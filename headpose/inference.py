"""Inference: ONNX Runtime sessions that predict rotations from crops.

The file is ONNX, or a .safetensors file that decodes to ONNX (``headpose.coded``). It has one input, ``image`` (N, 3,
S, S) float32, and an output ``rotation`` (N, 3, 3), with dynamic N. It may have the optional outputs ``region`` (N, 4),
``covariance`` (N, 3, 3) and ``face`` (N,) (``headpose.reading``). ``headpose.metadata`` describes its metadata.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headpose import coded, metadata, weights
from headpose.choices import DEVICES
from headpose.errors import HeadPoseError, InputError, WeightsError, first_line
from headpose.reading import OPTIONAL_OUTPUTS, checked
from headpose.reading import Reading as Reading
from headpose.types import CropSpec, Kind

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

_log = logging.getLogger(__name__)


class PoseModel(Protocol):
    """Interface of a head pose network. It may also have ``read``, as ``OnnxPoseModel`` does; see ``read``.

    Attributes:
        name: Name of the network.
        crop: Crop settings of its input.
    """

    name: str
    crop: CropSpec

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict (N, 3, 3) float64 rotations from (N, 3, S, S) float32 of ``crop.network_input``; N may be 0."""
        ...


class OnnxModel:
    """Network in an ONNX Runtime session. Threads may share it.

    It can be pickled: the copy loads the file again, on the same ``device`` setting and number of threads.

    Attributes:
        name: Name in the file's metadata.
        crop: Crop settings in the file's metadata.
        metadata: The ``headpose.model`` object of the file's metadata, with the current keys.
        path: Path of the file.
        device: Device that it runs on: one of ``choices.DEVICES`` except "auto".
    """

    kind: ClassVar[Kind]
    """What the network reads."""

    def __init__(self, path: str | os.PathLike[str], *, device: str = "auto", threads: int = 0) -> None:
        """Load a file. ``load_model`` and ``landmarks.load_landmark_model`` also take names.

        Args:
            path: Path of an .onnx file, or of a .safetensors file of ``headpose.coded``.
            device: One of ``choices.DEVICES``. "auto" selects the best one that is installed and works.
            threads: Number of CPU threads per call; 0 uses ONNX Runtime's default.

        Raises:
            WeightsError: The file does not exist, is of another kind, or its tensors or metadata are wrong.
            HeadPoseError: ``device`` is unknown or not installed.
        """
        self.path = Path(path)
        self._again = functools.partial(type(self), self.path.absolute(), device=device, threads=threads)
        self._session, self.device = create_session(path, device=device, threads=threads)
        stored = self._session.get_modelmeta().custom_metadata_map
        self.crop = metadata.crop(stored, self.path)
        self.metadata = metadata.description(stored, self.path, self.kind)
        self.name: str = self.metadata["name"]

    def __reduce__(self) -> tuple[Callable[[], OnnxModel], tuple[()]]:
        return self._again, ()

    def _outputs(self, names: Sequence[str], inputs: NDArray[np.float32]) -> list[Any]:
        """Run the network on (N, 3, S, S) inputs, N at least 1; HeadPoseError if a value is not finite."""
        # The outputs do not always reveal this: an INT8 network converts NaN to a number, and returns an angle.
        if not np.isfinite(inputs).all():
            raise HeadPoseError(f"the input of model {self.name} has a value that is not a finite number")
        values: list[Any] = self._session.run(list(names), {"image": inputs})
        return values


class OnnxPoseModel(OnnxModel):
    """Head pose network in an ONNX Runtime session.

    Attributes:
        outputs: Optional outputs of the file: some of region, covariance and face, in this order.
        calibration: Calibration in the file's metadata, which ``read`` applies.
    """

    kind: ClassVar[Kind] = "pose"

    def __init__(self, path: str | os.PathLike[str], *, device: str = "auto", threads: int = 0) -> None:
        """Load a file, as ``OnnxModel`` does. ``load_model`` also takes names and checks them against the manifest."""
        super().__init__(path, device=device, threads=threads)
        self.outputs = metadata.optional_outputs(self.metadata, self.path)
        self.calibration = metadata.calibration(self.metadata, self.path)
        check_signature(self._session, self.crop, ("rotation", *self.outputs), self.path)

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict rotations: the ``rotation`` of ``read``, without the time for the other outputs.

        Args:
            inputs: (N, 3, S, S) float32 crops from ``crop.network_input``; N may be 0.

        Returns:
            (N, 3, 3) float64 rotations from head to camera axes.

        Raises:
            HeadPoseError: An input value is not finite, the output is not a rotation, or the device fails.
        """
        return self._run(inputs, ())["rotation"]

    def read(self, inputs: NDArray[np.float32]) -> Reading:
        """Read all outputs of the file, calibrated.

        Args:
            inputs: (N, 3, S, S) float32 crops from ``crop.network_input``; N may be 0.

        Raises:
            HeadPoseError: An input value is not finite, an output is invalid, or the device fails.
        """
        return Reading(**self.calibration.apply(self._run(inputs, self.outputs)))

    def _run(self, inputs: NDArray[np.float32], optional: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
        if len(inputs) == 0:
            return {"rotation": np.zeros((0, 3, 3))} | {n: np.zeros((0, *OPTIONAL_OUTPUTS[n])) for n in optional}
        names = ["rotation", *optional]
        return checked(dict(zip(names, self._outputs(names, inputs), strict=True)), len(inputs), self.name)


def read(model: PoseModel, inputs: NDArray[np.float32]) -> Reading:
    """Read the outputs of any network: by its method ``read`` if it has one, otherwise by ``predict``.

    Args:
        model: Network.
        inputs: (N, 3, S, S) float32 crops from ``crop.network_input``; N may be 0.

    Raises:
        HeadPoseError: As ``OnnxPoseModel.read``.
    """
    method = getattr(model, "read", None)
    reading = Reading(model.predict(inputs)) if method is None else method(inputs)
    if not isinstance(reading, Reading):
        raise HeadPoseError(f"read of model {model.name} must return a Reading, got {type(reading).__name__}")
    return reading


def load_model(name_or_path: str | os.PathLike[str], *, device: str = "auto", threads: int = 0) -> OnnxPoseModel:
    """Load a network by name or path.

    Args:
        name_or_path: Name in the manifest (``headpose models`` lists them) or path of an .onnx file, or of a
            .safetensors file of ``headpose.coded``.
        device: One of ``choices.DEVICES``. "auto" selects the best one that is installed and works.
        threads: Number of CPU threads per call; 0 uses ONNX Runtime's default.

    Raises:
        WeightsError: There is no such network, or its file does not match the manifest.
        HeadPoseError: ``device`` is unknown or not installed.
    """
    model = OnnxPoseModel(weights.find(name_or_path), device=device, threads=threads)
    weights.check_crop(name_or_path, model.crop, model.path)
    return model


class Session(onnxruntime.InferenceSession):  # type: ignore[misc]  # its own base has no types
    """ONNX Runtime session that prints nothing and raises one-line errors. Threads may share it.

    A session from ``create_session`` can be pickled: the copy opens the file again.
    """

    again: Callable[[], Session] | None = None  # opens the file with the same settings

    def __init__(self, path: str | bytes, options: onnxruntime.SessionOptions, providers: list[str]) -> None:
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
            raise HeadPoseError(f"ONNX Runtime failed: {first_line(error)}") from None


def create_session(path: str | os.PathLike[str], *, device: str = "auto", threads: int = 0) -> tuple[Session, str]:
    """Create an ONNX Runtime session on a device.

    The logger ``headpose.inference`` reports the device, and warns once if an installed accelerator does not start.

    Args:
        path: Path of an .onnx file, or of a .safetensors file of ``headpose.coded``.
        device: One of ``choices.DEVICES``.
        threads: Number of CPU threads per call; 0 uses ONNX Runtime's default (see ``bounded_threads``).

    Returns:
        The session, and its device: one of ``choices.DEVICES`` except "auto".

    Raises:
        WeightsError: The file does not exist, or ONNX Runtime cannot run it.
        HeadPoseError: ``device`` is unknown, not installed, or does not start; ``threads`` is negative.
    """
    if not Path(path).is_file():
        raise WeightsError(f"model file {path} does not exist")
    threads = bounded_threads(threads)
    network = coded.openable(path)
    failed = ""
    for candidate in _candidates(device):
        try:
            session = _open(network, candidate, threads)
        except Exception as error:
            if candidate == "cpu":
                raise WeightsError(f"{path} is not a network that ONNX Runtime can run: {first_line(error)}") from None
            failed = failed or f"device {candidate} is installed but does not start ({first_line(error)})"
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


def _open(network: str | bytes, device: str, threads: int) -> Session:
    """Open a network: the path of an ONNX file, or its bytes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = device != "directml"  # DirectML does not support it
    there = installed_devices()
    devices = [name for name in (device, *_FALLBACK.get(device, ["cpu"])) if name in there]
    return Session(network, options, [_PROVIDER[name] for name in devices])


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


def check_signature(session: Session, crop: CropSpec, outputs: Sequence[str], path: Path) -> None:
    """Check the input and the outputs of a network's file.

    Args:
        session: Session of the file.
        crop: Crop settings in its metadata.
        outputs: Outputs that it must have, the one of its kind first.
        path: Path of the file, for messages.

    Raises:
        WeightsError: The input is not ``image``, or an output is missing.
    """
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    missing = [name for name in outputs if name not in {tensor.name for tensor in session.get_outputs()}]
    if list(inputs) != ["image"] or outputs[0] in missing:
        kind = "head pose" if outputs[0] == "rotation" else "landmark"
        raise WeightsError(f"{path} is not a {kind} network: it needs one input, image, and an output {outputs[0]}")
    if missing:
        raise WeightsError(f"{path} lacks the output {missing[0]} that its metadata lists: export it again")
    shape = inputs["image"].shape
    if inputs["image"].type != "tensor(float)" or len(shape) != 4 or isinstance(shape[0], int):
        raise WeightsError(f"{path}: the input image must be float32 (N, 3, S, S) with a dynamic N, got {shape}")
    expected = (3, crop.size, crop.size)
    if any(isinstance(side, int) and side != wanted for side, wanted in zip(shape[1:], expected, strict=True)):
        raise WeightsError(f"{path} takes {shape[1:]} but its metadata crops to {list(expected)}: export it again")
