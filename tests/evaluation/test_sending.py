"""Latency from a frame to its packet: a camera that waits for nobody, and a receiver in another process."""

import time

import numpy as np
import pytest

from headpose import Box, Face
from headpose.errors import HeadPoseError
from headpose.evaluation import sending
from headpose.inference import load_model
from tests.network_files import color_network


class Detector:
    """Finds one face, after a while."""

    name = "slow"

    def __init__(self, seconds, faces=1):
        self.seconds, self.faces = seconds, faces

    def detect(self, image):
        time.sleep(self.seconds)
        return [Face(Box(40, 40, 120, 120), 0.9)] * self.faces


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(color_network(tmp_path_factory.mktemp("network") / "color.onnx"), threads=1)


@pytest.fixture
def frames():
    random = np.random.default_rng(0)
    return [random.integers(0, 255, (160, 160, 3), np.uint8) for _ in range(4)]


def test_every_frame_has_its_packet_after_the_time_of_the_loop(model, frames):
    (row,) = sending.measure([model], Detector(0.02), frames, rounds=2, seconds=4.0, fps=20)
    assert (row.name, row.frames) == ("color", 20) and row.read <= 20 and row.packets == row.read
    assert 20 < row.median <= row.p95 <= row.p99
    assert 0 < row.processor < 1000
    assert f"{row.read} of 20 | {row.packets} |" in sending.table([row])


def test_a_slow_loop_reads_the_newest_frames_and_the_delay_does_not_grow(model, frames):
    (row,) = sending.measure([model], Detector(0.1), frames, rounds=1, seconds=3.0, fps=50)
    assert row.frames == 120 and row.packets <= 25 and row.in_time == 0
    assert row.median > 100 and row.p99 < 3000 / 3, "older frames are passed over"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rounds": 0}, "a turn has 0 frames, and needs more than 30"),
        ({"seconds": 0.5}, "a turn has 10 frames"),
        ({"seconds": -1.0}, "a turn has 0 frames"),
        ({"fps": 0.0}, "a turn has 0 frames"),
    ],
)
def test_what_cannot_be_measured_is_an_error(model, frames, arguments, message):
    with pytest.raises(HeadPoseError, match=message):
        sending.measure([model], Detector(0), frames, **{"rounds": 1, "seconds": 2.0, "fps": 20.0, **arguments})


def test_without_a_face_there_is_no_packet(model, frames):
    with pytest.raises(HeadPoseError, match="color: no packet arrived: does the clip show a face"):
        sending.measure([model], Detector(0, faces=0), frames, rounds=1, seconds=0.4, fps=100)
