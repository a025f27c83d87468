"""What ``headpose estimate`` takes for SOURCE, and several of them."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from headpose.images import read_image, write_image
from tests.cli.errors import assert_error
from tests.videos import edit_mp4, read_video, write_video


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_an_empty_text_is_not_the_working_folder(estimate, tmp_path, photo, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "a.png", photo)
    assert_error(estimate(""), "empty")


def test_numbers_beyond_any_camera(estimate):
    assert_error(estimate("20240115"), "camera 20240115 cannot be opened")
    assert_error(estimate("99999999999999999999"), "cannot be opened")


def test_passed_over_files_are_counted_in_a_line(estimate, tmp_path, photo):
    write_image(tmp_path / "a.png", photo)
    (tmp_path / "a.xcf").write_text("x")
    status, _, err = estimate(tmp_path, "-q")
    assert status == 0
    assert err == f"headpose: {tmp_path}: 1 file was skipped, without an image extension: 1 .xcf\n"


def test_time_is_in_the_rows(estimate, tmp_path, clip):
    assert estimate(clip, "--csv", tmp_path / "a.csv", "--json", tmp_path / "a.json")[0] == 0
    times = pytest.approx([0, 0.08, 0.16, 0.24, 0.32])
    assert [float(row["time_s"]) for row in rows(tmp_path / "a.csv")] == times
    assert [json.loads(line)["time_s"] for line in (tmp_path / "a.json").read_text().splitlines()] == times


def test_an_anamorphic_video_gives_the_boxes_of_square_pixels(estimate, tmp_path, photo):
    narrow = cv2.resize(photo, (256, 512), interpolation=cv2.INTER_AREA)
    video = edit_mp4(write_video(tmp_path / "a.mp4", [narrow] * 3), pixel=(2, 1))
    status, _, _ = estimate(video, "--csv", tmp_path / "a.csv", "--out", tmp_path / "out.mp4")
    assert status == 0
    box = [float(rows(tmp_path / "a.csv")[0][side]) for side in ("x1", "y1", "x2", "y2")]
    np.testing.assert_allclose(box, (176, 78, 272, 175), atol=12)
    assert read_video(tmp_path / "out.mp4")[0][0].shape == (512, 512, 3)


def test_a_browsers_recording_keeps_its_length(estimate, repo, tmp_path):
    status, _, _ = estimate(repo / "tests" / "streams" / "browser.webm", "--out", tmp_path / "out.mp4")
    frames, fps = read_video(tmp_path / "out.mp4")
    assert status == 0
    assert len(frames) / fps == pytest.approx(1.22, abs=0.06)


def test_a_variable_rate_is_written_by_the_clock(estimate, tmp_path):
    video = edit_mp4(write_video(tmp_path / "a.mp4", 20), ticks=[3200] * 5 + [640] * 15)
    status, _, err = estimate(video, "--out", tmp_path / "out.mp4")
    frames, fps = read_video(tmp_path / "out.mp4")
    assert status == 0 and len(frames) / fps == pytest.approx(1.6, abs=0.1)
    assert "out.mp4 lacks" in err


def test_an_odd_sized_video_is_reported(estimate, tmp_path):
    picture = np.full((48, 64, 3), 100, np.uint8)
    video = edit_mp4(write_video(tmp_path / "a.mp4", [picture] * 3), pixel=(65, 64))
    status, _, err = estimate(video, "--out", tmp_path / "out.mp4")
    assert status == 0
    assert "out.mp4 is 66x48, not 65x48" in err


@pytest.fixture
def folder(tmp_path, photo):
    """Two pictures of one name, one in a folder with an unreadable one, and a video."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "a.png", photo)
    (tmp_path / "two" / "b.png").write_bytes(b"")
    write_video(tmp_path / "v.mp4", [photo[:300, :400]] * 3)
    return tmp_path


def test_several_sources(estimate, folder, monkeypatch):
    monkeypatch.chdir(folder)
    status, out, err = estimate("one/a.png", "v.mp4", "two", "--csv", "rows.csv", "--json", "rows.json")
    assert status == 1  # for two/b.png
    assert "headpose: error: two/b.png is empty (0 bytes)\n" in err
    wanted = [("one/a.png", "a.png"), ("two", "a.png"), ("v.mp4", ""), ("v.mp4", ""), ("v.mp4", "")]
    assert [(row["source"], Path(row["image"]).name) for row in rows(folder / "rows.csv")] == wanted
    faces = [json.loads(line) for line in (folder / "rows.json").read_text().splitlines()]
    assert [(face["source"], Path(face.get("image", "")).name) for face in faces] == wanted
    assert [face["frame"] for face in faces[2:]] == [0, 1, 2]
    assert [line.split("  yaw")[0] for line in out.splitlines()] == [
        "one/a.png",
        "two  a.png",
        "v.mp4  frame 0",
        "v.mp4  frame 1",
        "v.mp4  frame 2",
    ]


