"""A network's file as the quantisers need it: BatchNorm folded into the convolutions, body and tail apart.

The body is everything up to the last dense layer. The tail turns its six or three numbers into a
rotation: a dozen operations on a handful of values, where rounding costs degrees and gains nothing.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import quant_pre_process

from headpose.errors import WeightsError
from headpose.files import write_bytes
from headpose.inference import OnnxPoseModel
from headpose.recipes import provenance
from headpose.recipes.provenance import Statement


def read_folded(source: Path) -> onnx.ModelProto:
    """Read a float32 network and fold BatchNorm into its convolutions, as ONNX Runtime does when it loads the file.

    Quantisation then rounds once, and rounds the numbers that are multiplied.

    Args:
        source: a float32 ONNX file that keeps the contract of ``headpose.inference``.

    Returns:
        The network without BatchNorm. The tensors of a convolution are named after its node.

    Raises:
        WeightsError: the file does not keep the contract, or is not float32.
    """
    known = OnnxPoseModel(source, device="cpu", threads=1)
    precision = known.metadata.get("precision", "fp32")
    if precision != "fp32":
        raise WeightsError(f"{source} is {precision} already: give the fp32 network that it was made from")
    given = onnx.load(source)
    if not any(node.op_type == "Gemm" for node in given.graph.node):
        raise WeightsError(f"{source} has no dense layer (Gemm) at its end: export it with headpose")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "folded.onnx"
        quant_pre_process(source, file, skip_symbolic_shape=True, skip_onnx_shape=True)
        model = onnx.load(file)
    del model.opset_import[:]
    model.opset_import.extend(given.opset_import)  # without the domains of ONNX Runtime's own operators
    _shorten_names(model.graph)
    return model


def body(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes up to the last dense layer, which is the last of them."""
    nodes = list(model.graph.node)
    last = max(i for i, node in enumerate(nodes) if node.op_type == "Gemm")
    return nodes[: last + 1]


def tail(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes after the last dense layer."""
    return list(model.graph.node)[len(body(model)) :]


def write_variant(
    model: onnx.ModelProto, source: Path, precision: str, target: Path, calibrated_on: Statement | None = None
) -> None:
    """Writes a network made from another, atomically: the crop and the card are its parent's.

    Args:
        model: the graph; its own metadata are replaced.
        source: the parent's file.
        precision: ``fp16`` or ``int8``; ends the name.
        target: the file.
        calibrated_on: of faces that its ranges were taken from: what it states is bound by them, too.
    """
    parent = OnnxPoseModel(source, device="cpu", threads=1)
    about = {
        **parent.metadata,
        "name": f"{parent.name}-{precision}",
        "precision": precision,
        "parent": parent.name,
    }
    if calibrated_on is not None:
        stated = provenance.combine(calibrated_on, provenance.of_network(source), link="calibrated on")
        about |= {"license": stated.license, "license_terms": stated.license_terms, "data": stated.data_note}
    del model.metadata_props[:]
    del model.graph.value_info[:]
    model.producer_name, model.producer_version = "headpose", ""
    model.graph.name = about["name"]
    onnx.helper.set_model_props(
        model, {"headpose.crop": json.dumps(parent.crop.to_dict()), "headpose.model": json.dumps(about)}
    )
    onnx.checker.check_model(model, full_check=True)
    write_bytes(target, model.SerializeToString(deterministic=True))


def _shorten_names(graph: onnx.GraphProto) -> None:
    """Replace the optimiser's names, such as ``ConvBnFusion_W_layer1.0.conv1.weight``: 6 KB of a student."""
    names: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Conv":
            layer = node.name.removesuffix(".out")
            names |= dict(zip(node.input[1:], (f"{layer}.weight", f"{layer}.bias"), strict=False))
    for value in graph.initializer:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
