"""Prints the runtime's requirements, one a line, as pyproject.toml states them."""

from __future__ import annotations

from importlib.metadata import requires

if __name__ == "__main__":
    print("\n".join(line for line in requires("open-headpose") or [] if "extra ==" not in line))
