import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from headpose import weights
from headpose.errors import WeightsError
from headpose.evaluation import macs
from headpose.inference import load_model
from headpose.networks.spec import ResNetSpec
from headpose.networks.spec import macs as macs_of_spec
from tests.evaluation.onnx_files import one_operator

CASES = {
    # out 8 x 5 x 5, each 3 x 3 x 3 products
    "a convolution": ("Conv", [1, 3, 7, 7], [np.ones((8, 3, 3, 3))], {}, 8 * 5 * 5 * 27),
    "with a stride and a frame": (
        "Conv", [2, 3, 8, 8], [np.ones((4, 3, 3, 3))], {"strides": [2, 2], "pads": [1] * 4}, 2 * 4 * 4 * 4 * 27,
    ),
    "by channel": ("Conv", [1, 6, 7, 7], [np.ones((6, 1, 3, 3))], {"group": 6}, 6 * 5 * 5 * 9),
    "transposed": ("ConvTranspose", [1, 3, 7, 7], [np.ones((3, 5, 2, 2))], {}, 3 * 7 * 7 * 5 * 4),
    "Gemm": ("Gemm", [4, 10], [np.ones((10, 3))], {}, 4 * 10 * 3),
    "Gemm, both sides turned": ("Gemm", [10, 4], [np.ones((3, 10))], {"transA": 1, "transB": 1}, 4 * 10 * 3),
    "MatMul of stacks": ("MatMul", [2, 5, 4, 10], [np.ones((10, 3))], {}, 2 * 5 * 4 * 10 * 3),
    "what is no product": ("Relu", [1, 3, 7, 7], [], {}, 0),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_operators_are_counted_by_hand(tmp_path, case):
    operator, shape, constants, attributes, expected = case
    path = one_operator(tmp_path / "net.onnx", operator, shape, *constants, **attributes)
    assert macs.count(path, shape) == macs.Work(expected, "fp32")


def test_a_file_is_counted_as_its_architecture_is():
    model = load_model("compact", device="cpu", threads=1)
    work = macs.count(weights.find("compact"), (1, 3, 96, 96))
    assert work.macs == macs_of_spec(ResNetSpec.from_dict(model.metadata["architecture"]), 96)
    assert work.gflop == pytest.approx(0.322, abs=0.001)
    # Twice the faces, twice the work: the number is free.
    assert macs.count(weights.find("compact"), (2, 3, 96, 96)).macs == 2 * work.macs


def test_a_network_that_quantizes_is_int8_and_counts_the_same(tmp_path):
    one, zero = numpy_helper.from_array(np.float32(1), "1"), numpy_helper.from_array(np.uint8(0), "0")
    weight = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.uint8), "w")
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "1", "0"], ["q"]),
            helper.make_node("QLinearConv", ["q", "1", "0", "w", "1", "0", "1", "0"], ["y"]),
        ],
        "quantizes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 7, 7])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 8, 5, 5])],
        [one, zero, weight],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    assert macs.count(path, [1, 3, 7, 7]) == macs.Work(8 * 5 * 5 * 27, "int8")


@pytest.mark.parametrize("wrong", ["absent", "text", "shape", "inputs"])
def test_what_cannot_be_counted_is_one_line(tmp_path, wrong):
    path, shape = tmp_path / "net.onnx", [1, 3, 7, 7]
    if wrong == "text":
        path.write_text("no network")
    elif wrong != "absent":
        inputs = 2 if wrong == "inputs" else 1
        one_operator(path, "Conv", [1, 3, 7, 7], np.ones((8, 3, 3, 3)), inputs=inputs)
        shape = [1, 4, 7, 7] if wrong == "shape" else shape
    with pytest.raises(WeightsError, match=r"net\.onnx") as caught:
        macs.count(path, shape)
    assert "\n" not in str(caught.value)
