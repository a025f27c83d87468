"""The processes of one run: a single one, or as many as ``torchrun`` starts."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from headpose.networks.resnet import ResNet

_log = logging.getLogger("headpose")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of its run.

    Attributes:
        rank: its number; process 0 validates and writes.
        count: how many there are.
        device: where its network is.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over the processes."""
        if self.count > 1:
            value = value.clone()
            distributed.all_reduce(value)
        return value

    def wait(self) -> None:
        """Returns when every process has come here."""
        if self.count > 1:
            distributed.barrier()


def join() -> Processes:
    """This process' place: as ``torchrun`` says in the environment, or alone. A GPU is taken if there is one."""
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
    """Whether this is the process that validates and writes, before ``join``."""
    return int(os.environ.get("RANK", 0)) == 0


def at_most_processors(count: int, what: str) -> int:
    """A number of threads or processes, no larger than the number of processors that this process may use.

    More only wait for each other, and thousands take the memory or hang.

    Args:
        count: that a recipe asks for.
        what: it is, for the log.
    """
    there_are = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count > there_are:
        _log.warning("%s is %d: this machine has %d processors, so %d are used", what, count, there_are, there_are)
    return min(count, there_are)


def use_threads(count: int) -> None:
    """Sets torch's number of threads, no larger than the number of processors; 0 leaves it."""
    if count:
        torch.set_num_threads(at_most_processors(count, "run.threads"))


def leave() -> None:
    """Ends the communication of ``join``."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


class SharedNetwork:
    """The raw output of a network, whose gradients come out as the sum over all processes."""

    def __init__(self, network: ResNet, processes: Processes) -> None:
        self._count = processes.count
        self._parallel = DistributedDataParallel(_Raw(network)) if processes.count > 1 else None
        self.raw: Callable[[Tensor], Tensor] = self._parallel or network.raw

    def backward(self, loss: Tensor) -> None:
        """Adds to the gradients those of a loss that is this process' share of the sum."""
        (loss * self._count).backward()  # type: ignore[no-untyped-call]  # DistributedDataParallel takes the mean

    def quiet(self, quiet: bool) -> AbstractContextManager[object]:
        """Within it nothing is exchanged yet: for all but the last of several parts of a batch."""
        if quiet and self._parallel is not None:
            return self._parallel.no_sync()
        return contextlib.nullcontext()


class _Raw(nn.Module):
    """``ResNet.raw`` as a module's forward, which is what DistributedDataParallel wraps."""

    def __init__(self, network: ResNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.raw(images)
