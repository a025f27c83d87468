"""A network's file as the quantisers need it: BatchNorm folded into the convolutions, body and tail apart.

The body is everything up to the last dense layer. The tail turns its six or three numbers into a
rotation: a dozen operations on a handful of values, where rounding costs degrees and gains nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from headpose.errors import WeightsError
from headpose.files import write_bytes
from headpose.inference import OnnxPoseModel
from headpose.recipes import provenance
from headpose.recipes.provenance import Statement

_EPSILON = 1e-5  # of a BatchNormalization node that does not say


def read_folded(source: Path) -> onnx.ModelProto:
    """A float32 network with BatchNorm folded: weight' = weight * s, bias' = shift - mean * s, s = scale / deviation.

    Rounding to fewer bits then happens once, on the numbers that are multiplied.

    Raises:
        WeightsError: the file does not keep the contract of ``headpose.inference``, or is not float32.
    """
    known = OnnxPoseModel(source, device="cpu", threads=1)
    precision = known.metadata.get("precision", "fp32")
    if precision != "fp32":
        raise WeightsError(f"{source} is {precision} already: give the fp32 network that it was made from")
    model = onnx.load(source)
    if not any(node.op_type == "Gemm" for node in model.graph.node):
        raise WeightsError(f"{source} has no dense layer (Gemm) at its end: export it with headpose")
    _fold(model.graph)
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


def _fold(graph: onnx.GraphProto) -> None:
    values = {value.name: value for value in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    kept = []
    for node in graph.node:
        conv = makers.get(node.input[0])
        if node.op_type != "BatchNormalization" or conv is None or conv.op_type != "Conv":
            kept.append(node)
            continue
        scale, shift, mean, variance = (_array(values[name]) for name in node.input[1:5])
        factor = scale / np.sqrt(variance + _epsilon(node))
        weight = _array(values[conv.input[1]]) * factor[:, None, None, None]
        before = _array(values[conv.input[2]]) if len(conv.input) > 2 else np.zeros_like(mean)
        bias = f"{conv.input[1].removesuffix('.weight')}.bias"
        values[conv.input[1]] = numpy_helper.from_array(weight.astype(np.float32), conv.input[1])
        values[bias] = numpy_helper.from_array(((before - mean) * factor + shift).astype(np.float32), bias)
        conv.input[:] = [*conv.input[:2], bias]
        conv.output[0] = node.output[0]
    used = {name for node in kept for name in node.input}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(value for name, value in values.items() if name in used)


def _array(value: onnx.TensorProto) -> NDArray[np.float64]:
    return numpy_helper.to_array(value).astype(np.float64)


def _epsilon(node: onnx.NodeProto) -> float:
    given: dict[str, Any] = {attribute.name: attribute.f for attribute in node.attribute}
    return float(given.get("epsilon", _EPSILON))
