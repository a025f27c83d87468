"""How much arithmetic a network does: counted on what ONNX Runtime runs, so it works for anybody's file.

The graph is run once as it stands, without optimisations, and ONNX Runtime's own profile tells the shapes of
every node. Convolutions, Gemm and MatMul count; what is left is a few per cent in networks of this kind.
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

from headpose.errors import WeightsError

Shape = Sequence[int]

_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}  # where among its inputs the weights are
_PRODUCTS = {"MatMul", "MatMulInteger", "QLinearMatMul"}
_ACTIVATIONS_TO_INT8 = {"QuantizeLinear", "DynamicQuantizeLinear"}
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


@dataclass(frozen=True, slots=True)
class Work:
    """One pass of a network.

    Attributes:
        macs: multiply-accumulates; a GFLOP is two of a thousand million.
        arithmetic: "int8" if the network quantises what flows through it, else "fp32".
    """

    macs: int
    arithmetic: str

    @property
    def gflop(self) -> float:
        return 2e-9 * self.macs


def count(path: str | os.PathLike[str], shape: Shape) -> Work:
    """Counts one pass.

    Args:
        path: an ONNX network of one input.
        shape: of that input, such as (1, 3, 96, 96).

    Raises:
        WeightsError: the file does not exist, is no network that ONNX Runtime can run, has more than one
            input, or takes another shape.
    """
    if not Path(path).is_file():
        raise WeightsError(f"model file {path} does not exist")
    nodes = _profile(path, shape)
    quantised = any(node["op_name"] in _ACTIVATIONS_TO_INT8 for node in nodes)
    return Work(sum(map(_macs, nodes)), "int8" if quantised else "fp32")


def _profile(path: str | os.PathLike[str], shape: Shape) -> list[dict[str, Any]]:
    """What ran: for every node its operator and the shapes of its inputs and outputs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Optimised, channels are padded to the processor's width and operators merged: those are not the network's.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")  # packed weights have no shape any more
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            (tensor,) = session.get_inputs()
            session.run(None, {tensor.name: np.zeros(shape, _TYPES[tensor.type])})
        except Exception as error:  # ONNX Runtime's own exceptions have no common base
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise WeightsError(f"cannot count what {path} does with an input {list(shape)}: {reason}") from None
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return [e["args"] for e in events if e.get("cat") == "Node" and "input_type_shape" in e["args"]]


def _macs(node: dict[str, Any]) -> int:
    operator = node["op_name"]
    inputs, outputs = (_shapes(node[key]) for key in ("input_type_shape", "output_type_shape"))
    if operator in _CONVOLUTIONS:  # weights (out, in of a group, kernel)
        return math.prod(outputs[0]) * math.prod(inputs[_CONVOLUTIONS[operator]][1:])
    if operator == "ConvTranspose":  # weights (in, out of a group, kernel)
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if operator == "Gemm":  # either side may be transposed: the first has (rows, inner) elements
        return math.prod(outputs[0]) * math.prod(inputs[0]) // outputs[0][0]
    if operator in _PRODUCTS:
        return math.prod(outputs[0]) * inputs[0][-1]
    return 0


def _shapes(tensors: list[dict[str, list[int]]]) -> list[list[int]]:
    return [shape for tensor in tensors for shape in tensor.values()]
