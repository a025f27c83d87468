import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose import geometry
from headpose.datasets import biwi
from headpose.errors import DataError
from tests.datasets.biwi_files import write_frame


@pytest.fixture
def layout(tmp_path):
    """Two sequences of frames that do not count from 0, with the depth pictures beside them."""
    for sequence in (1, 12):
        for frame in (7, 3):
            write_frame(tmp_path / f"{sequence:02}", frame, (10.0 * frame, -5.0, sequence))
            (tmp_path / f"{sequence:02}" / f"frame_{frame:05}_depth.bin").write_bytes(b"\0")
        (tmp_path / f"{sequence:02}" / "depth.cal").write_text("0")
    return tmp_path


def test_frames_come_by_sequence_with_their_angles(layout):
    samples = biwi.read(layout, (12, 1))
    names = [sample.image.relative_to(layout).as_posix() for sample in samples]
    assert names == [f"{s}/frame_0000{f}_rgb.png" for s in ("01", "12") for f in (3, 7)]
    assert [sample.group for sample in samples] == ["01", "01", "12", "12"]
    np.testing.assert_allclose([sample.euler for sample in samples][1:3], [(70, -5, 1), (30, -5, 12)], atol=1e-3)


@given(st.tuples(st.floats(-75, 75), st.floats(-60, 60), st.floats(-50, 50)))
def test_the_angles_are_those_of_published_code(euler):
    """FSA-Net's formulas (TYY_create_db_biwi.py), on the transposed rotation of the file."""
    t = geometry.to_opencv(geometry.rotation_from_euler(euler)).T
    roll = -np.degrees(np.arctan2(t[1, 0], t[0, 0]))
    yaw = -np.degrees(np.arctan2(-t[2, 0], np.hypot(t[2, 1], t[2, 2])))
    pitch = np.degrees(np.arctan2(t[2, 1], t[2, 2]))
    ours = geometry.euler_from_rotation(geometry.from_opencv(t.T), "asin")
    np.testing.assert_allclose(ours, [yaw, pitch, roll], atol=1e-6)
    np.testing.assert_allclose(ours, euler, atol=1e-6)


def test_the_box_lies_around_the_projected_center(layout):
    write_frame(layout / "02", 1, (0, 0, 0), center=(120, -60, 800))
    (sample,) = biwi.read(layout, (2,))
    # The color camera stands 20 mm to the side, focal length 500.
    assert sample.box.center == pytest.approx((320 + 500 * 100 / 800, 240 - 500 * 60 / 800))
    assert (sample.box.width, sample.box.height) == pytest.approx((100, 100))


def test_the_color_camera_may_be_turned(layout):
    """Its rotation takes the depth camera's axes to its own: here x to y, y to -x."""
    write_frame(layout / "02", 1, (0, 0, 0), center=(120, -60, 800))
    calibration = layout / "02" / "rgb.cal"
    text = calibration.read_text()
    assert "1 0 0 \n0 1 0 \n0 0 1 \n\n-20" in text
    calibration.write_text(text.replace("1 0 0 \n0 1 0 \n0 0 1 \n\n-20", "0 -1 0 \n1 0 0 \n0 0 1 \n\n-20"))
    (sample,) = biwi.read(layout, (2,))
    assert sample.box.center == pytest.approx((320 + 500 * (60 - 20) / 800, 240 + 500 * 120 / 800))


def test_the_folder_hpdb_is_looked_into(layout):
    (layout / "copy").mkdir()
    (layout / "01").rename(layout / "copy" / "01")
    (layout / "copy").rename(layout / "hpdb")
    assert len(biwi.read(layout, (1,))) == 2


def test_the_protocols_name_all_sequences_and_eight_of_them():
    assert tuple(range(1, 25)) == biwi.ALL
    assert len(biwi.HELD_OUT) == 8 and set(biwi.HELD_OUT) < set(biwi.ALL)


def spoil_rotation(file):
    file.write_text(file.read_text().replace(file.read_text().split()[0], "3.5", 1))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_rotation, "not a rotation matrix"),
        (lambda file: file.write_text("1 0 0\n0 1 0\n0 0 1\n"), "contains 9 numbers, it needs 12"),
        (lambda file: file.write_text("yaw 3"), "text that is not a number"),
        (lambda file: file.write_text("1 0 0 0 1 0 0 0 1 0 0 nan"), "it needs 12 finite ones"),
        (lambda file: file.write_text("-1 0 0 0 1 0 0 0 1 0 0 900"), "not a rotation matrix"),
        (lambda file: file.write_text("1 0 0 0 1 0 0 0 1 0 0 -900"), "behind the camera"),
        (lambda file: file.with_name("frame_00003_rgb.png").unlink(), "has no image frame_00003_rgb.png"),
        (lambda file: file.with_name("rgb.cal").unlink(), "cannot read .*rgb.cal"),
        (lambda file: file.with_name("rgb.cal").write_text("0 " * 27), "focal length is 0"),
        (lambda file: file.with_name("rgb.cal").write_text("1e300 " * 27), "focal length is 1e.300"),
        (lambda file: file.with_name("rgb.cal").write_text("500 " + "1e9 " * 26), "1e.09 is not plausible"),
        (lambda file: file.write_text("1 0 0 0 1 0 0 0 1 1e300 0 900"), "1e.300 is not plausible"),
        (lambda file: file.write_text("1e300 0 0 0 1 0 0 0 1 0 0 900"), "1e.300 is not plausible"),
        (lambda file: file.write_text("1 0 0 0 1 0 0 0 1 0 0 1e-9"), "behind the camera"),
    ],
)
def test_a_bad_file_is_an_error_that_names_it(layout, spoil, says):
    spoil(layout / "12" / "frame_00003_pose.txt")
    with pytest.raises(DataError, match=says) as caught:
        biwi.read(layout, (1, 12))
    assert "12" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_or_empty_sequence_is_an_error(layout):
    with pytest.raises(DataError, match="no sequence 03 of BIWI"):
        biwi.read(layout, (1, 3))
    (layout / "03").mkdir()
    with pytest.raises(DataError, match=r"03 contains no frame_NNNNN_pose\.txt"):
        biwi.read(layout, (3,))
