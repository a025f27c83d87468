"""Plots of a compression, as PNG images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from headpose.compression.steps import Step
from headpose.report.document import Picture
from headpose.report.labels import Point, logarithmic, name_points


def draw_layers(steps: Sequence[Step]) -> Picture:
    """Draw the share of channels left in each layer after each step (after Aghli & Ribeiro, Figure 2)."""
    plt = _pyplot()
    names = [name for name in steps[0].widths if any(name in step.removed for step in steps)]
    left = np.array([[step.widths[name] / steps[0].widths[name] for step in steps] for name in names])
    figure, axis = plt.subplots(figsize=(2.5 + 0.42 * len(steps), 1.5 + 0.22 * len(names)), layout="constrained")
    picture = axis.imshow(left, aspect="auto", cmap="viridis", vmin=0, vmax=1)
    axis.set_yticks(range(len(names)), [f"{name} ({steps[0].widths[name]})" for name in names], fontsize=7)
    axis.set_xticks(range(len(steps)), [str(step.number) for step in steps], fontsize=7)
    axis.set_xlabel("step")
    figure.colorbar(picture, ax=axis, label="share of channels left")
    return _picture(figure, "layers.png", "channels left in each layer")


def draw_pareto(points: Sequence[tuple[str, float, float, float]], unit: str) -> Picture:
    """Draw the error over size and, if any network was timed, over latency.

    Args:
        points: (name, megabytes, milliseconds or NaN, error) of each network.
        unit: Unit of the error.
    """
    plt = _pyplot()
    columns = [(1, "MB"), (2, "ms, one thread")]
    columns = [(column, label) for column, label in columns if any(np.isfinite(point[column]) for point in points)]
    size = (6 * len(columns), 4.5)
    figure, axes = plt.subplots(1, len(columns), figsize=size, sharey=True, squeeze=False, layout="constrained")
    named = []
    colors = [f"C{number % 10}" for number in range(len(points))]
    for axis, (column, label) in zip(axes[0], columns, strict=True):
        drawn = [
            Point(values[column - 1], values[2], name, color)
            for (name, *values), color in zip(points, colors, strict=True)
            if np.isfinite(values[column - 1])
        ]
        axis.scatter([p.x for p in drawn], [p.y for p in drawn], c=[p.color for p in drawn], zorder=3)
        logarithmic(axis, size=7)
        axis.set_xlabel(label)
        axis.grid(alpha=0.3, which="both")
        axis.margins(x=0.2, y=0.15)
        named.append((axis, drawn))
    axes[0][0].set_ylabel(f"held-out error, {unit}")
    for axis, drawn in named:  # only now, as the positions need the final limits of the shared y axis
        name_points(figure, axis, drawn, size=8)
    return _picture(figure, "pareto.png", "error over size and time")


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _picture(figure: Any, name: str, alt: str) -> Picture:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    _pyplot().close(figure)
    return Picture(name, alt, data.getvalue())
