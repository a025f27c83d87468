"""Puts the small networks into the wheel, so that an installed package works offline.

Sources and sdist keep one copy of each network, in weights/; the wheel carries those that its manifest
lists, up to ``largest_bytes`` and but for those ``left_out`` (pyproject.toml), as headpose/_weights/, each
with its card, which has its license.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class ShippedWeights(BuildHookInterface[Any]):
    """Hatchling finds this class by its base."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Map weights/FILE and its card to headpose/_weights/; stop the build if one is missing or altered."""
        if version == "editable":  # finds them in the checkout
            return
        root = Path(self.root)
        for network in shipped(root, self.config["largest_bytes"], self.config.get("left_out", ())):
            for path in (network, network.with_suffix(".md")):
                build_data["force_include"][str(path)] = f"headpose/_weights/{path.name}"


def shipped(root: Path, largest_bytes: int, left_out: Collection[str]) -> list[Path]:
    """Return the network files of the checkout ``root`` that its wheel carries.

    Raises:
        FileNotFoundError: The manifest lists a file that is not in weights/, or has no card there.
        ValueError: The SHA-256 of a file differs from the manifest.
    """
    manifest = root / "headpose" / "models.toml"
    models = tomllib.loads(manifest.read_text("utf-8")) if manifest.exists() else {}
    paths = []
    for name, model in models.items():
        if model["bytes"] > largest_bytes or name in left_out:
            continue
        path = root / "weights" / model["file"]
        if hashlib.sha256(path.read_bytes()).hexdigest() != model["sha256"]:
            raise ValueError(f"{path} is not the file that models.toml lists as {name}: its SHA-256 differs")
        card = path.with_suffix(".md")
        if not card.is_file():
            raise FileNotFoundError(f"{path.name} has no card: {card} says what it was trained on, and its license")
        paths.append(path)
    return paths
