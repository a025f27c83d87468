"""How much memory a network takes: the peak of a fresh process that loads it and runs it.

    python -m headpose.evaluation.memory '{"networks": [["compact.onnx", [1, 3, 96, 96]]]}'

prints two numbers, the peak before the network is loaded and after it has run, in bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headpose.errors import HeadPoseError
from headpose.inference import create_session

_PASSES = 3
_TYPES = {"tensor(float16)": np.float16, "tensor(double)": np.float64}
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak resident set in bytes: of Python with NumPy and ONNX Runtime alone, and with the network."""

    runtime: int
    peak: int

    @property
    def network(self) -> int:
        """What the network added."""
        return self.peak - self.runtime


def measure(
    networks: Sequence[tuple[str | os.PathLike[str], Sequence[int]]], *, device: str = "cpu", threads: int = 1
) -> Memory | None:
    """Peak memory of networks that run one after the other in one process of their own.

    Args:
        networks: files, and the shape of each one's input.
        device, threads: of ``headpose.inference.create_session``.

    Returns:
        None where the system does not tell (Windows).

    Raises:
        HeadPoseError: the process ended otherwise.
    """
    task = {
        "networks": [[str(Path(path).resolve()), list(shape)] for path, shape in networks],
        "device": device,
        "threads": threads,
    }
    command = [sys.executable, "-m", "headpose.evaluation.memory", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if done.returncode:
        raise HeadPoseError(f"memory was not measured: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    before, after = json.loads(done.stdout)
    return None if before is None else Memory(before, after)


def peak_bytes() -> int | None:
    """Peak resident set of this process so far; None where the system does not tell."""
    if _STATUS.is_file():
        # Not ru_maxrss: on Linux a new process inherits there what the one that started it had reached.
        lines = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        if lines:
            return int(lines[0].split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> int:
    task = json.loads(sys.argv[1])
    before = peak_bytes()
    sessions = []  # all of them stay, as those of an adapter do
    for path, shape in task["networks"]:
        session, _ = create_session(path, device=task["device"], threads=task["threads"])
        (tensor,) = session.get_inputs()
        inputs = np.zeros(shape, _TYPES.get(tensor.type, np.float32))
        for _ in range(_PASSES):
            session.run(None, {tensor.name: inputs})
        sessions.append(session)
    print(json.dumps([before, peak_bytes()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
