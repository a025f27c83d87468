import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from headpose.errors import HeadPoseError, WeightsError
from headpose.estimator import HeadPoseEstimator
from headpose.evaluation import latency
from headpose.inference import load_model
from headpose.types import Box, Face
from tests.networks import colour_network

BOX = Box(40, 30, 90, 90)


class OneFace:
    """A detector of a fixed number of faces that takes 3 milliseconds."""

    name = "fixed"

    def __init__(self, faces=1):
        self.faces = faces

    def detect(self, image):
        time.sleep(0.003)
        return [Face(BOX, 0.9)] * self.faces


def network(path: Path, shape: list[int | str], inputs: int = 1) -> Path:
    """A network that gives back its first input."""
    values = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i in range(inputs)]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    graph = helper.make_graph([helper.make_node("Identity", ["x0"], ["y"])], "same", values, [out])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


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


def test_the_stages_of_a_frame(tmp_path, photo):
    model = load_model(colour_network(tmp_path / "colour.onnx"), device="cpu", threads=1)
    frame = latency.fit_frame(photo, 640, 480)
    tasks = latency.network_stages(model, frame, BOX) | latency.frame_stages(
        HeadPoseEstimator(model, detector=OneFace()), frame
    )
    times = {name: timing.median for name, timing in latency.interleave(tasks, rounds=5, calls=5).items()}
    assert list(times) == [
        "colour: crop",
        "colour: network",
        "colour: crop + network",
        "decode JPEG",
        "fixed: detect",
        "fixed + colour: detect + crop + network",
    ]
    assert times["fixed: detect"] >= 3
    # On a busy machine the sum cannot be compared closer than this: the whole holds its longest part.
    assert times["fixed + colour: detect + crop + network"] >= 3


@pytest.mark.parametrize("faces", [0, 2])
def test_a_frame_without_exactly_one_face_is_refused(photo, faces):
    with pytest.raises(HeadPoseError, match=f"fixed finds {faces} faces"):
        latency.only_face(OneFace(faces), photo)
    assert latency.only_face(OneFace(), photo) == BOX


@pytest.mark.parametrize("channels", [1, 3])
def test_a_foreign_network_gets_an_input_of_its_shape(tmp_path, photo, channels):
    path = network(tmp_path / "net.onnx", [1, channels, 33, 33])
    (output,) = latency.foreign_network(path, photo, BOX, threads=1)()
    assert output.shape == (1, channels, 33, 33)
    assert output.std() > 0.1


@pytest.mark.parametrize(
    ("shape", "inputs"),
    [([1, 33, 33, 3], 1), ([1, 3, 32, 64], 1), ([1, 3, "H", "W"], 1), ([1, 99], 1), ([1, 3, 32, 32], 2)],
)
def test_a_foreign_network_of_another_shape_is_refused(tmp_path, photo, shape, inputs):
    with pytest.raises(WeightsError, match="cannot be timed"):
        latency.foreign_network(network(tmp_path / "net.onnx", shape, inputs), photo, BOX, threads=1)


@pytest.mark.parametrize(
    ("size", "used"), [((640, 480), (480, 480)), ((100, 300), (100, 100)), ((1024, 512), (512, 512))]
)
def test_a_frame_holds_the_whole_picture(photo, size, used):
    frame = latency.fit_frame(photo, *size)
    assert frame.shape == (size[1], size[0], 3)
    covered = np.argwhere(frame.any(-1)).max(0)
    assert tuple(covered[::-1] + 1) == pytest.approx(used, abs=3)
    assert frame[: used[1], : used[0]].mean() == pytest.approx(photo.mean(), abs=2)
