"""Write a trained network as ONNX: the one copy of its weights that is kept.

``torch.fx`` traces the network's own ``forward`` down to layers and functions that have an ONNX operator; the tables at
the end of this module hold these operators. The network is not defined a second time here: a block, a head or a
decoder that is built from known layers and functions is exported as it is. Initializers keep the names and the bits of
the state dict (``state_from_onnx``). BatchNorm is not folded: ONNX Runtime folds it when it loads the file.

``torch.onnx.export(dynamo=True, optimize=False)`` (torch 2.13, onnxscript 0.7) also keeps every tensor, and its network
computes the same; a test compares the two. It is not used because

* it takes 20 s of processor time for the student and 9 s for compact, instead of 0.15 s and 0.09 s;
* it computes a bias of zeros with five nodes before every convolution. A picture takes twice as long until onnxscript
  has folded these nodes, and the folded student is still 28 KB larger: all but the weights takes 61 KB instead of 33;
* its files hold stack traces, so two exports of one network differ;
* it needs opset 18 and onnxscript.
"""

from __future__ import annotations

import dataclasses
import json
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn

from headpose import coded
from headpose.errors import WeightsError
from headpose.files import write_bytes
from headpose.licenses import License
from headpose.networks import spec as specs
from headpose.networks.build import build
from headpose.networks.convolution import Conv2d
from headpose.networks.outputs import decoders
from headpose.networks.plain import PlainNet
from headpose.networks.resnet import HeadPoseNet
from headpose.networks.spec import Spec
from headpose.reading import CONTRACT, LANDMARKS, OPTIONAL_OUTPUTS, Calibration
from headpose.types import CropSpec

OPSET = 17
IR_VERSION = 8

_SHAPES: dict[str, tuple[int, ...]] = {"rotation": (3, 3), **OPTIONAL_OUTPUTS, "landmarks": (LANDMARKS, 2)}


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


def export_onnx(
    network: HeadPoseNet | PlainNet,
    crop: CropSpec,
    card: ModelCard,
    target: Path,
    calibration: Calibration | None = None,
) -> None:
    """Write ``image`` (N, 3, S, S) float32 -> ``rotation`` (N, 3, 3) float32, N dynamic, atomically.

    The file also has the optional outputs of the network, under their names and not calibrated. A landmark network's
    file has the output ``landmarks`` (N, 68, 2) instead.

    Args:
        network: Network to write.
        crop: Crop settings of its input.
        card: Description for the metadata.
        target: File to write.
        calibration: Calibration for the metadata; None for none.
    """
    writer, parts = _Writer(), network.spec.parts
    raw = writer.write(_Tracer().trace(network), network, "image")
    values = writer.split(raw, list(parts.values())) if len(parts) > 1 else [raw]
    for (name, decode), part in zip(decoders(network.spec).items(), values, strict=True):
        prefix = f"{name}." if name in OPTIONAL_OUTPUTS else ""
        writer.write(_Tracer().trace(decode), network, part, name, prefix)
    graph = helper.make_graph(
        writer.nodes,
        card.name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, crop.size, crop.size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *_SHAPES[name]]) for name in parts],
        writer.initializers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="headpose",
    )
    about = {**dataclasses.asdict(card), "architecture": network.spec.to_dict()}
    if named := [name for name in parts if name != "rotation"]:
        about |= {"contract": CONTRACT, "outputs": named, **({} if "rotation" in parts else {"kind": named[0]})}
        about |= {} if calibration is None else {"calibration": calibration.to_dict()}
    helper.set_model_props(model, {"headpose.crop": json.dumps(crop.to_dict()), "headpose.model": json.dumps(about)})
    onnx.checker.check_model(model, full_check=True)
    write_bytes(target, model.SerializeToString())


def state_from_onnx(path: Path) -> tuple[Spec, CropSpec, dict[str, Tensor]]:
    """Read the spec, the crop and the state dict (without step counters) of a file written by ``export_onnx``.

    A file that decodes to such a file (``headpose.coded``) is read, too.

    Raises:
        WeightsError: The file was not written by ``export_onnx``, or is damaged.
    """
    try:
        model = onnx.load_model_from_string(coded.read_onnx(path))
        properties = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
        spec = specs.from_dict(properties["headpose.model"]["architecture"])
        crop = CropSpec.from_dict(properties["headpose.crop"])
        wanted = build(spec).state_dict().keys()
    except Exception as error:  # protobuf, json and our own checks each raise their own kinds
        raise WeightsError(f"{path} is not a network that this package exported: {error!r:.200}") from error
    state = {
        value.name: torch.from_numpy(numpy_helper.to_array(value).copy())
        for value in model.graph.initializer
        if value.name in wanted
    }
    missing = {name for name in wanted if not name.endswith("num_batches_tracked")} - state.keys()
    if missing:
        raise WeightsError(f"{path} lacks {min(missing)}: quantized or folded weights cannot be turned back")
    return spec, crop, state


