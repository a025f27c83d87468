"""What ``headpose estimate`` prints and leaves on the disk."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from headpose.datasets import manifest
from headpose.draw import STYLES, draw_poses
from headpose.errors import DataError
from headpose.images import read_image, write_image
from headpose.types import Box, Face, HeadPose
from tests.videos import read_video, write_video

KEYS = ["frame", "image", "face", "box", "score", "yaw", "pitch", "roll", "azimuth", "elevation", "tilt", "rotation"]
KEYS += ["uncertainty", "readable", "reliable"]


def test_a_line_a_face(estimate, astronaut):
    status, out, err = estimate(astronaut)
    assert (status, err) == (0, "")
    number = r" +[-+]\d+\.\d"
    assert re.fullmatch(rf"astronaut.jpg  yaw{number}  pitch{number}  roll{number}  score 0.\d\d  box [\d ]+\n", out)


def test_json_on_stdout_is_nothing_but_json(estimate, astronaut):
    status, out, err = estimate(astronaut, "--json", "-")
    assert (status, err) == (0, "")
    face = json.loads(out)
    assert list(face) == KEYS
    assert (face["frame"], face["image"], face["face"]) == (0, astronaut.as_posix(), 1)
    x1, y1, x2, y2 = face["box"]
    assert 150 < x1 < 200 < x2 < 300 and 50 < y1 < 100 < y2 < 200
    assert np.shape(face["rotation"]) == (3, 3)


def test_every_output_at_once(estimate, astronaut, tmp_path):
    status, out, _ = estimate(
        astronaut, "--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv", "--out", tmp_path / "a.png", "-q"
    )
    assert (status, out) == (0, "")
    face = json.loads((tmp_path / "a.json").read_text())
    (row,) = csv.DictReader((tmp_path / "a.csv").read_text().splitlines())
    assert float(row["yaw"]) == pytest.approx(face["yaw"], abs=1e-3)
    drawn, original = read_image(tmp_path / "a.png"), read_image(astronaut)
    assert drawn.shape == original.shape
    assert 0.002 < (drawn != original).any(-1).mean() < 0.2


@pytest.mark.parametrize("style", STYLES)
def test_draw(estimate, astronaut, tmp_path, style):
    assert estimate(astronaut, "--out", tmp_path / "a.png", "--draw", style)[0] == 0
    others = [other for other in STYLES if other != style]
    for other in others:
        estimate(astronaut, "--out", tmp_path / "b.png", "--draw", other)
        assert (read_image(tmp_path / "a.png") != read_image(tmp_path / "b.png")).any()


def test_a_folder(estimate, tmp_path, photo):
    pictures, out_folder = tmp_path / "in", tmp_path / "out"
    pictures.mkdir()
    write_image(pictures / "face.png", photo)
    write_image(pictures / "wall.jpg", np.full((100, 100, 3), 150, np.uint8))
    status, out, err = estimate(pictures, "--json", tmp_path / "a.json", "--out", out_folder)
    assert status == 0
    assert [line.split("  ")[:2] for line in out.splitlines()][1] == ["wall.jpg", "no face found"]
    assert err == f"headpose: {pictures}: 2 pictures, 1 face\n"
    (face,) = map(json.loads, (tmp_path / "a.json").read_text().splitlines())
    assert (face["frame"], face["image"]) == (0, "in/face.png")
    assert sorted(path.name for path in out_folder.iterdir()) == ["face.png", "wall.jpg"]


def test_a_video(estimate, tmp_path, clip):
    status, out, err = estimate(clip, "--json", tmp_path / "a.json", "--out", tmp_path / "out.mp4")
    assert status == 0
    assert [line.split("  ")[0] for line in out.splitlines()] == [f"frame {index}" for index in range(5)]
    total, codec = err.splitlines()
    assert total == f"headpose: {clip}: 5 frames, 5 faces"
    assert codec.startswith(f"headpose: {tmp_path / 'out.mp4'} is MPEG-4 part 2, which browsers do not play")
    faces = [json.loads(line) for line in (tmp_path / "a.json").read_text().splitlines()]
    assert [face["frame"] for face in faces] == list(range(5))
    assert not {"image", "face"} & set(faces[0])
    lefts = [face["box"][0] for face in faces]
    assert lefts == sorted(lefts) and 20 < lefts[-1] - lefts[0] < 44
    drawn, fps = read_video(tmp_path / "out.mp4")
    original, original_fps = read_video(clip)
    assert len(drawn) == 5 and fps == original_fps
    assert np.abs(drawn[2].astype(int) - original[2]).max() > 100


def test_a_tracked_video(estimate, tmp_path, clip):
    """--track numbers and changes nothing else; --smooth moves the angles as well, by little."""
    read = {}
    for option in ((), ("--track",), ("--smooth",)):
        status, out, _ = estimate(clip, *option, "--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv")
        assert status == 0
        assert all(("  face 1  " in line) == bool(option) for line in out.splitlines())
        rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
        assert [row.get("track") for row in rows] == ["1" if option else None] * 5
        faces = [json.loads(line) for line in (tmp_path / "a.json").read_text().splitlines()]
        assert [face.pop("track", None) for face in faces] == [1 if option else None] * 5
        read[option] = faces
    plain, tracked, smooth = read.values()
    assert tracked == plain
    assert smooth[0]["yaw"] == pytest.approx(plain[0]["yaw"], abs=1e-5)
    changes = [abs(a["yaw"] - b["yaw"]) for a, b in zip(smooth[1:], plain[1:], strict=True)]
    assert 0 < max(changes) < 5


def test_out_may_be_a_folder_that_is_there(estimate, tmp_path, astronaut, clip):
    (tmp_path / "out").mkdir()
    assert estimate(astronaut, "--out", tmp_path / "out")[0] == 0
    assert estimate(clip, "--out", tmp_path / "out")[0] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["astronaut.jpg", "clip.mp4"]


def test_max_faces(estimate, tmp_path, photo):
    write_image(tmp_path / "two.png", np.hstack([photo, photo]))
    assert len(estimate(tmp_path / "two.png")[1].splitlines()) == 2
    assert len(estimate(tmp_path / "two.png", "--max-faces", 1)[1].splitlines()) == 1


def test_min_score_leaves_faces_out(estimate, tmp_path, photo):
    """One face is seen well and one badly: the lines, the rows and the drawn numbers are of those that are left."""
    worse = cv2.GaussianBlur(photo, (0, 0), 4)
    write_image(tmp_path / "two.png", np.hstack([worse, photo]))
    lines = estimate(tmp_path / "two.png")[1].splitlines()
    best, worst = (float(line.split("score ")[1].split()[0]) for line in lines)
    assert best - worst > 0.05
    between = f"{(best + worst) / 2:.3f}"
    outputs = ("--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv")
    (line,) = estimate(tmp_path / "two.png", "--min-score", between, *outputs)[1].splitlines()
    assert line.startswith("two.png  yaw") and f"score {best:.2f}" in line
    assert len((tmp_path / "a.json").read_text().splitlines()) == len((tmp_path / "a.csv").read_text().splitlines()) - 1
    assert json.loads((tmp_path / "a.json").read_text())["box"][0] > photo.shape[1]
    assert estimate(tmp_path / "two.png", "--min-score", 1)[1] == "two.png  no face found\n"
    assert len(estimate(tmp_path / "two.png", "--min-score", 0)[1].splitlines()) == 2


@pytest.mark.parametrize("score", ["1.5", "-0.1", "nan", "high"])
def test_a_score_that_is_none_is_wrong_usage(estimate, astronaut, score, capfd):
    with pytest.raises(SystemExit) as stop:
        estimate(astronaut, f"--min-score={score}")
    assert stop.value.code == 2 and "is not a number from 0 to 1" in capfd.readouterr().err


def test_lines_rows_and_drawn_faces_share_a_number(estimate, tmp_path, photo):
    write_image(tmp_path / "two.png", np.hstack([photo, photo]))
    outputs = ("--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv", "--out", tmp_path / "out.png")
    lines = estimate(tmp_path / "two.png", *outputs)[1].splitlines()
    assert [line.split("  ")[1] for line in lines] == ["face 1", "face 2"]
    faces = [json.loads(line) for line in (tmp_path / "a.json").read_text().splitlines()]
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [face["face"] for face in faces] == [1, 2] and [row["face"] for row in rows] == ["1", "2"]
    for line, face, row in zip(lines, faces, rows, strict=True):
        left = f"box {face['box'][0]:.0f} "
        assert left in line and f"box {float(row['x1']):.0f} " == left
    poses = [HeadPose(Face(Box(*face["box"]), face["score"]), np.array(face["rotation"])) for face in faces]
    drawn = draw_poses(read_image(tmp_path / "two.png"), poses)  # which numbers them by their place
    assert (cv2.absdiff(drawn, read_image(tmp_path / "out.png")).max(2) > 60).sum() < 20


def test_faces_of_a_video_have_no_number_without_a_track(estimate, tmp_path, photo):
    """Their place may change from frame to frame, so it would look like the number of a track and be none."""
    both = cv2.resize(np.hstack([photo, photo]), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    video = write_video(tmp_path / "two.mp4", [both] * 2)
    lines = estimate(video)[1].splitlines()
    assert len(lines) == 4 and all(re.match(r"frame \d  yaw", line) for line in lines)
    lines = estimate(video, "--track")[1].splitlines()
    assert {line.split("  ")[1] for line in lines} == {"face 1", "face 2"}


def test_only_videos_that_browsers_should_play_are_noted(estimate, tmp_path, clip):
    for name in ("out.webm", "out.avi"):
        assert "which browsers" not in estimate(clip, "--out", tmp_path / name)[2]
    assert "which browsers" not in estimate(clip, "-q", "--out", tmp_path / "out.mp4")[2]
    (tmp_path / "second.mp4").write_bytes(clip.read_bytes())
    assert estimate(clip, tmp_path / "second.mp4", "--out", tmp_path / "several")[2].count("which browsers") == 1


def test_the_csv_is_a_manifest_wherever_it_is_written(estimate, tmp_path, photo, monkeypatch):
    """Also beyond a link to a folder: ``..`` leads out of what the link points to."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "deep" / "out").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "out", target_is_directory=True)
    write_image(tmp_path / "photos" / "two.png", np.hstack([photo, photo]))
    monkeypatch.chdir(tmp_path)
    given = Path("photos"), tmp_path / "photos", Path("photos/two.png")
    tables = Path("a.csv"), tmp_path / "photos" / "a.csv", Path("link/a.csv"), Path("deep/a.csv")
    for source in given:
        for table in tables:
            assert estimate(source, "--csv", table, "-q")[0] == 0
            samples = manifest.read(table)
            assert [sample.image.resolve() for sample in samples] == [(tmp_path / "photos" / "two.png").resolve()] * 2
            assert len({sample.group for sample in samples}) == 1  # two faces of one photograph
    (row, _) = csv.DictReader((tmp_path / "deep" / "a.csv").read_text().splitlines())
    assert row["image"] == "../photos/two.png"
    assert tuple(samples[0].box.as_tuple()) == tuple(float(row[side]) for side in ("x1", "y1", "x2", "y2"))
    assert tuple(samples[0].euler) == tuple(float(row[angle]) for angle in ("yaw", "pitch", "roll"))


