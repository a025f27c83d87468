"""Networks stored by product quantization: a .safetensors file that decodes to an ONNX file, bit for bit.

The weights of a layer are cut into vectors, and each vector is the number of a codeword of the layer's codebook (Jegou
et al., TPAMI 2011; Zeng et al., Cognitive Computation 2018). ``headpose.compression`` writes such files; this module
reads them with NumPy and the standard library alone.

The file has five tensors of bytes, each compressed by zlib, whose Huffman codes also pack indices of less than 8 bits:

* ``codebooks``: the codebooks of all layers, little-endian float16;
* ``indices``: the codeword of each vector, one byte each;
* ``signs``: one bit for each stored weight of a layer whose codewords are absolute values; 1 is negative;
* ``masks``: one bit for each connection of a layer that lost some; 1 is kept. (With half of the kernels removed, masks
  and indices take 54 KB for student's 3x3 layers; indices with one for zero vectors would take 61 KB.)
* ``template``: the bytes of the ONNX file without the weights of these layers.

The layers are in their order in the template; the bits of each start at a new byte.

The metadata entry ``headpose.coded`` is a JSON object: ``version``, the ``bytes`` and the ``sha256`` of the ONNX file,
and ``layers``, in the order of the template. A layer is a list: where its weights belong in the template, shape,
codewords, length of a codeword, whether its signs are apart, number of connections kept (-1: all, without a mask).

The reader of the container is written here: safetensors is a package of the training extra, and a header of JSON before
plain bytes needs no library.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headpose.errors import WeightsError

VERSION = 1
ENTRY = "headpose.coded"
SUFFIX = ".safetensors"
KINDS = ("codebooks", "indices", "signs", "masks")
TEMPLATE = "template"
MOST_CODEWORDS = 256
_MOST_BYTES = 2**29  # of the ONNX file: a damaged or hostile file must not fill the memory
_HEADER_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class Codes:
    """Weights of one layer as codewords.

    A connection joins an input and an output of the layer: one kernel of a convolution, one weight of a dense layer.

    Attributes:
        shape: Shape of the weights: (outputs, inputs, height, width) or (outputs, inputs).
        codebook: (K, L) float16 codewords, K at most 256; not negative if ``signs`` are apart.
        indices: (V,) uint8 codeword of each vector: the stored weights in C order, the last vector padded.
        signs: (n,) bool for each stored weight, True is negative; None if the codewords have signs.
        mask: (outputs * inputs,) bool, True for connections that are stored, the others are zero; None for all.
    """

    shape: tuple[int, ...]
    codebook: NDArray[np.float16]
    indices: NDArray[np.uint8]
    signs: NDArray[np.bool_] | None = None
    mask: NDArray[np.bool_] | None = None

    @property
    def taps(self) -> int:
        """Number of weights of one connection."""
        return math.prod(self.shape[2:])

    @property
    def stored(self) -> int:
        """Number of stored weights."""
        connections = math.prod(self.shape[:2]) if self.mask is None else int(self.mask.sum())
        return connections * self.taps

    def decode(self) -> NDArray[np.float32]:
        """Return the weights, the same bits on every machine: codewords are converted, not computed."""
        values = self.codebook.astype(np.float32)[self.indices].reshape(-1)[: self.stored]
        if self.signs is not None:
            values = np.where(self.signs, -values, values)
        if self.mask is not None:
            weights = np.zeros((len(self.mask), self.taps), np.float32)
            weights[self.mask] = values.reshape(-1, self.taps)
            values = weights
        return values.reshape(self.shape)


def is_coded(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a network stored by product quantization; False if it cannot be read."""
    if Path(path).suffix.lower() != SUFFIX:
        return False
    try:
        with Path(path).open("rb") as file:
            length = file.read(8)
            header = _header(length + file.read(min(_HEADER_BYTES, int.from_bytes(length, "little"))))[0]
    except (OSError, ValueError):
        return False
    return ENTRY in header.get("__metadata__", {})


def openable(path: str | os.PathLike[str]) -> str | bytes:
    """Return what ONNX Runtime opens: the path of an .onnx file, or the bytes that a file of this module decodes to.

    Raises:
        WeightsError: As ``read_onnx``, for a .safetensors file.
    """
    return read_onnx(path) if Path(path).suffix.lower() == SUFFIX else str(path)


def read_onnx(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of the ONNX file: those of the file itself, or those that it decodes to.

    Args:
        path: Path of an .onnx file, or of a .safetensors file of this module.

    Raises:
        WeightsError: The file cannot be read, is damaged, is no such file, or is of a later version.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read the model file {path}: {error.strerror}") from None
    if Path(path).suffix.lower() != SUFFIX:
        return data
    try:
        return _decode(data)
    except _UnfitError as error:
        raise WeightsError(f"{path} {error}") from None
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError, zlib.error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path} is damaged: {reason:.200}; get or write it again") from None


class _UnfitError(Exception):
    """The file is in order, but not for this reader."""


