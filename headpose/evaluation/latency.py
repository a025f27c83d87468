"""How long things take, side by side.

Times of one machine do not carry over to another, and drift on one: a clock that drops or a busy
neighbour changes them by half. Tasks therefore take turns, A B C A B C, so that whatever happens
happens to all, and what carries over are the ratios within a run.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from headpose import crop
from headpose.detection import FaceDetector
from headpose.errors import HeadPoseError, WeightsError
from headpose.estimator import HeadPoseEstimator
from headpose.images import decode_image
from headpose.inference import PoseModel, create_session
from headpose.types import Box, CropSpec, Image

Task = Callable[[], object]

_WARM_UP = 2  # calls at the start of each turn that do not count: the task before has taken the caches


@dataclass(frozen=True, slots=True)
class Timing:
    """Time of one call, in milliseconds."""

    median: float
    p95: float
    calls: int


def interleave(tasks: Mapping[str, Task], rounds: int = 30, calls: int = 5) -> dict[str, Timing]:
    """Times tasks in turns.

    Args:
        tasks: what to time, by name.
        rounds: number of turns of each.
        calls: timed calls in a turn, after two that are not.

    Returns:
        Timings by name, in the order of the tasks.
    """
    if rounds < 1 or calls < 1:
        raise HeadPoseError(f"timing needs a round and a call at least, got {rounds} and {calls}")
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in tqdm(range(rounds), desc="timing", unit="round", leave=False, disable=None):
        for name, task in tasks.items():
            for _ in range(_WARM_UP):
                task()
            for _ in range(calls):
                start = time.perf_counter()
                task()
                seconds[name].append(time.perf_counter() - start)
    return {name: _timing(np.array(taken) * 1000.0) for name, taken in seconds.items()}


def only_face(detector: FaceDetector, frame: Image) -> Box:
    """The tight box of the one face in a frame.

    Raises:
        HeadPoseError: there is none, or more than one, and the time of a frame depends on how many.
    """
    faces = detector.detect(frame)
    if len(faces) != 1:
        raise HeadPoseError(f"{detector.name} finds {len(faces)} faces in the picture: give one with a single face")
    return faces[0].box


def network_stages(model: PoseModel, frame: Image, box: Box) -> dict[str, Task]:
    """Reading one face: its crop, the network, and both."""
    inputs = crop.network_input(frame, [box], model.crop)
    return {
        f"{model.name}: crop": lambda: crop.network_input(frame, [box], model.crop),
        f"{model.name}: network": lambda: model.predict(inputs),
        f"{model.name}: crop + network": lambda: model.predict(crop.network_input(frame, [box], model.crop)),
    }


def frame_stages(estimator: HeadPoseEstimator, frame: Image) -> dict[str, Task]:
    """A frame of a video from the pixels to the pose: finding the face, and all of it; and decoding a JPEG of it."""
    jpeg = cv2.imencode(".jpg", frame)[1].tobytes()
    model, detector = estimator.model, estimator.detector
    return {
        "decode JPEG": lambda: decode_image(jpeg),
        f"{detector.name}: detect": lambda: detector.detect(frame),
        f"{detector.name} + {model.name}: detect + crop + network": lambda: estimator.estimate(frame),
    }


def foreign_network(path: Path, frame: Image, box: Box, threads: int) -> Task:
    """Crop and one pass of somebody else's ONNX network, on an input of the size that it wants.

    The work is that of its own preprocessing, an equal crop and normalisation; the values are not,
    so its answer means nothing.

    Raises:
        WeightsError: the file is no ONNX network with one square input (1, C, S, S), C 1 or 3.
    """
    session, _ = create_session(path, device="cpu", threads=threads)
    shapes = {tensor.name: tensor.shape for tensor in session.get_inputs()}
    name, shape = next(iter(shapes.items()))
    if len(shapes) > 1 or len(shape) != 4 or shape[1] not in (1, 3) or shape[2] != shape[3] or shape[3] is None:
        raise WeightsError(f"{path} cannot be timed: its inputs are {shapes}, one of (1, 3, S, S) is needed")
    try:
        spec = CropSpec(size=shape[3])
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path} cannot be timed: its input is {shape}") from error

    def run() -> object:
        inputs = crop.network_input(frame, [box], spec)
        return session.run(None, {name: np.ascontiguousarray(inputs[:, : shape[1]])})

    return run


def fit_frame(image: Image, width: int, height: int) -> Image:
    """(height, width, 3): the picture scaled to fit, the rest black."""
    factor = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    frame: Image = np.zeros((height, width, 3), np.uint8)
    frame[: small.shape[0], : small.shape[1]] = small
    return frame


def machine() -> str:
    """The processor and how many of its threads there are, in words."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line for line in cpuinfo.read_text().splitlines() if line.startswith(("model name", "Model"))]
        name = models[0].split(":", 1)[1].strip() if models else name
    return f"{name}, {os.cpu_count()} hardware threads, {platform.system()}"


def _timing(milliseconds: NDArray[np.float64]) -> Timing:
    median, p95 = np.quantile(milliseconds, (0.5, 0.95))
    return Timing(float(median), float(p95), len(milliseconds))
