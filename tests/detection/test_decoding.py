"""Anchors, decoding and merging, against boxes worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose.detection.decoding import anchors, blend, decode, drop_duplicates, iou, sigmoid


def rows(*values):
    return np.array(values, np.float32).reshape(-1, 5)


def test_anchors_are_mediapipes_896_at_128_pixels():
    centers = anchors(128, 128)
    assert centers.shape == (896, 2)
    # 16x16 cells of 8 pixels with two anchors each, then 8x8 cells of 16 with six: x first, row by row.
    assert centers[[0, 1, 2, 32, 511, 512, 517, 518, 895]].tolist() == [
        [4, 4], [4, 4], [12, 4], [4, 12], [124, 124], [8, 8], [8, 8], [24, 8], [120, 120],
    ]  # fmt: skip


@given(height=st.integers(1, 20), width=st.integers(1, 20))
def test_anchors_fit_every_input(height, width):
    centers = anchors(16 * height, 16 * width)
    assert len(centers) == height * width * (2 * 4 + 6)
    assert (centers > 0).all()
    assert (centers < [16 * width, 16 * height]).all()


def test_a_box_is_decoded_from_its_anchor():
    boxes, logits = np.zeros((28, 16), np.float32), np.full(28, -9.0, np.float32)
    boxes[2 * 5, :4], logits[2 * 5] = (3.0, -2.0, 10.0, 20.0), 1.5  # cell (1, 1) of an input of 4 x 2 cells
    found = decode(boxes, logits, 16, 32, min_logit=0.0)
    assert found[:, :5].tolist() == [[12 + 3 - 5, 12 - 2 - 10, 12 + 3 + 5, 12 - 2 + 10, 1.5]]


@pytest.mark.parametrize("turn", [0, 30, 90, 180, -100])
@pytest.mark.parametrize("profile", [False, True])
def test_the_vector_to_the_left_of_the_head_turns_with_it(turn, profile):
    """Of the right eye, the left eye, the nose tip and the mouth; the eyes of a profile are on one place."""
    apart = 0.0 if profile else 6.0
    points = np.array([(-apart, -5), (apart, -5), (0, 1), (0, 6)], np.float64)
    cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    turned = points @ [[cos, sin], [-sin, cos]]  # clockwise, y down
    boxes, logits = np.zeros((14, 16), np.float32), np.full(14, -9.0, np.float32)
    boxes[3, :4], logits[3] = (0, 0, 10, 10), 1.0
    boxes[3, 4:12] = turned.ravel()
    ((x, y),) = decode(boxes, logits, 16, 16, 0.0)[:, 5:]
    assert np.rad2deg(np.arctan2(y, x)) % 360 == pytest.approx(turn % 360, abs=1e-3)


def test_boxes_without_an_area_are_dropped():
    boxes = np.zeros((14, 16), np.float32)
    boxes[:, 2:4] = -3.0
    assert decode(boxes, np.full(14, 5.0, np.float32), 16, 16, 0.0).shape == (0, 7)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_boxes_that_are_not_finite_are_dropped(value):
    boxes = np.tile(np.float32([0, 0, 4, 4, *[0] * 12]), (14, 1))
    for column in range(3):
        boxes[column, column] = value
    with np.errstate(over="ignore"):
        found = decode(boxes, np.full(14, 5.0, np.float32), 16, 16, 0.0)
    assert np.isfinite(found).all() and len(found) >= 11


@np.errstate(over="raise")
def test_scores_are_clipped_and_in_range():
    assert sigmoid(np.array([-2000.0, 0.0, 2000.0], np.float32)).tolist() == pytest.approx([0.0, 0.5, 1.0])


def test_blend_weights_a_cluster_by_score_and_keeps_its_best():
    surer, other, far = [0, 0, 10, 10, 2.0], [2, 0, 12, 10, 0.0], [50, 50, 60, 60, 1.0]
    blended = blend(rows(other, far, surer))
    weight = 0.5 / (0.5 + 1 / (1 + np.exp(-2.0)))
    assert blended == pytest.approx(rows([2 * weight, 0, 10 + 2 * weight, 10, 2.0], far), abs=1e-5)


def test_an_ear_is_no_face_of_its_own_but_a_neighbor_is():
    face, ear, neighbor = [0, 0, 100, 100, 2.0], [80, 30, 110, 60, 1.0], [90, 0, 190, 100, 1.5]
    assert drop_duplicates(rows(ear, face, neighbor)).tolist() == [face, neighbor]


def test_a_part_lies_inside_by_more_than_a_third_of_its_own_area():
    face, ear, far_ear = [0, 0, 100, 100, 2.0], [85, 30, 115, 60, 1.0], [92, 30, 122, 60, 1.0]
    assert drop_duplicates(rows(face, ear)).tolist() == [face]  # half of it
    assert drop_duplicates(rows(face, far_ear)).tolist() == [face, far_ear]  # a quarter


def test_a_larger_face_is_no_part_of_a_smaller_one():
    surer, larger = [0, 0, 95, 95, 2.0], [57, 0, 157, 100, 1.0]
    assert drop_duplicates(rows(larger, surer)).tolist() == [surer, larger]


def test_iou_is_the_shared_area_over_both():
    found = iou(rows([0, 0, 10, 10, 0])[0], rows([5, 5, 15, 15, 0], [0, 0, 10, 10, 0], [20, 20, 30, 30, 0]))
    assert found.tolist() == pytest.approx([25 / 175, 1.0, 0.0])


def test_one_side_without_a_length_is_no_area():
    boxes = np.full((14, 16), 5.0, np.float32)
    boxes[:2, 2], boxes[2:4, 3], boxes[4, 3] = -3.0, -3.0, 0.0
    assert len(decode(boxes, np.full(14, 5.0, np.float32), 16, 16, 0.0)) == 9


def test_the_least_score_is_high_enough():
    logits = np.full(14, -9.0, np.float32)
    logits[[3, 5]] = 0.5, 0.49
    assert decode(np.full((14, 16), 4.0, np.float32), logits, 16, 16, 0.5)[:, 4].tolist() == [0.5]


def test_nothing_in_nothing_out():
    empty = np.zeros((0, 5), np.float32)
    assert blend(empty).shape == drop_duplicates(empty).shape == (0, 5)


@given(st.lists(st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2, st.integers(-5, 5)), max_size=12))
def test_what_is_left_does_not_overlap(boxes):
    found = drop_duplicates(rows(*[[x, y, x + w, y + h, s] for x, y, w, h, s in boxes]))
    assert (np.diff(found[:, 4]) <= 0).all()
    for index, row in enumerate(found):
        assert (iou(row, found[:index]) <= 0.3).all()
