from __future__ import annotations

import csv
import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from headpose.draw import draw_poses
from headpose.errors import HeadPoseError
from headpose.geometry import direction_from_rotation, euler_from_rotation, rotation_from_euler
from headpose.images import read_image
from headpose.streams import Frame, PictureFile, PictureFolder, VideoFile, csv_file, json_lines
from headpose.streams.sinks import CSV_COLUMNS
from headpose.types import Box, Face, HeadPose
from tests.videos import read_video

DOUBT = ["uncertainty", "readable", "reliable"]


def pose(*euler, box=(10.25, 20.5, 50, 70), score=0.875):
    return HeadPose(Face(Box(*box), score), rotation_from_euler(euler))


def frame(index=0, name="", time_s=0.0, size=(48, 64)):
    return Frame(index, time_s, name, np.full((*size, 3), 100, np.uint8))


def test_json_lines_have_one_object_a_face(tmp_path):
    with json_lines(tmp_path / "a.json") as sink:
        sink.write(frame(0, "é.jpg"), [pose(10, -20, 30), pose(93, 0, 0)])
        sink.write(frame(1), [])
        sink.write(frame(2), [pose(1, 2, 3)])
        assert not (tmp_path / "a.json").exists()
    first, second, third = map(json.loads, (tmp_path / "a.json").read_text("utf-8").splitlines())
    angles = ["yaw", "pitch", "roll", "azimuth", "elevation", "tilt"]
    assert list(first) == ["frame", "image", "face", "box", "score", *angles, "rotation", *DOUBT]  # no time
    assert list(third)[:2] == ["frame", "time_s"]
    assert (first["frame"], first["image"], first["box"], first["score"]) == (0, "é.jpg", [10.25, 20.5, 50, 70], 0.875)
    assert (first["yaw"], first["pitch"], first["roll"]) == pytest.approx((10, -20, 30))
    np.testing.assert_allclose(euler_from_rotation(first["rotation"]), (10, -20, 30), atol=1e-6)
    assert second["yaw"] == pytest.approx(93)
    assert (second["azimuth"], second["elevation"], second["tilt"]) == pytest.approx((93, 0, 0))
    assert (first["face"], second["face"]) == (1, 2)
    assert third["frame"] == 2 and not {"image", "face"} & set(third)


def test_csv_has_a_header_and_quotes_names(tmp_path):
    with csv_file(tmp_path / "a.csv") as sink:
        sink.write(frame(3, 'a, "b".jpg'), [pose(10, -20, 30)])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["image"] == 'a, "b".jpg' and row["frame"] == "3" and row["face"] == "1" and row["time_s"] == ""
    box_score_angles = [float(row[key]) for key in ("x1", "y1", "x2", "y2", "score", "yaw", "pitch", "roll")]
    assert box_score_angles == pytest.approx([10.25, 20.5, 50, 70, 0.875, 10, -20, 30])
    direction = [float(row[key]) for key in ("azimuth", "elevation", "tilt")]
    assert direction == pytest.approx(direction_from_rotation(rotation_from_euler((10, -20, 30))), abs=1e-3)


def test_rows_say_how_sure_the_network_is(tmp_path):
    sure = dataclasses.replace(pose(1, 2, 3), covariance=0.01 * np.eye(3), readable=0.98765432)
    guess = dataclasses.replace(sure, readable=0.25, reliable=False)
    with json_lines(tmp_path / "a.json") as lines, csv_file(tmp_path / "a.csv", tracks=True) as table:
        for sink in (lines, table):
            sink.write(frame(), [sure, guess, pose(1, 2, 3)])
    objects = [json.loads(line) for line in (tmp_path / "a.json").read_text().splitlines()]
    error = float(np.rad2deg(0.1 * np.sqrt(8 / np.pi)))
    assert [[each[key] for key in DOUBT] for each in objects] == [
        [pytest.approx(error, rel=1e-3), 0.987654, True],
        [pytest.approx(error, rel=1e-3), 0.25, False],
        [None, None, True],
    ]
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [[each[key] for key in DOUBT] for each in rows] == [
        [f"{error:.3f}", "0.9877", "true"],
        [f"{error:.3f}", "0.2500", "false"],
        ["", "", "true"],
    ]


