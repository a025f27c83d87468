"""INT8 networks, by ONNX Runtime's static quantiser.

Activations are uint8 and weights int8 (U8S8), one scale for each output channel. The average pool, the last
dense layer and the 6D -> rotation tail stay in float: they are a thousandth of the work, and their rounding is not
averaged out by anything after them.

Weights keep 7 bits unless asked otherwise. Without VNNI instructions x86 adds two products u8 * s8 in 16 bits,
which 255 * (127 + 127) overflows and 255 * (64 + 64) = 32640 does not: eight bits give other angles there, with no
error.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import quantization
from tqdm import tqdm

from headpose import crop
from headpose.compression.folding import body, read_folded, tail, write_variant
from headpose.errors import DataError
from headpose.inference import OnnxPoseModel
from headpose.recipes.provenance import Statement
from headpose.types import CropSpec, Image

_BODY = ["Conv", "Relu", "MaxPool", "Add", "Gemm"]
_CHUNK = 8  # pictures whose activations are held at once: 100 MB each for ResNet-50 at 224 pixels
_PERCENTILE = 99.999


def to_int8(
    source: Path,
    target: Path,
    crops: Sequence[Image],
    *,
    full_range: bool = False,
    calibrated_on: Statement | None = None,
) -> None:
    """Writes a network whose convolutions and hidden dense layers compute in 8 bits.

    The range of each activation is that of all but 1 in 100,000 of its values at either end: on held-out faces a
    little better on average than the extremes or ONNX Runtime's entropy, by less than 0.01 degrees.

    Args:
        source: a float32 network of this package.
        target: the file, written atomically. Its name is the source's with ``-int8``, its parent the source.
        crops: N of (S, S, 3) uint8 BGR of training faces; the same ones give the same bytes.
        full_range: weights of 8 bits rather than 7, for processors with VNNI or for ARM alone.
        calibrated_on: what is stated of these faces; None if they are those that the network was trained on.

    Raises:
        WeightsError: no such network.
        DataError: there are no crops, or some of another size.
    """
    model = read_folded(source)
    last = body(model)[-1]
    result = _quantise(
        model,
        source,
        crops,
        calibrate_method=quantization.CalibrationMethod.Percentile,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        reduce_range=not full_range,
        op_types_to_quantize=_BODY,
        nodes_to_exclude=[last.name, *(node.name for node in tail(model))],
        extra_options={"CalibPercentile": _PERCENTILE},
    )
    write_variant(result, source, "int8", target, calibrated_on)


def to_stock_int8(source: Path, target: Path, crops: Sequence[Image]) -> None:
    """Writes what the quantiser's own settings make of a network, for comparison (the paper's Table 5 has such a row).

    The whole graph, tail included, one scale for each tensor, signed activations, ranges from the extremes.
    The result may give matrices that are no rotations. Arguments and errors as for ``to_int8``.
    """
    read_folded(source)  # for its errors
    write_variant(_quantise(onnx.load(source), source, crops), source, "int8", target)


def _quantise(model: onnx.ModelProto, source: Path, crops: Sequence[Image], **settings: object) -> onnx.ModelProto:
    """Runs the quantiser, without its chatter, in a folder of its own."""
    spec = OnnxPoseModel(source, device="cpu", threads=1).crop
    if not len(crops) or any(picture.shape != (spec.size, spec.size, 3) for picture in crops):
        raise DataError(f"{source} is calibrated on faces cut to {spec.size} x {spec.size} pixels: give one at least")
    options = {**settings.pop("extra_options", {}), "CalibStridedMinMax": 1}  # type: ignore[dict-item]
    with tempfile.TemporaryDirectory() as folder, _silence():
        file, result = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, file)
        quantization.quantize_static(file, result, _Chunks(crops, spec), extra_options=options, **settings)
        return onnx.load(result)


class _Chunks(quantization.CalibrationDataReader):  # type: ignore[misc] # the quantiser's own interface
    """Hands out normalised crops, a chunk at a time."""

    def __init__(self, crops: Sequence[Image], spec: CropSpec) -> None:
        self._parts = [crops[start : start + _CHUNK] for start in range(0, len(crops), _CHUNK)]
        self._spec = spec
        self._progress = tqdm(total=len(self._parts), desc="calibration", unit="batch", leave=False, disable=None)
        self.set_range(0, len(self._parts))

    def __len__(self) -> int:
        return len(self._parts)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = self._parts[start_index:end_index]

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        if not self._left:
            return None
        part, *self._left = self._left
        self._progress.update()
        return {"image": crop.normalise(np.stack(part), self._spec)}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The quantiser prints each step and warns on the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
