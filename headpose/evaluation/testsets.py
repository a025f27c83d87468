"""Anything labelled as a test set: AFLW2000-3D, a folder in 300W-LP's layout, a manifest, BIWI.

Each face has a name by which predictions are matched to it: the path of its picture from the folder of
the data, without the ending, and "#2" for the second face of a picture. In AFLW2000-3D that is the file stem.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from headpose.datasets import aflw2000, biwi, manifest, w300lp
from headpose.detection import FaceDetector
from headpose.errors import DataError
from headpose.evaluation import protocols
from headpose.images import read_image
from headpose.types import Sample

KINDS = {
    "aflw2000": "AFLW2000-3D",
    "300w-lp": "a set in 300W-LP's layout",
    "manifest": "a manifest of faces",
    "biwi": "BIWI",
}
"""Kinds of test sets, and what a result calls them."""

LEAST_OVERLAP = 0.2
"""IoU of a found face with the label's box, which for BIWI is rough; below it the face is another's."""


@dataclass(frozen=True, slots=True)
class FaceSet:
    """Labelled faces.

    Attributes:
        kind: a key of ``KINDS``.
        samples: the faces.
        names: of each, unique.
    """

    kind: str
    samples: list[Sample]
    names: list[str]

    @property
    def title(self) -> str:
        """What a result calls it."""
        return KINDS[self.kind]

    @property
    def sha256(self) -> str:
        """SHA-256, in hexadecimal, of the sorted names joined by newlines."""
        return hashlib.sha256("\n".join(sorted(self.names)).encode()).hexdigest()

    def select(self, list_name: str) -> FaceSet:
        """The faces of a list of ``protocols.LISTS``, sorted by name.

        Raises:
            DataError: none is left.
        """
        kept = sorted(zip(self.names, self.samples, strict=True), key=lambda face: face[0])
        kept = [(name, sample) for name, sample in kept if protocols.holds(list_name, sample)]
        if not kept:
            raise DataError(f"no face is left of {len(self.names)}; kept are {protocols.LISTS_IN_WORDS[list_name]}")
        return self._with(kept)

    def among(self, names: Collection[str]) -> FaceSet:
        """The faces that are named, in their order."""
        wanted = set(names)
        return self._with([face for face in zip(self.names, self.samples, strict=True) if face[0] in wanted])

    def part(self, count: int) -> FaceSet:
        """At most ``count`` faces, in their order, chosen by the hash of their names alone."""
        return self.among(sorted(self.names, key=lambda name: hashlib.sha256(name.encode()).digest())[:count])

    def _with(self, faces: Sequence[tuple[str, Sample]]) -> FaceSet:
        return FaceSet(self.kind, [sample for _, sample in faces], [name for name, _ in faces])


def read(path: str | os.PathLike[str], kind: str = "", sequences: Collection[int] = biwi.ALL) -> FaceSet:
    """Reads a test set.

    Args:
        path: its folder, or the CSV file of a manifest.
        kind: a key of ``KINDS``; "" takes a .csv file for a manifest and a folder for AFLW2000-3D.
        sequences: of BIWI.

    Raises:
        DataError: it cannot be read (see the readers).
    """
    kind = kind or ("manifest" if Path(path).suffix.lower() == ".csv" else "aflw2000")
    root = Path(path)
    if kind == "manifest":
        samples, root = manifest.read(path), root.parent
    elif kind == "300w-lp":
        samples = w300lp.read(path)
    elif kind == "biwi":
        samples = biwi.read(path, sequences)
    else:
        samples = aflw2000.read(path)
    return FaceSet(kind, samples, _names(samples, root))


def with_detected_boxes(test_set: FaceSet, detector: FaceDetector) -> FaceSet:
    """The same faces in a detector's boxes; those that it does not find are left out.

    Of the faces found in a picture the one that overlaps the label's box most counts.

    Raises:
        DataError: no face is found at all.
        ImageError: a picture cannot be read.
    """
    faces = []
    pairs = zip(test_set.names, test_set.samples, strict=True)
    for name, sample in tqdm(pairs, total=len(test_set.names), desc="faces", unit="face", leave=False, disable=None):
        boxes = [face.box for face in detector.detect(read_image(sample.image))]
        best = max(boxes, key=sample.box.iou, default=None)
        if best and best.iou(sample.box) > LEAST_OVERLAP:
            faces.append((name, dataclasses.replace(sample, box=best)))
    if not faces:
        raise DataError(f"{detector.name} finds none of the {len(test_set.names)} faces")
    return test_set._with(faces)


def _names(samples: Sequence[Sample], root: Path) -> list[str]:
    count: Counter[str] = Counter()
    names = []
    for sample in samples:
        inside = sample.image.relative_to(root) if sample.image.is_relative_to(root) else sample.image
        name = inside.with_suffix("").as_posix()
        count[name] += 1
        names.append(name if count[name] == 1 else f"{name}#{count[name]}")
    return names
