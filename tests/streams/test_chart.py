"""The last ten seconds of one face."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose.draw import ANGLE_COLORS
from headpose.geometry import rotation_from_euler
from headpose.streams.chart import SPAN_S, History, draw_chart
from headpose.types import Box, Face, HeadPose


def pose(yaw=0.0, pitch=0.0, roll=0.0, track=None, box=(0, 0, 50, 50)):
    return HeadPose(Face(Box(*box), 1.0), rotation_from_euler((yaw, pitch, roll)), track)


def filled(yaws, step_s=0.1, **more):
    history = History()
    for index, yaw in enumerate(yaws):
        history.add([] if yaw is None else [pose(yaw, **more)], index * step_s)
    return history


def test_it_keeps_ten_seconds_and_counts_back_from_now():
    (line,) = filled(range(60), step_s=0.5).lines
    assert line[:, 0] == pytest.approx(np.arange(-SPAN_S, 0.1, 0.5))
    assert line[:, 1] == pytest.approx(np.arange(39, 60)) and line[:, 2:] == pytest.approx(0, abs=1e-9)


def test_a_second_without_the_face_interrupts_the_line_and_less_does_not():
    history = filled([1, *[None] * 9, 2, *[None] * 10, 3])
    assert [line[:, 1].round().tolist() for line in history.lines] == [[1, 2], [3]]


def test_the_largest_face_is_followed_until_it_is_gone_and_another_starts_a_line():
    near, far = (0, 0, 50, 50), (200, 0, 220, 20)
    history = History()
    history.add([pose(5, track=1, box=far), pose(10, track=2, box=near)], 0.0)
    history.add([pose(5, track=1, box=(200, 0, 300, 100)), pose(11, track=2, box=near)], 0.1)
    history.add([pose(5, track=1, box=far)], 0.2)
    assert [line[:, 1].round().tolist() for line in history.lines] == [[10, 11], [5]]
    history.add([pose(6, track=3, box=far)], 0.3)  # lost and found again: another number in the same place
    assert [line[:, 1].round().tolist() for line in history.lines] == [[10, 11], [5, 6]]


@pytest.mark.parametrize(("yaw", "limit"), [(0, 30), (-29, 30), (31, 60), (-61, 90), (100, 180), (179, 180)])
def test_the_axis_holds_all_angles(yaw, limit):
    assert filled([0, yaw]).limit == limit


def test_the_newest_angles_are_those_of_the_last_frame():
    assert filled([3]).newest == pytest.approx((3, 0, 0))
    assert filled([3, None]).newest is None and filled([]).newest is None
    history = filled([3])
    history.clear()
    assert history.newest is None and history.lines == [] and history.limit == 30


def centers(image):
    """Mean row of the pixels in the color of each angle, right of the axis and below the texts."""
    found = {}
    for name, color in ANGLE_COLORS.items():
        rows, columns = np.nonzero((np.argmax(image, -1) == np.argmax(color)) & (np.ptp(image, -1) > 60))
        found[name] = rows[(rows > 352) & (columns > 360)].mean()
    return found


def test_lines_stand_at_their_angles_and_the_rest_of_the_picture_is_left_alone():
    history = History()
    for index in range(100):
        history.add([pose(15, 0, -15)], 0.1 * index)
    image = np.full((480, 640, 3), 200, np.uint8)
    draw_chart(image, history)
    row = centers(image)
    assert row["yaw"] < row["pitch"] - 20 and row["roll"] > row["pitch"] + 20
    assert row["roll"] - row["pitch"] == pytest.approx(row["pitch"] - row["yaw"], abs=2)
    assert (image[:320] == 200).all() and (image[:, :320] == 200).all()


@given(st.tuples(st.integers(1, 300), st.integers(1, 300)), st.lists(st.floats(-180, 180), max_size=5))
def test_any_picture_takes_a_chart(size, yaws):
    image = np.zeros((*size, 3), np.uint8)
    draw_chart(image, filled(yaws, step_s=0.7))
