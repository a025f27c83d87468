"""Order of the training samples.

Epoch, sample and augmentation seed of each position in the stream depend only on the position and the seed of the run.
A resumed run therefore sees the same data as an uninterrupted one, for any number of loader processes, and checkpoints
need not store the order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from headpose.errors import HeadPoseError
from headpose.training import distributed
from headpose.training.protocols import Batch

Draw = tuple[int, int, int]
"""(sample index, epoch, seed of the run): everything that determines an augmented view."""


def generator(draw: Draw) -> np.random.Generator:
    """Return the random generator for the augmentation of a draw."""
    index, epoch, seed = draw
    return np.random.default_rng((seed, epoch, index))


class Stream(Sampler[list[Draw]]):
    """Sampler of batches over endless epochs; a batch may span two epochs.

    Process ``rank`` of ``count`` gets every ``count``-th draw of each batch, so that all processes together see the
    same data as a single one.
    """

    def __init__(
        self,
        repeats: NDArray[np.float64],
        batch: int,
        seed: int,
        first: int,
        last: int,
        rank: int = 0,
        count: int = 1,
    ) -> None:
        self._repeats, self._batch, self._seed = repeats, batch, seed
        self._first, self._last = first, last
        self._rank, self._count = rank, count

    def __len__(self) -> int:
        return max(0, self._last - self._first)

    def __iter__(self) -> Iterator[list[Draw]]:
        batch: list[Draw] = []
        made = 0
        for draw in self._draws(self._first * self._batch):
            if made == len(self):
                return
            batch.append(draw)
            if len(batch) == self._batch:
                yield batch[self._rank :: self._count]
                batch, made = [], made + 1

    def _draws(self, start: int) -> Iterator[Draw]:
        """Yield the draws from position ``start`` on."""
        # All epochs have the same length, so the epoch follows from the position.
        length = max(1, math.floor(self._repeats.sum()))
        epoch = start // length
        skip = start - epoch * length
        while True:
            for index in self._order(epoch, length)[skip:]:
                yield int(index), epoch, self._seed
            epoch, skip = epoch + 1, 0

    def _order(self, epoch: int, length: int) -> NDArray[np.int64]:
        """Return a shuffled epoch that contains sample i ``repeats[i]`` times on average."""
        rng = np.random.default_rng((self._seed, epoch))
        # Systematic sampling: a regular grid over the cumulative repeats, in random order.
        shuffled = rng.permutation(len(self._repeats))
        edges = np.cumsum(self._repeats[shuffled])
        marks = (rng.random() + np.arange(length)) * (edges[-1] / length)
        chosen = shuffled[np.minimum(np.searchsorted(edges, marks, side="right"), len(edges) - 1)]
        order: NDArray[np.int64] = rng.permutation(chosen)
        return order


def load(views: Dataset[Any], stream: Stream, collate: Callable[[list[Any]], Batch], workers: int) -> Iterator[Batch]:
    """Yield the batches of a stream.

    Args:
        views: Dataset indexed by ``Draw``.
        stream: Batches of draws.
        collate: Function from the views of a batch to a ``Batch``.
        workers: Number of loader processes; 0 loads in this process.

    Raises:
        HeadPoseError: An image cannot be read, or a loader process has died.
    """
    workers = distributed.at_most_processors(workers, "run.workers")
    loader: DataLoader[Any] = DataLoader(
        _ErrorsAsValues(views),
        batch_sampler=stream,
        num_workers=workers,
        collate_fn=_CollateErrors(collate),
        worker_init_fn=_one_thread,
        multiprocessing_context="fork" if workers else None,
    )
    try:
        for batch in loader:
            if isinstance(batch, HeadPoseError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise HeadPoseError(
            "a process that loads pictures has died, most often for lack of memory: lower run.workers or "
            "data.cache_gib, then go on with --resume"
        ) from error


class _ErrorsAsValues(Dataset[Any]):
    """Dataset that returns errors as values, because torch turns errors of loader processes into long tracebacks."""

    def __init__(self, views: Dataset[Any]) -> None:
        self._views = views

    def __getitem__(self, draw: Draw) -> Any:
        try:
            return self._views[draw]
        except HeadPoseError as error:
            return error


class _CollateErrors:
    """Collate function that returns the batch, or the first error in it."""

    def __init__(self, collate: Callable[[list[Any]], Batch]) -> None:
        self._collate = collate

    def __call__(self, views: list[Any]) -> Batch | HeadPoseError:
        return next((view for view in views if isinstance(view, HeadPoseError)), None) or self._collate(views)


def _one_thread(_worker: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
