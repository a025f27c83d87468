"""Record of one pruning step, which remains readable after its network has been deleted."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from headpose.errors import DataError


@dataclass(frozen=True, slots=True)
class Step:
    """Result of one pruning step, stored in ``step.json`` of its folder.

    Attributes:
        number: Number of the step, from 1; 0 is the baseline.
        kept: Indices in the baseline of the remaining channels, by group.
        removed: Importance of the channels removed in this step, by group and index in the baseline.
        cut_error: Held-out error after pruning and recalibration of BatchNorm, before fine-tuning.
        figures: Held-out errors after fine-tuning by name; the first one decides.
        parameters: Number of trained values.
        macs: Number of multiply-accumulates of one forward pass.
        bytes: Size of the stored weights in bytes.
        latency_ms: Median time of one image with ONNX Runtime on one thread in milliseconds; NaN if not measured.
        accepted: Whether the error is within the tolerance.
        reached: Name of the target that ends the pruning; empty if none is reached.
    """

    number: int
    kept: dict[str, list[int]]
    removed: dict[str, dict[int, float]]
    cut_error: float
    figures: dict[str, float]
    parameters: int
    macs: int
    bytes: int
    latency_ms: float = math.nan
    accepted: bool = True
    reached: str = ""

    @property
    def error(self) -> float:
        return next(iter(self.figures.values()))

    @property
    def widths(self) -> dict[str, int]:
        return {name: len(numbers) for name, numbers in self.kept.items()}

    @property
    def keep(self) -> dict[str, Tensor]:
        """``kept`` as int64 tensors."""
        return {name: torch.tensor(numbers) for name, numbers in self.kept.items()}


def read_step(file: Path) -> Step:
    """Read a step from its file.

    Raises:
        DataError: The file is damaged.
    """
    try:
        step: Step = TypeAdapter(Step).validate_python(read_json(file))
        if not step.figures or any(kept != sorted({*kept}) or min(kept, default=-1) < 0 for kept in step.kept.values()):
            raise ValueError("kept channels must be numbers from 0, sorted, each once")
    except ValueError as error:  # pydantic's ValidationError is a ValueError
        reason = " ".join(str(error).split())
        raise DataError(f"{file} is damaged: {reason:.200}; delete its folder to make that step again") from error
    return step


def read_json(file: Path) -> dict[str, Any]:
    """Read the JSON object in a file written by this package.

    Raises:
        DataError: The file is damaged.
    """
    try:
        values = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} is damaged: {error}; delete it to make it again") from error
    if not isinstance(values, dict):
        raise DataError(f"{file} is damaged: it is not a JSON object; delete it to make it again")
    return values
