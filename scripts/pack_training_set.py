"""Pack the training data of a recipe into ZIP files of a limited size, for a machine that is rented by the minute.

python scripts/pack_training_set.py RECIPE --out PACK [--part-mib 60] [--face 96] [--faces 50000]
for part in PACK/part-*.zip; do python -m zipfile -e "$part" packed; done    # on the other machine
headpose train RECIPE --set "$(cat packed/sources.txt)"

Pictures are cut to the surroundings of their faces and reduced to faces of --face pixels, as far as the augmentation
reaches. Boxes are moved accordingly; labels, weights, groups and shares stay. Pictures without labeled faces are
reduced only.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from headpose.cli.arguments import named_path, positive
from headpose.cli.program import imports_from, run_program
from headpose.datasets import duplicates, manifest, negatives, w300lp
from headpose.errors import DataError, HeadPoseError
from headpose.images import read_image
from headpose.types import Box, Image, Sample

with imports_from("train", "pack_training_set"):
    from headpose.recipes import training as recipe
    from headpose.recipes.data import SourceRecipe

REACH = 3.0  # side of what is kept around a face, in sides of its box: crops of 1.75, shifted and turned
NEGATIVE = 256  # longest side of a picture without labeled faces, pixels
QUALITY = 85  # of JPEG


@dataclasses.dataclass(frozen=True, slots=True)
class Packed:
    """Picture of a source.

    Attributes:
        image: Image file.
        faces: Its labeled faces.
        box: Region without a face (``negatives``); None if the whole picture has none, or for labeled faces.
    """

    image: Path
    faces: tuple[Sample, ...] = ()
    box: Box | None = None


def main() -> int:
    return run_program("pack_training_set", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="pack_training_set", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", metavar="RECIPE", help="name or file of a training recipe")
    parser.add_argument("--out", type=named_path, required=True, metavar="PACK", help="new folder for the parts")
    parser.add_argument("--part-mib", type=positive, default=60, metavar="N", help="largest size of a part, MiB (60)")
    parser.add_argument("--face", type=positive, default=96, metavar="N", help="largest side of a face, pixels (96)")
    parser.add_argument("--faces", type=positive, metavar="N", help="most pictures of each source (default: all)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the recipe")
    arguments = parser.parse_args()
    loaded = recipe.load(arguments.recipe, arguments.set)
    if loaded.task != "head-pose":  # landmarks would be lost
        raise HeadPoseError(f"{arguments.recipe} is for the task {loaded.task}: only data of head poses can be packed")
    if arguments.out.exists():
        raise HeadPoseError(f"{arguments.out} exists: name a new folder with --out")
    pack(loaded.data.sources, arguments.out, arguments.part_mib * 2**20, arguments.face, arguments.faces)
    return 0


def pack(sources: Sequence[SourceRecipe], out: Path, part_bytes: int, face: int, most: int | None) -> None:
    """Write the parts of some sources.

    The files are ``part-000.zip``, ``part-001.zip``, ... The last one has the manifests and ``sources.txt``, the value
    of ``data.sources`` for ``--set``.

    Args:
        sources: Sources of a recipe.
        out: New folder; it appears when all parts are complete.
        part_bytes: Largest size of a part in bytes.
        face: Largest side of a face, pixels.
        most: Maximum number of pictures of each source, evenly spread over it; None for all.

    Raises:
        DataError: A source or a picture cannot be read, or a picture does not fit into a part.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        folder = Path(temporary, "parts")
        folder.mkdir()
        parts = _Parts(folder, part_bytes)
        listed: list[dict[str, Any]] = []
        tables: dict[str, str] = {}
        for number, source in enumerate(sources):
            pictures = _read(source)
            if most is not None:
                pictures = [pictures[i] for i in np.unique(np.linspace(0, len(pictures) - 1, most).astype(int))]
            rows: list[list[object]] = []
            for index, picture in enumerate(tqdm(pictures, desc=source.path, unit="picture", disable=None)):
                name = f"{number}/{index:06d}.jpg"
                image, scale, offset = _reduced(picture, face)
                parts.add(name, cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())
                rows += _rows(name, picture, scale, offset)
            tables[f"{number}.csv"] = _table(source, pictures, rows)
            kind = "manifest" if source.kind == "300w-lp" else source.kind
            listed.append({**_changed(source), "kind": kind, "path": f"packed/{number}.csv"})
        values = (", ".join(f"{key} = {json.dumps(value)}" for key, value in each.items()) for each in listed)
        tables["sources.txt"] = f"data.sources=[{', '.join(f'{{{each}}}' for each in values)}]"
        for name, text in tables.items():
            parts.add(name, text.encode())
        parts.close()
        folder.rename(out)


