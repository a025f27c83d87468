"""FP16 networks: half of the bytes, and the precision that a Jetson's TensorRT takes.

Two converters exist. A test compares their weights with those that are written here.

* onnxconverter-common 1.16, given the nodes of the tail to leave in float32, rounds each value between two of them to
  float16: 24 casts instead of 2, 17 KB more in the student, and no smaller distance from float32. It also moves weights
  below 1e-7 to 1e-7, and is one more package.
* ``onnxruntime.transformers.float16`` (1.31) gives the same weights and outputs as this module if it is given the body
  alone. Its nodes are unsorted then, which onnx's checker refuses, and the tail has to be put back: taking the network
  apart and together is as long as the conversion below.
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
    """Writes a network whose weights and body are float16; ``image``, the tail and ``rotation`` stay float32.

    ONNX Runtime computes it on a processor too, by way of float32.

    Args:
        source: a float32 network of this package.
        target: the file, written atomically. Its name is the source's with ``-fp16``, its parent the source.
        crops: N of (S, S, 3) uint8 BGR on which no value of the body may exceed float16's range: a processor
            computes in float32 and would not show it.

    Raises:
        WeightsError: no such network, or a weight or a value is beyond ``LARGEST``.
    """
    model = read_folded(source)
    largest = max(_largest_weight(model), *_largest_values(model, source, crops), 0.0)
    if not largest < LARGEST:
        raise WeightsError(f"{source} has values up to {largest:.3g}, fp16 ends at {LARGEST:.0f}: keep it in fp32")
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
    """The largest absolute value inside the body, picture by picture."""
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
        values = session.run(names, {"image": crop.normalise(picture[None], spec)})
        yield max(float(np.abs(value).max()) for value in values)
