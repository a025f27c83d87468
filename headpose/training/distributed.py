"""The processes of one run: a single one, or as many as ``torchrun`` starts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from headpose.training.network import ResNet


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
