"""Numba with types that mypy can follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]

_Function = TypeVar("_Function", bound=Callable[..., object])


def kernel(function: _Function) -> _Function:
    """Compiles a function of arrays and numbers to machine code; the code is kept on disk for the next run."""
    return cast(_Function, numba.njit(cache=True, fastmath={"contract", "nsz", "arcp"})(function))
