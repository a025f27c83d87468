"""Where the files of a folder of rendered heads lie, and what was drawn for each picture."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

from headpose import files

CHUNK = 20
"""Pictures that are done or not done together; their scenes are one file."""

_FOLDER = 10_000  # pictures in a subfolder


def picture_path(index: int) -> Path:
    """A picture's file below the folder; the reader of 300W-LP takes each for a source photograph of its own."""
    return Path(f"heads-{index // _FOLDER:02d}") / f"synth_{index:06d}_0.jpg"


def firsts(root: Path) -> list[int]:
    """The first numbers of the chunks that a folder holds, in order."""
    return sorted(int(file.name.partition(".")[0]) for file in (root / "scenes").glob("*.jsonl.gz"))


def _scene_file(root: Path, first: int) -> Path:
    return root / "scenes" / f"{first:06d}.jsonl.gz"


def read_scenes(root: Path, first: int) -> list[dict[str, Any]]:
    """The lines of a chunk; none if it is not there or damaged."""
    try:
        with gzip.open(_scene_file(root, first), "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]
    except (OSError, EOFError, ValueError):
        return []


def write_scenes(root: Path, first: int, lines: list[dict[str, Any]]) -> None:
    """The same lines give the same bytes."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as archive:
        archive.write("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode())
    files.write_bytes(_scene_file(root, first), packed.getvalue())
