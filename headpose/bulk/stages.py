"""The stages of labeling: decode, detect, estimate.

Each stage takes batches of up to 16 pictures and returns them. What a batch contains depends on the plan alone, never
on the number of workers: the last bits of a network's output depend on the pictures that it gets in one call.
"""

from __future__ import annotations

import os
import tarfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headpose import images
from headpose.bulk import rows, storage
from headpose.bulk.decoder import Decoder, DecoderError
from headpose.bulk.plan import Chunk, Item, Settings
from headpose.detection import FaceDetector, create_detector
from headpose.errors import HeadPoseError, ImageError
from headpose.estimator import HeadPoseEstimator
from headpose.types import Face, HeadPose, Image

BATCH = 16
"""Largest number of pictures in a batch."""

_BATCH_BYTES = 1 << 28  # of pixels; a batch of large photographs has fewer of them


@dataclass(slots=True)
class Picture:
    """Picture or frame on its way through the stages.

    Attributes:
        key: Where it comes from.
        pixels: (H, W, 3) uint8 BGR; None if it cannot be read, and after the last stage.
        faces: Detected faces.
        failure: Kind and reason if it cannot be labeled.
    """

    key: rows.Key
    pixels: Image | None = None
    faces: list[Face] = field(default_factory=list)
    failure: tuple[rows.FailureKind, str] | None = None


@dataclass(slots=True)
class Batch:
    """Pictures that go through the stages together.

    Attributes:
        shard: Index of the shard.
        chunk: Index of the chunk in the shard.
        number: Index of the batch in the chunk.
        last: No batch of the chunk follows.
        pictures: The pictures.
        seconds: Time spent by stage.
    """

    shard: int
    chunk: int
    number: int
    last: bool
    pictures: list[Picture]
    seconds: dict[str, float] = field(default_factory=dict)


class DecodeStage:
    """First stage: chunks to batches with pixels. Decoding runs in a process of its own."""

    def __init__(self, every: int = 1) -> None:
        """Start nothing yet. ``every`` is as in ``Settings``."""
        self._every = every
        self._decoder = Decoder()
        self._copies = storage.LocalCopies()

    def __call__(self, chunk: Chunk) -> Iterator[Batch]:
        """Yield the batches of a chunk; at least one, which may be empty."""
        waiting: list[Picture] = []
        held, number, start = 0, 0, time.perf_counter()
        for picture in self._pictures(chunk):
            if len(waiting) == BATCH or held >= _BATCH_BYTES:
                seconds = time.perf_counter() - start
                yield Batch(chunk.shard, chunk.number, number, False, waiting, {"decode": seconds})
                waiting, held, number, start = [], 0, number + 1, time.perf_counter()
            waiting.append(picture)
            held += 0 if picture.pixels is None else picture.pixels.nbytes
        seconds = time.perf_counter() - start
        yield Batch(chunk.shard, chunk.number, number, True, waiting, {"decode": seconds})

    def close(self) -> None:
        """End the decoding process."""
        self._decoder.close()

    def _pictures(self, chunk: Chunk) -> Iterator[Picture]:
        for item in chunk.items:
            if item.kind == "video":
                yield from self._frames(item)
            elif item.kind == "picture":
                data = None
                if storage.is_url(item.address):
                    try:
                        data = storage.read(item.address)
                    except HeadPoseError as error:
                        yield Picture(rows.Key(item.source), failure=("read", str(error)))
                        continue
                yield self._picture(rows.Key(item.source), item.address if data is None else item.source, data)
            else:
                yield from self._members(item)

    def _picture(self, key: rows.Key, name: str, data: bytes | None) -> Picture:
        try:
            return Picture(key, self._decoder.picture(name, data))
        except ImageError as error:
            if data is not None:
                return Picture(key, failure=(_kind(error, "decode"), str(error)))
            return Picture(key, failure=(_kind(error, "decode", name), str(error).replace(name, key.source)))

    def _frames(self, item: Item) -> Iterator[Picture]:
        path = ""  # until there is a local file
        try:
            path = str(self._copies.path(item.address))
            for index, time_s, image in self._decoder.frames(path, item.start, item.count, self._every):
                yield Picture(rows.Key(item.source, None, index, item.time_s + time_s), image)
        except ImageError as error:
            key = rows.Key(item.source, None, item.start, item.time_s)
            reason = str(error).replace(path, item.source) if path else str(error)
            yield Picture(key, failure=(_kind(error, "video", path), reason))

    def _members(self, item: Item) -> Iterator[Picture]:
        """Yield the pictures of a tar file or a row group. What can be read before damage is kept."""
        found = _tar_members(item) if item.kind == "tar" else _row_group(item)
        try:
            for member, data in found:
                key = rows.Key(item.source, member)
                if data is None:
                    yield Picture(key, failure=("read", f"{member} of {item.source} has no data, or too many"))
                else:
                    yield self._picture(key, f"{member} of {item.source}", data)
        except (HeadPoseError, tarfile.TarError, EOFError, OSError, zlib.error, pa.ArrowException) as error:
            reason = f"{item.source} cannot be read to its end: {storage.first_line(error)}"
            yield Picture(rows.Key(item.source), failure=("read", reason))


