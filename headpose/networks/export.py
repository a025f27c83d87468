"""A trained network as ONNX: the one copy of its weights that is kept.

The graph is written from the ``ResNetSpec``, node by node, rather than traced: torch's exporters
fold BatchNorm into the convolutions or rename what they trace, and then the weights do not come back.
Here initializers carry the state dict's own names and bits (``state_from_onnx``), and ONNX Runtime
folds BatchNorm when it loads.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from headpose.errors import WeightsError
from headpose.files import write_bytes
from headpose.licenses import License
from headpose.networks.resnet import HeadPoseNet
from headpose.networks.spec import BlockSpec, ResNetSpec
from headpose.types import CropSpec

OPSET = 17
IR_VERSION = 8


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What travels inside the file, beside the crop and the widths."""

    name: str
    precision: str
    license: License
    license_terms: str
    data: str
    recipe: str
    parent: str = ""


def export_onnx(network: HeadPoseNet, crop: CropSpec, card: ModelCard, target: Path) -> None:
    """Writes ``image`` (N, 3, S, S) float32 -> ``rotation`` (N, 3, 3) float32, N dynamic, atomically."""
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    writer = _Writer(state)
    graph = helper.make_graph(
        _nodes(writer, network.spec),
        card.name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, crop.size, crop.size])],
        [helper.make_tensor_value_info("rotation", TensorProto.FLOAT, ["N", 3, 3])],
        writer.initializers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="headpose",
    )
    about = {**dataclasses.asdict(card), "architecture": network.spec.to_dict()}
    helper.set_model_props(model, {"headpose.crop": json.dumps(crop.to_dict()), "headpose.model": json.dumps(about)})
    onnx.checker.check_model(model, full_check=True)
    write_bytes(target, model.SerializeToString())


def state_from_onnx(path: Path) -> tuple[ResNetSpec, CropSpec, dict[str, Tensor]]:
    """The widths, the crop and the state dict (without step counters) of a file that ``export_onnx`` wrote.

    Raises:
        WeightsError: it is not such a file.
    """
    try:
        model = onnx.load(path)
        properties = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
        spec = ResNetSpec.from_dict(properties["headpose.model"]["architecture"])
        crop = CropSpec.from_dict(properties["headpose.crop"])
        wanted = HeadPoseNet(spec).state_dict().keys()
    except Exception as error:  # protobuf, json and our own checks each raise their own kinds
        raise WeightsError(f"{path} is not a network that this package exported: {error!r:.200}") from error
    state = {
        value.name: torch.from_numpy(numpy_helper.to_array(value).copy())
        for value in model.graph.initializer
        if value.name in wanted
    }
    missing = {name for name in wanted if not name.endswith("num_batches_tracked")} - state.keys()
    if missing:
        raise WeightsError(f"{path} lacks {min(missing)}: quantised or folded weights cannot be turned back")
    return spec, crop, state


