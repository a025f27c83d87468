"""Latency from a frame of a camera to its packet at another program.

The frames of a clip arrive as from a camera: at a fixed rate, whether or not the loop is ready for one. The loop is the
one of the window: ``NewestFrames``, ``FaceStream``, a sender of OpenTrack packets over UDP. Their receiver is a process
of its own. All of it runs on one processor core, with one thread for the networks.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from headpose.choices import DETECT_EVERY
from headpose.detection import FaceDetector
from headpose.errors import HeadPoseError
from headpose.estimator import HeadPoseEstimator
from headpose.evaluation.pipeline import one_core
from headpose.facestream import FaceStream
from headpose.inference import PoseModel
from headpose.smoothing import Smoothing
from headpose.streams import Frame, NewestFrames, Sender
from headpose.streams.packets import opentrack_packet
from headpose.streams.senders import Udp
from headpose.types import HeadPose, Image

_SKIPPED = 30  # frames at the start of each pass that do not count
# perf_counter of two processes is the same clock on Linux, macOS and Windows.
_RECEIVER = """
import json, socket, struct, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(60)
    print(receiver.getsockname()[1], flush=True)
    arrived = []
    while packet := receiver.recv(100):
        arrived.append((struct.unpack_from("<d", packet, 48)[0], time.perf_counter()))
print(json.dumps(arrived))
"""


@dataclass(frozen=True, slots=True)
class Sending:
    """Latency of one network: from the arrival of a frame to that of its packet, milliseconds.

    Attributes:
        name: Name of the network.
        median: Median.
        p95: 95th percentile.
        p99: 99th percentile.
        in_time: Share of the packets that come before the next frame, in [0, 1].
        processor: Processor time of the loop and the sender per frame that was read, milliseconds.
        frames: Number of frames that arrived.
        read: Number of frames that were read; a newer one replaced the others.
        packets: Number of packets. A frame without a face has none.
    """

    name: str
    median: float
    p95: float
    p99: float
    in_time: float
    processor: float
    frames: int
    read: int
    packets: int


def measure(
    models: Sequence[PoseModel],
    detector: FaceDetector,
    frames: Sequence[Image],
    *,
    rounds: int = 3,
    seconds: float = 60.0,
    fps: float = 60.0,
    detect_every: int = DETECT_EVERY,
    max_faces: int | None = None,
) -> list[Sending]:
    """Measure the latency with each network, in turns.

    Args:
        models: Networks.
        detector: Detector of all loops.
        frames: (H, W, 3) uint8 BGR frames of a clip, which is played to and fro.
        rounds: Number of turns of each network, 1 or more.
        seconds: Time for each network, above 0, shared by its turns.
        fps: Frames that arrive a second, above 0.
        detect_every: As in ``FaceStream``.
        max_faces: Maximum number of faces; None for all.

    Raises:
        HeadPoseError: A number is out of range, a turn is too short, no packet arrives, or a loop fails.
    """
    count = round(seconds * fps / rounds) if rounds >= 1 and seconds > 0 and fps > 0 else 0
    if count <= _SKIPPED:
        raise HeadPoseError(f"a turn has {count} frames, and needs more than {_SKIPPED}: more seconds, fewer rounds")
    passes: list[list[_Pass]] = [[] for _ in models]
    with one_core():
        for _ in range(rounds):
            for model, own in zip(models, passes, strict=True):
                estimator = HeadPoseEstimator(model, detector=detector, max_faces=max_faces)
                stream = FaceStream(estimator, smoothing=Smoothing(), detect_every=detect_every)
                own.append(_run(stream, _Camera(frames, count, fps)))
    return [_sending(model.name, own, fps) for model, own in zip(models, passes, strict=True)]


def table(rows: Sequence[Sending]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| | ms to the packet, median | p95 | p99 | before the next frame | ms of processor a frame | frames read | "
        "packets |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        times = f"{row.median:.1f} | {row.p95:.1f} | {row.p99:.1f}"
        share = f"{row.in_time:.1%} | {row.processor:.1f}"
        lines.append(f"| {row.name} | {times} | {share} | {row.read} of {row.frames} | {row.packets} |")
    return "\n".join(lines)


@dataclass
class _Camera:
    """A clip whose frames arrive at a fixed rate. ``arrived`` has the time of each by its ``time_s``."""

    frames: Sequence[Image]
    count: int
    fps: float
    name: str = "clip"
    kind: Literal["image", "folder", "video", "camera"] = "camera"
    length: int | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    arrived: dict[float, float] = field(default_factory=dict)

    def __enter__(self) -> _Camera:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, each at its time; the time when it is due counts, not the one when this thread runs."""
        begin, last = time.perf_counter(), max(1, len(self.frames) - 1)
        for index in range(self.count):
            due = begin + index / self.fps
            time.sleep(max(0.0, due - time.perf_counter()))
            self.arrived[index / self.fps] = due
            yield Frame(index, index / self.fps, "", self.frames[abs((index + last) % (2 * last) - last)])


@dataclass(frozen=True, slots=True)
class _Pass:
    times: list[float]  # milliseconds
    read: int
    frames: int
    processor: float  # milliseconds


def _packet(time_s: float, poses: Sequence[HeadPose]) -> bytes | None:
    """Return OpenTrack's packet with the time of the frame after it, by which it is recognised."""
    packet = opentrack_packet(time_s, poses)
    return None if packet is None else packet + struct.pack("<d", time_s)


def _run(stream: FaceStream, camera: _Camera) -> _Pass:
    with _receiver() as (port, arrivals):
        read, began = 0, 0.0
        with Sender("receiver", Udp("127.0.0.1", port), _packet) as sender, NewestFrames(camera) as newest:
            for frame in newest:
                if frame.index < _SKIPPED:
                    began = time.process_time()
                else:
                    read += 1
                sender.write(frame, stream.update(frame.image, frame.time_s))
        processor = 1000 * (time.process_time() - began)
    counted = [(sent_s, arrived) for sent_s, arrived in arrivals if sent_s >= _SKIPPED / camera.fps]
    times = [1000 * (arrived - camera.arrived[sent_s]) for sent_s, arrived in counted]
    return _Pass(times, read, camera.count - _SKIPPED, processor)


@contextlib.contextmanager
def _receiver() -> Iterator[tuple[int, list[tuple[float, float]]]]:
    """Run the receiver; yield its port, and a list that has (time of the frame, arrival) of each packet at the end."""
    arrivals: list[tuple[float, float]] = []
    with subprocess.Popen([sys.executable, "-c", _RECEIVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            yield port, arrivals
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.sendto(b"", ("127.0.0.1", port))
            arrivals += [(sent_s, arrived) for sent_s, arrived in json.loads(process.stdout.read())]
        except ValueError:
            raise HeadPoseError("the receiver of the packets ended early: run the program again") from None
        finally:
            process.terminate()


def _sending(name: str, passes: Sequence[_Pass], fps: float) -> Sending:
    times = np.concatenate([each.times for each in passes])
    if not len(times):
        raise HeadPoseError(f"{name}: no packet arrived: does the clip show a face?")
    median, p95, p99 = np.quantile(times, (0.5, 0.95, 0.99))
    read = sum(each.read for each in passes)
    return Sending(
        name=name,
        median=float(median),
        p95=float(p95),
        p99=float(p99),
        in_time=float(np.mean(times < 1000 / fps)),
        processor=sum(each.processor for each in passes) / max(1, read),
        frames=sum(each.frames for each in passes),
        read=read,
        packets=len(times),
    )
