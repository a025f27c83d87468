"""Plots of results as SVG, drawn with matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headpose.errors import HeadPoseError, install_advice
from headpose.evaluation.doubt import Doubt
from headpose.evaluation.published import Published
from headpose.report import labels
from headpose.report.document import Picture
from headpose.report.records import Results
from headpose.report.standing import Standing, standings

_OURS, _PEER, _PUBLISHED = "#0b5cad", "#c4571b", "#8a94a0"
_COLORS = {"ours": _OURS, "peer": _PEER, "file": _PEER, "published": _PUBLISHED}
_LEGEND = {"ours": "ours", "peer": "measured here", "published": "published"}
_LINES = ("#0b5cad", "#c4571b", "#2e8540", "#7b4fa3", "#b0891a", "#c2336b", "#4d6b74", "#111111")
_SIZE = (5.2, 4.0)  # inches: text of 9 points is legible when the plot fills the width of a phone
_FONT = 9


@dataclass(frozen=True, slots=True)
class Axis:
    """Axes of one plot of error over cost.

    Attributes:
        name: Part of the file name.
        x: Field of ``Standing`` on the x axis.
        x_label: Label of the x axis.
        y: Field of ``Standing`` on the y axis.
        y_label: Label of the y axis.
    """

    name: str
    x: str
    x_label: str
    y: str
    y_label: str


AXES = (
    Axis("size", "megabytes", "MB of the files", "mae", "Euler MAE, degrees"),
    Axis("time", "time", "time, one thread, network alone, over the reference's", "mae", "Euler MAE, degrees"),
    Axis("work", "macs", "multiply-accumulates of one face", "geodesic", "geodesic error, degrees"),
    Axis("robustness", "megabytes", "MB of the files", "corrupted", "Euler MAE on MB, LB and OC, degrees"),
)


def fronts(results: Results, published: Published) -> list[Picture]:
    """Plot the error over size, time and work, and over size on corrupted images.

    Plots with fewer than two networks are omitted.
    """
    pictures = []
    found = standings(results, published)
    for axis in AXES:
        points = [each for each in found if getattr(each, axis.x) is not None and getattr(each, axis.y) is not None]
        if len(points) > 1:
            pictures.append(_scatter(axis, points))
    return pictures


def curves(results: Results) -> list[Picture]:
    """Plot the geodesic error over yaw, one line for each network. Return no plot if no network has a curve."""
    drawn = [network for network in results.networks if network.curve]
    if not drawn:
        return []
    figure, axes = _figure()
    for number, network in enumerate(drawn):
        at = [(point.low + point.high) / 2 for point in network.curve]
        width = 2.4 if network.kind == "ours" else 1.3
        errors = [point.geodesic for point in network.curve]
        axes.plot(at, errors, "o-", color=_LINES[number % len(_LINES)], lw=width, ms=3, label=network.name)
    axes.set_xlabel("yaw of the label, degrees (above 0: the nose points to image left)", fontsize=_FONT)
    axes.set_ylabel("mean geodesic error, degrees", fontsize=_FONT)
    axes.set_xticks(range(-90, 91, 30))
    axes.set_ylim(0, None)
    axes.legend(fontsize=_FONT - 1, frameon=False, ncols=2, loc="upper center")
    return [_picture(figure, "error-over-yaw.svg", "Geodesic error over yaw, means of 10 degrees")]


def reliability(judged: Sequence[tuple[str, Doubt]]) -> Picture:
    """Plot the true over the predicted mean error, in parts of the faces ordered by their uncertainty.

    Points on the diagonal err as they predict, points above it by more. The band is a quarter to either side.

    Args:
        judged: Names of networks, at least one, and what ``doubt.judge`` says of each.
    """
    figure, axes = _figure()
    top = max(max(part.predicted, part.true) for _, each in judged for part in each.parts) * 1.08
    axes.fill_between([0, top], [0, 0.75 * top], [0, 1.25 * top], color="#8a94a0", alpha=0.2, lw=0, label="within 25 %")
    axes.plot([0, top], [0, top], color="#8a94a0", lw=1)
    for number, (name, each) in enumerate(judged):
        predicted, true = ([getattr(part, key) for part in each.parts] for key in ("predicted", "true"))
        label = name if each.auc is None else f"{name}, AUC {each.auc:.3f}"
        axes.plot(predicted, true, "o-", color=_LINES[number % len(_LINES)], lw=1.6, ms=4, label=label)
    axes.set_xlabel("predicted mean error, degrees", fontsize=_FONT)
    axes.set_ylabel("true mean geodesic error, degrees", fontsize=_FONT)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.legend(fontsize=_FONT - 1, frameon=False, loc="upper left")
    parts, n = len(judged[0][1].parts), judged[0][1].n
    alt = f"True over predicted mean error of {n:,} faces, in {parts} parts by uncertainty: the diagonal is right"
    return _picture(figure, "reliability.svg", alt)


def _scatter(axis: Axis, points: Sequence[Standing]) -> Picture:
    figure, axes = _figure()
    for kind, label in _LEGEND.items():
        chosen = [p for p in points if p.kind == kind or (kind, p.kind) == ("peer", "file")]
        if chosen:
            face = "none" if kind == "published" else _COLORS[kind]
            x, y = ([getattr(p, name) for p in chosen] for name in (axis.x, axis.y))
            axes.scatter(x, y, s=34, facecolors=face, edgecolors=_COLORS[kind], label=label, zorder=3)
    labels.logarithmic(axes, _FONT - 2)
    axes.set_xlabel(axis.x_label, fontsize=_FONT)
    axes.set_ylabel(axis.y_label, fontsize=_FONT)
    axes.margins(x=0.14, y=0.12)
    named = [labels.Point(getattr(p, axis.x), getattr(p, axis.y), p.name, _COLORS[p.kind]) for p in points]
    labels.name_points(figure, axes, named, _FONT - 1)
    axes.legend(fontsize=_FONT - 1, frameon=False, loc="upper right")  # down and to the left are the names
    alt = f"{axis.y_label} over {axis.x_label}: down and to the left is better"
    return _picture(figure, f"front-{axis.name}.svg", alt)


def _figure() -> tuple[Any, Any]:
    figure = _matplotlib().figure.Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.25, which="both")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=_FONT - 1)
    return figure, axes


def _picture(figure: Any, name: str, alt: str) -> Picture:
    data = io.BytesIO()
    # Text is kept as text, ids derive from the name, and the date is omitted: the same results give the same file.
    with _matplotlib().rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(data, format="svg", metadata={"Date": None})
    return Picture(name, alt, data.getvalue())


def _matplotlib() -> Any:
    try:
        import matplotlib.figure
    except ImportError:
        raise HeadPoseError(f"the report's plots need matplotlib: {install_advice('train')}") from None
    return matplotlib
