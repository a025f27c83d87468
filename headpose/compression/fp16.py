"""Conversion to FP16: half the bytes, and the precision that TensorRT uses on a Jetson.

Two converters exist. A test compares their weights with those of this module.

* onnxconverter-common 1.16, with the nodes of the tail excluded, rounds each value between two of them to float16. This
  gives 24 casts instead of 2, 17 KB more in the student, and no smaller distance from float32. It also replaces weights
  below 1e-7 with 1e-7, and is an additional dependency.
* ``onnxruntime.transformers.float16`` (1.31) gives the same weights and outputs as this module if it converts only the
  body. Its nodes are then unsorted, which onnx's checker rejects, and the tail has to be reattached. Splitting and
  joining the network takes as much code as the conversion below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from headpose import crop
from headpose.compression.folding import body, read_folded, tail, write_variant
from headpose.errors import WeightsError
from headpose.inference import OnnxPoseModel
from headpose.types import Image

LARGEST = float(np.finfo(np.float16).max)


def to_fp16(source: Path, target: Path, crops: Sequence[Image] = ()) -> None:
    """Write a network whose weights and body are float16; ``image``, the tail and ``rotation`` stay float32.

    ONNX Runtime also runs the network on a CPU, where it computes in float32.

    Args:
        source: Float32 network of this package.
        target: Path of the file, written atomically. The network gets the name of the source with ``-fp16``, and the
            source as its parent.
        crops: N crops, (S, S, 3) uint8 BGR, on which no value of the body may exceed the range of float16. A CPU
            computes in float32 and would not show an overflow.

    Raises:
        WeightsError: The source is not a float32 network of this package, or a weight or a value exceeds ``LARGEST``.
    """
    model = read_folded(source)
    largest = max(_largest_weight(model), *_largest_values(model, source, crops), 0.0)
    if not largest < LARGEST:
        raise WeightsError(f"{source} has values up to {largest:.3g}, fp16 ends at {LARGEST:.0f}: use it in fp32")
    inside, outside = body(model), tail(model)
    raw = inside[-1].output[0]
    half, raw_half = "image.fp16", f"{raw}.fp16"
    weights = {name for node in inside for name in node.input}
    for value in model.graph.initializer:
        if value.name in weights and value.data_type == TensorProto.FLOAT:
            value.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(value).astype(np.float16), value.name))
    for node in inside:
        node.input[:] = [half if name == "image" else name for name in node.input]
    inside[-1].output[0] = raw_half
    enter = helper.make_node("Cast", ["image"], [half], name="to_fp16", to=TensorProto.FLOAT16)
    leave = helper.make_node("Cast", [raw_half], [raw], name="to_fp32", to=TensorProto.FLOAT)
    del model.graph.node[:]
    model.graph.node.extend([enter, *inside, leave, *outside])
    write_variant(model, source, "fp16", target)


def _largest_weight(model: onnx.ModelProto) -> float:
    values = [numpy_helper.to_array(value) for value in model.graph.initializer]
    return max(float(np.abs(value).max()) for value in values if value.dtype == np.float32)


def _largest_values(model: onnx.ModelProto, source: Path, crops: Sequence[Image]) -> Iterator[float]:
    """Yield the largest absolute value inside the body for each crop."""
    if not len(crops):
        return
    spec = OnnxPoseModel(source, device="cpu", threads=1).crop
    names = [node.output[0] for node in body(model)]
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    seen.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(seen.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for picture in crops:
        values = session.run(names, {"image": crop.normalize(picture[None], spec)})
        yield max(float(np.abs(value).max()) for value in values)
