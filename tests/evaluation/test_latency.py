import time

import numpy as np
import pytest

from headpose import geometry
from headpose.errors import HeadPoseError
from headpose.evaluation import latency
from headpose.evaluation.adapters import load_adapter
from headpose.evaluation.latency import Part
from headpose.inference import load_model
from headpose.types import Box, EulerAngles, Face
from tests.evaluation.foreign import adapter_file, linear_network
from tests.network_files import color_network

BOX = Box(40, 30, 90, 90)


class OneFace:
    """A detector of a fixed number of faces that takes 3 milliseconds."""

    name = "fixed"

    def __init__(self, faces=1):
        self.faces = faces

    def detect(self, image):
        time.sleep(0.003)
        return [Face(BOX, 0.9)] * self.faces


@pytest.fixture
def theirs(tmp_path):
    """Somebody else's network that says yaw 10 of every picture."""
    linear_network(tmp_path / "net.onnx", {"angles": (np.zeros((3, 3)), np.array([10, 0, 0]))})
    return load_adapter(adapter_file(tmp_path / "theirs.toml"), tmp_path, threads=1)


def test_tasks_take_turns_and_every_call_of_a_turn_but_the_first_two_counts():
    order = []
    timings = latency.interleave({name: lambda name=name: order.append(name) for name in "abc"}, rounds=2, calls=3)
    assert "".join(order) == ("a" * 5 + "b" * 5 + "c" * 5) * 2
    assert {name: timing.calls for name, timing in timings.items()} == {"a": 6, "b": 6, "c": 6}


def test_times_are_milliseconds():
    timing = latency.interleave({"sleep": lambda: time.sleep(0.01)}, rounds=2, calls=5)["sleep"]
    assert 10 <= timing.median < 100
    assert timing.median <= timing.p95


@pytest.mark.parametrize(("rounds", "calls"), [(0, 5), (5, 0), (-1, 5)])
def test_no_call_is_no_time(rounds, calls):
    with pytest.raises(HeadPoseError, match="a round and a call"):
        latency.interleave({"a": lambda: None}, rounds, calls)


def test_waiting_is_no_work_and_says_so():
    """What the processor did not do is in the clock's time alone: a machine busy with others looks like this."""
    found = latency.interleave({"wait": lambda: time.sleep(0.005), "work": work}, rounds=2, calls=5)
    assert found["wait"].cpu < 1 < found["wait"].median and found["wait"].disturbed
    assert found["work"].cpu > 1
    assert all(timing.best <= timing.median for timing in found.values())
    assert not latency.Timing(median=10, p95=11, best=9, cpu=9, calls=5).disturbed
    assert latency.Timing(median=10, p95=11, best=9, cpu=7.9, calls=5).disturbed


def work():
    sum(range(200_000))


def test_the_stages_of_a_frame(tmp_path, photo, theirs):
    model, detector = load_model(color_network(tmp_path / "color.onnx"), device="cpu", threads=1), OneFace()
    frame = latency.fit_frame(photo, 640, 480)
    tasks = latency.frame_stages(detector, frame)
    for each in (model, theirs):
        tasks |= latency.network_stages(each, detector, frame, BOX)
    assert list(tasks) == [
        ("", "decode JPEG"),
        ("", "fixed: detect"),
        ("", "track"),
        *(
            (name, stage)
            for name in ("color", "theirs")
            for stage in ("crop", "network", "crop + network", "decode + detect + crop + network + track")
        ),
    ]
    times = {part: timing.median for part, timing in latency.interleave(tasks, rounds=3, calls=3).items()}
    assert times["", "fixed: detect"] >= 3
    for name in ("color", "theirs"):  # on a busy machine sums cannot be compared: the whole holds its longest part
        assert times[name, latency.WHOLE] >= 3


def test_each_network_is_timed_on_its_own_input(tmp_path, photo, theirs):
    """Stages give what the network says of the face: the times are of real work."""
    tasks = latency.network_stages(theirs, OneFace(), photo, BOX)
    (inputs,) = tasks[Part("theirs", latency.CROP)]()
    assert inputs.shape == (3, 16, 16) and inputs.std() > 0.05
    expected = geometry.rotation_from_euler(EulerAngles(10, 0, 0))
    for stage in (latency.NETWORK, latency.BOTH):
        np.testing.assert_allclose(tasks[Part("theirs", stage)](), [expected], atol=1e-5)
    for _ in range(2):  # frames of a video with one still face
        (pose,) = tasks[Part("theirs", latency.WHOLE)]()
        np.testing.assert_allclose(pose.rotation, expected, atol=1e-5)
        assert pose.track == 1


@pytest.mark.parametrize("faces", [0, 2])
def test_a_frame_without_exactly_one_face_is_refused(photo, faces):
    with pytest.raises(HeadPoseError, match=f"fixed finds {faces} faces"):
        latency.only_face(OneFace(faces), photo)
    assert latency.only_face(OneFace(), photo) == BOX


@pytest.mark.parametrize(
    ("size", "used"), [((640, 480), (480, 480)), ((100, 300), (100, 100)), ((1024, 512), (512, 512))]
)
def test_a_frame_holds_the_whole_picture(photo, size, used):
    frame = latency.fit_frame(photo, *size)
    assert frame.shape == (size[1], size[0], 3)
    covered = np.argwhere(frame.any(-1)).max(0)
    assert tuple(covered[::-1] + 1) == pytest.approx(used, abs=3)
    assert frame[: used[1], : used[0]].mean() == pytest.approx(photo.mean(), abs=2)
