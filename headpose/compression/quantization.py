"""Quantization of a float32 network, with a check that the rotations stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headpose.compression.fp16 import to_fp16
from headpose.compression.int8 import to_int8
from headpose.compression.parity import Parity, check_parity
from headpose.files import atomic_path
from headpose.recipes.provenance import Statement
from headpose.types import Image

LIMITS = {"fp16": 0.02, "int8": 0.5}
"""Maximum mean distance from float32 in degrees.

The loss of accuracy grows with the square of the distance and falls with the error of the network. On compact (error
2.35) and two less trained networks (3.98), distances of 0.23 to 0.42 for int8 cost 0.001 to 0.026, so 0.5 costs less
than 0.1. For fp16 the distance is 0.004 to 0.006; three times as much indicates a defect.
"""
NOISE_LIMIT = 0.1
"""Maximum for fp16 on noise images, which no network was trained on: the same networks have distances of 0.04 there."""


def quantize(
    source: Path,
    target: Path,
    precision: str,
    held_out: Sequence[Image],
    calibration: Sequence[Image] = (),
    *,
    limit_degrees: float | None = None,
    full_range: bool = False,
    calibrated_on: Statement | None = None,
) -> Parity:
    """Write the fp16 or int8 variant of a network, only if its rotations are within the limit.

    Args:
        source: Float32 network of this package.
        target: Path of the file to write.
        precision: ``fp16`` or ``int8``.
        held_out: N held-out crops for the comparison, (S, S, 3) uint8 BGR, N at least 1.
        calibration: Crops of training faces, (S, S, 3) uint8 BGR; only used for int8.
        limit_degrees: Maximum mean distance in degrees; None for the value in ``LIMITS``.
        full_range: Whether int8 weights have 8 bits instead of 7, as in ``to_int8``.
        calibrated_on: License statement of the calibration faces, as in ``to_int8``.

    Returns:
        The distances between the two networks.

    Raises:
        WeightsError: The source is not a float32 network of this package, or its variant differs too much.
        DataError: There are no held-out crops, or no calibration crops for int8.
        HeadPoseError: The file cannot be written.
    """
    limit = LIMITS[precision] if limit_degrees is None else limit_degrees
    with atomic_path(target) as temporary:
        if precision == "fp16":
            to_fp16(source, temporary, held_out)
        else:
            to_int8(source, temporary, calibration, full_range=full_range, calibrated_on=calibrated_on)
        return check_parity(source, temporary, held_out, limit)
