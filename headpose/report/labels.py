"""Labels of points in a plot, and legible ticks of a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Point:
    """A labeled point.

    Attributes:
        x: Position in data coordinates of the x axis.
        y: Position in data coordinates of the y axis.
        name: Label.
        color: Color of the label, as in matplotlib.
    """

    x: float
    y: float
    name: str
    color: str


def name_points(figure: Any, axes: Any, points: Sequence[Point], size: float) -> None:
    """Write the name of each point at the nearest position where it covers no other name and no point.

    The limits and scales of the axes must be final.

    Args:
        figure: Figure of matplotlib.
        axes: Axes of matplotlib.
        points: Points to label, which are already drawn.
        size: Font size in points of 1/72 inch.
    """
    figure.draw_without_rendering()
    unit = figure.dpi / 72.0
    frame = axes.get_window_extent()
    radius, gap, height = 4 * unit, 6 * unit, 1.15 * size * unit
    marks = [axes.transData.transform((point.x, point.y)) for point in points]
    taken = [(x - radius, y - radius, x + radius, y + radius) for x, y in marks]
    for point, (at_x, at_y) in sorted(zip(points, marks, strict=True), key=lambda each: each[0].y):
        width = 0.56 * size * len(point.name) * unit
        shifts = sorted((step * height / 2 for step in range(-12, 13)), key=abs)
        places = [(left, at_y - height / 2 + up) for up in shifts for left in (at_x + gap, at_x - gap - width)]
        inside = [(left, low) for left, low in places if frame.x0 < left and left + width < frame.x1]
        free = (
            place
            for place in inside
            if not any(_overlap((*place, place[0] + width, place[1] + height), t) for t in taken)
        )
        left, low = next(free, places[0])
        taken.append((left, low, left + width, low + height))
        axes.annotate(
            point.name,
            (point.x, point.y),
            xytext=((left - at_x) / unit, (low - at_y) / unit),
            textcoords="offset points",
            fontsize=size,
            color=point.color,
            arrowprops={"arrowstyle": "-", "color": "#c5ccd4", "lw": 0.6, "shrinkA": 0, "shrinkB": 3},
            zorder=2,
        )


def logarithmic(axes: Any, size: float) -> None:
    """Make the x axis logarithmic, with plain numbers at 1, 2 and 5 of each decade.

    Args:
        axes: Axes of matplotlib.
        size: Font size of the numbers at 2 and 5, in points.
    """
    import matplotlib.ticker

    axes.set_xscale("log")
    for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        ticks(_plain)
    axes.xaxis.set_minor_locator(matplotlib.ticker.LogLocator(subs=(2, 5)))
    axes.tick_params(axis="x", which="minor", labelsize=size)


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    """Return whether two rectangles (x0, y0, x1, y1) overlap."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _plain(value: float, _: object) -> str:
    for limit, sign in ((1e9, "G"), (1e6, "M")):
        if value >= limit:
            return f"{value / limit:g} {sign}"
    return f"{value:g}"
