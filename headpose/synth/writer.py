"""Write rendered heads to a folder in the layout of 300W-LP, with several processes, resumable.

The folder contains ``heads-00/synth_000000_0.jpg`` with its ``.mat`` (10,000 per subfolder),
``scenes/000000.jsonl.gz`` (the scenes of 20 images per file), ``manifest.csv`` (the columns of
``headpose.datasets.manifest``, the rotation matrix r00 ... r22, ``hidden``, and ``face_seen`` for densities other than
``people``) and ``synth.json`` (settings). Backs of heads have no label: the folder then contains ``negatives.csv``
(``headpose.datasets.negatives``) instead of ``.mat`` files and ``manifest.csv``. If ``anatomy.FRAME`` has changed since
the folder was written, the labels are updated and the images are kept.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from headpose import files, folders, images
from headpose.datasets import manifest, w300lp
from headpose.errors import DataError
from headpose.synth import groups, layout
from headpose.synth import scene as scenes
from headpose.synth.anatomy import FRAME
from headpose.synth.pose import DENSITIES, Density
from headpose.synth.render import Rendered, render, stage
from headpose.synth.scene import Scene, Studio

VERSION = 3
"""Version of the renderer; it changes when the same seed gives different images."""

_ATTEMPTS = 4
_SETTINGS, _MANIFEST, _NEGATIVES = "synth.json", "manifest.csv", "negatives.csv"
_DEFAULT_POSES = "people"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings that determine the images.

    Attributes:
        seed: Random seed of the data set.
        size: Side of an image in pixels.
        asset_folder: Path of an asset folder; "" for none.
        without: Names of ``groups.GROUPS`` to remove.
        poses: Name of the pose density (``pose.DENSITIES``).
    """

    seed: int
    size: int
    asset_folder: str = ""
    without: tuple[str, ...] = ()
    poses: str = _DEFAULT_POSES

    @property
    def density(self) -> Density:
        return DENSITIES[self.poses]


def make(settings: Settings, index: int, studio: Studio) -> tuple[Scene, Rendered]:
    """Render the image of an index.

    If hair or an object hides too much of the face (see ``Density``), everything except the pose is drawn again. The
    fifth attempt has a shaved head without headwear and occluders.
    """
    for attempt in range(_ATTEMPTS + 1):
        drawn = groups.without(scenes.draw(settings.seed, index, studio, attempt, settings.poses), settings.without)
        if attempt == _ATTEMPTS:
            drawn = drawn.uncovered()
        staged = stage(drawn, studio, settings.size)
        if staged.hidden <= settings.density.most_hidden:
            break
    return drawn, render(staged, studio)


def write(settings: Settings, count: int, out: str | os.PathLike[str], workers: int = 1) -> int:
    """Write the first ``count`` heads to a folder; existing ones are kept.

    The files depend neither on ``workers`` nor on interruptions.

    Args:
        settings: Settings of the data set.
        count: Number of images.
        out: Folder; created if missing.
        workers: Number of processes.

    Returns:
        Number of new images.

    Raises:
        HeadPoseError: Assets are missing, or the folder cannot be written, is in use, or contains images with other
            settings.
    """
    root = Path(out)
    with folders.occupied(root):
        return _write(settings, count, root, workers)


def _write(settings: Settings, count: int, root: Path, workers: int) -> int:
    ours = _record(settings)
    turned = _has_other_axes(root, ours)
    firsts = [first for first in range(0, count, layout.CHUNK) if not _is_done(root, first, count)]
    chunks = [(first, min(first + layout.CHUNK, count)) for first in firsts]
    # Load the assets first, so that their errors are reported before anything is written and their cache is built once.
    studio = scenes.open_studio(settings.asset_folder or None) if chunks else None
    _make_folders(root)
    if turned and settings.density.labeled:
        layout.rewrite_labels(root, settings.seed, settings.poses)
    files.write_text(root / _SETTINGS, json.dumps(ours, indent=1) + "\n")
    todo = sum(last - first for first, last in chunks)
    with tqdm(total=todo, unit="head", disable=None) as bar:
        for made in _run(settings, root, chunks, workers, studio):
            bar.update(made)
    _write_manifest(settings, root, count)
    return todo


def _record(settings: Settings) -> dict[str, Any]:
    """Return the settings that determine the files of a folder, as stored in it."""
    folder = Path(settings.asset_folder).absolute().name if settings.asset_folder else ""
    ours = {"version": VERSION, "frame": list(FRAME), **asdict(settings)}
    ours |= {"asset_folder": folder, "without": sorted(set(settings.without))}
    if settings.poses == _DEFAULT_POSES:
        del ours["poses"]  # keeps folders of ``people`` compatible with earlier versions
    return ours


