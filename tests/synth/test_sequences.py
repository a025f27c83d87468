"""Sequences of rendered heads: one thing changes in each, and labels and boxes say what."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from headpose import geometry
from headpose.datasets import sequences as stored
from headpose.errors import DataError, HeadPoseError
from headpose.images import read_image
from headpose.synth import sequences

KINDS = ("still", "boxes", "talk", "light", "nod", "turn", "expression", "distance")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One head, small and short."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_LONG": 30, "_SHORT": 3, "_TURN": 16, "_SIDE": 96}.items():
            patch.setattr(sequences, name, value)
        root = tmp_path_factory.mktemp("sequences") / "made"
        assert sequences.write(root, 1) == 1
        assert sequences.write(root, 1) == 0
        yield root


@pytest.fixture
def by_kind(folder):
    found = {}
    for each in stored.read(folder, 1):
        found.setdefault(each.kind, []).append(each)
    return found


def labels(sequence):
    return np.array([frame.euler for frame in sequence.frames])


def pictures(sequence):
    return [read_image(frame.image) for frame in sequence.frames]


def test_every_kind_is_there(by_kind):
    assert set(by_kind) == set(KINDS) == set(sequences.KINDS)
    assert [each.condition for each in by_kind["expression"]] == list(sequences.EXPRESSIONS)
    assert [each.condition for each in by_kind["distance"]] == ["0.4 m", "0.6 m", "1 m", "1.6 m", "2.5 m", "4 m"]
    noisy = {kind for kind, all_of_it in by_kind.items() if all_of_it[0].noise}
    assert noisy == {"still", "distance"}


def test_a_head_that_stays_has_one_label(by_kind):
    for kind in ("still", "boxes", "talk", "light"):
        (sequence,) = by_kind[kind]
        assert len(sequence.frames) == 30
        assert np.ptp(labels(sequence), axis=0) == pytest.approx(np.zeros(3), abs=1e-6)
    times = [frame.time_s for frame in by_kind["talk"][0].frames]
    assert times == pytest.approx(np.arange(30) / 30, abs=1e-5)


def test_what_changes_in_each(by_kind):
    (still,), (boxes,), (light,), (talk,) = (by_kind[kind] for kind in ("still", "boxes", "light", "talk"))
    assert len({frame.image for frame in still.frames}) == len({frame.image for frame in boxes.frames}) == 1
    assert len({frame.box for frame in still.frames}) == len({frame.box for frame in light.frames}) == 1
    middles = np.array([frame.box.center for frame in boxes.frames])
    sides = np.array([(frame.box.width, frame.box.height) for frame in boxes.frames])
    length = max(still.frames[0].box.width, still.frames[0].box.height)
    assert middles.std(0) / length == pytest.approx([0.02, 0.02], rel=0.5)
    assert sides.std(0) / length == pytest.approx([0.02, 0.02], rel=0.5)
    brightness = [image[30:60, 30:60].mean() for image in pictures(light)]
    assert max(brightness) > 1.2 * min(brightness)
    heights = [frame.box.height / frame.box.width for frame in talk.frames]
    assert max(heights) > 1.03 * min(heights)  # the jaw opens


def test_nodding_leaves_yaw_and_turning_leaves_pitch(by_kind):
    nod, turn = labels(by_kind["nod"][0]), labels(by_kind["turn"][0])
    assert np.ptp(nod[:, [0, 2]], axis=0) == pytest.approx([0, 0], abs=1e-5)
    assert nod[:, 1].max() - nod[0, 1] == pytest.approx(20, abs=0.01)
    assert turn[:, 0].max() - turn[0, 0] == pytest.approx(35, abs=0.1)
    assert np.abs(np.diff(turn[:, 0])).max() < 4.1


def test_expressions_change_the_face_and_not_the_pose(by_kind):
    neutral, *others = by_kind["expression"]
    for sequence in others:
        assert labels(sequence) == pytest.approx(labels(neutral))
        assert np.abs(pictures(sequence)[0].astype(int) - pictures(neutral)[0]).mean() > 0.2, sequence.condition


def test_distance_makes_the_face_small_and_changes_perspective(by_kind):
    boxes = {each.condition: each.frames[0].box for each in by_kind["distance"]}
    lengths = {name: max(box.width, box.height) for name, box in boxes.items()}
    assert lengths["4 m"] == pytest.approx(78 / 4, abs=0.3)
    assert lengths["2.5 m"] == pytest.approx(78 / 2.5, abs=0.6)
    assert lengths["0.4 m"] == pytest.approx(lengths["1 m"], rel=0.03)  # a picture is never enlarged: 96 pixels
    for each in by_kind["distance"]:
        image, box = pictures(each)[0], each.frames[0].box
        assert box.center[0] / len(image) == pytest.approx(0.5, abs=0.02)
        assert labels(each) == pytest.approx(labels(by_kind["still"][0])[:3])
    near, far = (
        cv2.resize(pictures(by_kind["distance"][i])[0], (35, 35), interpolation=cv2.INTER_AREA) for i in (0, 5)
    )
    assert np.abs(near.astype(int) - far).mean() > 2


def test_the_same_head_is_the_same_file_by_file(folder, tmp_path):
    assert sequences.write(tmp_path, 1) == 1
    one, other = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (folder, tmp_path)
    )
    assert one == other


def test_a_folder_of_another_version_is_refused(folder, tmp_path, monkeypatch):
    (tmp_path / "head-00").mkdir()
    file = tmp_path / "head-00" / "head.json"
    record = json.loads((folder / "head-00" / "head.json").read_text())
    file.write_text(json.dumps(record | {"settings": {**record["settings"], "version": 0}}))
    with pytest.raises(DataError, match="name another folder"):
        sequences.write(tmp_path, 1)
    file.write_text("[")
    with pytest.raises(DataError, match="remove it"):
        sequences.write(tmp_path, 1)
    (tmp_path / "file").touch()
    with pytest.raises(HeadPoseError, match="cannot use the folder"):
        sequences.write(tmp_path / "file", 1)


def test_labels_are_rotations_of_a_head_in_our_axes(by_kind):
    """The picture of a head with positive yaw: its nose is left of the middle of its box."""
    (turn,) = by_kind["turn"]
    aside = max(turn.frames, key=lambda frame: frame.euler.yaw)
    assert geometry.rotation_from_euler(aside.euler)[0, 2] < -0.5