def _changed(source: SourceRecipe) -> dict[str, Any]:
    """Return the settings of a source that differ from the defaults; the groups already have the near-duplicates."""
    defaults = {each.name: each.default for each in dataclasses.fields(source)}
    settings = dataclasses.asdict(source)
    return {key: value for key, value in settings.items() if value != defaults[key] and key != "near_duplicates"}


def _read(source: SourceRecipe) -> list[Packed]:
    if source.kind == "cifar-10":
        raise DataError(f"{source.path}: a source of kind cifar-10 is small already: copy it as it is")
    if source.kind == "negatives":
        found = negatives.read(source.path)
        if not any(each.faces for each in found):
            return [Packed(each.image, box=each.box) for each in found]
        samples = manifest.read(source.path)  # the background beside all faces of a picture
        kept = {each.image for each in found}
        samples = [sample for sample in samples if sample.image in kept]
    else:
        samples = w300lp.read(source.path) if source.kind == "300w-lp" else manifest.read(source.path)
        samples = duplicates.group_near_duplicates(samples) if source.near_duplicates else samples
    by_image: dict[Path, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_image[sample.image].append(sample)
    return [Packed(image, tuple(faces)) for image, faces in by_image.items()]


def _reduced(picture: Packed, face: int) -> tuple[Image, tuple[float, float], tuple[int, int]]:
    """Return what is kept of a picture, its scales along x and y, and the place of its corner, pixels."""
    image = read_image(picture.image)
    height, width = image.shape[:2]
    if not picture.faces:
        scale = min(1.0, NEGATIVE / max(height, width))
        x1, y1, x2, y2 = 0, 0, width, height
    else:
        sides = [max(sample.box.width, sample.box.height) for sample in picture.faces]
        reach = [(sample.box.center, side * REACH / 2) for sample, side in zip(picture.faces, sides, strict=True)]
        x1 = max(0, int(min(x - r for (x, _), r in reach)))
        y1 = max(0, int(min(y - r for (_, y), r in reach)))
        x2 = min(width, int(max(x + r for (x, _), r in reach)) + 1)
        y2 = min(height, int(max(y + r for (_, y), r in reach)) + 1)
        scale = min(1.0, face / min(sides))
    across, down = (max(1, round(side * scale)) for side in (x2 - x1, y2 - y1))
    part = np.asarray(cv2.resize(image[y1:y2, x1:x2], (across, down), interpolation=cv2.INTER_AREA), np.uint8)
    return part, (across / (x2 - x1), down / (y2 - y1)), (x1, y1)


def _rows(name: str, picture: Packed, scale: tuple[float, float], offset: tuple[int, int]) -> Iterator[list[object]]:
    boxes: list[Box | None] = [sample.box for sample in picture.faces]
    boxes = boxes or [picture.box]
    for index, box in enumerate(boxes):
        place: list[object] = []
        if box is not None:
            corners = zip(box.as_tuple(), offset * 2, scale * 2, strict=True)
            place = [round((value - shift) * factor, 4) for value, shift, factor in corners]
        if not picture.faces:
            yield [name, *place]
            continue
        sample = picture.faces[index]
        doubt = sample.weight if sample.spread is None else sample.spread
        yield [name, *place, *(round(angle, 4) for angle in sample.euler), doubt, sample.group, "degrees"]


def _table(source: SourceRecipe, pictures: Sequence[Packed], rows: Sequence[Sequence[object]]) -> str:
    faces = [sample for picture in pictures for sample in picture.faces]
    spread = {sample.spread is not None for sample in faces}
    if len(spread) > 1:
        raise DataError(f"{source.path}: some faces have a spread and some have not: pack two files")
    columns = [*manifest.COLUMNS, "spread" if True in spread else "weight", "group", "unit"]
    if not faces:
        columns = list(manifest.COLUMNS[: 5 if any(picture.box for picture in pictures) else 1])
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows([columns, *rows])
    return text.getvalue()


class _Parts:
    """ZIP files of a limited size. JPEG files are stored as they are."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._count, self._bytes = 0, 0
        self._file: zipfile.ZipFile | None = None

    def add(self, name: str, data: bytes) -> None:
        needed = len(data) + 2 * (len(name) + 64) + 64  # with its headers
        if needed > self._most:
            raise DataError(f"{name} has {len(data)} bytes, more than a part may have: raise --part-mib")
        if self._file is None or self._bytes + needed > self._most:
            self.close()
            self._file = zipfile.ZipFile(self._folder / f"part-{self._count:03d}.zip", "w")
            self._count, self._bytes = self._count + 1, 0
        self._file.writestr(name, data)
        self._bytes += needed

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


if __name__ == "__main__":
    raise SystemExit(main())
