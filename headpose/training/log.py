"""Training log as CSV with one row per validation, and its plot."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path

from headpose.errors import DataError
from headpose.files import atomic_path, write_text

FILE = "log.csv"
"""File name of the log in the folder of a run."""

OTHER_UNITS = ("region_iou", "nll", "face_accuracy", "face_auc", "failures")
"""Figures in other units: ``validation.OutputValidator`` and ``evaluation.landmarks`` explain them."""

_FIRST = ("step", "images", "rate", "loss")


@dataclass(frozen=True, slots=True)
class Row:
    """One validation.

    Attributes:
        step: Number of training steps so far.
        images: Number of training images so far.
        rate: Learning rate.
        loss: Mean training loss since the previous row.
        figures: Errors on the held-out data by name, as in ``Score.figures``.
    """

    step: int
    images: int
    rate: float
    loss: float
    figures: dict[str, float]

    @property
    def error(self) -> float:
        """Error used for model selection: the first figure."""
        return next(iter(self.figures.values()))


class Log:
    """Log that is rewritten atomically for each new row.

    Attributes:
        rows: All rows.
    """

    def __init__(self, path: Path, keep_below: int = 0) -> None:
        """Open a log.

        Args:
            path: CSV file.
            keep_below: Step of the checkpoint that the run resumes from. Later rows are dropped. 0 starts a new log.
        """
        self._path = path
        kept = read(path) if keep_below and os.path.lexists(path) else []
        self.rows = [row for row in kept if row.step <= keep_below]

    def add(self, row: Row) -> None:
        """Append a row and write the file."""
        self.rows.append(row)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*_FIRST, *row.figures])
        for each in self.rows:
            values = (each.step, each.images, each.rate, each.loss, *each.figures.values())
            writer.writerow(f"{v:.8g}" if isinstance(v, float) else v for v in values)
        write_text(self._path, text.getvalue())


def read(path: Path) -> list[Row]:
    """Read the rows of a log file.

    Raises:
        DataError: The file cannot be read or is damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            if tuple(header[: len(_FIRST)]) != _FIRST or len(set(header)) != len(header) or len(header) == len(_FIRST):
                raise ValueError(f"its columns are {','.join(header)[:80]!r}")
            return [_row(header, row) for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"cannot read the log {path}: {error}; mend it, or delete it: a run goes on without its earlier rows"
        ) from error


def _row(header: list[str], row: list[str]) -> Row:
    if len(row) != len(header):
        raise ValueError(f"a row has {len(row)} values, {len(header)} are needed")
    step, images, rate, loss, *figures = row
    return Row(
        int(step), int(images), float(rate), float(loss), dict(zip(header[4:], map(float, figures), strict=True))
    )


def draw_curves(rows: list[Row], path: Path, title: str, unit: str) -> None:
    """Plot validation errors, training loss and learning rate over the number of training images.

    Figures of the optional outputs, which have other units, are in the log only.

    Args:
        rows: Rows of a log, at least one.
        path: Image file to write.
        title: Title of the figure.
        unit: Unit of the errors.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    images = [row.images / 1000 for row in rows]
    figure, (errors, losses, rates) = pyplot.subplots(3, 1, figsize=(8, 9), sharex=True, height_ratios=(3, 2, 1))
    for number, name in enumerate(name for name in rows[0].figures if name not in OTHER_UNITS):
        width = 2.0 if number == 0 else 1.0
        errors.plot(images, [row.figures[name] for row in rows], "o-", markersize=3, linewidth=width, label=name)
    errors.set_ylabel(f"validation, {unit}")
    errors.set_ylim(0, None)
    errors.legend()
    losses.plot(images, [row.loss for row in rows], "o-", markersize=3, color="tab:gray")
    losses.set_ylabel("training loss")
    rates.plot(images, [row.rate for row in rows], color="tab:brown")
    rates.set_ylabel("learning rate")
    rates.set_xlabel("thousand images seen")
    for axis in (errors, losses, rates):
        axis.grid(alpha=0.3)
    figure.suptitle(title)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
    pyplot.close(figure)
