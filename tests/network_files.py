"""Small networks in the file contract of ``headpose.inference``, for tests that need to know the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from headpose.types import CropSpec

DEGREES_PER_UNIT = 100.0

PLAIN = CropSpec(size=16, scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
"""A crop whose normalized values are value / 255."""


def color_network(
    path: Path,
    crop: CropSpec = PLAIN,
    *,
    name: str = "color",
    gain: float = 1.0,
    metadata: dict[str, str] | None = None,
    inputs: str = "image",
    size: int | str = "S",
    batch: int | str = "N",
    optional: Mapping[str, Any] | None = None,
    calibration: Any = None,
) -> Path:
    """Writes a network that reads yaw off a crop's mean red and pitch off its mean blue.

    yaw = 100 * (mean red - 0.5) degrees and pitch = 100 * (mean blue - 0.5), roll 0, written out as
    R = Rx(pitch) Ry(yaw); ``gain`` multiplies the matrix, which spoils the rotation. ``optional`` gives the optional
    outputs by name, each with the value that every crop gets; then the file follows contract 2.
    """
    nodes, constants = [], {}

    def constant(key: str, value: NDArray[np.generic] | list[int]) -> str:
        constants[key] = numpy_helper.from_array(np.asarray(value), key)
        return key

    def node(operator: str, *given: str, to: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, list(given), [to], **attributes))
        return to

    half, radians = np.float32(0.5), np.float32(np.deg2rad(DEGREES_PER_UNIT))
    node("ReduceMean", inputs, constant("image_axes", [2, 3]), to="mean", keepdims=0)
    node("Mul", node("Sub", "mean", constant("half", half), to="centerd"), constant("unit", radians), to="angles")
    for angle, channel in (("yaw", 0), ("pitch", 2)):
        picked = node("Gather", "angles", constant(f"{angle}_channel", [channel]), to=angle, axis=1)
        node("Cos", picked, to=f"cos_{angle}")
        node("Sin", picked, to=f"sin_{angle}")
        node("Neg", f"sin_{angle}", to=f"minus_sin_{angle}")
    node("Mul", "cos_yaw", constant("zero", np.float32(0)), to="0")
    node("Add", "0", constant("one", np.float32(1)), to="1")
    ry = ["cos_yaw", "0", "minus_sin_yaw", "0", "1", "0", "sin_yaw", "0", "cos_yaw"]
    rx = ["1", "0", "0", "0", "cos_pitch", "sin_pitch", "0", "minus_sin_pitch", "cos_pitch"]
    shape = constant("matrix", [-1, 3, 3])
    for matrix, entries in (("ry", ry), ("rx", rx)):
        node("Reshape", node("Concat", *entries, to=f"{matrix}_flat", axis=1), shape, to=matrix)
    node("Mul", node("MatMul", "rx", "ry", to="product"), constant("gain", np.float32(gain)), to="rotation")

    results = {"rotation": [3, 3]}
    for key, value in (optional or {}).items():
        array = np.asarray(value, np.float32)
        nothing = node("Reshape", "0", constant(f"{key}_shape", [-1, *([1] * array.ndim)]), to=f"{key}_0")
        node("Add", nothing, constant(f"{key}_value", array), to=key)
        results[key] = list(array.shape)

    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(inputs, TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, [batch, *shape]) for each, shape in results.items()],
        list(constants.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if metadata is None:
        about = {"name": name} | ({"contract": 2, "outputs": list(optional)} if optional else {})
        about |= {} if calibration is None else {"calibration": calibration}
        metadata = {"headpose.crop": json.dumps(crop.to_dict()), "headpose.model": json.dumps(about)}
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def landmark_network(
    path: Path,
    points: NDArray[np.float64],
    crop: CropSpec = PLAIN,
    *,
    about: Mapping[str, Any] | None = None,
    output: str = "landmarks",
) -> Path:
    """Writes a network that puts ``points`` (68, 2) into every crop, moved right and down by its mean brightness.

    ``about`` changes the description in the metadata; ``output`` is the name of the output.
    """
    constants = [
        numpy_helper.from_array(np.array(value), name)
        for name, value in (("axes", [1, 2, 3]), ("shape", [-1, 1, 1]), ("points", np.float32(points)))
    ]
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["shift"]),
        helper.make_node("Add", ["shift", "points"], [output]),
    ]
    graph = helper.make_graph(
        nodes,
        "points",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, crop.size, crop.size])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", *points.shape])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    described = {"name": "points", "contract": 2, "kind": "landmarks", "outputs": ["landmarks"], **(about or {})}
    helper.set_model_props(
        model, {"headpose.crop": json.dumps(crop.to_dict()), "headpose.model": json.dumps(described)}
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def int8_saturates() -> bool:
    """Tell whether ONNX Runtime adds two products of uint8 and int8 in 16 bits here, as on x86 without VNNI."""
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    graph = helper.make_graph(
        [node],
        "products",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 8])],
        [numpy_helper.from_array(np.full((64, 8), 127, np.int8), "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (product,) = session.run(None, {"a": np.full((1, 64), 255, np.uint8)})
    return bool((product != 64 * 255 * 127).any())
