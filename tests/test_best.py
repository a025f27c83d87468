"""The best pictures of each person."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest

from headpose import best, cli, geometry
from headpose.errors import HeadPoseError, InputError
from headpose.images import read_image
from headpose.streams import Frame
from headpose.types import Box, Face, HeadPose
from tests.network_files import color_network
from tests.videos import write_video

BOX = Box(178, 83, 273, 176)  # the face of examples/astronaut.jpg


def pose(yaw=0.0, track=1, box=BOX):
    return HeadPose(Face(box, 1.0), geometry.rotation_from_euler((yaw, 0, 0)), track)


def frame(image, index):
    return Frame(index, float(index), "", image)


def test_blur_and_turning_cost_quality(photo):
    sharp = best.sharpness(photo, pose())
    assert sharp > 3 * best.sharpness(cv2.GaussianBlur(photo, (0, 0), 2), pose())
    assert best.frontality(pose(60)) == pytest.approx(0.25) and best.frontality(pose(120)) == 0
    small = cv2.resize(photo, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    assert best.sharpness(small, pose(box=Box(*(side / 4 for side in BOX)))) < sharp / 2


def test_the_frontal_and_sharp_pictures_win(photo):
    pictures = best.BestPictures(2, gap_s=0.5)
    blurred = cv2.GaussianBlur(photo, (0, 0), 3)
    for index, (image, yaw) in enumerate([(photo, 40), (photo, 5), (blurred, 0), (photo, 10), (photo, 30)]):
        pictures.add(frame(image, index), [pose(yaw)])
    assert [each.frame for each in pictures.results()[1]] == [1, 3]


def test_pictures_of_a_person_are_apart_in_time(photo):
    pictures = best.BestPictures(3, gap_s=2.0)
    for index, yaw in enumerate([20, 10, 5, 30, 6]):
        pictures.add(frame(photo, index), [pose(yaw)])
    chosen = [each.frame for each in pictures.results()[1]]
    assert chosen[0] == 2 and len(chosen) >= 2
    assert min(abs(a - b) for a in chosen for b in chosen if a != b) >= 2


def test_each_person_has_pictures_and_a_row_for_each(photo, tmp_path):
    pictures = best.BestPictures(1)
    edge = Box(-20, -20, 40, 40)
    pictures.add(frame(photo, 0), [pose(20, track=2), pose(0, track=1), pose(0, track=3, box=edge)])
    pictures.add(frame(photo, 1), [pose(1, track=2)])
    written = pictures.write(tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["person-01-1.png", "person-02-1.png", "person-03-1.png"]
    head = read_image(written[0])
    assert head.shape[0] > 2 * BOX.height and head.shape[1] > 2 * BOX.width
    np.testing.assert_array_equal(head[57:150, 57:152], photo[83:176, 178:273])
    with (tmp_path / "new/folder/best.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["track"], row["frame"]) for row in rows] == [("1", "0"), ("2", "1"), ("3", "0")]
    assert float(rows[1]["yaw"]) == 1 and 0 < float(rows[1]["quality"]) < 1


def test_what_is_refused(photo, tmp_path):
    with pytest.raises(InputError, match="need track numbers"):
        best.BestPictures().add(frame(photo, 0), [pose(track=None)])
    with pytest.raises(InputError, match="1 or more"):
        best.BestPictures(0)
    with pytest.raises(InputError, match="gap"):
        best.BestPictures(gap_s=-1)
    (tmp_path / "file").touch()
    with pytest.raises(HeadPoseError, match="cannot make the folder"):
        best.BestPictures().write(tmp_path / "file")


def test_the_command(photo, tmp_path, capfd):
    clip = write_video(tmp_path / "clip.mp4", [np.roll(photo, 8 * index, 1)[:300, :400] for index in range(5)])
    network = color_network(tmp_path / "color.onnx")
    words = ["best", str(clip), "--model", str(network), "--threads", "1", "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--n", "2", "--gap", "0"]) == 0
    assert capfd.readouterr().err == f"headpose: 2 pictures of 1 person in {tmp_path / 'out'}\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "best.csv",
        "person-01-1.png",
        "person-01-2.png",
    ]
    assert cli.main(["best", str(tmp_path / "out" / "person-01-1.png"), "--out", str(tmp_path / "out")]) == 1
    assert "would overwrite" in capfd.readouterr().err
    assert cli.main(["best", str(tmp_path / "out" / "person-01-1.png"), "--out", str(tmp_path / "other")]) == 1
    assert "is not a video" in capfd.readouterr().err
