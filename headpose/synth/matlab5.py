"""Numeric arrays into MATLAB 5 files, as ``headpose.datasets.matlab5`` and MATLAB read them.

scipy's ``savemat`` stamps the time into its files, so that the same data make different bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

from headpose.geometry import Array

_HEADER = b"MATLAB 5.0 MAT-file, headpose synth".ljust(124)
_MATRIX, _INT8, _INT32, _UINT32, _DOUBLE = 14, 1, 5, 6, 9
_DOUBLE_CLASS = 6


def pack(arrays: Mapping[str, Array]) -> bytes:
    """The bytes of a file with two-dimensional float64 arrays by name; the same arrays give the same bytes."""
    elements = [_matrix(name, np.asarray(array, np.float64)) for name, array in arrays.items()]
    return b"".join([_HEADER, struct.pack("<H", 0x0100), b"IM", *elements])


def _matrix(name: str, array: Array) -> bytes:
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}: two dimensions are needed")
    content = b"".join(
        [
            _element(_UINT32, struct.pack("<II", _DOUBLE_CLASS, 0)),
            _element(_INT32, struct.pack("<ii", *array.shape)),
            _element(_INT8, name.encode("ascii")),
            _element(_DOUBLE, array.tobytes(order="F")),
        ]
    )
    return _element(_MATRIX, content)


def _element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)
