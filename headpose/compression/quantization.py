"""A float32 network in fewer bits, written only if it still gives the same rotations."""

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
"""Largest mean distance from float32, degrees.

Its price in accuracy grows with its square and falls with the network's own error: on compact (error 2.35) and two
networks half as well trained (3.98), int8's 0.23 to 0.42 cost 0.001 to 0.026, so 0.5 stays below 0.1. fp16 measures
0.004 to 0.006; three times as much is a defect.
"""
NOISE_LIMIT = 0.1
"""The same for fp16 on pictures of noise, which no network was trained on: there the same files measure 0.04."""


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
    """Writes the fp16 or int8 variant of a network if it passes the gate; otherwise nothing is left.

    Args:
        source: a float32 network of this package.
        target: the file.
        precision: a key of ``LIMITS``.
        held_out: crops on which the two are compared, (S, S, 3) uint8 BGR.
        calibration: crops of training faces, for int8.
        limit_degrees: of the mean distance; ``LIMITS`` has the usual ones.
        full_range, calibrated_on: see ``to_int8``.

    Raises:
        WeightsError: no such network, or its variant is too far from it.
        DataError: no crops where some are needed.
        HeadPoseError: the file cannot be written.
    """
    limit = LIMITS[precision] if limit_degrees is None else limit_degrees
    with atomic_path(target) as temporary:
        if precision == "fp16":
            to_fp16(source, temporary, held_out)
        else:
            to_int8(source, temporary, calibration, full_range=full_range, calibrated_on=calibrated_on)
        return check_parity(source, temporary, held_out, limit)
