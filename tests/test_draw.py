from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from headpose.choices import STYLES
from headpose.draw import ANGLE_COLORS, draw_labels, draw_mirrored, draw_panel, draw_pose, draw_poses
from headpose.geometry import rotation_from_euler
from headpose.types import Box, Face, HeadPose
from tests.golden import assert_golden

GREY = 128


def pose(euler, box=(60, 60, 140, 140), score=1.0):
    return HeadPose(Face(Box(*box), score), rotation_from_euler(euler))


def canvas(height=200, width=200):
    return np.full((height, width, 3), GREY, np.uint8)


def center_of(image, channel):
    """Mean (x, y) of the pixels where one channel (blue 0, green 1, red 2) stands out."""
    others = [other for other in range(3) if other != channel]
    y, x = np.nonzero(image[..., channel] > image[..., others].max(-1).astype(int) + 60)
    assert len(x), "nothing of that color"
    return x.mean(), y.mean()


@pytest.mark.parametrize(
    ("euler", "channel", "direction"),
    [
        ((0, 0, 0), 2, (1, 0)),  # red: the head's left, the right of the picture
        ((0, 0, 0), 1, (0, -1)),  # green: up
        ((60, 0, 0), 0, (-1, 0)),  # blue, out of the nose: yaw > 0 is left
        ((0, 60, 0), 0, (0, -1)),  # pitch > 0 is up
        ((0, 0, 90), 1, (1, 0)),  # roll > 0 is clockwise
    ],
)
def test_axes_point_where_the_angles_say(euler, channel, direction):
    image = canvas()
    draw_pose(image, pose(euler), "axes", label=False)
    x, y = center_of(image, channel)
    along = (x - 100) * direction[0] + (y - 100) * direction[1]
    across = (x - 100) * direction[1] + (y - 100) * direction[0]
    assert along > 12 and abs(across) < 4


@pytest.mark.parametrize(("euler", "direction"), [((50, 0, 0), (-1, 0)), ((0, -50, 0), (0, 1))])
def test_the_cubes_green_front_is_where_the_face_looks(euler, direction):
    image = canvas()
    draw_pose(image, pose(euler), "cube", label=False)
    (front_x, front_y), (back_x, back_y) = center_of(image, 1), center_of(image, 2)
    assert (front_x - back_x) * direction[0] + (front_y - back_y) * direction[1] > 30


def test_none_is_the_tight_box():
    image = canvas()
    draw_pose(image, pose((30, 0, 0)), "none", label=False)
    y, x = np.nonzero(image[..., 0] > 200)
    assert (x.min(), x.max(), y.min(), y.max()) == pytest.approx((60, 140, 60, 140), abs=2)


@pytest.mark.parametrize("style", STYLES)
def test_golden(style):
    image = canvas(160, 160)
    draw_pose(image, pose((35, -15, 10), (45.3, 40.6, 110.9, 112.2)), style, label=False)
    assert_golden(image, f"draw_{style}", tolerance=24, share=0.002)


def test_lines_grow_with_the_face():
    def area(side):
        image = canvas(1000, 1000)
        draw_pose(image, pose((30, 20, 0), (100, 100, 100 + side, 100 + side)), "axes", label=False)
        return (image != GREY).any(-1).sum() / side**2

    assert area(600) == pytest.approx(area(300), rel=0.3)


def test_the_label_adds_to_the_picture_and_stays_inside():
    for box in ((60, 60, 140, 140), (-50, -50, 20, 20), (180, 180, 290, 290)):
        without, image = canvas(), canvas()
        draw_pose(without, pose((0, 0, 0), box), label=False)
        draw_pose(image, pose((0, 0, 0), box))
        added = (image != without).any(-1)
        assert added.sum() > 200
        assert not added[:, 0].any() and not added[:, -1].any()  # no letter is cut off


def test_draw_poses_leaves_the_picture_alone_and_draws_the_best_on_top():
    image = canvas()
    best, worst = pose((0, 0, 0), score=0.9), pose((40, 0, 0), score=0.5)
    drawn = draw_poses(image, [best, worst], label=False)
    assert (image == GREY).all()
    expected = canvas()
    for each in (worst, best):
        draw_pose(expected, each, label=False)
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_array_equal(draw_poses(image, []), image)


def group(side, gap):
    """3 x 6 equal faces with the same label, and the picture of their labels alone."""
    boxes = [(30 + gap * column, 30 + gap * row) for row in range(3) for column in range(6)]
    head = dataclasses.replace(pose((10, 20, 30)), track=8)
    poses = [dataclasses.replace(head, face=Face(Box(x, y, x + side, y + side), 1.0)) for x, y in boxes]
    image = canvas(3 * gap + 90, 6 * gap + 90)
    draw_labels(image, poses)
    return boxes, image


def ink(image):
    return int((image != GREY).any(-1).sum())


@pytest.mark.parametrize(("side", "gap"), [(120, 300), (60, 110), (40, 60), (24, 60)])
def test_labels_of_a_group_cover_neither_each_other_nor_another_face(side, gap):
    boxes, image = group(side, gap)
    assert ink(image) % len(boxes) == 0, "a label that covers another one costs some of its ink"
    for x, y in boxes:
        assert (image[y + 4 : y + side - 4, x + 4 : x + side - 4] == GREY).all(), "a label covers a face"


def test_words_give_way_to_numbers_and_these_to_the_number_of_the_face():
    words, numbers, face = (ink(group(40, gap)[1]) for gap in (300, 110, 60))
    assert words > 1.5 * numbers > 1.5 * 1.5 * face > 0


