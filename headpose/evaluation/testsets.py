"""Test sets: AFLW2000-3D, folders in the layout of 300W-LP, manifests and BIWI.

Each face has a name, by which predictions are matched: the path of its image relative to the data folder, without the
extension, followed by "#2" for the second face of an image. For AFLW2000-3D this is the file stem.
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
"""Kinds of test sets with their titles."""

LEAST_OVERLAP = 0.2
"""Minimum IoU of a detected face with the box of a label; low because the boxes of BIWI are rough."""


@dataclass(frozen=True, slots=True)
class FaceSet:
    """Labeled faces.

    Attributes:
        kind: Key of ``KINDS``.
        samples: Labeled samples.
        names: Unique name of each sample.
    """

    kind: str
    samples: list[Sample]
    names: list[str]

    @property
    def title(self) -> str:
        """Title of the test set."""
        return KINDS[self.kind]

    @property
    def sha256(self) -> str:
        """SHA-256 of the sorted names joined by newlines, in hexadecimal."""
        return hashlib.sha256("\n".join(sorted(self.names)).encode()).hexdigest()

    def select(self, list_name: str) -> FaceSet:
        """Return the faces of a list, sorted by name.

        Args:
            list_name: One of ``protocols.LISTS``.

        Raises:
            DataError: No face is left.
        """
        kept = sorted(zip(self.names, self.samples, strict=True), key=lambda face: face[0])
        kept = [(name, sample) for name, sample in kept if protocols.holds(list_name, sample)]
        if not kept:
            raise DataError(f"no face is left of {len(self.names)}; kept are {protocols.LISTS_IN_WORDS[list_name]}")
        return self._with(kept)

    def among(self, names: Collection[str]) -> FaceSet:
        """Return the faces with the given names, in the order of this set."""
        wanted = set(names)
        return self._with([face for face in zip(self.names, self.samples, strict=True) if face[0] in wanted])

    def part(self, count: int) -> FaceSet:
        """Return at most ``count`` faces, chosen by the hash of their names, in the order of this set."""
        return self.among(sorted(self.names, key=lambda name: hashlib.sha256(name.encode()).digest())[:count])

    def _with(self, faces: Sequence[tuple[str, Sample]]) -> FaceSet:
        return FaceSet(self.kind, [sample for _, sample in faces], [name for name, _ in faces])


def read(path: str | os.PathLike[str], kind: str = "", sequences: Collection[int] = biwi.ALL) -> FaceSet:
    """Read a test set.

    Args:
        path: Folder of the data, or CSV file of a manifest.
        kind: Key of ``KINDS``. "" means a manifest for a .csv file and AFLW2000-3D for a folder.
        sequences: Numbers of the BIWI sequences to read.

    Raises:
        DataError: The data cannot be read; see the readers.
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
    """Replace the boxes of a test set by those of a detector; faces that are not detected are left out.

    Args:
        test_set: Labeled faces.
        detector: Detector to run. Of the faces that it finds in an image, the one with the highest IoU is used.

    Raises:
        DataError: No face is detected at all.
        ImageError: An image cannot be read.
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
