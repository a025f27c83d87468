"""Latency of a stream in its steady state: ``FaceStream`` on the frames of a clip, beside other loops.

All loops see the same frames, in turns, on one processor core and with one thread. Beside the stream with each network
run its own predecessor, the detector in every frame, and MediaPipe's face mesh, which also looks for faces only when it
has lost them. Times of one run are comparable; times of two runs are not.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from headpose.choices import DETECT_EVERY
from headpose.detection import FaceDetector
from headpose.errors import HeadPoseError
from headpose.estimator import HeadPoseEstimator
from headpose.evaluation.latency import fit_frame
from headpose.facestream import FaceStream
from headpose.inference import PoseModel
from headpose.smoothing import Smoothing
from headpose.tracking import FaceTracker
from headpose.types import Face, HeadPose, Image

Update = Callable[[Image, float], Sequence[HeadPose]]

MEDIAPIPE = "MediaPipe's face mesh"
EVERY = "detector in every frame"

_MESH = """
import json, os, sys, time
import numpy as np
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {int(sys.argv[2])})
import mediapipe
frames, times, found = np.load(sys.argv[1]), [], 0
mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=False, max_num_faces=int(sys.argv[3]))
for frame in frames[..., ::-1]:
    frame = np.ascontiguousarray(frame)
    start = time.perf_counter()
    faces = mesh.process(frame).multi_face_landmarks
    times.append(1000 * (time.perf_counter() - start))
    found += len(faces or ())