class _Tracer(fx.Tracer):
    """Trace ``Network.raw``, or a function, down to the layers of ``_LAYERS``."""

    traced_func_name = "raw"

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, tuple(_LAYERS))


class _Writer:
    """Collect nodes and initializers; the values of a layer are named after the layer."""

    def __init__(self) -> None:
        self.initializers: list[TensorProto] = []
        self.nodes: list[onnx.NodeProto] = []

    def write(
        self, traced: fx.Graph, network: nn.Module, source: str, result: str | None = None, prefix: str = ""
    ) -> str:
        """Write the nodes of a trace.

        Args:
            traced: the trace of a function with one argument.
            network: the module that holds the layers that the trace calls.
            source: the name of the function's argument in the ONNX graph.
            result: the name of the function's result; None keeps the name of its last value.
            prefix: start of the names of all other values.

        Returns:
            The name of the function's result.

        Raises:
            NotImplementedError: a function of the trace has no ONNX operator in this module.
        """
        names: dict[fx.Node, str] = {}
        (last,) = (node.args[0] for node in traced.nodes if node.op == "output")
        for node in traced.nodes:
            inputs: Any = fx.map_arg(node.args, names.__getitem__)
            if node.op == "placeholder":
                names[node] = source
            elif node.op == "call_module":
                layer = network.get_submodule(str(node.target))
                write_layer = next(write for kind, write in _LAYERS.items() if isinstance(layer, kind))
                names[node] = write_layer(self, inputs[0], str(node.target), layer)
            elif node.op != "output":
                if node.target not in _FUNCTIONS or node.kwargs:
                    raise NotImplementedError(f"headpose.networks.export has no ONNX operator for {node.format_node()}")
                name = result if result and node is last else prefix + _value_name(node)
                names[node] = _FUNCTIONS[node.target](self, inputs, name)
        return names[last]

    def add(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node with one output. The node has the name of its output, without ``.out``: that of its layer."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name.removesuffix(".out"), **attributes))
        return name

    def split(self, x: str, sizes: list[int]) -> list[str]:
        """Split a value along axis 1 into parts of the given sizes, and return their names."""
        parts = [f"{x}.{i}" for i in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [x, self.constant(sizes)], parts, name=f"{x}.split", axis=1))
        return parts

    def parameters(self, layer: str, module: nn.Module, *names: str) -> list[str]:
        """Add tensors of a layer as initializers, and return their names."""
        state = module.state_dict()
        for name in names:
            value = state[name].detach().cpu().contiguous().numpy()
            self.initializers.append(numpy_helper.from_array(value, f"{layer}.{name}"))
        return [f"{layer}.{name}" for name in names]

    def constant(self, value: Any) -> str:
        """Add a number (float32) or a list of integers (int64) as an initializer, once, and return its name."""
        array = np.array(value, np.float32 if isinstance(value, float) else np.int64)
        name = "_".join(map(str, [array.dtype, *np.ravel(array)]))
        if not any(known.name == name for known in self.initializers):
            self.initializers.append(numpy_helper.from_array(array, name))
        return name


def _value_name(node: fx.Node) -> str:
    """Name a function's value: after its block inside of one, otherwise as ``torch.fx`` does."""
    block = list(node.meta.get("nn_module_stack", {}).values())[-1:]
    return f"{block[0][0]}.sum" if block else node.name


# Layers. Attributes with ONNX's default values are left out (stride 1, no padding, epsilon 1e-5): in the student they
# would be 3 KB of the 36 that are not weights.


def _conv(w: _Writer, x: str, name: str, layer: Conv2d) -> str:
    (kernel, _), (stride, _), (padding, _) = layer.kernel_size, layer.stride, cast("tuple[int, int]", layer.padding)
    strides = {"strides": [stride] * 2} if stride > 1 else {}
    pads = {"pads": [padding] * 4} if padding else {}
    inputs = [x, *w.parameters(name, layer, "weight")]
    return w.add("Conv", inputs, f"{name}.out", kernel_shape=[kernel] * 2, **strides, **pads)


def _batch_norm(w: _Writer, x: str, name: str, layer: nn.BatchNorm2d) -> str:
    inputs = [x, *w.parameters(name, layer, "weight", "bias", "running_mean", "running_var")]
    epsilon = {} if layer.eps == 1e-5 else {"epsilon": layer.eps}
    return w.add("BatchNormalization", inputs, f"{name}.out", **epsilon)


