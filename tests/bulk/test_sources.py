"""Every kind of source gives the poses that the estimator gives for its pictures."""

from __future__ import annotations

import dataclasses
import shutil
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headpose import FaceTracker, HeadPoseEstimator, InputError, open_source
from headpose.bulk import local, plan, run
from headpose.bulk import sources as finding
from headpose.bulk.plan import Chunk, Settings

SETTINGS = Settings()


def items(named, column=""):
    return list(finding.items(str(named), lambda address: [(0, 0, 0.0)], column))


def rows_of(named, tmp_path, **settings):
    """Label in this process, as the workers do, and return rows and failures."""
    chosen = dataclasses.replace(SETTINGS, **settings)
    tmp_path.mkdir(exist_ok=True)
    planned = run._plan([str(named)], tmp_path, chosen, 1024, "")
    chunks = (chunk for shard in planned.read(range(planned.shards)) for chunk in shard)
    parts = list(local.run_here(chunks, chosen))
    return [row for part in parts for row in part.labels], [row for part in parts for row in part.failures]


@pytest.fixture(scope="module")
def expected(sources):
    estimator = HeadPoseEstimator(threads=1)
    paths = [sources / "pictures" / f"{turn}.jpg" for turn in range(4)] + [sources / "pictures" / "below" / "4.jpg"]
    return [pose.to_dict() for path in paths for pose in estimator(path)]


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("pictures", None),
        ("pictures/**/*.jpg", None),
        ("list.txt", None),
        ("paths.parquet", None),
        ("set.tar", [f"{turn}.jpg" for turn in range(5)]),
        ("bytes.parquet", list("01234")),
        ("structs.parquet", list("01234")),
    ],
)
def test_a_source_of_each_kind_has_the_poses_of_its_pictures(sources, expected, tmp_path, name, members):
    rows, failures = rows_of(sources / name, tmp_path)
    assert failures == []
    assert len(rows) == len(expected) == 5
    for row, pose in zip(rows, expected, strict=True):
        assert [row[name] for name in ("yaw", "pitch", "roll")] == pytest.approx(
            [pose[name] for name in ("yaw", "pitch", "roll")], abs=1e-3
        )
        assert [row[name] for name in ("x1", "y1", "x2", "y2")] == pytest.approx(pose["box"], abs=1e-2)
        assert (row["width"], row["height"], row["face"], row["frame"]) == (256, 256, 1, None)
    assert [row["member"] for row in rows] == (members or [None] * 5)
    if members is None:
        assert [row["source"] for row in rows] == [
            f"{sources}/pictures/{name}" for name in ("0.jpg", "1.jpg", "2.jpg", "3.jpg", "below/4.jpg")
        ]


def test_a_relative_source_stays_relative(sources, monkeypatch):
    monkeypatch.chdir(sources)
    for named in ("pictures", "pictures/**/*.jpg"):
        found = items(named)
        assert [item.source for item in found][-1] == "pictures/below/4.jpg"
        assert found[0].address == str(sources / "pictures" / "0.jpg")


def test_a_video_has_the_poses_and_tracks_of_estimate(sources, tmp_path):
    estimator, tracker = HeadPoseEstimator(threads=1), FaceTracker(None)
    expected = []
    with open_source(sources / "clip.mp4") as video:
        for frame in video:
            expected += [
                (frame.index, frame.time_s, pose.yaw, pose.track)
                for pose in tracker.update(estimator(frame.image), frame.time_s)
            ]
    out = tmp_path / "out"
    run.label([str(sources / "clip.mp4")], out, SETTINGS)
    rows = pq.read_table(out / "labels").to_pylist()
    assert len(rows) == len(expected) > 20
    for row, (index, time_s, yaw, track) in zip(rows, expected, strict=True):
        assert (row["frame"], row["track"]) == (index, track)
        assert (row["time_s"], row["yaw"]) == pytest.approx((time_s, yaw), abs=1e-3)


def test_one_of_several_frames(sources, tmp_path):
    rows, _ = rows_of(sources / "clip.mp4", tmp_path, every=10)
    assert [row["frame"] for row in rows] == [0, 10, 20]
    assert [row["time_s"] for row in rows] == pytest.approx([0, 0.8, 1.6])


