"""Landmark files: what is read, and what is refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

from headpose.datasets import points, w300lp
from headpose.datasets.points import MIRRORED
from headpose.errors import DataError
from tests.datasets.labels import landmarks, write_face

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


def test_the_annotated_points_of_a_mat_file_are_read_and_unseen_ones_are_none(tmp_path):
    seen = landmarks((10, 20, 50, 70), rows=2)
    seen[:, 5] = -1  # not visible
    write_face(tmp_path / "HELEN" / "a.jpg", pt2d=seen)
    (face,) = points.of_mat(w300lp.read(tmp_path))
    assert face.landmarks.known.tolist() == [float(i != 5) for i in range(68)]
    np.testing.assert_allclose(face.landmarks.points[[0, 9]], seen[:, [0, 9]].T)
    assert face.landmarks.side == pytest.approx((40 * 50) ** 0.5)
    assert (face.image.name, face.group) == ("a.jpg", "a")


@pytest.mark.parametrize(
    ("pt2d", "message"),
    [
        (None, r"a.mat: pt2d has shape \(0, 0\), it must have 68 landmarks"),
        (np.full((2, 21), 3.0), r"a.mat: pt2d has shape \(2, 21\), it must have 68 landmarks"),
        (np.full((2, 68), 1e9), "pt2d has a coordinate out of range"),
        (np.full((2, 68), np.nan), "pt2d has a coordinate out of range"),
        (np.full((2, 68), -1.0), "the landmarks of pt2d span no area"),
    ],
)
def test_a_mat_file_without_landmarks_is_one_clear_error(tmp_path, pt2d, message):
    write_face(tmp_path / "HELEN" / "a.jpg", pt2d=pt2d)
    with pytest.raises(DataError, match=message):
        points.of_mat(w300lp.read(tmp_path))


@pytest.mark.data
def test_the_counterparts_are_those_of_real_faces(data_dir):
    """The mean frontal face, mirrored, lies on itself."""
    faces = points.read(data_dir / "aflw" / "landmarks68.npz")
    assert len(faces) == 10_266
    whole = np.stack([face.points for face in faces.values() if (face.known > 0).all()])
    mean = (whole - whole.mean(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(mean[MIRRORED] * (-1, 1), mean, atol=2.0)  # pixels, of 80
    wrong = np.abs(mean[::-1] * (-1, 1) - mean).max()
    assert wrong > 20
    for face in points.of_mat(w300lp.read(data_dir / "helen")):
        assert (face.landmarks.known == 1).all()
        assert face.landmarks.side == pytest.approx(np.sqrt(face.sample.box.width * face.sample.box.height), rel=1e-3)
