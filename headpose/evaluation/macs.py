"""Count the multiply-accumulates of any ONNX network.

The graph is run once without optimizations, and the profile of ONNX Runtime provides the shapes of every node.
Convolutions, Gemm and MatMul are counted; the other operators add a few percent in networks of this kind.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from headpose import coded
from headpose.errors import WeightsError

Shape = Sequence[int]

_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}  # index of the weights among the inputs
_PRODUCTS = {"MatMul", "MatMulInteger", "QLinearMatMul"}
_ACTIVATIONS_TO_INT8 = {"QuantizeLinear", "DynamicQuantizeLinear"}
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


@dataclass(frozen=True, slots=True)
class Work:
    """Arithmetic of one forward pass.

    Attributes:
        macs: Number of multiply-accumulates.
        arithmetic: "int8" if activations are quantized, otherwise "fp32".
    """

    macs: int
    arithmetic: str

    @property
    def gflop(self) -> float:
        """Billions of operations, two per multiply-accumulate."""
        return 2e-9 * self.macs


def count(path: str | os.PathLike[str], shape: Shape) -> Work:
    """Count the arithmetic of one forward pass.

    Args:
        path: Network with one input: an .onnx file, or a .safetensors file of ``headpose.coded``.
        shape: Shape of the input, such as (1, 3, 96, 96).

    Raises:
        WeightsError: The file does not exist, cannot be run by ONNX Runtime, has more than one input, or expects
            another shape.
    """
    if not Path(path).is_file():
        raise WeightsError(f"model file {path} does not exist")
    nodes = _profile(path, shape)
    quantized = any(node["op_name"] in _ACTIVATIONS_TO_INT8 for node in nodes)
    return Work(sum(map(_macs, nodes)), "int8" if quantized else "fp32")


def _profile(path: str | os.PathLike[str], shape: Shape) -> list[dict[str, Any]]:
    """Run the network and return the operator, input shapes and output shapes of each node."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Optimizations would pad channels to the vector width and fuse operators.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")  # packed weights lose their shape
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = onnxruntime.InferenceSession(coded.openable(path), options, providers=["CPUExecutionProvider"])
            (tensor,) = session.get_inputs()
            session.run(None, {tensor.name: np.zeros(shape, _TYPES[tensor.type])})
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise WeightsError(f"cannot count what {path} does with an input {list(shape)}: {reason}") from None
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return [e["args"] for e in events if e.get("cat") == "Node" and "input_type_shape" in e["args"]]


def _macs(node: dict[str, Any]) -> int:
    operator = node["op_name"]
    inputs, outputs = (_shapes(node[key]) for key in ("input_type_shape", "output_type_shape"))
    if operator in _CONVOLUTIONS:  # weights: (out, in per group, kernel)
        return math.prod(outputs[0]) * math.prod(inputs[_CONVOLUTIONS[operator]][1:])
    if operator == "ConvTranspose":  # weights: (in, out per group, kernel)
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if operator == "Gemm":  # either factor may be transposed; the first has rows x inner elements
        return math.prod(outputs[0]) * math.prod(inputs[0]) // outputs[0][0]
    if operator in _PRODUCTS:
        return math.prod(outputs[0]) * inputs[0][-1]
    return 0


def _shapes(tensors: list[dict[str, list[int]]]) -> list[list[int]]:
    return [shape for tensor in tensors for shape in tensor.values()]
