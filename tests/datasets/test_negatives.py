"""Pictures without a face: the three forms that are read, and the boxes that are drawn on them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose.datasets import negatives
from headpose.datasets.negatives import Negative
from headpose.errors import DataError
from headpose.types import Box

FACES = "image,x1,y1,x2,y2,yaw,pitch,roll"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "hands").mkdir()
    for name, (width, height) in {"wall.png": (200, 120), "hands/b.png": (90, 90), "hands/a.png": (64, 48)}.items():
        cv2.imwrite(str(tmp_path / name), np.zeros((height, width, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_bytes((tmp_path / "wall.png").read_bytes())
    return tmp_path


def write(folder, *lines, name="list.csv"):
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def test_a_folder_is_all_pictures_in_it_and_below(folder):
    found = negatives.read(folder)
    assert [each.image.relative_to(folder).as_posix() for each in found] == ["hands/a.png", "hands/b.png", "wall.png"]
    assert [each.group for each in found] == ["hands/a", "hands/b", "wall"]
    assert not any(each.box or each.faces for each in found)


def test_a_list_names_pictures_or_places_on_them(folder):
    whole = negatives.read(write(folder, "source,image", "web,wall.png", "web,hands/b.png"))
    assert [(each.image.name, each.box, each.group) for each in whole] == [
        ("wall.png", None, "wall"),
        ("b.png", None, "hands/b"),
    ]
    (place,) = negatives.read(write(folder, "image,x1,y1,x2,y2", "wall.png,10,20,60,70.5"))
    assert place.box == Box(10, 20, 60, 70.5)
    assert negatives.draw_box(place, 200, 120, np.random.default_rng(0)) == place.box


def test_a_manifest_of_faces_gives_the_background_of_its_pictures(folder):
    lines = ["wall.png,10,10,60,70,0,0,0", "wall.png,20,40,70,100,9,9,9", "hands/a.png,2,2,62,46,0,0,0"]
    (wall,) = negatives.read(write(folder, FACES, *lines))  # a.png has no room beside its face
    assert wall.faces == (Box(10, 10, 60, 70), Box(20, 40, 70, 100))
    assert (wall.image.name, wall.box, wall.group) == ("wall.png", None, "wall")
    with pytest.raises(DataError, match=r"none of its 1 pictures has 31 pixels beside its faces"):
        negatives.read(write(folder, FACES, lines[2]))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["picture", "wall.png"], "lacks a column: negatives need image"),
        (["image,x1,y1", "wall.png,1,2"], "lacks a column: negatives need image, or image,x1,y1,x2,y2"),
        (["image"], "has a header and no pictures"),
        (["image", "floor.png"], "line 2: there is no picture"),
        (["image,x1,y1,x2,y2", "wall.png,1,2,3,4", "wall.png,1,2,x,40"], "line 3: x2 is not a number: 'x'"),
        (["image,x1,y1,x2,y2", "wall.png,10,2,3,40"], "line 2: box is empty"),
        (["image,x1,y1,x2,y2", "wall.png,300,2,350,40"], "line 2: the box .* lies outside of the 200 x 120 picture"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(folder, lines, says):
    with pytest.raises(DataError, match=says) as caught:
        negatives.read(write(folder, *lines))
    assert "\n" not in str(caught.value)


def test_a_path_without_pictures_is_an_error(folder):
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="no picture in the folder"):
        negatives.read(folder / "empty")
    with pytest.raises(DataError, match="cannot read"):
        negatives.read(folder / "absent.csv")
    (folder / "binary.csv").write_bytes(b"\xff\xfe\x00image")
    with pytest.raises(DataError, match="not a CSV file in UTF-8"):
        negatives.read(folder / "binary.csv")


SIDES = st.integers(1, 700)


@given(width=SIDES, height=SIDES, seed=st.integers(0, 2**32))
def test_a_drawn_box_is_a_detectors(width, height, seed):
    """Large enough for a crop where the picture is, at most a quarter outside on each axis, and the seed's."""
    negative = Negative("p")
    box = negatives.draw_box(negative, width, height, np.random.default_rng(seed))
    assert box == negatives.draw_box(negative, width, height, np.random.default_rng(seed))
    side = (box.width * box.height) ** 0.5
    assert side <= 0.9 * min(width, height) * 1.0001
    assert side >= min(24, 0.9 * min(width, height)) * 0.9999
    assert 0.5 < box.height / box.width < 2
    for low, high, end, extent in ((box.x1, box.x2, width, box.width), (box.y1, box.y2, height, box.height)):
        assert low >= -0.2501 * extent
        assert high <= end + 0.2501 * extent


def test_drawn_boxes_fill_the_ranges():
    boxes = [negatives.draw_box(Negative("p"), 400, 300, np.random.default_rng(seed)) for seed in range(2000)]
    sides = np.array([(box.width * box.height) ** 0.5 for box in boxes]) / 300
    shares = np.log(sides / 0.15) / np.log(0.9 / 0.15)
    np.testing.assert_allclose(np.histogram(shares, 4, (0, 1))[0] / 2000, 0.25, atol=0.04)
    aspects = np.log([box.height / box.width for box in boxes])
    assert aspects.std() == pytest.approx(0.12, rel=0.1)
    assert abs(aspects.mean()) < 0.02
    outside = np.mean([box.x1 < 0 or box.x2 > 400 or box.y1 < 0 or box.y2 > 300 for box in boxes])
    assert 0.1 < outside < 0.6
    centers = np.array([box.center for box in boxes]) / [400, 300]
    assert np.ptp(centers, axis=0).min() > 0.75


@given(x=st.floats(0, 250), y=st.floats(0, 150), side=st.floats(30, 110), seed=st.integers(0, 2**32))
def test_a_drawn_box_stays_clear_of_faces(x, y, side, seed):
    face = Box(x, y, x + side, y + side)
    box = negatives.draw_box(Negative("p", faces=(face,)), 360, 260, np.random.default_rng(seed))
    assert box.iou(face) == 0
    across, down = 0.149 * box.width, 0.149 * box.height
    assert Box(box.x1 - across, box.y1 - down, box.x2 + across, box.y2 + down).iou(face) == 0


def test_a_face_that_fills_the_middle_leaves_the_widest_strip():
    face = Box(32, 0, 100, 100)
    box = negatives.draw_box(Negative("p", faces=(face,)), 100, 100, np.random.default_rng(0))
    assert box.x2 * 1.0 <= 32
    assert box.iou(face) == 0
