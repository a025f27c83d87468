"""Print the runtime's requirements from pyproject.toml, one per line."""

from __future__ import annotations

import sys
from importlib.metadata import requires

from headpose.cli.program import run_program


def _main() -> int:
    print("\n".join(line for line in requires("open-headpose") or [] if "extra ==" not in line))
    return 0


if __name__ == "__main__":
    sys.exit(run_program("runtime_requirements", _main))
