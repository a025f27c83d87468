"""Distributed training: one process, or the processes that ``torchrun`` starts."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from headpose.networks.network import Network

_log = logging.getLogger("headpose")

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # parameters of glibc's mallopt


@dataclass(frozen=True, slots=True)
class Processes:
    """Rank of this process and size of the process group.

    Attributes:
        rank: Rank of this process; rank 0 validates and writes files.
        count: Number of processes.
        device: Device of the network.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """True for rank 0."""
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.count > 1:
            value = value.clone()
            distributed.all_reduce(value)
        return value

    def wait(self) -> None:
        """Wait until all processes have reached this call."""
        if self.count > 1:
            distributed.barrier()


def join() -> Processes:
    """Join the process group described by ``torchrun``, or run alone. A GPU is used if there is one."""
    rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_RANK", 0))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if count > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if cuda else "gloo")
    return Processes(rank, count, device)


def is_first() -> bool:
    """Return whether this process has rank 0. Can be called before ``join``."""
    return int(os.environ.get("RANK", 0)) == 0


def at_most_processors(count: int, what: str) -> int:
    """Limit a number of threads or processes to the number of available CPUs.

    Args:
        count: Requested number.
        what: Name of the setting, for the log.

    Returns:
        The smaller of ``count`` and the number of CPUs that this process may use.
    """
    there_are = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count > there_are:
        _log.warning("%s is %d: this machine has %d processors, so %d are used", what, count, there_are, there_are)
    return min(count, there_are)


def prepare_process(threads: int) -> None:
    """Set the number of torch threads, and keep freed memory for the next step.

    Every step allocates the same large tensors. glibc returns such memory to the system at once, and the page faults
    of the next step cost about a tenth of it (the network of ``compact``, 64 px, batches of 64, one core).

    Args:
        threads: Number of torch threads, limited to the number of available CPUs; 0 keeps torch's default.
    """
    if threads:
        torch.set_num_threads(at_most_processors(threads, "run.threads"))
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other C libraries have no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def leave() -> None:
    """Leave the process group of ``join``."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


class SharedNetwork:
    """Network whose gradients are summed over all processes.

    Attributes:
        raw: Function from images to the raw output of the network.
    """

    def __init__(self, network: Network, processes: Processes) -> None:
        """Wrap a network in DistributedDataParallel if there are several processes."""
        self._count = processes.count
        self._parallel = DistributedDataParallel(_Raw(network)) if processes.count > 1 else None
        self.raw: Callable[[Tensor], Tensor] = self._parallel or network.raw

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of a loss, which is this process's part of a sum over all processes."""
        (loss * self._count).backward()  # type: ignore[no-untyped-call]  # DistributedDataParallel takes the mean

    def quiet(self, quiet: bool) -> AbstractContextManager[object]:
        """Return a context without gradient synchronization, for all but the last part of an accumulated batch."""
        if quiet and self._parallel is not None:
            return self._parallel.no_sync()
        return contextlib.nullcontext()


class _Raw(nn.Module):
    """Module whose ``forward`` is ``Network.raw``, as DistributedDataParallel requires."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.raw(images)