def test_faces_are_limited_as_in_estimate(sources, tmp_path):
    assert rows_of(sources / "set.tar", tmp_path, min_score=0.999)[0] == []


def test_what_cannot_be_read_is_a_row_of_its_own(sources, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(sources / "pictures", folder)
    whole = (folder / "0.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[:2000])
    (folder / "text.png").write_text("no picture")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "no.mp4").write_bytes(b"no video")
    with tarfile.open(folder / "a.tar", "w") as tar:
        tar.add(folder / "1.jpg", "1.jpg")
        tar.add(folder / "cut.jpg", "cut.jpg")
    data = (folder / "a.tar").read_bytes()
    (folder / "b.tar").write_bytes(data[: 512 + 600])
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.*"))]
    (folder / "all.lst").write_text("\n".join([*names, "gone.jpg", "gone.mp4", "gone.tar"]).replace("notes.txt\n", ""))
    rows, failures = rows_of(folder / "all.lst", tmp_path / "out")
    assert len(rows) == 6  # the five, and the one in the whole archive
    failed = {(row["source"].rpartition("/")[2], row["member"]): row["kind"] for row in failures}
    assert failed == {
        ("cut.jpg", None): "decode",
        ("text.png", None): "decode",
        ("empty.jpg", None): "decode",
        (".hidden.jpg", None): "decode",
        ("no.mp4", None): "video",
        ("a.tar", "cut.jpg"): "decode",
        ("b.tar", None): "read",
        ("gone.jpg", None): "read",
        ("gone.mp4", None): "read",
        ("gone.tar", None): "read",
    }
    assert all("\n" not in row["reason"] and row["reason"] for row in failures)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("nowhere", "does not exist"),
        ("nowhere/*.jpg", "no picture, video or tar file"),
        ("empty", "no picture, video or tar file"),
        ("s4://bucket/a", "s4"),
        ("binary.txt", "not a list of paths in UTF-8"),
        ("damaged.parquet", "cannot read"),
        ("numbers.parquet", "--column"),
        ("lists.txt", "names pictures, videos and tar files only"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_line(tmp_path, monkeypatch, named, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    (tmp_path / "lists.txt").write_text("other.txt\n")
    pq.write_table(pa.table({"number": [1]}), tmp_path / "numbers.parquet")
    with pytest.raises(InputError, match=message) as caught:
        items(named)
    assert "\n" not in str(caught.value)


def test_the_column_of_a_parquet_file(sources, tmp_path):
    assert [item.column for item in items(sources / "bytes.parquet")] == ["jpg", "jpg"]
    with pytest.raises(InputError, match="no column 'nope'"):
        items(sources / "bytes.parquet", "nope")
    file = tmp_path / "two.parquet"
    pq.write_table(pa.table({"left": ["a.jpg"], "right": ["b.jpg"]}), file)
    with pytest.raises(InputError, match=r"--column must name .*left, right"):
        items(file)
    assert [item.source for item in items(file, "right")] == [str(tmp_path / "b.jpg")]


def test_chunks_and_shards_hold_every_item_once():
    pictures = [plan.Item("picture", str(n), str(n)) for n in range(150)]
    video = [plan.Item("video", "v", "v", start=100 * n, count=100) for n in range(5)]
    tar = [plan.Item("tar", "t", "t", count=30)]
    every = [*pictures, *video, *tar, *pictures]
    shards = list(plan.sharded(every, 100))
    assert [item for shard in shards for chunk in shard for item in chunk] == every
    assert max(len(chunk) for shard in shards for chunk in shard) == plan.CHUNK
    holding = [shard for shard in shards if any(item.kind == "video" for chunk in shard for item in chunk)]
    assert len(holding) == 1, "the tracks of a video need all of its parts"


def test_a_chunk_survives_json():
    chunk = Chunk(3, 4, (plan.Item("video", "ä", "/ä", start=1, count=2, time_s=0.1),))
    assert Chunk.from_json(chunk.to_json()) == chunk
