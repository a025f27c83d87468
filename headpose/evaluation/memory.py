"""Measure the peak memory of a network in a new process.

    python -m headpose.evaluation.memory '{"networks": [["compact.onnx", [1, 3, 96, 96]]]}'

The command prints the peak in bytes before the network is loaded and after it has run.
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
    """Peak resident set size in bytes.

    Attributes:
        runtime: Peak of Python with NumPy and ONNX Runtime, before the network is loaded.
        peak: Peak after the network has run.
    """

    runtime: int
    peak: int

    @property
    def network(self) -> int:
        """Memory added by the network, in bytes."""
        return self.peak - self.runtime


def measure(
    networks: Sequence[tuple[str | os.PathLike[str], Sequence[int]]], *, device: str = "cpu", threads: int = 1
) -> Memory | None:
    """Measure the peak memory of networks that are loaded and run one after the other in a new process.

    Args:
        networks: (ONNX file, input shape) of each network.
        device: As in ``headpose.inference.create_session``.
        threads: As in ``headpose.inference.create_session``.

    Returns:
        Peak memory; None if the operating system does not report it (Windows).

    Raises:
        HeadPoseError: The process failed.
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
    """Return the peak resident set size of this process in bytes; None if the operating system does not report it."""
    if _STATUS.is_file():
        # On Linux, ru_maxrss starts at the value of the parent process.
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
    """Run the measurement described by the JSON in the first argument."""
    task = json.loads(sys.argv[1])
    before = peak_bytes()
    sessions = []  # keep all sessions loaded, as an adapter with several files does
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
