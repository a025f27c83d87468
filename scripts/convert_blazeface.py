"""Convert MediaPipe's short-range BlazeFace from TensorFlow Lite to ONNX.

    pip download mediapipe==0.10.21 --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64
    python scripts/convert_blazeface.py mediapipe-0.10.21-*.whl

These commands write ``blazeface-short.onnx`` and its source, ``blazeface-short.tflite``, to
``headpose/detection/data``. The network (Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile
GPUs", 2019; Apache-2.0) is fully convolutional, so the ONNX file accepts any N, and any H and W that are multiples of
16:

    image   (N, 3, H, W) float32, RGB in [-1, 1]
    boxes   (N, A, 16) float32, center x, center y, width, height, six key points: pixels relative to the anchor
    scores  (N, A) float32, logits
    A = 2 (H/8) (W/8) + 6 (H/16) (W/16), the stride-8 anchors first, each in row-major order

Channel counts are rounded up to a multiple of 16 with channels that stay zero: ONNX Runtime's blocked kernels process
whole blocks only, and most of the zero-padded shortcuts between them are no longer needed. With one thread and AVX-512
at 128x128 this reduces the time from 0.72 to 0.55 ms. Weights stored as fp16 are converted to fp32.

At 128x128, the original size, the output differs from that of TensorFlow Lite (ai-edge-litert 2.3.0) by at most 1.3e-4,
with values up to 740. tests/detection/blazeface_golden.npz contains TensorFlow Lite's output for one comparison.

The script needs the packages ``onnx`` and ``tflite`` (the schema of the format).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headpose.cli.arguments import named_path
from headpose.cli.program import imports_from, run_program
from headpose.errors import WeightsError
from headpose.files import check_outputs, write_bytes

with imports_from("test", "convert_blazeface"):
    import onnx
    import tflite
    from onnx import TensorProto, helper, numpy_helper

MEMBER = "mediapipe/modules/face_detection/face_detection_short_range.tflite"
SHA256 = "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"
DATA = Path(__file__).resolve().parent.parent / "headpose/detection/data"
OPSET, IR_VERSION = 13, 8  # old enough for every ONNX Runtime that the package supports
_BLOCK = 16  # number of channels in a block

_KINDS = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
_TYPES = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}
_OPTIONS = {
    "CONV_2D": tflite.Conv2DOptions,
    "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
    "MAX_POOL_2D": tflite.Pool2DOptions,
}
_OUTPUTS = {"regressors": "boxes", "classificators": "scores"}
_HEADS = ("classificator", "regressor")


@dataclass(frozen=True)
class Operator:
    """Operator of a TensorFlow Lite graph.

    Attributes:
        kind: Name of the operator, such as "CONV_2D".
        inputs: Names of the input tensors.
        output: Name of the output tensor.
        channels: Number of output channels.
        stride: Vertical stride, 1 for operators without one.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    channels: int
    stride: int


@dataclass(frozen=True)
class Graph:
    """TensorFlow Lite graph.

    Attributes:
        operators: Operators in order of execution.
        constants: Weights by tensor name, in TensorFlow's layout.
    """

    operators: tuple[Operator, ...]
    constants: dict[str, NDArray[Any]]


def read_source(path: Path) -> bytes:
    """Read the TensorFlow Lite file and check its hash.

    Args:
        path: Wheel of mediapipe 0.10.21, or the .tflite file.

    Raises:
        WeightsError: The file cannot be read, or its SHA-256 is wrong.
    """
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                data = wheel.read(MEMBER)
        else:
            data = path.read_bytes()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"cannot read BlazeFace from {path}: {error}") from None
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise WeightsError(f"{path} does not contain the BlazeFace of mediapipe 0.10.21 (expected SHA-256 {SHA256})")
    return data


def read_graph(data: bytes) -> Graph:
    """Parse the flatbuffer. DEQUANTIZE operators are replaced with fp32 constants."""
    model = tflite.Model.GetRootAsModel(data, 0)
    subgraph = model.Subgraphs(0)
    tensors = [subgraph.Tensors(index) for index in range(subgraph.TensorsLength())]
    names = [tensor.Name().decode() for tensor in tensors]
    constants = {}
    for name, tensor in zip(names, tensors, strict=True):
        stored = model.Buffers(tensor.Buffer())
        if stored.DataLength():
            values = np.frombuffer(stored.DataAsNumpy().tobytes(), _TYPES[tensor.Type()])
            constants[name] = values.reshape(tensor.ShapeAsNumpy())
    operators = []
    for operator in (subgraph.Operators(index) for index in range(subgraph.OperatorsLength())):
        kind = _KINDS[model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()]
        inputs, output = tuple(names[index] for index in operator.InputsAsNumpy()), int(operator.OutputsAsNumpy()[0])
        if kind == "DEQUANTIZE":
            constants[names[output]] = constants[inputs[0]].astype(np.float32)
        else:
            channels = int(tensors[output].ShapeAsNumpy()[-1])
            operators.append(Operator(kind, inputs, names[output], channels, _stride(kind, operator)))
    return Graph(tuple(operators), constants)


def _stride(kind: str, operator: Any) -> int:
    if kind not in _OPTIONS:
        return 1
    options, table = _OPTIONS[kind](), operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    return int(options.StrideH())


