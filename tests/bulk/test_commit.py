"""Each shard is written once, whatever order its parts arrive in and however often."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headpose import Box, DataError, Face, HeadPose, HeadPoseError, geometry
from headpose.bulk import commit, on_ray, plan, rows
from tests.bulk.conftest import table


def pose(place=0.0, yaw=0.0):
    return HeadPose(Face(Box(place, 10, place + 40, 60), 0.9), geometry.rotation_from_euler((yaw, 5, -5)))


def parts_of(shard, chunks=3, batches=2):
    """The parts of a shard: one face and one failure in each."""
    for chunk in range(chunks):
        for number in range(batches):
            part = rows.Part(shard, chunk, number, number == batches - 1)
            part.add(rows.Key(f"{shard}-{chunk}-{number}.jpg"), [pose(yaw=10 * chunk + number)], 640, 480)
            part.fail(rows.Key("bad.jpg"), "decode", "damaged")
            yield part


def committer_in(folder, shards=2):
    committer = commit.Committer(plan.Plan(folder, shards, 100))
    for shard in range(shards):
        committer.expect(shard, 3)
    return committer


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    committer = committer_in(folder)
    for shard in (0, 1):
        for part in parts_of(shard):
            assert committer.add(part)
    return [table(folder), table(folder, "failures")]


@settings(max_examples=20)
@given(order=st.permutations([(shard, part) for shard in (0, 1) for part in range(6)] * 2))
def test_the_order_and_repeats_of_parts_do_not_matter(undisturbed, tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("run")
    committer = committer_in(folder)
    parts = [list(parts_of(shard)) for shard in (0, 1)]
    new = [committer.add(parts[shard][part]) for shard, part in order]
    assert new.count(True) == 12
    assert committer.unfinished == 0
    assert [table(folder), table(folder, "failures")] == undisturbed
    assert commit.counts_of(commit.labels_file(folder, 1))["pictures"] == 6


@settings(max_examples=20)
@given(order=st.permutations([part for part in range(6) if part != 2] * 2))
def test_a_chunk_that_ray_gave_up_in_part_is_left_whole(order):
    """It is labeled again picture by picture: its other batch, in other parts, would count twice."""
    left = {(0, chunk): plan.Chunk(0, chunk, ()) for chunk in range(3)}
    parts = list(parts_of(0))
    given_on = list(on_ray.whole_chunks((parts[index] for index in order), left))
    assert sorted((part.chunk, part.number) for part in given_on) == [(0, 0), (0, 1), (2, 0), (2, 1)]
    assert list(left) == [(0, 1)]


def test_a_shard_is_not_written_before_its_last_part(tmp_path):
    committer = committer_in(tmp_path)
    *most, last = parts_of(0)
    for part in most:
        committer.add(part)
    assert not committer.is_done(0) and not list((tmp_path / "labels").iterdir())
    committer.add(last)
    assert committer.is_done(0) and not committer.is_done(1)


def test_a_shard_without_faces_is_finished_too(tmp_path):
    committer = commit.Committer(plan.Plan(tmp_path, 1, 1))
    committer.expect(0, 1)
    committer.add(rows.Part(0, 0, 0, True))
    assert committer.is_done(0) and table(tmp_path) == []


def test_tracks_go_on_from_part_to_part_and_start_anew_with_each_video(tmp_path):
    committer = commit.Committer(plan.Plan(tmp_path, 1, 8))
    committer.expect(0, 4)
    for chunk in (3, 2, 0, 1):
        part = rows.Part(0, chunk, 0, True)
        for step in range(3):
            frame = 3 * (chunk % 2) + step
            side = 400 * (chunk // 2)  # where the other video shows no face
            left, right = pose(side + 2 * frame), pose(side + 200 - 2 * frame)
            order = [left, right] if frame % 2 else [right, left]
            part.add(rows.Key("ab"[chunk // 2], None, frame, frame / 25), order, 640, 480)
        committer.add(part)
    found = table(tmp_path)
    for video in "ab":
        mine = [row for row in found if row["source"] == video]
        assert [row["frame"] for row in mine] == sorted(row["frame"] for row in mine)
        assert {(row["x1"] % 400 < 100, row["track"]) for row in mine} == {(True, 2), (False, 1)}


def test_a_folder_that_cannot_be_written_and_a_damaged_part_are_one_line(tmp_path):
    (tmp_path / "labels").write_text("in the way")
    with pytest.raises(HeadPoseError, match="cannot use the folder"):
        committer_in(tmp_path)
    file = tmp_path / "part.parquet"
    file.write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="damaged or not of headpose label"):
        commit.counts_of(file)


@pytest.mark.parametrize(
    ("angles", "quality"), [((0, 0, 0), 100), ((60, 0, 0), 25), ((0, 45, 0), 50), ((10, 0, 91), 0), ((0, 0, 179), 0)]
)
def test_the_quality_is_the_least_term_of_the_standard(angles, quality):
    pose = HeadPose(Face(Box(0, 0, 9, 9), 1.0), geometry.rotation_from_euler(angles))
    part = rows.Part(0, 0, 0, True)
    part.add(rows.Key("photo.jpg"), [pose], 9, 9)
    assert part.labels[0]["quality"] == quality
