"""Latency measurement of several tasks in one run.

Times differ between machines and drift on one machine: a lower clock rate or other load changes them by up to a half.
Tasks are therefore interleaved (A B C A B C), so that a disturbance affects all of them; the ratios within a run are
comparable between machines. The CPU time of the process is measured too: if a single thread has less CPU time than
elapsed time, other processes ran in between.
"""

from __future__ import annotations

import itertools
import os
import platform
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from headpose import crop
from headpose.detection import FaceDetector
from headpose.errors import HeadPoseError
from headpose.evaluation.adapters import Adapter, faces_predictor
from headpose.geometry import Array
from headpose.images import decode_image
from headpose.inference import PoseModel
from headpose.tracking import FaceTracker
from headpose.types import Box, Face, HeadPose, Image

Task = Callable[[], object]
Name = TypeVar("Name", bound=Hashable)

_WARM_UP = 2  # uncounted calls at the start of each round, because the previous task has filled the caches
_FPS = 30.0  # frame rate assumed for the tracker
_TRUSTED = 0.2  # maximum relative difference of elapsed time and CPU time of one thread


class Part(NamedTuple):
    """Timed part: a stage of a network, or a shared stage if ``network`` is ""."""

    network: str
    stage: str


CROP, NETWORK, BOTH, WHOLE = "crop", "network", "crop + network", "decode + detect + crop + network + track"
"""Stages of a network: crop, network, both, and everything from the JPEG of a frame to the smoothed pose."""

DETECT = ": detect"
"""Suffix of the detector's name for the stage that detects the faces of a frame."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Time per call in milliseconds.

    Attributes:
        median: Median of the elapsed time.
        p95: 95th percentile of the elapsed time.
        best: Elapsed time of the fastest call.
        cpu: Median CPU time of the process, summed over its threads.
        calls: Number of timed calls.
    """

    median: float
    p95: float
    best: float
    cpu: float
    calls: int

    @property
    def disturbed(self) -> bool:
        """True if elapsed and CPU time of a single-threaded task differ by more than 20 %."""
        return abs(self.median - self.cpu) > _TRUSTED * self.median


def interleave(tasks: Mapping[Name, Task], rounds: int = 30, calls: int = 5) -> dict[Name, Timing]:
    """Time tasks in alternating rounds.

    Args:
        tasks: Functions to time, by name.
        rounds: Number of rounds, at least 1.
        calls: Timed calls of each task per round, at least 1, after two uncounted calls.

    Returns:
        Timings by name, in the order of the tasks.

    Raises:
        HeadPoseError: ``rounds`` or ``calls`` is below 1.
    """
    if rounds < 1 or calls < 1:
        raise HeadPoseError(f"timing needs a round and a call at least, got {rounds} and {calls}")
    seconds: dict[Name, list[tuple[float, float]]] = {name: [] for name in tasks}
    for _ in tqdm(range(rounds), desc="timing", unit="round", leave=False, disable=None):
        for name, task in tasks.items():
            for _ in range(_WARM_UP):
                task()
            for _ in range(calls):
                start, spent = time.perf_counter(), time.process_time()
                task()
                seconds[name].append((time.perf_counter() - start, time.process_time() - spent))
    return {name: _timing(taken) for name, taken in seconds.items()}


def only_face(detector: FaceDetector, frame: Image) -> Box:
    """Return the tight box of the only face in a frame.

    Raises:
        HeadPoseError: The frame does not contain exactly one face; the time per frame depends on their number.
    """
    faces = detector.detect(frame)
    if len(faces) != 1:
        raise HeadPoseError(f"{detector.name} finds {len(faces)} faces in the picture: give one with a single face")
    return faces[0].box


def network_stages(model: PoseModel | Adapter, detector: FaceDetector, frame: Image, box: Box) -> dict[Part, Task]:
    """Return the timed stages of a network for one face.

    Args:
        model: Our network or an adapter, with its own crop and normalization.
        detector: Detector for the stage ``WHOLE``, which also decodes the frame and tracks the face.
        frame: (H, W, 3) uint8 BGR.
        box: Tight box of the face in pixels.

    Returns:
        The stages ``CROP``, ``NETWORK``, ``BOTH`` and ``WHOLE`` as functions without arguments.
    """
    jpeg, predict, track = _as_jpeg(frame), faces_predictor(model), _tracking()

    def cut() -> NDArray[np.float32]:
        if isinstance(model, Adapter):
            return model.network_input(frame, [box])
        return crop.network_input(frame, [box], model.crop)

    def whole() -> object:
        decoded = decode_image(jpeg)
        faces = detector.detect(decoded)
        return track(faces, predict(decoded, [face.box for face in faces]))

    inputs = cut()
    return {
        Part(model.name, CROP): cut,
        Part(model.name, NETWORK): lambda: model.predict(inputs),
        Part(model.name, BOTH): lambda: predict(frame, [box]),
        Part(model.name, WHOLE): whole,
    }


def frame_stages(detector: FaceDetector, frame: Image) -> dict[Part, Task]:
    """Return the stages that all networks share: JPEG decoding, face detection and tracking."""
    jpeg, track = _as_jpeg(frame), _tracking()
    faces = detector.detect(frame)
    facing = np.tile(np.eye(3), (len(faces), 1, 1))
    return {
        Part("", "decode JPEG"): lambda: decode_image(jpeg),
        Part("", f"{detector.name}{DETECT}"): lambda: detector.detect(frame),
        Part("", "track"): lambda: track(faces, facing),
    }


def _tracking() -> Callable[[list[Face], Array], list[HeadPose]]:
    """Return a tracking function that treats each call as the next frame of a video."""
    tracker, frames = FaceTracker(), itertools.count()

    def track(faces: list[Face], rotations: Array) -> list[HeadPose]:
        poses = [HeadPose(face, rotation) for face, rotation in zip(faces, rotations, strict=True)]
        return tracker.update(poses, next(frames) / _FPS)

    return track


def fit_frame(image: Image, width: int, height: int) -> Image:
    """Scale an image to fit into (height, width, 3), with black borders."""
    factor = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    frame: Image = np.zeros((height, width, 3), np.uint8)
    frame[: small.shape[0], : small.shape[1]] = small
    return frame


def machine() -> str:
    """Describe the processor, its number of hardware threads and the operating system."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line for line in cpuinfo.read_text().splitlines() if line.startswith(("model name", "Model"))]
        name = models[0].split(":", 1)[1].strip() if models else name
    return f"{name}, {os.cpu_count()} hardware threads, {platform.system()}"


def _as_jpeg(frame: Image) -> bytes:
    return cv2.imencode(".jpg", frame)[1].tobytes()


def _timing(seconds: list[tuple[float, float]]) -> Timing:
    clock, processor = 1000.0 * np.array(seconds).T
    median, p95 = np.quantile(clock, (0.5, 0.95))
    return Timing(float(median), float(p95), float(clock.min()), float(np.median(processor)), len(clock))
