import json

import pytest

from headpose.datasets import sequences
from headpose.datasets.sequences import RenderedSequence, SequenceFrame
from headpose.errors import DataError
from headpose.types import Box, EulerAngles


def _written(folder, head=0):
    own = sequences.head_folder(folder, head)
    own.mkdir()
    frames = tuple(
        SequenceFrame(own / f"a{i}.png", i / 30, Box(1.5, 2, 3, 4.25 + i), EulerAngles(10.0 * i, -5.0, 0.125))
        for i in range(2)
    )
    made = [RenderedSequence("nod", head, "", 0, frames), RenderedSequence("distance", head, "1 m", 8, frames[:1])]
    sequences.write(folder, head, made, {"version": 1})
    return made


def test_what_is_written_is_read(tmp_path):
    made = [each for head in range(2) for each in _written(tmp_path, head)]
    read = sequences.read(tmp_path, 2)
    assert [(each.kind, each.head, each.condition, each.noise) for each in read] == [
        (each.kind, each.head, each.condition, each.noise) for each in made
    ]
    for one, other in zip(read, made, strict=True):
        for frame, wanted in zip(one.frames, other.frames, strict=True):
            assert (frame.image, frame.box, frame.euler) == (wanted.image, wanted.box, wanted.euler)
            assert frame.time_s == pytest.approx(wanted.time_s, abs=1e-6)


def test_a_head_is_complete_with_its_file(tmp_path):
    assert not sequences.is_complete(tmp_path, 0, {"version": 1})
    _written(tmp_path)
    assert sequences.is_complete(tmp_path, 0, {"version": 1})
    with pytest.raises(DataError, match="other settings"):
        sequences.is_complete(tmp_path, 0, {"version": 2})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: record.pop("sequences"),
        lambda record: record["sequences"][0].pop("kind"),
        lambda record: record["sequences"][0]["frames"][0].pop(),
        lambda record: record["sequences"][0]["frames"][0].__setitem__(3, "wide"),
        lambda record: record["sequences"][0]["frames"][0].__setitem__(4, 0.0),  # an empty box
        lambda record: record["sequences"][0].__setitem__("frames", 3),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, spoil):
    _written(tmp_path)
    file = tmp_path / "head-00" / "head.json"
    record = json.loads(file.read_text())
    spoil(record)
    file.write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"head\.json is damaged .* remove it"):
        sequences.read(tmp_path, 1)


def test_a_head_that_is_missing(tmp_path):
    with pytest.raises(DataError, match="does not exist: render"):
        sequences.read(tmp_path, 1)
