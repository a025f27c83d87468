"""Small networks of other people's kinds, and the adapter files that describe them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

SIZE = 16


def linear_network(
    path: Path,
    outputs: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    channels: int = 3,
    batch: int | str = 1,
    size: int = SIZE,
    inputs: int = 1,
) -> Path:
    """Writes a network whose outputs are W m + b of the mean m of its input's channels.

    Args:
        outputs: by name, W (K, channels) and b (K,).
        batch: what the file says of the number of faces.
    """
    nodes = [helper.make_node("ReduceMean", ["x0", "axes"], ["mean"], keepdims=0)]
    constants = [numpy_helper.from_array(np.array([2, 3]), "axes")]
    for name, (weight, bias) in outputs.items():
        weight, bias = np.asarray(weight, np.float32), np.asarray(bias, np.float32)
        constants += [numpy_helper.from_array(weight.T, f"{name}.w"), numpy_helper.from_array(bias, f"{name}.b")]
        nodes += [
            helper.make_node("MatMul", ["mean", f"{name}.w"], [f"{name}.product"]),
            helper.make_node("Add", [f"{name}.product", f"{name}.b"], [name]),
        ]
    shape = [batch, channels, size, size]
    values = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i in range(inputs)]
    outs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, len(b)]) for name, (_, b) in outputs.items()]
    graph = helper.make_graph(nodes, "foreign", values, outs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


EULER = """
form = "euler"
tensors = ["angles"]
"""


def adapter_file(
    path: Path, output: str = EULER, *, files: tuple[str, ...] = ("net.onnx",), crop: str = "", more: str = ""
) -> Path:
    """Writes an adapter of ``linear_network`` whose normalized values are value / 255."""
    crop = crop or 'channels = "rgb"\nmean = [0, 0, 0]\nstd = [1, 1, 1]\nscale = 1.0'
    names = ", ".join(f'"{name}"' for name in files)
    path.write_text(
        f'name = "theirs"\nfiles = [{names}]\n\n[crop]\nsize = {SIZE}\n{crop}\n\n[output]\n{output.strip()}\n\n{more}'
    )
    return path
