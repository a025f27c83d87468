"""Reader and writer of numeric arrays in MATLAB 5 files, the .mat files of 300W-LP and AFLW2000-3D.

This module replaces ``scipy.io``: ``loadmat`` (1.17.1) crashes the process with a segmentation fault on some damaged
files, ``savemat`` writes the time into its files, so that the same data give different bytes, and nothing else here
needs scipy. The format is level 5 of "MAT-File Format" by MathWorks. Level 4 and 7.3 (HDF5) are rejected.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from headpose.geometry import Array

_HEADER = 128
LARGEST = 1 << 25
"""Maximum number of bytes of a file, of its decompressed content, and of its arrays. A label has thousands."""
_MATRIX, _COMPRESSED = 14, 15
_INT8, _INT32, _UINT32, _DOUBLE = 1, 5, 6, 9
_DOUBLE_CLASS = 6
_WRITTEN_HEADER = b"MATLAB 5.0 MAT-file, headpose synth".ljust(124)
_DTYPE = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)  # mxDOUBLE_CLASS to mxUINT64_CLASS
_COMPLEX = 0x0800
_TOO_LARGE = f"too large for a label: more than {LARGEST >> 20} MB"

Element = tuple[int, bytes]
"""Data element: type and content."""


def read_file(path: Path) -> dict[str, Array]:
    """Read the real numeric arrays of a file. At most ``LARGEST`` bytes are loaded.

    Args:
        path: Path of the file.

    Returns:
        The arrays by name (see ``read``).

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not a MATLAB 5 file, is damaged, or is larger than ``LARGEST``.
    """
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    return read(data)


def read(data: bytes) -> dict[str, Array]:
    """Read the real numeric arrays of a file. Other content is ignored.

    Args:
        data: Content of the file.

    Returns:
        The arrays by name: float64, two or more dimensions.

    Raises:
        ValueError: The data are not a MATLAB 5 file, are damaged, or are larger than ``LARGEST``.
    """
    if len(data) > LARGEST:
        raise ValueError(_TOO_LARGE)
    order = {b"IM": "<", b"MI": ">"}.get(data[126:_HEADER])
    if order is None or struct.unpack_from(order + "H", data, 124)[0] != 0x0100:
        raise ValueError("no MATLAB 5 header")
    arrays: dict[str, Array] = {}
    inflated = unpacked = 0
    for kind, content in _elements(data[_HEADER:], order):
        if kind == _COMPRESSED:
            content = _inflated(content, LARGEST - inflated)
            inflated += len(content)
            ((kind, content),) = _elements(content, order)
        if kind == _MATRIX:
            named = _named_array(content, order, LARGEST - unpacked)
            unpacked += sum(array.nbytes for array in named.values())
            arrays.update(named)
    return arrays


def pack(arrays: Mapping[str, Array]) -> bytes:
    """Return the content of a MATLAB 5 file. The same arrays give the same bytes.

    Args:
        arrays: Arrays by name: two dimensions, written as float64. The names are ASCII.

    Raises:
        ValueError: An array does not have two dimensions.
    """
    elements = [_matrix(name, np.asarray(array, np.float64)) for name, array in arrays.items()]
    return b"".join([_WRITTEN_HEADER, struct.pack("<H", 0x0100), b"IM", *elements])


def _elements(data: bytes, order: str) -> Iterator[Element]:
    """Yield the elements of a sequence: each has a tag of type and size, the content, and padding to 8 bytes."""
    position = 0
    while position < len(data):
        if position + 8 > len(data):
            raise ValueError("truncated in a tag")
        kind, size = struct.unpack_from(order + "II", data, position)
        start = position + 8
        if kind >> 16:  # a small element: one word for size and type, the next one for the content
            kind, size, start = kind & 0xFFFF, kind >> 16, position + 4
        if start + size > len(data) or (start == position + 4 and size > 4):
            raise ValueError("truncated in an element")
        yield kind, data[start : start + size]
        padded = size if kind == _COMPRESSED else -(-size // 8) * 8
        position = position + 8 if start == position + 4 else start + padded


def _inflated(data: bytes, largest: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(data, largest + 1)
    except zlib.error as error:
        raise ValueError(f"compressed data are damaged ({error})") from error
    if len(content) > largest:
        raise ValueError(_TOO_LARGE)
    if not inflater.eof:
        raise ValueError("compressed data are truncated")
    return content


def _named_array(data: bytes, order: str, largest: int) -> dict[str, Array]:
    """Return {name: array} of a matrix element, or {} if it is not real and numeric.

    Raises:
        ValueError: The element is damaged, or the array is larger than ``largest`` bytes.
    """
    elements = _elements(data, order)
    flags, dimensions, name, values = (next(elements, (0, b"")) for _ in range(4))
    if flags[0] != _UINT32 or len(flags[1]) != 8:
        raise ValueError("an array without flags")
    (word,) = struct.unpack_from(order + "I", flags[1])
    if word & 0xFF not in _NUMERIC_CLASSES or word & _COMPLEX:
        return {}
    if dimensions[0] != _INT32 or name[0] != _INT8 or values[0] not in _DTYPE:
        raise ValueError("an array without dimensions, name or values")
    shape = np.frombuffer(dimensions[1], order + "i4").tolist()
    stored = np.frombuffer(values[1], order + _DTYPE[values[0]])
    if 8 * stored.size > largest:
        raise ValueError(_TOO_LARGE)
    flat = stored.astype(np.float64)
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"an array of shape {shape}")
    return {name[1].decode("latin-1"): flat.reshape(shape, order="F")}


def _matrix(name: str, array: Array) -> bytes:
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}, it must have two dimensions")
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
