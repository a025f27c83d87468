"""Rendered sequences with exact labels: a folder for each head, a JSON file beside its pictures.

    DIR/head-00/talk-000.png ...   pictures; several frames may show the same one
    DIR/head-00/head.json          sequences of the head: frames with their times, boxes and labels

``head.json`` is written after the pictures: a head that has one is complete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headpose import files
from headpose.errors import DataError
from headpose.types import Box, EulerAngles

_FILE = "head.json"


@dataclass(frozen=True, slots=True)
class SequenceFrame:
    """One frame.

    Attributes:
        image: File of the picture.
        time_s: Time of the frame, seconds.
        box: Tight box of the 68 landmarks that networks are given, pixels.
        euler: True yaw, pitch and roll, degrees.
    """

    image: Path
    time_s: float
    box: Box
    euler: EulerAngles


@dataclass(frozen=True, slots=True)
class RenderedSequence:
    """Frames of one head.

    Attributes:
        kind: What happens, such as "nod".
        head: Number of the head, 0 or more.
        condition: What sets this sequence apart from others of its kind and head, such as "1 m"; "" if there are none.
        noise: Standard deviation of the camera noise that is added to each frame, grey levels.
        frames: Frames in order of time, at least one.
    """

    kind: str
    head: int
    condition: str
    noise: int
    frames: tuple[SequenceFrame, ...]


def head_folder(folder: str | os.PathLike[str], head: int) -> Path:
    """Return the folder of a head's pictures."""
    return Path(folder) / f"head-{head:02d}"


def write(
    folder: str | os.PathLike[str], head: int, sequences: Sequence[RenderedSequence], settings: Mapping[str, Any]
) -> None:
    """Write the sequences of a head; its pictures are in ``head_folder`` already.

    Args:
        folder: Folder of all heads.
        head: Number of the head.
        sequences: Sequences of the head.
        settings: What decides the pictures, as plain values.

    Raises:
        HeadPoseError: The file cannot be written.
    """
    own = head_folder(folder, head)
    lines = [
        {
            "kind": each.kind,
            "condition": each.condition,
            "noise": each.noise,
            "frames": [
                [frame.image.relative_to(own).as_posix(), round(frame.time_s, 6)]
                + [round(float(value), 6) for value in (*frame.box, *frame.euler)]
                for frame in each.frames
            ],
        }
        for each in sequences
    ]
    files.write_text(own / _FILE, json.dumps({"settings": settings, "sequences": lines}) + "\n")


def is_complete(folder: str | os.PathLike[str], head: int, settings: Mapping[str, Any]) -> bool:
    """Return whether a folder holds all sequences of a head.

    Args:
        folder: Folder of all heads.
        head: Number of the head.
        settings: What decides the pictures, as plain values.

    Raises:
        DataError: The folder holds sequences with other settings, or the file of the head is damaged.
    """
    file = head_folder(folder, head) / _FILE
    if not file.exists():
        return False
    there = _load(file).get("settings")
    if there != json.loads(json.dumps(settings)):
        raise DataError(f"{file} was rendered with other settings or by another version: name another folder")
    return True


def read(folder: str | os.PathLike[str], heads: int) -> list[RenderedSequence]:
    """Read the sequences of the first heads of a folder.

    Args:
        folder: Folder that ``headpose.synth.sequences.write`` has filled.
        heads: Number of heads.

    Raises:
        DataError: A head is missing, or its file is damaged.
    """
    return [sequence for head in range(heads) for sequence in _read_head(head_folder(folder, head), head)]


def _read_head(folder: Path, head: int) -> list[RenderedSequence]:
    file = folder / _FILE
    try:
        return [
            RenderedSequence(
                kind=str(line["kind"]),
                head=head,
                condition=str(line["condition"]),
                noise=int(line["noise"]),
                frames=tuple(_frame(folder, row) for row in line["frames"]),
            )
            for line in _load(file)["sequences"]
        ]
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error!r}): remove it, and the head is rendered again") from None


def _frame(folder: Path, row: Sequence[Any]) -> SequenceFrame:
    name, time_s, *numbers = row
    values = [float(value) for value in numbers]
    return SequenceFrame(folder / str(name), float(time_s), Box(*values[:4]), EulerAngles(*values[4:]))


def _load(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        raise DataError(f"{file} does not exist: render the sequences first") from None
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error}): remove it, and the head is rendered again") from None