class DetectStage:
    """Second stage: find the faces."""

    def __init__(self, settings: Settings) -> None:
        """Load the detector, for one CPU thread.

        Raises:
            HeadPoseError: It cannot be loaded.
        """
        self._detector: FaceDetector = create_detector(
            settings.detector,
            threads=1,
            device=settings.device,
            model_path=settings.detector_model,
            min_face=settings.min_face,
        )

    def __call__(self, batch: Batch) -> Batch:
        """Set the faces of each picture."""
        start = time.perf_counter()
        for picture in batch.pictures:
            if picture.pixels is not None:
                try:
                    picture.faces = self._detector.detect(picture.pixels)
                except Exception as error:  # one picture must not stop the run, whatever is wrong with it
                    picture.pixels, picture.failure = None, ("detect", storage.first_line(error))
        batch.seconds["detect"] = time.perf_counter() - start
        return batch


class EstimateStage:
    """Third stage: read the poses of all faces of a batch with one call of the network."""

    def __init__(self, settings: Settings) -> None:
        """Load the network, for one CPU thread.

        Raises:
            HeadPoseError: It cannot be loaded.
        """
        self._found = _Found()
        self._min_score = settings.min_score
        self._estimator = HeadPoseEstimator(
            settings.model, detector=self._found, device=settings.device, threads=1, max_faces=settings.max_faces
        )

    def __call__(self, batch: Batch) -> rows.Part:
        """Return the rows of a batch."""
        start = time.perf_counter()
        readable = [picture for picture in batch.pictures if picture.pixels is not None]
        try:
            poses = self._read(readable)
        except Exception:  # find out which picture is the cause
            poses = [self._read_one(picture) for picture in readable]
        part = rows.Part(batch.shard, batch.chunk, batch.number, batch.last)
        for picture, found in zip(readable, poses, strict=True):
            if picture.failure is None and picture.pixels is not None:
                height, width = picture.pixels.shape[:2]
                kept = [pose for pose in found if pose.score >= self._min_score]
                part.add(picture.key, kept, width, height)
        for picture in batch.pictures:
            if picture.failure is not None:
                part.fail(picture.key, *picture.failure)
        part.seconds = batch.seconds | {"estimate": time.perf_counter() - start}
        return part

    def _read(self, pictures: list[Picture]) -> list[list[HeadPose]]:
        self._found.faces = [picture.faces for picture in pictures]
        return self._estimator.estimate_batch([picture.pixels for picture in pictures if picture.pixels is not None])

    def _read_one(self, picture: Picture) -> list[HeadPose]:
        try:
            return self._read([picture])[0]
        except Exception as error:
            picture.failure = ("estimate", storage.first_line(error))
            return []


class _Found:
    """Detector that returns the faces that were found before, picture by picture."""

    name = "found before"

    def __init__(self) -> None:
        self.faces: list[list[Face]] = []

    def detect(self, image: Image) -> list[Face]:
        return self.faces.pop(0)


def _kind(error: ImageError, otherwise: rows.FailureKind, path: str | None = None) -> rows.FailureKind:
    """Return the kind of a failure: ``read`` if ``path``, the local file, cannot be opened; None if it was not one."""
    if isinstance(error, DecoderError):
        return error.kind
    return otherwise if path is None or os.access(path, os.R_OK) else "read"


def _tar_members(item: Item) -> Iterator[tuple[str, bytes | None]]:
    """Yield name and content of the pictures in a tar file, which is read as a stream and never extracted."""
    with storage.open_file(item.address) as opened, tarfile.open(fileobj=opened, mode="r|*") as tar:
        for member in tar:
            if member.isfile() and f".{member.name.rpartition('.')[2].lower()}" in images.SUFFIXES:
                stream = tar.extractfile(member) if 0 < member.size <= storage.LARGEST else None
                yield member.name, None if stream is None else stream.read()


def _row_group(item: Item) -> Iterator[tuple[str, bytes | None]]:
    """Yield number and content of the rows of a row group."""
    index = item.start
    with storage.open_file(item.address) as opened, pq.ParquetFile(opened) as table:
        for batch in table.iter_batches(BATCH, row_groups=[item.part], columns=[item.column]):
            for value in batch.column(0).to_pylist():
                data: Any = value.get("bytes") if isinstance(value, dict) else value
                yield str(index), data or None
                index += 1
