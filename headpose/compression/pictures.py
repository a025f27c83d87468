"""Pictures of a compression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headpose.compression.steps import Step
from headpose.files import atomic_path


def draw_layers(steps: Sequence[Step], path: Path) -> None:
    """Writes how much of each layer is left after each step (after Aghli & Ribeiro, Figure 2)."""
    plt = _pyplot()
    names = [name for name in steps[0].widths if any(name in step.removed for step in steps)]
    left = np.array([[step.widths[name] / steps[0].widths[name] for step in steps] for name in names])
    figure, axis = plt.subplots(figsize=(2.5 + 0.42 * len(steps), 1.5 + 0.22 * len(names)))
    picture = axis.imshow(left, aspect="auto", cmap="viridis", vmin=0, vmax=1)
    axis.set_yticks(range(len(names)), [f"{name} ({steps[0].widths[name]})" for name in names], fontsize=7)
    axis.set_xticks(range(len(steps)), [str(step.number) for step in steps], fontsize=7)
    axis.set_xlabel("step")
    figure.colorbar(picture, ax=axis, label="share of channels left")
    _save(figure, path)


def draw_pareto(points: Sequence[tuple[str, float, float, float]], unit: str, path: Path) -> None:
    """Writes error over size and, where it was timed, over latency.

    Args:
        points: (name, megabytes, milliseconds or NaN, error) of each network.
        unit: of the error.
        path: of the picture.
    """
    plt = _pyplot()
    columns = [(1, "MB"), (2, "ms, one thread")]
    columns = [(column, label) for column, label in columns if any(np.isfinite(point[column]) for point in points)]
    figure, axes = plt.subplots(1, len(columns), figsize=(6 * len(columns), 4.5), sharey=True, squeeze=False)
    for axis, (column, label) in zip(axes[0], columns, strict=True):
        for name, *values in points:
            x, y = values[column - 1], values[2]
            axis.plot(x, y, "o")
            axis.annotate(name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
        axis.set_xscale("log")
        for ticks in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
            ticks("{x:g}")
        axis.tick_params(axis="x", which="both", labelsize=7)
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
        axis.margins(x=0.2, y=0.15)
    axes[0][0].set_ylabel(f"held-out error, {unit}")
    _save(figure, path)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    _pyplot().close(figure)
