"""Files of networks that are stored by product quantization: those to run, and those within a compression's folder."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from headpose import coded
from headpose.coded import Codes
from headpose.errors import DataError, WeightsError
from headpose.files import write_bytes
from headpose.networks import checkpoint
from headpose.recipes import provenance

_PARTS = ("codebook", "indices", "signs", "mask")


def write(target: Path, onnx_file: Path, codes: Mapping[str, Codes]) -> None:
    """Write the .safetensors file that ``headpose.coded`` decodes to an ONNX file, atomically.

    Args:
        target: Path of the file to write.
        onnx_file: ONNX file of the network (``export_onnx``), whose weights are those of the codes.
        codes: Codes by name of the layer.

    Raises:
        WeightsError: The weights of a layer in the ONNX file are not those of its codes.
        HeadPoseError: The file cannot be written.
    """
    network, template, end, places = onnx_file.read_bytes(), b"", 0, []
    initializers = [
        value.name.removesuffix(".weight") for value in onnx.load_model_from_string(network).graph.initializer
    ]
    if lacking := codes.keys() - set(initializers):
        raise WeightsError(f"{onnx_file} has no layer {min(lacking)}: export the network that was quantized")
    for name in initializers:
        if name in codes:
            weights = codes[name].decode().astype("<f4").tobytes()
            start = network.find(weights, end)
            if start < 0:
                raise WeightsError(f"{onnx_file} has other weights in {name} than its codes: export that network")
            template += network[end:start]
            places.append((len(template), codes[name]))
            end = start + len(weights)
    about = {
        "version": coded.VERSION,
        "bytes": len(network),
        "sha256": hashlib.sha256(network).hexdigest(),
        "layers": [_entry(offset, each) for offset, each in places],
    }
    parts = {name: b"".join(_part(each, name) for _, each in places) for name in coded.KINDS}
    parts[coded.TEMPLATE] = template + network[end:]
    tensors = {name: _bytes(zlib.compress(data, 9)) for name, data in parts.items()}
    metadata = {coded.ENTRY: json.dumps(about, separators=(",", ":"))}
    metadata |= provenance.about_metadata(provenance.read_onnx(onnx_file))
    write_bytes(target, checkpoint.to_bytes(tensors, metadata))


def save_codes(path: Path, codes: Mapping[str, Codes]) -> None:
    """Write codes by name of the layer, atomically, for a compression that is resumed."""
    tensors = {
        f"{name}.{part}": torch.from_numpy(np.ascontiguousarray(value))
        for name, each in codes.items()
        for part in _PARTS
        if (value := getattr(each, part)) is not None
    }
    shapes = {name: list(each.shape) for name, each in codes.items()}
    write_bytes(path, checkpoint.to_bytes(tensors, {"shapes": json.dumps(shapes)}))


def load_codes(path: Path) -> dict[str, Codes]:
    """Read codes written by ``save_codes``.

    Raises:
        DataError: The file is missing or damaged.
    """
    try:
        with safe_open(path, framework="np") as file:
            shapes = json.loads(file.metadata()["shapes"])
            there = set(file.keys())

            def part(name: str, kind: str) -> NDArray[Any] | None:
                return file.get_tensor(f"{name}.{kind}") if f"{name}.{kind}" in there else None

            found = {}
            for name, shape in shapes.items():
                codebook, indices, signs, mask = (part(name, kind) for kind in _PARTS)
                assert codebook is not None and indices is not None
                found[name] = Codes(tuple(shape), codebook, indices, signs, mask)
        for each in found.values():
            each.decode()
    except Exception as error:  # safetensors, json and NumPy each raise their own kinds
        raise DataError(f"{path} is damaged: {error!r:.100}; delete its folder to make that part again") from error
    return found


def _entry(offset: int, codes: Codes) -> list[Any]:
    """Return the entry of a layer in the metadata, as ``headpose.coded`` describes it."""
    kept = -1 if codes.mask is None else int(codes.mask.sum())
    return [offset, list(codes.shape), *codes.codebook.shape, codes.signs is not None, kept]


def _part(codes: Codes, kind: str) -> bytes:
    if kind == "codebooks":
        return codes.codebook.astype("<f2").tobytes()
    if kind == "indices":
        return codes.indices.tobytes()
    bits = codes.signs if kind == "signs" else codes.mask
    return b"" if bits is None else np.packbits(bits).tobytes()


def _bytes(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())