def test_rows_say_when_and_of_which_source(tmp_path):
    of_video = Frame(7, 0.2333333, "", frame().image, "clip.mp4")
    of_folder = Frame(3, 0.0, "b.jpg", frame().image, "photos")
    with csv_file(tmp_path / "a.csv", tracks=True, sources=True) as table, json_lines(tmp_path / "a.json") as lines:
        for sink in (table, lines):
            sink.write(of_video, [pose(1, 2, 3)])
            sink.write(of_folder, [pose(1, 2, 3)])
    first, second = csv.DictReader((tmp_path / "a.csv").read_text().splitlines())
    assert (first["frame"], first["time_s"], first["source"], first["track"]) == ("7", "0.233333", "clip.mp4", "")
    assert (second["image"], second["time_s"], second["source"]) == ("b.jpg", "", "photos")
    assert (first["image"], first["face"], second["face"]) == ("", "", "1")
    first, second = map(json.loads, (tmp_path / "a.json").read_text().splitlines())
    assert (first["source"], first["time_s"], "image" in first) == ("clip.mp4", 0.233333, False)
    assert (second["source"], second["image"], "time_s" in second) == ("photos", "b.jpg", False)


def test_no_face_is_an_empty_file_with_its_header(tmp_path):
    with json_lines(tmp_path / "a.json") as lines, csv_file(tmp_path / "a.csv") as table:
        lines.write(frame(), [])
        table.write(frame(), [])
    assert (tmp_path / "a.json").read_text() == ""
    assert (tmp_path / "a.csv").read_text().strip().split(",") == list(CSV_COLUMNS)


def test_stdout_gets_each_frame_at_once(capsys):
    with json_lines("-") as sink:
        sink.write(frame(), [pose(1, 2, 3)])
        assert json.loads(capsys.readouterr().out)["yaw"] == pytest.approx(1)


def test_a_picture_and_a_folder_hold_what_draw_poses_draws(tmp_path):
    expected = draw_poses(frame().image, [pose(30, 0, 0)], "cube")
    with PictureFile(tmp_path / "a.png", "cube") as file:
        file.write(frame(), [pose(30, 0, 0)])
    with PictureFolder(tmp_path / "new" / "folder", "cube") as folder:
        folder.write(frame(name="b.png"), [pose(30, 0, 0)])
        folder.write(frame(name="c.png"), [])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "folder" / "b.png"), expected)
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "folder" / "c.png"), frame().image)


