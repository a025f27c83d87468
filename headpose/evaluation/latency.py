"""How long things take, side by side.

Times of one machine do not carry over to another, and drift on one: a clock that drops or a busy
neighbour changes them by half. Tasks therefore take turns, A B C A B C, so that whatever happens
happens to all, and what carries over are the ratios within a run. The process's own time on the
processor is taken beside: where one thread spends less of it than the clock shows, others ran in between.
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

_WARM_UP = 2  # calls at the start of each turn that do not count: the task before has taken the caches
_FPS = 30.0  # of the video that the tracker takes the calls for
_TRUSTED = 0.2  # share by which the clock and the processor's time of one thread may differ


class Part(NamedTuple):
    """What is timed: a network's stage, or with the network "" what comes before any of them."""

    network: str
    stage: str


CROP, NETWORK, BOTH, WHOLE = "crop", "network", "crop + network", "decode + detect + crop + network + track"
"""Stages of a network: its input cut out, the network alone, the two, and a JPEG of a frame to the smoothed pose."""

DETECT = ": detect"
"""After the detector's name: the stage in which it finds the faces of a frame."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Time of one call, in milliseconds.

    Attributes:
        median, p95: quantiles of the clock's time.
        best: of the fastest call.
        cpu: median of the time that the process, all its threads together, spent on the processor.
        calls: how many were timed.
    """

    median: float
    p95: float
    best: float
    cpu: float
    calls: int

    @property
    def disturbed(self) -> bool:
        """Whether a call of a single thread spent so much less on the processor, or more, that the clock misleads."""
        return abs(self.median - self.cpu) > _TRUSTED * self.median


def interleave(tasks: Mapping[Name, Task], rounds: int = 30, calls: int = 5) -> dict[Name, Timing]:
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
    """The tight box of the one face in a frame.

    Raises:
        HeadPoseError: there is none, or more than one, and the time of a frame depends on how many.
    """
    faces = detector.detect(frame)
    if len(faces) != 1:
        raise HeadPoseError(f"{detector.name} finds {len(faces)} faces in the picture: give one with a single face")
    return faces[0].box


def network_stages(model: PoseModel | Adapter, detector: FaceDetector, frame: Image, box: Box) -> dict[Part, Task]:
    """Reading one face: its crop, the network, both, and all of it from a JPEG of the frame on.

    Args:
        model: one of ours, or an adapter: each cuts and normalises its input in its own way.
        detector: finds the face again in the last of them, which ends with a tracker that smooths.
        frame: (H, W, 3) uint8 BGR.
        box: of the face in it.
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
    """What any network shares: decoding a JPEG of the frame, finding the faces in it, following them."""
    jpeg, track = _as_jpeg(frame), _tracking()
    faces = detector.detect(frame)
    facing = np.tile(np.eye(3), (len(faces), 1, 1))
    return {
        Part("", "decode JPEG"): lambda: decode_image(jpeg),
        Part("", f"{detector.name}{DETECT}"): lambda: detector.detect(frame),
        Part("", "track"): lambda: track(faces, facing),
    }


def _tracking() -> Callable[[list[Face], Array], list[HeadPose]]:
    """A tracker that takes each call for the next frame of a video."""
    tracker, frames = FaceTracker(), itertools.count()

    def track(faces: list[Face], rotations: Array) -> list[HeadPose]:
        poses = [HeadPose(face, rotation) for face, rotation in zip(faces, rotations, strict=True)]
        return tracker.update(poses, next(frames) / _FPS)

    return track


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


def _as_jpeg(frame: Image) -> bytes:
    return cv2.imencode(".jpg", frame)[1].tobytes()


def _timing(seconds: list[tuple[float, float]]) -> Timing:
    clock, processor = 1000.0 * np.array(seconds).T
    median, p95 = np.quantile(clock, (0.5, 0.95))
    return Timing(float(median), float(p95), float(clock.min()), float(np.median(processor)), len(clock))
