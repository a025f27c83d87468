"""OpenCV's YuNet, run on a network of YuNet's layout that always sees one face in the first cell of stride 8."""

import numpy as np
import pytest

from headpose.detection import create_detector
from headpose.detection.blazeface import MODEL
from headpose.detection.offsets import YUNET
from headpose.errors import WeightsError

WIDTH, HEIGHT = 24.0, 40.0  # of that face, pixels of the network's input


@pytest.fixture(scope="module")
def yunet_file(tmp_path_factory):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    # Outputs of a 64x64 input: per stride class and objectness scores, boxes, five points; OpenCV takes the square root
    # of the scores' product, (cell + box) * stride for the center and exp(box) * stride for the sides.
    nodes, outputs, constants = [], [], []
    for kind, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            cells = (64 // stride) ** 2
            values = np.zeros((1, cells, channels), np.float32)
            if stride == 8 and kind in ("cls", "obj"):
                values[0, 0] = 0.81
            if stride == 8 and kind == "bbox":
                values[0, 0] = [2.0, 3.0, np.log(WIDTH / 8), np.log(HEIGHT / 8)]
            name = f"{kind}_{stride}"
            constants.append(numpy_helper.from_array(values, f"{name}.values"))
            # Nothing of the picture reaches the output, but OpenCV wants a path from one to the other.
            nodes.append(helper.make_node("Mul", ["none", f"{name}.zeros"], [f"{name}.nothing"]))
            nodes.append(helper.make_node("Add", [f"{name}.nothing", f"{name}.values"], [name]))
            constants.append(numpy_helper.from_array(np.zeros_like(values), f"{name}.zeros"))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, cells, channels]))
    mean = helper.make_node("GlobalAveragePool", ["input"], ["mean"])
    weight = numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "weight")
    shape = numpy_helper.from_array(np.array([1, 1, 1], np.int64), "shape")
    none = [
        helper.make_node("Conv", ["mean", "weight"], ["zero"]),
        helper.make_node("Reshape", ["zero", "shape"], ["none"]),
    ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 64])
    graph = helper.make_graph([mean, *none, *nodes], "yunet", [image], outputs, [weight, shape, *constants])
    path = tmp_path_factory.mktemp("yunet") / "yunet.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_its_face_becomes_a_tight_box(yunet_file):
    (face,) = create_detector("yunet", model_path=yunet_file).detect(np.zeros((64, 64, 3), np.uint8))
    own = YUNET.detector_box(face.box)
    center = 2.0 * 8, 3.0 * 8
    expected = (center[0] - WIDTH / 2, center[1] - HEIGHT / 2, center[0] + WIDTH / 2, center[1] + HEIGHT / 2)
    assert own.as_tuple() == pytest.approx(expected, abs=1e-3)
    assert face.score == pytest.approx(0.81, abs=1e-4)


def test_faces_below_the_score_are_dropped(yunet_file):
    detector = create_detector("yunet", model_path=yunet_file, min_score=0.9)
    assert detector.detect(np.zeros((64, 64, 3), np.uint8)) == []


def test_no_file_a_missing_one_and_another_network(tmp_path):
    with pytest.raises(WeightsError, match="needs a file"):
        create_detector("yunet")
    with pytest.raises(WeightsError, match="does not exist"):
        create_detector("yunet", model_path=tmp_path / "none.onnx")
    with pytest.raises(WeightsError, match="no YuNet"):
        create_detector("yunet", model_path=MODEL)
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(WeightsError, match="no YuNet"):
        create_detector("yunet", model_path=tmp_path / "text.onnx")