print(json.dumps({"times": times, "faces": found}))
"""


@dataclass(frozen=True, slots=True)
class Steady:
    """Time of one loop per frame, milliseconds, without the first frames of each pass.

    Attributes:
        name: Name of the network, or of the other program.
        loop: What the loop is.
        median: Median time of a frame.
        mean: Mean time of a frame: the detector runs in some of them only.
        detector: Share of the detector in the whole time, in [0, 1]; None if it is not known.
        searches: Looks of the detector per frame; None if they are not known.
        faces: Mean number of faces per frame.
        frames: Number of timed frames.
    """

    name: str
    loop: str
    median: float
    mean: float
    detector: float | None
    searches: float | None
    faces: float
    frames: int


class TimedDetector:
    """Detector that adds up its time and its calls."""

    def __init__(self, detector: FaceDetector) -> None:
        """Wrap a detector."""
        self.name, self._detector = detector.name, detector
        self.milliseconds, self.calls = 0.0, 0

    def detect(self, image: Image) -> list[Face]:
        """Detect faces (see ``FaceDetector.detect``)."""
        start = time.perf_counter()
        faces = self._detector.detect(image)
        self.milliseconds += 1000 * (time.perf_counter() - start)
        self.calls += 1
        return faces


def read_clip(path: str | os.PathLike[str], width: int, height: int, most: int) -> list[Image]:
    """Read the first frames of a video, scaled to fit into (height, width, 3) with black borders.

    Raises:
        HeadPoseError: The video cannot be read, or has fewer than 20 frames.
    """
    capture = cv2.VideoCapture(str(path))
    frames: list[Image] = []
    while len(frames) < most:
        there, image = capture.read()
        if not there:
            break
        frames.append(fit_frame(np.asarray(image, np.uint8), width, height))
    if len(frames) < 20:
        raise HeadPoseError(f"{path} has {len(frames)} frames that can be read: a loop needs 20 or more")
    return frames


def measure(
    models: Sequence[PoseModel],
    detector: FaceDetector,
    frames: Sequence[Image],
    *,
    rounds: int = 3,
    detect_every: int = DETECT_EVERY,
    fps: float = 30.0,
    skipped: int = 10,
    max_faces: int | None = None,
    mediapipe: str | None = None,
) -> list[Steady]:
    """Measure the loops on the frames of a clip, in turns.

    Args:
        models: Networks.
        detector: Detector of all loops but MediaPipe's.
        frames: (H, W, 3) uint8 BGR frames of one size.
        rounds: Number of passes over the frames, 1 or more.
        detect_every: As in ``FaceStream``.
        fps: Frame rate of the clip.
        skipped: Frames at the start of each pass that do not count.
        max_faces: Maximum number of faces; None for all (MediaPipe: one).
        mediapipe: Python interpreter that can import mediapipe up to 0.10.21; None leaves it out.

    Raises:
        HeadPoseError: ``rounds`` is below 1, a loop fails, or ``mediapipe`` cannot run.
    """
    if rounds < 1:
        raise HeadPoseError(f"timing needs one round at least, got {rounds}")
    timed = TimedDetector(detector)
    loops = [
        (model.name, loop, make) for model in models for loop, make in _loops(model, timed, detect_every, max_faces)
    ]
    passes: dict[tuple[str, str], list[_Pass]] = {(name, loop): [] for name, loop, _ in loops}
    with one_core() as core:
        for _ in range(rounds):
            for name, loop, make in loops:
                passes[name, loop].append(_run(make(), timed, frames, fps, skipped))
            if mediapipe is not None:
                mesh = _run_mesh(mediapipe, frames, skipped, core, max_faces or 1)
                passes.setdefault((MEDIAPIPE, "its tracking mode"), []).append(mesh)
    return [_steady(name, loop, each) for (name, loop), each in passes.items()]


def table(rows: Sequence[Steady]) -> str:
    """Return the rows as a Markdown table, with ratios to the first."""
    lines = [
        "| | loop | ms a frame, mean | median | to the first | detector | looks a frame | faces |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        share = "" if row.detector is None else f"{row.detector:.0%}"
        searches = "" if row.searches is None else f"{row.searches:.2f}"
        ratio = row.mean / rows[0].mean
        cells = [row.name, row.loop, f"{row.mean:.2f}", f"{row.median:.2f}", f"{ratio:.2f}", share, searches]
        lines.append(f"| {' | '.join(cells)} | {row.faces:.2f} |")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Pass:
    times: list[float]  # milliseconds
    faces: int
    detector: float | None = None  # milliseconds
    searches: int | None = None


def _loops(
    model: PoseModel, detector: FaceDetector, detect_every: int, max_faces: int | None
) -> Iterator[tuple[str, Callable[[], Update]]]:
    estimator = HeadPoseEstimator(model, detector=detector, max_faces=max_faces)

    def every_frame() -> Update:
        tracker = FaceTracker()
        return lambda image, time_s: tracker.update(estimator.estimate(image), time_s)

    def stream() -> Update:
        return FaceStream(estimator, smoothing=Smoothing(), detect_every=detect_every).update

    if "region" in getattr(model, "outputs", ()):
        yield f"newcomers every {detect_every} frames", stream
    yield EVERY, every_frame


def _run(update: Update, detector: TimedDetector, frames: Sequence[Image], fps: float, skipped: int) -> _Pass:
    times, faces, before = [], 0, (0.0, 0)
    for index, frame in enumerate(frames):
        if index == skipped:
            before = detector.milliseconds, detector.calls
        start = time.perf_counter()
        poses = update(frame, index / fps)
        if index >= skipped:
            times.append(1000 * (time.perf_counter() - start))
            faces += len(poses)
    return _Pass(times, faces, detector.milliseconds - before[0], detector.calls - before[1])


def _run_mesh(python: str, frames: Sequence[Image], skipped: int, core: int, max_faces: int) -> _Pass:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "frames.npy")
        np.save(file, np.stack(frames))
        command = [python, "-c", _MESH, str(file), str(core), str(max_faces)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
            found = json.loads(done.stdout.strip().splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            lines = (getattr(error, "stderr", "") or str(error)).strip().splitlines() or [type(error).__name__]
            raise HeadPoseError(f"{python} cannot run mediapipe's face mesh: {lines[-1][:200]}") from None
    return _Pass(found["times"][skipped:], round(found["faces"] * (len(frames) - skipped) / len(frames)))


@contextlib.contextmanager
def one_core() -> Iterator[int]:
    """Keep the process, and those that it starts, on one core where the system allows it; yield its number."""
    if not hasattr(os, "sched_setaffinity"):
        yield 0
        return
    before = os.sched_getaffinity(0)
    core = max(before)
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, before)


def _steady(name: str, loop: str, passes: Sequence[_Pass]) -> Steady:
    times = np.concatenate([each.times for each in passes])
    known = [each for each in passes if each.detector is not None and each.searches is not None]
    return Steady(
        name=name,
        loop=loop,
        median=float(np.median(times)),
        mean=float(times.mean()),
        detector=sum(each.detector or 0.0 for each in known) / float(times.sum()) if known else None,
        searches=sum(each.searches or 0 for each in known) / len(times) if known else None,
        faces=sum(each.faces for each in passes) / len(times),
        frames=len(times),
    )
