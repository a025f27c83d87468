"""What ``headpose estimate`` prints and leaves on the disk."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

from headpose.draw import STYLES
from headpose.images import read_image, write_image
from tests.videos import read_video, write_video

KEYS = ["frame", "name", "box", "score", "yaw", "pitch", "roll", "rotation"]


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
    assert (face["frame"], face["name"]) == (0, "astronaut.jpg")
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
    assert (face["frame"], face["name"]) == (0, "face.png")
    assert sorted(path.name for path in out_folder.iterdir()) == ["face.png", "wall.jpg"]


def test_a_video(estimate, tmp_path, clip):
    status, out, err = estimate(clip, "--json", tmp_path / "a.json", "--out", tmp_path / "out.mp4")
    assert status == 0
    assert [line.split("  ")[0] for line in out.splitlines()] == [f"frame {index}" for index in range(5)]
    assert err == f"headpose: {clip}: 5 frames, 5 faces\n"
    faces = [json.loads(line) for line in (tmp_path / "a.json").read_text().splitlines()]
    assert [face["frame"] for face in faces] == list(range(5))
    assert "name" not in faces[0]
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


def test_no_face_is_said_and_is_no_error(estimate, tmp_path):
    write_image(tmp_path / "wall.png", np.full((200, 300, 3), 150, np.uint8))
    assert estimate(tmp_path / "wall.png") == (0, "wall.png  no face found\n", "")
    status, out, err = estimate(tmp_path / "wall.png", "--json", "-")
    assert (status, out) == (0, "")
    assert err == f"headpose: no face found in {tmp_path / 'wall.png'}\n"
    video = write_video(tmp_path / "wall.mp4", 4)
    assert estimate(video) == (0, "", f"headpose: no face found in {video}\n")