def _max_pool(w: _Writer, x: str, name: str, layer: nn.MaxPool2d) -> str:
    kernel, stride, padding = (int(value) for value in (layer.kernel_size, layer.stride, layer.padding))  # type: ignore[arg-type]
    pads = {"pads": [padding] * 4} if padding else {}
    ceil = {"ceil_mode": 1} if layer.ceil_mode else {}
    return w.add("MaxPool", [x], f"{name}.out", kernel_shape=[kernel] * 2, strides=[stride] * 2, **pads, **ceil)


def _dense(w: _Writer, x: str, name: str, layer: nn.Linear) -> str:
    return w.add("Gemm", [x, *w.parameters(name, layer, "weight", "bias")], f"{name}.out", transB=1)


_LAYERS: dict[type[nn.Module], Callable[[_Writer, str, str, Any], str]] = {
    Conv2d: _conv,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: lambda w, x, name, layer: w.add("Relu", [x], f"{x}.relu"),
    nn.MaxPool2d: _max_pool,
    nn.Linear: _dense,
    nn.Identity: lambda w, x, name, layer: x,
}

# Functions and methods of tensors. ``inputs`` are their arguments, a tensor by the name of its value.


def _same(kind: str) -> Callable[[_Writer, Any, str], str]:
    """Write an operator that has the same arguments in ONNX; numbers become initializers."""

    def write(w: _Writer, inputs: Any, name: str) -> str:
        return w.add(kind, [each if isinstance(each, str) else w.constant(float(each)) for each in inputs], name)

    return write


def _mean(w: _Writer, inputs: Any, name: str) -> str:
    if tuple(inputs[1]) != (2, 3):
        raise NotImplementedError(f"a mean over {inputs[1]}: only that over a map has an ONNX operator here")
    return w.add("Flatten", [w.add("GlobalAveragePool", [inputs[0]], "pool")], "features", axis=1)


def _flatten(w: _Writer, inputs: Any, name: str) -> str:
    x, axis = inputs
    return w.add("Flatten", [x], name, axis=axis)


def _sum(w: _Writer, inputs: Any, name: str) -> str:
    x, axis, keepdim = inputs
    return w.add("ReduceSum", [x, w.constant([axis])], name, keepdims=int(keepdim))


def _chunk(w: _Writer, inputs: Any, name: str) -> str:
    x, count, axis = inputs
    parts = [f"{name}.{i}" for i in range(count)]
    w.nodes.append(helper.make_node("Split", [x], parts, name=name, axis=axis))  # into equal parts
    return name


def _stack(w: _Writer, inputs: Any, name: str) -> str:
    values, axis = inputs
    columns = [w.add("Unsqueeze", [x, w.constant([axis])], f"{name}.{i}") for i, x in enumerate(values)]
    return w.add("Concat", columns, name, axis=axis)


def _transpose(w: _Writer, inputs: Any, name: str) -> str:
    x, first, second = inputs
    if (first, second) != (1, 2):
        raise NotImplementedError(f"a transpose of {first} and {second}: only that of 1 and 2 has an operator here")
    return w.add("Transpose", [x], name, perm=[0, 2, 1])


def _cross(w: _Writer, inputs: Any, name: str) -> str:
    """Write a cross product of two (N, 3) as a.yzx * b.zxy - a.zxy * b.yzx: ONNX has no operator for it."""
    yzx, zxy = w.constant([1, 2, 0]), w.constant([2, 0, 1])
    products = []
    for i, orders in enumerate([(yzx, zxy), (zxy, yzx)]):
        turned = [
            w.add("Gather", [x, order], f"{name}.{i}.{j}", axis=1)
            for j, (x, order) in enumerate(zip(inputs, orders, strict=True))
        ]
        products.append(w.add("Mul", turned, f"{name}.{i}"))
    return w.add("Sub", products, name)


_FUNCTIONS: dict[Any, Callable[[_Writer, Any, str], str]] = {
    operator.add: _same("Add"),
    operator.sub: _same("Sub"),
    operator.mul: _same("Mul"),
    operator.truediv: _same("Div"),
    operator.neg: _same("Neg"),
    "cos": _same("Cos"),
    "exp": _same("Exp"),
    "tanh": _same("Tanh"),
    "transpose": _transpose,
    "sin": _same("Sin"),
    "sqrt": _same("Sqrt"),
    "square": lambda w, inputs, name: w.add("Mul", [*inputs, *inputs], name),
    "mean": _mean,
    "flatten": _flatten,
    "sum": _sum,
    "chunk": _chunk,
    operator.getitem: lambda w, inputs, name: f"{inputs[0]}.{inputs[1]}",  # one of _chunk's
    "reshape": lambda w, inputs, name: w.add("Reshape", [inputs[0], w.constant(list(inputs[1:]))], name),
    torch.cat: lambda w, inputs, name: w.add("Concat", inputs[0], name, axis=inputs[1]),
    torch.stack: _stack,
    torch.linalg.cross: _cross,
    torch.matmul: _same("MatMul"),
}
