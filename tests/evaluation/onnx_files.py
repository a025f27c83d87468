"""Networks of single operators, written with the onnx package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def one_operator(
    path: Path, operator: str, shape: list[int | str], *constants: np.ndarray, inputs: int = 1, **attributes
) -> Path:
    """Writes y = operator(x, constants...) for an x of that shape."""
    values = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i in range(inputs)]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    names = [f"c{i}" for i in range(len(constants))]
    held = [numpy_helper.from_array(np.asarray(c, np.float32), n) for c, n in zip(constants, names, strict=True)]
    node = helper.make_node(operator, ["x0", *names], ["y"], **attributes)
    graph = helper.make_graph([node], "one", values, [out], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path