def test_out_of_several_sources_is_a_folder(estimate, folder, photo, monkeypatch):
    monkeypatch.chdir(folder)
    write_image(folder / "c.png", photo)
    assert estimate("c.png", "one", "v.mp4", "--out", "drawn", "-q")[:2] == (0, "")
    assert sorted(path.name for path in (folder / "drawn").iterdir()) == ["a.png", "c.png", "v.mp4"]
    assert (read_image(folder / "drawn" / "c.png") != photo).any()
    assert len(read_video(folder / "drawn" / "v.mp4")[0]) == 3
    (folder / "file").write_text("x")
    assert_error(estimate("c.png", "one", "--out", "file"), "file must be a folder for several sources: it is a file")
    assert_error(estimate("one", "two", "--out", "new"), "one/a.png and two/a.png would both be written to new/a.png")
    assert_error(estimate("one", "c.png", "--out", "one"), "would overwrite one/a.png")
    assert not (folder / "new").exists()


def test_several_sources_go_on_past_a_bad_one_and_not_past_a_missing_one(estimate, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "text.txt").write_text("hello " * 500)
    (folder / "bad.png").write_bytes(b"no")
    assert_error(estimate("one/a.png", "none.png", "--csv", "rows.csv"), "none.png does not exist")
    assert_error(estimate("one/a.png", "text.txt", "--csv", "rows.csv"), "text.txt")
    assert_error(estimate("one/a.png", "0", "--csv", "rows.csv"), "camera 0")
    assert_error(estimate("one/a.png", "v.mp4", "--track"), "videos and cameras")
    status, _, err = estimate("bad.png", "v.mp4", "--csv", "rows.csv")
    assert status == 1 and "bad.png is not a picture" in err
    assert len(rows(folder / "rows.csv")) == 3


def test_several_sources_go_on_past_a_cut_video(estimate, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "cut.mp4").write_bytes((folder / "v.mp4").read_bytes()[:2000])
    status, _, err = estimate("one/a.png", "cut.mp4", "v.mp4", "--csv", "rows.csv")
    assert status == 1 and "headpose: error: cut.mp4 is neither a picture nor a video" in err
    assert [row["source"] for row in rows(folder / "rows.csv")] == ["one/a.png", *["v.mp4"] * 3]


def test_a_panorama_among_other_pictures_is_passed_over(estimate, folder, monkeypatch):
    monkeypatch.chdir(folder)
    cv2.imwrite("one/0.png", np.zeros((2, 40_000, 3), np.uint8))
    status, _, err = estimate("one", "--csv", "rows.csv")
    assert status == 1 and "error: one/0.png is 40000 x 2 pixels: make it 32766 at most a side\n" in err
    assert [row["image"] for row in rows(folder / "rows.csv")] == ["one/a.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such names")
def test_names_with_line_ends_and_escapes_stay_in_one_line(estimate, tmp_path, photo):
    (tmp_path / "a\nb.png").write_bytes(b"")
    assert_error(estimate(tmp_path / "a\nb.png"), r"a\\nb\.png is empty")
    assert_error(estimate(tmp_path / "\x1b[2J.png"), r"/\\x1b\[2J\.png does not exist")
    write_image(tmp_path / "c\nd.png", photo)
    status, out, err = estimate(tmp_path)
    assert status == 1 and out.startswith("c\\nd.png  yaw")
    assert r"a\nb.png is empty" in err


def test_several_videos_are_tracked_each_for_itself(estimate, folder, photo, monkeypatch):
    monkeypatch.chdir(folder)
    write_video(folder / "w.mp4", [photo[:300, :400]] * 2)
    assert estimate("v.mp4", "w.mp4", "--track", "--csv", "rows.csv", "-q")[0] == 0
    assert [(row["source"], row["frame"], row["track"]) for row in rows(folder / "rows.csv")] == [
        *(("v.mp4", str(index), "1") for index in range(3)),
        *(("w.mp4", str(index), "1") for index in range(2)),
    ]
