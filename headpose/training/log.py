"""The log of a run as CSV, one row for each validation, and its picture."""

from __future__ import annotations

import csv
import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path

from headpose.files import atomic_path, write_text

FILE = "log.csv"
"""Name of a run's log in its folder."""


@dataclass(frozen=True, slots=True)
class Row:
    """One validation. ``loss`` is the mean training loss since the row before; errors are degrees."""

    step: int
    images: int
    rate: float
    loss: float
    geodesic: float
    mae: float
    yaw: float
    pitch: float
    roll: float
    profile_geodesic: float


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))


class Log:
    """Rows in memory and in a file that is replaced whole at each addition."""

    def __init__(self, path: Path, keep_below: int = 0) -> None:
        """Takes over the rows up to step ``keep_below``; later ones were never checkpointed."""
        self._path = path
        kept = read(path) if keep_below and path.exists() else []
        self.rows = [row for row in kept if row.step <= keep_below]

    def add(self, row: Row) -> None:
        self.rows.append(row)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.rows:
            writer.writerow(f"{v:.8g}" if isinstance(v, float) else v for v in dataclasses.astuple(row))
        write_text(self._path, text.getvalue())


def read(path: Path) -> list[Row]:
    """The rows of a log file."""
    with path.open(newline="") as file:
        return [
            Row(
                int(line["step"]),
                int(line["images"]),
                *(float(line[name]) for name in COLUMNS[2:]),
            )
            for line in csv.DictReader(file)
        ]


def draw_curves(rows: list[Row], path: Path, title: str) -> None:
    """Writes a picture of training loss, validation error and learning rate over the images seen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    images = [row.images / 1000 for row in rows]
    figure, (errors, losses, rates) = pyplot.subplots(3, 1, figsize=(8, 9), sharex=True, height_ratios=(3, 2, 1))
    errors.plot(images, [row.geodesic for row in rows], "o-", label="geodesic error")
    errors.plot(images, [row.profile_geodesic for row in rows], "^-", label="geodesic error, |yaw| > 60")
    errors.plot(images, [row.mae for row in rows], "s-", label="Euler MAE")
    errors.set_ylabel("validation, degrees")
    errors.set_ylim(0, None)
    errors.legend()
    losses.plot(images, [row.loss for row in rows], "o-", color="tab:gray")
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
