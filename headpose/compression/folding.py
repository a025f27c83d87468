"""Preparation of ONNX networks for quantization: BatchNorm folding, and separation of body and tail.

The body ends with the last dense layer. The tail converts its six or three outputs into a rotation matrix: a dozen
operations on a handful of values, where rounding would cost degrees and save nothing.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import quant_pre_process

from headpose import coded
from headpose.errors import WeightsError
from headpose.files import write_bytes
from headpose.inference import OnnxPoseModel
from headpose.recipes import provenance
from headpose.recipes.provenance import Statement


def read_folded(source: Path) -> onnx.ModelProto:
    """Read a float32 network and fold BatchNorm into its convolutions, as ONNX Runtime does when it loads the file.

    Quantization then rounds once, and rounds the weights that are actually multiplied.

    Args:
        source: Float32 network that follows the contract of ``headpose.inference``.

    Returns:
        The network without BatchNorm. The tensors of a convolution are named after its node.

    Raises:
        WeightsError: The file does not follow the contract, or is not float32.
    """
    known = OnnxPoseModel(source, device="cpu", threads=1)
    precision = known.metadata.get("precision", "fp32")
    if precision != "fp32":
        raise WeightsError(f"{source} is already {precision}: give the fp32 network that it was made from")
    given = onnx.load_model_from_string(coded.read_onnx(source))
    if not any(node.op_type == "Gemm" for node in given.graph.node):
        raise WeightsError(f"{source} has no dense layer (Gemm) at its end: export it with headpose")
    with tempfile.TemporaryDirectory() as folder:
        plain, file = Path(folder) / "plain.onnx", Path(folder) / "folded.onnx"
        onnx.save(given, plain)
        quant_pre_process(plain, file, skip_symbolic_shape=True, skip_onnx_shape=True)
        model = onnx.load(file)
    del model.opset_import[:]
    model.opset_import.extend(given.opset_import)  # drop the domains of ONNX Runtime's own operators
    _shorten_names(model.graph)
    return model


def body(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes up to and including the last dense layer."""
    nodes = list(model.graph.node)
    last = max(i for i, node in enumerate(nodes) if node.op_type == "Gemm")
    return nodes[: last + 1]


def tail(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes after the last dense layer."""
    return list(model.graph.node)[len(body(model)) :]


def write_variant(
    model: onnx.ModelProto, source: Path, precision: str, target: Path, calibrated_on: Statement | None = None
) -> None:
    """Write a network that was made from another, atomically. It inherits the crop and the model card of its parent.

    Args:
        model: Graph of the network; its metadata are replaced.
        source: File of the parent.
        precision: ``fp16`` or ``int8``; also the suffix of the name.
        target: Path of the file to write.
        calibrated_on: License statement of the calibration faces, which is combined with the parent's. None if they
            are training data of the parent.
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
    """Replace the graph optimizer's names, such as ``ConvBnFusion_W_layer1.0.conv1.weight``: saves 6 KB per student."""
    names: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Conv":
            layer = node.name.removesuffix(".out")
            names |= dict(zip(node.input[1:], (f"{layer}.weight", f"{layer}.bias"), strict=False))
    for value in graph.initializer:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
