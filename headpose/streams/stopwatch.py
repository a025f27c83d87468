"""Mean time of a stage that runs for every frame."""

from __future__ import annotations

import time
from collections import deque


class Stopwatch:
    """Context manager that measures the mean duration of its last 30 uses."""

    def __init__(self) -> None:
        self._taken: deque[float] = deque(maxlen=30)

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *exc_info: object) -> None:
        self._taken.append(time.perf_counter() - self._started)

    @property
    def milliseconds(self) -> float:
        return 1e3 * sum(self._taken) / max(1, len(self._taken))
