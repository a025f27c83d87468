"""Progress of a run: a bar in a terminal, lines in a log."""

from __future__ import annotations

import sys
import time

EVERY_S = 10.0
"""Time between two lines in a log, in seconds."""


class Progress:
    """Count pictures, and print the rate and the time left on stderr."""

    def __init__(self, total: int, done: int = 0, *, quiet: bool = False) -> None:
        """Start the clock.

        Args:
            total: Number of pictures of the run; an estimate if there are tar files.
            done: Number of them that an earlier run has finished.
            quiet: Print nothing.
        """
        from tqdm import tqdm

        self._total, self._before, self._quiet = total, done, quiet
        self._start = self._shown = time.monotonic()
        self.pictures = 0
        on_terminal = sys.stderr.isatty() and not quiet
        self._bar = tqdm(total=total, initial=done, unit=" picture", leave=False, disable=not on_terminal)
        self._logs = not quiet and not on_terminal

    @property
    def seconds(self) -> float:
        """Time since the start in seconds."""
        return time.monotonic() - self._start

    def add(self, pictures: int) -> None:
        """Count pictures that are done, read or failed."""
        self.pictures += pictures
        self._bar.update(pictures)
        if self._logs and time.monotonic() - self._shown >= EVERY_S:
            self._shown = time.monotonic()
            print(f"headpose: {self.line()}", file=sys.stderr, flush=True)

    def line(self) -> str:
        """Return the state in one line."""
        done = self._before + self.pictures
        total = max(self._total, done)
        rate = self.pictures / max(self.seconds, 1e-9)
        left = f", {duration((total - done) / rate)} left" if rate > 0 else ""
        return f"{done:,} of {total:,} pictures, {rate:.1f}/s{left}"

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()


def duration(seconds: float) -> str:
    """Return a time in words: ``48 s``, ``12 min``, ``3.5 h``, ``12 days``."""
    for limit, unit, form in ((120, 1, "{:.0f} s"), (7200, 60, "{:.0f} min"), (172_800, 3600, "{:.1f} h")):
        if seconds < limit:
            return form.format(seconds / unit)
    return f"{seconds / 86_400:.0f} days"