def test_pictures_of_formats_that_cannot_be_written_become_jpegs(tmp_path):
    with PictureFolder(tmp_path) as folder:
        for name in ("a.heic", "a.jpg", "a.j2k"):
            folder.write(frame(name=name), [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.heic.jpg", "a.j2k.jpg", "a.jpg"]
    assert read_image(tmp_path / "a.heic.jpg").shape == frame().image.shape


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".mov", ".m4v"])
def test_a_video_has_every_frame(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with VideoFile(path, 12.5) as sink:
        for index in range(7):
            sink.write(frame(index, size=(48, 64)), [])
        assert not path.exists()
    frames, fps = read_video(path)
    assert len(frames) == 7 and fps == pytest.approx(12.5)
    assert frames[0].shape == (48, 64, 3) and abs(frames[0].mean() - 100) < 4
    assert list(tmp_path.iterdir()) == [path]


def test_a_slow_camera_is_recorded_at_its_real_speed(tmp_path):
    with VideoFile(tmp_path / "a.avi", 10, by_clock=True) as sink:
        for index in range(5):
            sink.write(frame(index, time_s=index * 0.5), [])
    frames, _ = read_video(tmp_path / "a.avi")
    assert len(frames) == 21  # 2 seconds at 10 frames/s, and the last frame


@pytest.mark.parametrize("size", [(49, 65), (48, 65), (49, 64), (1, 1)])
def test_a_video_of_odd_sides_keeps_its_last_row_and_column(tmp_path, size):
    image = np.full((*size, 3), 30, np.uint8)
    image[-1:], image[:, -1:] = 220, 220
    with VideoFile(tmp_path / "a.avi", 10) as sink:
        for index in range(3):
            sink.write(Frame(index, 0.0, "", image), [])
    frames, _ = read_video(tmp_path / "a.avi")
    height, width = (side + side % 2 for side in size)
    assert frames[0].shape == (height, width, 3)
    assert frames[0][size[0] - 1].mean() > 150 and frames[0][:, size[1] - 1].mean() > 150
    (note,) = sink.notes
    assert f"{width}x{height}, not {size[1]}x{size[0]}" in note


@pytest.mark.parametrize("fps", [0.0, -5.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_an_error(tmp_path, fps):
    with pytest.raises(HeadPoseError, match="no rate"):
        VideoFile(tmp_path / "a.mp4", fps)


@pytest.mark.parametrize("fps", [0.5, 12.3456, 24.365, 119.88, 143.123456, 1000.0])
def test_any_other_rate_can_be_written(tmp_path, fps):
    with VideoFile(tmp_path / "a.mp4", fps) as sink:
        for index in range(4):
            sink.write(frame(index), [])
    frames, written = read_video(tmp_path / "a.mp4")
    assert len(frames) == 4 and written == pytest.approx(fps, rel=1e-3)


def test_times_that_tremble_double_and_drop_no_frame(tmp_path):
    times = [index / 10 + 0.06 * (-1) ** index for index in range(1, 40)]
    with VideoFile(tmp_path / "a.avi", 10, by_clock=True) as sink:
        for index, time_s in enumerate([0.0, *times]):
            sink.write(frame(index, time_s=time_s), [])
    assert len(read_video(tmp_path / "a.avi")[0]) == 40 and sink.notes == []


def test_a_long_gap_is_shortened_once(tmp_path):
    with VideoFile(tmp_path / "a.avi", 2, by_clock=True) as sink:
        for index, time_s in enumerate((0, 1000, 1000.5, 1001)):
            sink.write(frame(index, time_s=time_s), [])
    assert len(read_video(tmp_path / "a.avi")[0]) == 1 + 20 + 3


def test_a_camera_that_is_faster_than_it_says_is_not_slowed_down(tmp_path):
    with VideoFile(tmp_path / "a.avi", 10, by_clock=True) as sink:
        for index in range(61):
            sink.write(frame(index, time_s=index / 30), [])
    count = len(read_video(tmp_path / "a.avi")[0])
    assert count == pytest.approx(21, abs=1)
    (note,) = sink.notes
    assert f"lacks {61 - count} frames" in note and "10 a second" in note


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi"])
def test_no_frame_is_lost_in_silence_on_a_full_disk(tmp_path, suffix):
    """Short videos too: a container whose end is still in memory when the disk is full has been closed for whole."""
    program = f"""
import os, resource
import numpy as np
from pathlib import Path
from headpose import streams, errors
streams.silence_codecs()
def write(path):
    with streams.VideoFile(path, 10) as opened:
        for index in range(60):
            opened.write(streams.Frame(index, index / 10, "", np.full((120, 160, 3), 4 * index, np.uint8)), [])
write(Path({str(tmp_path / ("whole" + suffix))!r}))
size = os.path.getsize({str(tmp_path / ("whole" + suffix))!r})
for part in (*range(2, 40, 4), 39):
    limit = size * part // 40
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write(Path({str(tmp_path / ("cut" + suffix))!r}))
        print("whole with", limit, "of", size)
    except errors.HeadPoseError as error:
        assert "cannot write" in str(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == [f"whole{suffix}"]


def test_a_failure_leaves_the_old_files(tmp_path):
    paths = [tmp_path / name for name in ("a.json", "a.csv", "a.mp4")]
    for path in paths:
        path.write_text("old")
    with pytest.raises(RuntimeError), json_lines(paths[0]) as a, csv_file(paths[1]) as b, VideoFile(paths[2], 10) as c:
        for sink in (a, b, c):
            sink.write(frame(), [pose(1, 2, 3)])
        raise RuntimeError
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert {path.read_text() for path in paths} == {"old"}


def test_endings_are_checked_before_the_work(tmp_path):
    with pytest.raises(HeadPoseError, match="ending"):
        PictureFile(tmp_path / "a.mp4")
    with pytest.raises(HeadPoseError, match=r"\.mp4"):
        VideoFile(tmp_path / "a.png", 10)


@pytest.mark.parametrize("make", [json_lines, csv_file, lambda path: VideoFile(path.with_suffix(".mp4"), 10)])
def test_a_missing_folder_is_reported_before_the_work(tmp_path, make):
    with pytest.raises(HeadPoseError, match="does not exist"), make(tmp_path / "none" / "a"):
        pass


def test_a_file_in_the_folders_place_is_reported(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(HeadPoseError, match="cannot make the folder"), PictureFolder(tmp_path / "a"):
        pass


def test_a_video_whose_frames_change_size_is_an_error(tmp_path):
    with pytest.raises(HeadPoseError, match="frame 1"), VideoFile(tmp_path / "a.mp4", 10) as sink:
        sink.write(frame(0, size=(48, 64)), [])
        sink.write(frame(1, size=(64, 48)), [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.mp4", "a.avi", "a.png", "folder"])
def test_a_full_disk_is_an_error_in_a_line_and_leaves_no_half_file(tmp_path, name):
    program = f"""
import resource, sys
import numpy as np
from pathlib import Path
from headpose import streams, errors, geometry, types
streams.silence_codecs()
path = Path({str(tmp_path / name)!r})
pose = types.HeadPose(types.Face(types.Box(0, 0, 50, 50), 1.0), geometry.rotation_from_euler((1, 2, 3)))
sink = dict(json=streams.json_lines, csv=streams.csv_file, mp4=lambda p: streams.VideoFile(p, 25),
            avi=lambda p: streams.VideoFile(p, 25), png=streams.PictureFile).get(path.suffix[1:], streams.PictureFolder)
noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
try:
    with sink(path) as opened:
        for index in range(40):
            opened.write(streams.Frame(index, 0.0, "f.png", noise), [pose] * 20)
except errors.HeadPoseError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"cannot write {tmp_path / name}")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
