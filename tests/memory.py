"""Peak memory of code that a test runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Not getrusage: its peak is that of the parent too, from before the child became another program.
_PEAK = """
import pathlib, re

def peak_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024
"""


def output_of(code: str, *arguments: object) -> str:
    """What code prints; it can call ``peak_mb()``, the largest memory so far. Skips the test where /proc is missing."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    command = [sys.executable, "-c", _PEAK + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