class Builder:
    """Convert the operators of a TensorFlow Lite graph to ONNX nodes and initializers, one by one."""

    def __init__(self, graph: Graph) -> None:
        self.constants = graph.constants
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.tensors = {"input": "image"}  # ONNX names by TensorFlow name
        self.widths = {"input": 3}  # rounded channel counts by TensorFlow name
        for operator in graph.operators:
            self._add(operator)

    def _add(self, operator: Operator) -> None:
        short = operator.output.split("/")[-1].removesuffix("__xeno_compat__1")
        name = self.tensors[operator.output] = _OUTPUTS.get(short, short)
        sources = [self.tensors[source] for source in operator.inputs if source in self.tensors]
        is_head = name.startswith(_HEADS)
        width = self.widths[operator.output] = operator.channels if is_head else _rounded(operator.channels)
        match operator.kind:
            case "CONV_2D" | "DEPTHWISE_CONV_2D":
                self._convolution(operator, name, sources[0], width)
            case "MAX_POOL_2D":  # 2x2, on even sides
                self._node("MaxPool", sources, name, kernel_shape=[2, 2], strides=[2, 2])
            case "PAD" if width == self.widths[operator.inputs[0]]:  # pads channels that the rounding has already added
                self.tensors[operator.output] = sources[0]
            case "PAD":
                added = width - self.widths[operator.inputs[0]]
                pads = np.array([0, 0, 0, 0, 0, added, 0, 0], np.int64)
                self._node("Pad", [*sources, self._constant(f"{name}.pads", pads)], name)
            case "ADD":
                self._node("Add", sources, name)
            case "RELU":
                self._node("Relu", sources, name)
            case "RESHAPE":  # channels last, then one row per anchor
                self._node("Transpose", sources, f"{sources[0]}.last", perm=[0, 2, 3, 1])
                shape = np.array([0, -1, 16] if sources[0].startswith("regressor") else [0, -1], np.int64)
                self._node("Reshape", [f"{sources[0]}.last", self._constant(f"{name}.shape", shape)], name)
            case "CONCATENATION":
                self._node("Concat", sources, name, axis=1)
            case _:
                raise WeightsError(f"operator {operator.kind} is not expected in BlazeFace")

    def _convolution(self, operator: Operator, name: str, source: str, width: int) -> None:
        weight, bias = (self.constants[constant] for constant in operator.inputs[1:])
        if operator.kind == "CONV_2D":  # stored as (out, height, width, in)
            weight, group, inputs = weight.transpose(0, 3, 1, 2), 1, self.widths[operator.inputs[0]]
        else:  # stored as (1, height, width, channels)
            weight, group, inputs = weight.transpose(3, 0, 1, 2), width, 1
        kernel = weight.shape[-1]
        inputs_of_node = [
            source,
            self._constant(f"{name}.weight", _zero_extended(weight, (width, inputs, kernel, kernel))),
            self._constant(f"{name}.bias", _zero_extended(bias, (width,))),
        ]
        stride, pads = [operator.stride] * 2, _same_padding(kernel, operator.stride)
        self._node("Conv", inputs_of_node, name, group=group, kernel_shape=[kernel] * 2, strides=stride, pads=pads)

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def _rounded(channels: int) -> int:
    return -(-channels // _BLOCK) * _BLOCK


def _zero_extended(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    extended = np.zeros(shape, np.float32)
    extended[tuple(slice(side) for side in values.shape)] = values
    return extended


def _same_padding(kernel: int, stride: int) -> list[int]:
    """Return ONNX's pads (top, left, bottom, right) for TensorFlow's SAME, if the stride divides the sides.

    The odd pixel is added at the bottom and the right: a 3x3 kernel of stride 2 has the pads (0, 0, 1, 1). A symmetric
    padding of 1 would shift the output by one pixel. VALID occurs only with 1x1 kernels, where both are the same.
    """
    before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
    return [before, before, after, after]


def to_onnx(data: bytes) -> bytes:
    """Convert the network to ONNX. The same input gives the same bytes.

    Args:
        data: Content of the .tflite file.

    Returns:
        Content of the ONNX file.
    """
    builder = Builder(read_graph(data))
    graph = helper.make_graph(
        builder.nodes,
        "blazeface-short",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", "A", 16]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", "A"]),
        ],
        builder.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "headpose scripts/convert_blazeface.py"
    description = {
        "name": "blazeface-short",
        "license_terms": "Apache-2.0, Copyright The MediaPipe Authors",
        "source": f"mediapipe 0.10.21, {MEMBER}",
        "source_sha256": SHA256,
    }
    helper.set_model_props(model, {"headpose.detector": json.dumps(description)})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def main() -> int:
    return run_program("convert_blazeface", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(description="Convert MediaPipe's short-range BlazeFace to ONNX.")
    parser.add_argument("source", type=named_path, help="wheel of mediapipe 0.10.21, or the .tflite file in it")
    parser.add_argument("--out", type=named_path, default=DATA, help="folder for both files (default: %(default)s)")
    arguments = parser.parse_args()
    original, converted = arguments.out / "blazeface-short.tflite", arguments.out / "blazeface-short.onnx"
    check_outputs(
        [arguments.source], data={"--out": [converted]}
    )  # the .tflite file may be the source: its content is the same
    data = read_source(arguments.source)
    write_bytes(original, data)
    write_bytes(converted, to_onnx(data))
    print(f"wrote {converted.name} and {original.name} to {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
