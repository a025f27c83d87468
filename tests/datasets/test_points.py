"""Landmark files: what is read, and what is refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

from headpose.datasets import points
from headpose.errors import DataError

POINTS = np.arange(2 * 68 * 2).reshape(2, 68, 2)


@pytest.fixture
def write(tmp_path):
    def write(**changed):
        arrays = {"image": np.array(["a", "b"]), "points": POINTS.astype(np.int16)} | changed
        file = tmp_path / "points.npz"
        np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
        return file

    return write


def test_integers_are_eighths_of_a_pixel_and_other_numbers_pixels(write):
    assert np.array_equal(points.read(write())["b"].points, POINTS[1] / 8)
    assert np.array_equal(points.read(write(points=POINTS.astype(np.float32)))["b"].points, POINTS[1])
    assert np.array_equal(points.read(write(unit=np.array(0.5)))["b"].points, POINTS[1] / 2)


def test_the_state_of_a_point_is_its_weight(write):
    state = np.full((2, 68), 2, np.uint8)
    state[0, 0], state[0, 1], state[1] = 1, 0, 0
    read = points.read(write(state=state))
    assert read["a"].known[0] < read["a"].known[2] == 1
    assert read["a"].known[1] == 0
    assert "b" not in read  # no point: its box is all that is known
    assert (points.read(write())["b"].known == 1).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"points": None}, "lack an array: points"),
        ({"image": None}, "lack an array: image"),
        ({"points": POINTS[:1]}, r"points has shape \(1, 68, 2\), not \(2, 68, 2\)"),
        ({"points": np.full((2, 68, 2), "x")}, "points has shape"),
        ({"points": np.full((2, 68, 2), np.nan)}, "not a number"),
        ({"image": np.arange(2)}, "image is not a list of names"),
        ({"state": np.full((2, 68), 3)}, "state is not"),
        ({"state": np.full((2, 67), 2)}, "state is not"),
        ({"unit": np.array(0.0)}, "unit is 0.0"),
        ({"unit": np.ones(3)}, "cannot read the landmarks"),
        ({"points": np.array([{}], object)}, "it is not a NumPy file, or it holds Python objects"),
    ],
)
def test_what_is_no_landmark_file_is_refused(write, changed, message):
    with pytest.raises(DataError, match=message) as refused:
        points.read(write(**changed))
    assert "\n" not in str(refused.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"cannot read the landmarks .*No such file"):
        points.read(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DataError, match="it is not a NumPy file"):  # and no advice to unpickle it
        points.read(tmp_path / "text.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 the rest is missing")
    with pytest.raises(DataError, match="cannot read the landmarks"):
        points.read(tmp_path / "cut.npz")
    np.save(tmp_path / "single.npy", POINTS)
    with pytest.raises(DataError, match="it is a single array"):
        points.read(tmp_path / "single.npy")
