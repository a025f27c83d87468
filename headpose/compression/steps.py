"""The record of one step of pruning: what is left of a run when its networks are gone."""

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
    """What one step did, as its folder's ``step.json`` keeps it.

    Attributes:
        number: from 1 on; 0 is the baseline.
        kept: channels that are left, by group, in the baseline's numbers.
        removed: channels that went in this step, by group, and how important each was.
        cut_error: held-out error after the cut and new BatchNorm statistics, before fine-tuning.
        figures: held-out errors after fine-tuning; the first is what counts.
        parameters, macs, bytes: of the network.
        latency_ms: through ONNX Runtime, one thread; NaN if it was not asked for.
        accepted: whether the error was within the tolerance.
        reached: the target that ends the pruning, or "".
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
        """``kept`` as indices."""
        return {name: torch.tensor(numbers) for name, numbers in self.kept.items()}


def read_step(file: Path) -> Step:
    """A step from its file.

    Raises:
        DataError: it is damaged.
    """
    try:
        step: Step = TypeAdapter(Step).validate_python(read_json(file))
        if not step.figures or any(kept != sorted({*kept}) or min(kept, default=-1) < 0 for kept in step.kept.values()):
            raise ValueError("channels that are kept are numbers from 0 on, each once, in order")
    except ValueError as error:  # of pydantic, too
        told = " ".join(str(error).split())
        raise DataError(f"{file} is damaged: {told:.200}; delete its folder to make that step again") from error
    return step


def read_json(file: Path) -> dict[str, Any]:
    """The object in a file that this package wrote; DataError if it is damaged."""
    try:
        values = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} is damaged: {error}; delete it to make it again") from error
    if not isinstance(values, dict):
        raise DataError(f"{file} is damaged: an object is wanted; delete it to make it again")
    return values