class _Writer:
    """Collects nodes and initializers; every value is named after the layer that makes it."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self._state = state
        self.initializers: list[TensorProto] = []
        self.nodes: list[Any] = []

    def parameter(self, name: str) -> str:
        self.initializers.append(numpy_helper.from_array(self._state[name].detach().cpu().contiguous().numpy(), name))
        return name

    def constant(self, name: str, value: np.ndarray[Any, Any]) -> str:
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def add(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Adds a node of one output, called as that is, but for ``.out``: the node of a layer has the layer's name."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name.removesuffix(".out"), **attributes))
        return name

    def conv_bn(self, x: str, conv: str, norm: str, stride: int = 1) -> str:
        """Convolution and BatchNorm. What ONNX takes where nothing is said is not said: stride 1, no padding, and
        1e-5, torch's BatchNorm2d's as well, for epsilon. In the student that is 3 KB of 36 that are not weights."""
        kernel = self._state[f"{conv}.weight"].shape[-1]
        strides = {"strides": [stride] * 2} if stride > 1 else {}
        pads = {"pads": [kernel // 2] * 4} if kernel > 1 else {}
        inputs = [x, self.parameter(f"{conv}.weight")]
        x = self.add("Conv", inputs, f"{conv}.out", kernel_shape=[kernel] * 2, **strides, **pads)
        names = ("weight", "bias", "running_mean", "running_var")
        values = [self.parameter(f"{norm}.{name}") for name in names]
        return self.add("BatchNormalization", [x, *values], f"{norm}.out")

    def relu(self, x: str) -> str:
        return self.add("Relu", [x], f"{x}.relu")


def _nodes(w: _Writer, spec: ResNetSpec) -> list[Any]:
    x = w.relu(w.conv_bn("image", "conv1", "bn1", spec.stem.stride))
    if spec.stem.max_pool:
        around = spec.stem.pool_padding == "around"
        padding = {"pads": [1] * 4} if around else {"ceil_mode": 1}
        x = w.add("MaxPool", [x], "maxpool.out", kernel_shape=[3, 3], strides=[2, 2], **padding)
    width = spec.stem.width
    for i, stage in enumerate(spec.stages):
        for j, block in enumerate(stage):
            x = _block(w, x, f"layer{i + 1}.{j}", spec, block, width)
            width = block.out
    x = w.add("GlobalAveragePool", [x], "pool")
    x = w.add("Flatten", [x], "features", axis=1)
    for i in range(len(spec.head) + 1):
        layer = [x, w.parameter(f"head.{i}.weight"), w.parameter(f"head.{i}.bias")]
        x = w.add("Gemm", layer, f"head.{i}.out", transB=1)
        x = w.relu(x) if i < len(spec.head) else x
    (_tail_6d if spec.output == "6d" else _tail_euler)(w, x)
    return w.nodes


def _block(w: _Writer, x: str, name: str, network: ResNetSpec, spec: BlockSpec, width: int) -> str:
    if network.block == "basic":
        strides = [spec.stride, 1]
    else:
        strides = [1, spec.stride, 1] if network.stride_on == "3x3" else [spec.stride, 1, 1]
    y = x
    for i, stride in enumerate(strides, start=1):
        y = w.conv_bn(y, f"{name}.conv{i}", f"{name}.bn{i}", stride)
        y = w.relu(y) if i < len(strides) else y
    if spec.projects(width):
        x = w.conv_bn(x, f"{name}.downsample.0", f"{name}.downsample.1", spec.stride)
    return w.relu(w.add("Add", [y, x], f"{name}.sum"))


def _tail_6d(w: _Writer, raw: str) -> None:
    """``rotations.rotation_from_6d`` in ONNX operators."""
    three = w.constant("split_3_3", np.array([3, 3], np.int64))
    w.nodes.append(helper.make_node("Split", [raw, three], ["a1", "a2"], name="columns", axis=1))
    first = _unit(w, "a1", "b1")
    along = _sum(w, w.add("Mul", [first, "a2"], "b1*a2"), "b1.a2")
    second = _unit(w, w.add("Sub", ["a2", w.add("Mul", [along, first], "along")], "across"), "b2")
    for name, order in (("yzx", [1, 2, 0]), ("zxy", [2, 0, 1])):
        w.constant(name, np.array(order, np.int64))
    turned = {
        (column, order): w.add("Gather", [column, order], f"{column}_{order}", axis=1)
        for column in (first, second)
        for order in ("yzx", "zxy")
    }
    plus = w.add("Mul", [turned[first, "yzx"], turned[second, "zxy"]], "cross+")
    minus = w.add("Mul", [turned[first, "zxy"], turned[second, "yzx"]], "cross-")
    third = w.add("Sub", [plus, minus], "b3")
    last = w.constant("last_axis", np.array([2], np.int64))
    columns = [w.add("Unsqueeze", [column, last], f"{column}_column") for column in (first, second, third)]
    w.add("Concat", columns, "rotation", axis=2)


def _tail_euler(w: _Writer, raw: str) -> None:
    """``rotations.rotation_from_euler`` in ONNX operators."""
    cosine, sine = w.add("Cos", [raw], "cos"), w.add("Sin", [raw], "sin")
    for source, names in ((cosine, ["cy", "cp", "cr"]), (sine, ["sy", "sp", "sr"])):
        w.nodes.append(helper.make_node("Split", [source], names, name=f"{source}_split", axis=1))

    def product(*factors: str) -> str:
        value = factors[0]
        for factor in factors[1:]:
            value = w.add("Mul", [value, factor], f"{value}*{factor}")
        return value

    cp_sy = w.add("Mul", ["cp", "sy"], "cp*sy")
    sp_sy = w.add("Mul", ["sp", "sy"], "sp*sy")
    entries = [
        product("cy", "cr"),
        product("cy", "sr"),
        w.add("Neg", ["sy"], "-sy"),
        w.add("Sub", [product(sp_sy, "cr"), product("cp", "sr")], "r10"),
        w.add("Add", [product(sp_sy, "sr"), product("cp", "cr")], "r11"),
        product("sp", "cy"),
        w.add("Add", [product(cp_sy, "cr"), product("sp", "sr")], "r20"),
        w.add("Sub", [product(cp_sy, "sr"), product("sp", "cr")], "r21"),
        product("cp", "cy"),
    ]
    flat = w.add("Concat", entries, "entries", axis=1)
    w.add("Reshape", [flat, w.constant("shape_3_3", np.array([-1, 3, 3], np.int64))], "rotation")


def _sum(w: _Writer, x: str, name: str) -> str:
    if not any(value.name == "axis_1" for value in w.initializers):
        w.constant("axis_1", np.array([1], np.int64))
    return w.add("ReduceSum", [x, "axis_1"], name, keepdims=1)


def _unit(w: _Writer, x: str, name: str) -> str:
    if not any(value.name == "tiny" for value in w.initializers):
        w.constant("tiny", np.array(1e-8, np.float32))
    squares = _sum(w, w.add("Mul", [x, x], f"{name}.squares"), f"{name}.square")
    length = w.add("Sqrt", [w.add("Add", [squares, "tiny"], f"{name}.positive")], f"{name}.length")
    return w.add("Div", [x, length], name)