def test_faces_of_one_picture_are_numbered_in_their_order_and_tracked_ones_by_their_track():
    def drawn(*poses):
        image = canvas(200, 900)
        draw_labels(image, poses)
        return image

    first, second = pose((0, 0, 0), (60, 60, 140, 140)), pose((0, 0, 0), (660, 60, 740, 140))
    numbered = drawn(first, second)
    tracked = drawn(dataclasses.replace(first, track=1), dataclasses.replace(second, track=2))
    np.testing.assert_array_equal(numbered, tracked)
    assert (drawn(dataclasses.replace(first, track=7), second) != numbered).any()
    alone = drawn(first)
    assert (alone[:, :400] != numbered[:, :400]).any(), "one face needs no number"


def test_an_angle_has_the_color_of_its_axis():
    for name, color in ANGLE_COLORS.items():
        axis = {"pitch": 0, "yaw": 1, "roll": 2}[name]  # rotations about x, y and z
        image = canvas()
        up = np.roll(np.eye(3), 1 - axis, axis=1)  # v_camera = R v_head: the head's axis points up, y of the camera
        draw_pose(image, HeadPose(Face(Box(60, 60, 140, 140), 1.0), up.T), label=False)
        top = image[50:56, 97:104].reshape(-1, 3)
        assert np.abs(top.astype(int) - color).max(-1).min() < 30, name


@pytest.mark.parametrize("side", [16, 24, 40, 66])
@pytest.mark.parametrize("style", ["axes", "cube"])
def test_the_lines_of_a_small_face_keep_their_color(side, style):
    image = canvas()
    draw_pose(image, pose((30, 20, 10), (80.3, 80.6, 80.3 + side, 80.6 + side)), style, label=False)
    for channel in range(3):
        others = [other for other in range(3) if other != channel]
        stands_out = image[..., channel] > image[..., others].max(-1).astype(int) + 100
        assert stands_out.sum() > side / 4


def test_draw_poses_takes_a_view():
    view = canvas()[:, ::-1]
    assert (draw_poses(view, [pose((0, 0, 0))]) != view).any()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("box", [(-1e9, -1e9, 1e9, 1e9), (0, 0, 1e-3, 1e-3), (5e8, 0, 6e8, 10)])
def test_boxes_of_any_size_are_drawn_without_an_error(style, box):
    draw_pose(canvas(50, 50), pose((20, 30, 40), box), style)


def test_the_smallest_picture_is_drawn_on():
    draw_pose(canvas(1, 1), pose((20, 30, 40), (0, 0, 1, 1)))


def test_an_unknown_style_is_an_error():
    with pytest.raises(ValueError, match="axes, cube, none"):
        draw_pose(canvas(), pose((0, 0, 0)), "arrow")  # type: ignore[arg-type]


@pytest.mark.parametrize("style", STYLES)
def test_a_mirrored_picture_is_flipped_but_its_text_is_not(style):
    image = canvas(240, 400)
    image[:, :30] = 0
    head = pose((30.0, 10.0, -20.0), box=(60, 60, 140, 140))
    mirrored = draw_mirrored(image, [head], style)
    expected = draw_poses(image, [head], style, label=False)[:, ::-1].copy()
    draw_labels(expected, [HeadPose(Face(Box(260, 60, 340, 140), 1.0), head.rotation)])  # the angles of the camera
    np.testing.assert_array_equal(mirrored, expected)
    assert (image[:, 30:] == GREY).all(), "the picture itself is left alone"


def test_labels_may_show_other_numbers_than_the_axes():
    image, head = canvas(), pose((30, 0, 0))
    relative = dataclasses.replace(head, rotation=np.eye(3))
    expected = draw_poses(image, [head], label=False)
    draw_labels(expected, [relative])
    np.testing.assert_array_equal(draw_poses(image, [head], numbers=[relative]), expected)
    flipped = draw_mirrored(image, [head], numbers=[relative])
    assert (flipped != draw_mirrored(image, [head])).any()
    np.testing.assert_array_equal(flipped[:140], draw_mirrored(image, [head])[:140])


@pytest.mark.parametrize("size", [(480, 640), (1080, 1920), (40, 30)])
@pytest.mark.parametrize("at_bottom", [False, True])
def test_a_panel_is_dark_with_light_text_in_its_corner(size, at_bottom):
    image = canvas(*size)
    draw_panel(image, ["two", "lines"], at_bottom)
    if size[0] > 100:
        assert (image.min(), image.max()) == (GREY // 3, 255)
        assert (image[: size[0] // 2] == GREY).all() == at_bottom
        assert (image[size[0] // 2 :] == GREY).all() != at_bottom
        assert (image[:, size[1] // 2 :] == GREY).all()


def test_a_pose_that_is_not_reliable_is_grey_and_has_a_question_mark():
    sure = pose((20, 10, 0))
    guess = dataclasses.replace(sure, reliable=False)
    for style in STYLES:
        drawn = draw_poses(np.zeros((220, 220, 3), np.uint8), [guess], style)
        assert drawn.any() and (drawn.max(2) == drawn.min(2)).all()  # no color
        assert not np.array_equal(drawn, draw_poses(np.zeros((220, 220, 3), np.uint8), [sure], style))


def test_the_label_says_the_expected_error():
    pictures = [
        draw_poses(np.zeros((220, 220, 3), np.uint8), [dataclasses.replace(pose((20, 10, 0)), covariance=each)])
        for each in (None, 0.01 * np.eye(3), 0.04 * np.eye(3))
    ]
    assert len({picture.tobytes() for picture in pictures}) == 3