def _decode(data: bytes) -> bytes:
    header, body = _header(data)
    about = header.get("__metadata__", {})
    if ENTRY not in about:
        raise _UnfitError(
            "is not a network to run: give an .onnx file, or one that headpose compress stored as codewords"
        )
    layout = json.loads(about[ENTRY])
    if layout["version"] != VERSION:
        raise _UnfitError(f"has version {layout['version']!r:.20}, this headpose reads {VERSION}: update headpose")
    size = layout["bytes"]
    if not isinstance(size, int) or not 0 <= size <= _MOST_BYTES:
        raise ValueError(f"it claims {size!r:.20} bytes")
    parts = {name: _tensor(header, body, name) for name in (*KINDS, TEMPLATE)}
    layers = [_Layer.of(values) for values in layout["layers"]]
    weights = 4 * sum(math.prod(layer.shape) for layer in layers)
    template = _inflated(parts[TEMPLATE], size - weights)
    result = _spliced(template, [layer.offset for layer in layers], [codes.decode() for codes in _codes(parts, layers)])
    if hashlib.sha256(result).hexdigest() != layout["sha256"]:
        raise ValueError("the weights have another SHA-256")
    return result


def _header(data: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return the header of a .safetensors file, and the bytes after it."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_HEADER_BYTES, len(data) - 8):
        raise ValueError("it has no safetensors header")
    try:
        header = json.loads(data[8 : 8 + length])
    except RecursionError as error:
        raise ValueError("its header is nested too deeply") from error
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise ValueError("its header is not a JSON object")
    return header, memoryview(data)[8 + length :]


def _tensor(header: dict[str, Any], body: memoryview, name: str) -> memoryview:
    entry = header[name]
    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= len(body):
        raise ValueError(f"{name} is cut off")
    return body[start:end]


@dataclass(frozen=True, slots=True)
class _Layer:
    """Entry of a layer in the metadata."""

    offset: int
    shape: tuple[int, ...]
    codewords: int
    length: int
    apart: bool
    kept: int

    @classmethod
    def of(cls, values: Any) -> _Layer:
        offset, shape, codewords, length, apart, kept = values
        numbers = (offset, *shape, codewords, length, kept + 1)
        if not all(isinstance(number, int) and number >= 0 for number in numbers) or len(shape) not in (2, 4):
            raise ValueError(f"a layer is {values!r:.60}")
        if not 1 <= codewords <= MOST_CODEWORDS or length < 1 or math.prod(shape) > _MOST_BYTES:
            raise ValueError(f"a layer is {values!r:.60}")
        return cls(offset, tuple(shape), codewords, length, bool(apart), kept)

    @property
    def connections(self) -> int:
        return math.prod(self.shape[:2])

    @property
    def stored(self) -> int:
        kept = self.connections if self.kept < 0 else self.kept
        return kept * math.prod(self.shape[2:])

    @property
    def vectors(self) -> int:
        return -(-self.stored // self.length)

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of the layer in each tensor of ``KINDS``."""
        signs = -(-self.stored // 8) if self.apart else 0
        masks = -(-self.connections // 8) if self.kept >= 0 else 0
        return dict(zip(KINDS, (2 * self.codewords * self.length, self.vectors, signs, masks), strict=True))


def _codes(parts: dict[str, memoryview], layers: Sequence[_Layer]) -> list[Codes]:
    """Cut the tensors of the file into those of the layers."""
    sizes = [layer.sizes for layer in layers]
    pieces = {name: _cut(parts[name], [each[name] for each in sizes]) for name in KINDS}
    found = []
    for number, layer in enumerate(layers):
        books, indices, signs, masks = (np.frombuffer(pieces[name][number], np.uint8) for name in KINDS)
        if layer.vectors and indices.max() >= layer.codewords:
            raise ValueError("an index has no codeword")
        mask = _bits(masks, layer.connections) if layer.kept >= 0 else None
        if mask is not None and int(mask.sum()) != layer.kept:
            raise ValueError("a mask does not fit its layer")
        codebook = books.view("<f2").reshape(layer.codewords, layer.length)
        found.append(Codes(layer.shape, codebook, indices, _bits(signs, layer.stored) if layer.apart else None, mask))
    return found


def _cut(packed: memoryview, sizes: Sequence[int]) -> list[bytes]:
    data = _inflated(packed, sum(sizes))
    ends = list(itertools.accumulate(sizes, initial=0))
    return [data[start:end] for start, end in itertools.pairwise(ends)]


def _bits(packed: NDArray[np.uint8], count: int) -> NDArray[np.bool_]:
    return np.unpackbits(packed, count=count).astype(bool)


def _inflated(packed: memoryview, size: int) -> bytes:
    """Decompress exactly ``size`` bytes, without producing more."""
    if size < 0:
        raise ValueError("its layers are larger than the network")
    stream = zlib.decompressobj()
    data = stream.decompress(packed, size + 1)
    if len(data) != size or not stream.eof:
        raise ValueError("a part has another size than its header says")
    return data


def _spliced(template: bytes, offsets: Sequence[int], weights: Sequence[NDArray[np.float32]]) -> bytes:
    """Insert the weights of each layer into the template at its offset."""
    ends = [0, *offsets, len(template)]
    if ends != sorted(ends):
        raise ValueError("its layers are out of order")
    pieces = [template[: ends[1]]]
    for number, values in enumerate(weights, start=1):
        pieces += [values.astype("<f4").tobytes(), template[ends[number] : ends[number + 1]]]
    return b"".join(pieces)
