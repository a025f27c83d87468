"""Small sources of every kind, and runs over them."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from headpose import read_image, write_image
from tests.videos import write_video

if any(importlib.util.find_spec(name) is None for name in ("pyarrow", "fsspec", "duckdb")):
    collect_ignore_glob = ["test_*.py"]  # the extra bulk is not installed
else:
    import pyarrow as pa
    import pyarrow.parquet as pq

CRASHING = b"this picture crashes its decoder"
HELD = b"this picture is decoded when the gate is open"

# Part of PYTHONPATH, it makes decoders wait at a picture that ends in HELD until a file exists: what a test does to a
# run while it waits, it does to a run that has not ended, however fast the machine.
GATE = f"""
import os, time
import cv2

_decode = cv2.imdecode


def imdecode(data, flags):
    while data[-{len(HELD)}:].tobytes() == {HELD!r} and not os.path.exists(os.environ["HEADPOSE_TEST_GATE"]):
        time.sleep(0.01)
    return _decode(data, flags)


cv2.imdecode = imdecode
"""


class Gate:
    """Holds runs at the pictures that end in HELD, until it is opened."""

    def __init__(self, folder: Path) -> None:
        (folder / "sitecustomize.py").write_text(GATE)
        self._path = folder / "open"
        path = os.pathsep.join([str(folder), environment()["PYTHONPATH"]])
        self.variables = {"PYTHONPATH": path, "HEADPOSE_TEST_GATE": str(self._path)}

    def open(self) -> None:
        self._path.touch()


@pytest.fixture
def gate(tmp_path_factory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


def small(photo, turn=0):
    """The photograph at 256 pixels, shifted to the right: each has other numbers."""
    image = cv2.resize(photo, (256, 256), interpolation=cv2.INTER_AREA)
    return np.roll(image, 2 * turn, axis=1)


def jpeg(image) -> bytes:
    return cv2.imencode(".jpg", image)[1].tobytes()


@pytest.fixture(scope="session")
def sources(tmp_path_factory, repo) -> Path:
    """A folder with one source of each kind, all of the same five pictures, and a video."""
    root = tmp_path_factory.mktemp("sources")
    photo = read_image(repo / "examples" / "astronaut.jpg")
    pictures = [small(photo, turn) for turn in range(5)]
    (root / "pictures" / "below").mkdir(parents=True)
    for turn, image in enumerate(pictures):
        write_image(root / "pictures" / ("below" if turn == 4 else "") / f"{turn}.jpg", image)
    (root / "pictures" / "notes.txt").write_text("no picture")
    (root / "pictures" / ".hidden.jpg").write_bytes(b"")
    files = [jpeg(image) for image in pictures]
    with tarfile.open(root / "set.tar", "w") as tar:
        for turn, data in enumerate(files):
            for suffix, content in ((".jpg", data), (".json", b"{}")):
                member = tarfile.TarInfo(f"{turn}{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    pq.write_table(pa.table({"number": range(5), "jpg": files}), root / "bytes.parquet", row_group_size=3)
    structs = [{"bytes": data, "path": f"{turn}.jpg"} for turn, data in enumerate(files)]
    pq.write_table(pa.table({"image": structs}), root / "structs.parquet")
    paths = [f"pictures/{turn}.jpg" for turn in range(4)] + ["pictures/below/4.jpg"]
    pq.write_table(pa.table({"path": paths, "license": ["none"] * 5}), root / "paths.parquet")
    (root / "list.txt").write_text("\n".join(paths) + "\n\n")
    frames = [np.roll(pictures[0], 3 * index, axis=1) for index in range(30)]
    write_video(root / "clip.mp4", frames)
    return root


def environment(**more: str) -> dict[str, str]:
    """The environment of a program that a test starts."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path[:0]])} | more


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "headpose", "label", *map(str, arguments)]


def label(*arguments: object, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``headpose label``."""
    return subprocess.run(
        command(*arguments), cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=600
    )


def table(out: Path, name: str = "labels") -> list[dict]:
    """The rows of a run."""
    return pq.read_table(out / name).to_pylist()
