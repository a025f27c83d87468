import numpy as np
import pytest

from headpose.datasets import aflw2000
from headpose.errors import DataError
from tests.datasets.labels import POSE, landmarks, write_face

NAN = np.full((1, 7), np.nan, np.float32)


def test_angles_are_degrees_and_the_box_is_that_of_the_landmarks(tmp_path):
    write_face(tmp_path / "b.jpg", box=(10, 20, 50, 70))
    write_face(tmp_path / "a.jpg")
    first, second = aflw2000.read(tmp_path)
    assert (first.image, second.image) == (tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert second.box.as_tuple() == pytest.approx((10, 20, 50, 70))
    np.testing.assert_allclose(np.deg2rad(second.euler), [0.5, -0.2, 0.1], rtol=1e-6)
    assert second.group == "b" != first.group


def test_unseen_points_do_not_widen_the_box(tmp_path):
    write_face(tmp_path / "a.jpg", pt2d=np.full((2, 68), -1.0))
    assert aflw2000.read(tmp_path)[0].box.x1 == pytest.approx(10)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"Pose_Para": None}, "has no array Pose_Para"),
        ({"Pose_Para": POSE[:, :3]}, "3 values, it must have 7"),
        ({"Pose_Para": NAN}, "angle out of range"),
        ({"Pose_Para": POSE * 1e6}, "angle out of range"),
        ({"Pose_Para": POSE * np.inf}, "angle out of range"),
        ({"Pose_Para": "pitch"}, "has no array Pose_Para"),
        ({"Pose_Para": {"pitch": 1}}, "has no array Pose_Para"),
        ({"pt3d_68": None, "pt2d": None}, "neither pt3d_68 nor pt2d"),
        ({"pt3d_68": np.full((3, 68), np.nan)}, "coordinate out of range"),
        ({"pt3d_68": landmarks((0, 0, 1e20, 9))}, "coordinate out of range"),
        ({"pt3d_68": landmarks((5, 5, 50, 50))[:, :21]}, r"shape \(3, 21\)"),
        ({"pt3d_68": np.ones((3, 68))}, "span no area"),
        ({"pt3d_68": None, "pt2d": np.full((2, 68), -1.0)}, "invisible points"),
    ],
)
def test_a_bad_label_is_an_error_that_names_the_file(tmp_path, variables, says):
    write_face(tmp_path / "good.jpg")
    write_face(tmp_path / "rotten.jpg", **variables)
    with pytest.raises(DataError, match=rf"rotten\.mat.*{says}") as caught:
        aflw2000.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_text_file_a_missing_folder_and_an_empty_one_are_errors(tmp_path):
    with pytest.raises(DataError, match="it holds no "):
        aflw2000.read(tmp_path)
    with pytest.raises(DataError, match="cannot read the folder"):
        aflw2000.read(tmp_path / "nowhere")
    write_face(tmp_path / "a.jpg").with_suffix(".mat").write_text("yaw 3")
    with pytest.raises(DataError, match="not a MATLAB 5 file"):
        aflw2000.read(tmp_path)


def test_a_label_without_its_picture_is_an_incomplete_copy(tmp_path):
    write_face(tmp_path / "a.jpg")
    write_face(tmp_path / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"b\.mat has no image"):
        aflw2000.read(tmp_path)


@pytest.mark.data
def test_the_real_data_set_is_read_whole(data_dir):
    samples = aflw2000.read(data_dir / "aflw2000")
    assert len(samples) == 2000
    assert [sample.image.stem for sample in samples] == sorted(sample.image.stem for sample in samples)
    largest = np.abs([sample.euler for sample in samples]).max(1)
    assert ((largest <= 99).sum(), (largest < 90).sum()) == (1969, 1964)
    assert largest.max() == pytest.approx(972.3, abs=0.1)
