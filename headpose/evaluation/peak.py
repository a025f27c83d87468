"""Measure the peak performance of the machine with a large matrix product in ONNX Runtime, fp32 and int8.

The ONNX model is serialized here, because the runtime does not depend on the onnx package. Field numbers are from
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headpose.inference import bounded_threads

SIDE = 512
"""Side of the square matrices: large enough to reach the peak, and small enough for the L2 cache with int8."""

GFLOP = 2e-9 * SIDE**3
"""Billions of operations of one product, two per multiply-accumulate."""

_FLOAT, _UINT8, _INT8, _INT32 = 1, 2, 3, 6  # TensorProto.DataType
_NUMPY = {_FLOAT: np.float32, _UINT8: np.uint8, _INT8: np.int8}
_PRODUCTS = {"fp32": ("MatMul", _FLOAT, _FLOAT, _FLOAT), "int8": ("MatMulInteger", _UINT8, _INT8, _INT32)}


def products(threads: int) -> dict[str, Callable[[], object]]:
    """Return functions that compute one product on the CPU in "fp32" and in "int8".

    Args:
        threads: Number of CPU threads; 0 uses ONNX Runtime's default.
    """
    return {arithmetic: _product(arithmetic, threads) for arithmetic in _PRODUCTS}


def _product(arithmetic: str, threads: int) -> Callable[[], object]:
    operator, left, right, out = _PRODUCTS[arithmetic]
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 100, (SIDE, SIDE)).astype(_NUMPY[kind]) for kind in (left, right))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = bounded_threads(threads)
    # The second factor is a constant, like weights, so ONNX Runtime packs it once.
    model = _model(operator, left, second, right, out)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"a": first})


def _model(operator: str, left: int, constant: NDArray[np.generic], right: int, out: int) -> bytes:
    """Serialize a ModelProto: y = operator(a, b) with a constant b."""
    dims = b"".join(_number(1, side) for side in constant.shape)
    initializer = dims + _number(2, right) + _bytes(8, b"b") + _bytes(9, constant.tobytes())
    node = _bytes(1, b"a") + _bytes(1, b"b") + _bytes(2, b"y") + _bytes(4, operator.encode())
    graph = _bytes(1, node) + _bytes(2, b"product") + _bytes(5, initializer)
    graph += _bytes(11, _value(b"a", left)) + _bytes(12, _value(b"y", out))
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _number(2, 17))


def _value(name: bytes, kind: int) -> bytes:
    """Serialize the ValueInfoProto of a square matrix."""
    shape = b"".join(_bytes(1, _number(1, SIDE)) for _ in range(2))
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, shape)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