def test_rows_on_stdout_name_a_picture_as_it_was_given(estimate, tmp_path, photo, monkeypatch):
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "a.png", photo)
    monkeypatch.chdir(tmp_path)
    for source, image in (("photos", "photos/a.png"), (tmp_path / "photos", (tmp_path / "photos/a.png").as_posix())):
        assert json.loads(estimate(source, "--json", "-")[1])["image"] == image
        assert next(csv.DictReader(estimate(source, "--csv", "-")[1].splitlines()))["image"] == image


def test_a_videos_csv_is_no_manifest_and_says_why(estimate, tmp_path, clip):
    estimate(clip, "--csv", tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"line 2: image is empty"):
        manifest.read(tmp_path / "a.csv")


def test_no_face_is_said_and_is_no_error(estimate, tmp_path):
    write_image(tmp_path / "wall.png", np.full((200, 300, 3), 150, np.uint8))
    assert estimate(tmp_path / "wall.png") == (0, "wall.png  no face found\n", "")
    status, out, err = estimate(tmp_path / "wall.png", "--json", "-")
    assert (status, out) == (0, "")
    assert err == f"headpose: no face found in {tmp_path / 'wall.png'}\n"
    video = write_video(tmp_path / "wall.mp4", 4)
    assert estimate(video) == (0, "", f"headpose: no face found in {video}\n")