def _has_other_axes(root: Path, ours: dict[str, Any]) -> bool:
    """Return whether the existing labels have other head axes; raise DataError if any other setting differs."""
    file = root / _SETTINGS
    for manifest_file in (root / _MANIFEST, root / _NEGATIVES):
        if not file.exists() and manifest_file.exists():
            raise DataError(
                f"{manifest_file} is of another data set, there is no {_SETTINGS} beside it: give another --out"
            )
    try:
        there = dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else ours
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"cannot use the folder {root}: {error}") from error
    default = {"poses": _DEFAULT_POSES}
    wanted, found = default | ours, default | there
    if differing := [key for key in wanted if key != "frame" and found.get(key) != wanted[key]]:
        both = ", ".join(f"{key} {found.get(key)!r}, not {wanted[key]!r}" for key in differing)
        raise DataError(f"{root} holds heads of other settings ({both}): give another --out")
    return there.get("frame") != ours["frame"]


def _make_folders(root: Path) -> None:
    try:
        (root / "scenes").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot use the folder {root}: {error}") from error


def _is_done(root: Path, first: int, count: int) -> bool:
    """Return whether a chunk is complete. Its scenes are written last; a shorter run may have ended within it."""
    return len(layout.read_scenes(root, first)) >= min(layout.CHUNK, count - first)


def _run(
    settings: Settings, root: Path, chunks: list[tuple[int, int]], workers: int, studio: Studio | None
) -> Iterator[int]:
    """Yield the number of images of each finished chunk."""
    if studio is None:
        return
    if workers == 1:
        for chunk in chunks:
            yield _write_chunk(settings, root, studio, *chunk)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(workers, len(chunks)), _start_worker, (settings, root)) as pool:
        yield from pool.imap_unordered(_work, chunks)


_worker: dict[str, Any] = {}  # state of a worker process between chunks


def _start_worker(settings: Settings, root: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C
    cv2.setNumThreads(1)
    _worker.update(settings=settings, root=root, studio=scenes.open_studio(settings.asset_folder or None))


def _work(chunk: tuple[int, int]) -> int:
    return _write_chunk(_worker["settings"], _worker["root"], _worker["studio"], *chunk)


def _write_chunk(settings: Settings, root: Path, studio: Studio, first: int, last: int) -> int:
    lines = []
    for index in range(first, last):
        drawn, rendered = make(settings, index, studio)
        path = root / layout.picture_path(index)
        path.parent.mkdir(exist_ok=True)
        images.write_image(path, rendered.image)
        if settings.density.labeled:
            files.write_bytes(path.with_suffix(".mat"), label_bytes(rendered))
        lines.append(_line(settings, index, drawn, rendered))
    layout.write_scenes(root, first, lines)
    return last - first


def label_bytes(rendered: Rendered) -> bytes:
    """Return the .mat file of an image (``w300lp.pack_label``); its scale is in pixels per decimeter."""
    view = rendered.view
    return w300lp.pack_label(
        rendered.rotation, rendered.landmarks, rendered.box, view.center, view.focal / view.distance
    )


def _line(settings: Settings, index: int, drawn: Scene, rendered: Rendered) -> dict[str, Any]:
    line = {
        "image": layout.picture_path(index).as_posix(),
        "box": np.round(rendered.box.as_tuple(), 4).tolist(),
        **(layout.label_fields(rendered.rotation) if settings.density.labeled else {}),
        "hidden": round(rendered.hidden, 4),
    }
    if settings.poses != _DEFAULT_POSES:
        line["face_seen"] = round(rendered.face_seen, 4)
    return line | {"scene": drawn.to_dict()}


def _write_manifest(settings: Settings, root: Path, count: int) -> None:
    """Write the manifest of the labeled heads or of the negatives from the scenes."""
    labeled = settings.density.labeled
    shares = ["hidden"] if settings.poses == _DEFAULT_POSES else ["hidden", "face_seen"]
    pose = [*manifest.COLUMNS[5:], *(f"r{row}{column}" for row in range(3) for column in range(3))] if labeled else []
    with contextlib.closing(io.StringIO()) as text:
        table = csv.writer(text, lineterminator="\n")
        table.writerow([*manifest.COLUMNS[:5], *pose, *shares])
        for first in range(0, count, layout.CHUNK):
            for line in layout.read_scenes(root, first)[: count - first]:
                label = [*line["euler"], *(value for row in line["rotation"] for value in row)] if labeled else []
                table.writerow([line["image"], *line["box"], *label, *(line[share] for share in shares)])
        files.write_text(root / (_MANIFEST if labeled else _NEGATIVES), text.getvalue())
