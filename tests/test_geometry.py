"""Conventions pinned by matrices written by hand, then properties that hold for every rotation."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose import geometry
from headpose.types import Box, Face, HeadPose

angles = st.floats(-180, 180)
upright = st.tuples(st.floats(-89, 89), st.floats(-80, 80), st.floats(-80, 80))


@st.composite
def rotations(draw):
    """Any rotation, by a unit quaternion, with the corners (half turns, gimbal lock) drawn often."""
    part = st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1, 1))
    q = np.array([draw(part) for _ in range(4)])
    if np.linalg.norm(q) < 1e-3:
        q = np.array([1.0, 0.0, 0.0, 0.0])
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


# The matrices of the convention, written out.


@pytest.mark.parametrize(
    ("euler", "matrix"),
    [
        ((0, 0, 0), [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ((90, 0, 0), [[0, 0, -1], [0, 1, 0], [1, 0, 0]]),
        ((0, 90, 0), [[1, 0, 0], [0, 0, 1], [0, -1, 0]]),
        ((0, 0, 90), [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
        ((90, 90, 0), [[0, 0, -1], [1, 0, 0], [0, -1, 0]]),  # Rx(90) Ry(90), in this order
        ((0, 90, 90), [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),  # Rx(90) Rz(90)
    ],
)
def test_rotation_from_euler_by_hand(euler, matrix):
    np.testing.assert_allclose(geometry.rotation_from_euler(euler), matrix, atol=1e-15)


def test_elementary_matrices_are_the_transposed_ones():
    c, s = math.cos(math.radians(20)), math.sin(math.radians(20))
    np.testing.assert_allclose(geometry.rotation_from_euler((0, 20, 0)), [[1, 0, 0], [0, c, s], [0, -s, c]])
    np.testing.assert_allclose(geometry.rotation_from_euler((20, 0, 0)), [[c, 0, -s], [0, 1, 0], [s, 0, c]])
    np.testing.assert_allclose(geometry.rotation_from_euler((0, 0, 20)), [[c, s, 0], [-s, c, 0], [0, 0, 1]])


def test_a_profile_past_90_degrees_reads_as_a_profile():
    profile = geometry.rotation_from_euler((93, 0, 0))
    np.testing.assert_allclose(geometry.euler_from_rotation(profile), (93, 0, 0), atol=1e-9)
    yaw, pitch, roll = geometry.euler_from_rotation(profile, "asin")
    assert (yaw, abs(pitch), abs(roll)) == pytest.approx((87, 180, 180))


@pytest.mark.parametrize("yaw", [89.5, 89.99, -89.9999])
def test_beside_gimbal_lock_pitch_and_roll_stay_apart(yaw):
    found = geometry.euler_from_rotation(geometry.rotation_from_euler((yaw, 20, 30)))
    np.testing.assert_allclose(found, (yaw, 20, 30), atol=1e-5)


@pytest.mark.parametrize("yaw", [90, -90])
def test_gimbal_lock_keeps_the_rotation_and_has_no_roll(yaw):
    locked = geometry.rotation_from_euler((yaw, 25, 40))
    euler = geometry.euler_from_rotation(locked)
    assert euler[0] == pytest.approx(yaw)
    assert euler[2] == 0
    np.testing.assert_allclose(geometry.rotation_from_euler(euler), locked, atol=1e-9)


# Properties.


@given(rotations(), st.sampled_from(["smallest", "asin"]))
def test_euler_angles_give_their_rotation_back(rotation, branch):
    back = geometry.rotation_from_euler(geometry.euler_from_rotation(rotation, branch))
    assert geometry.geodesic_degrees(back, rotation) < 1e-5


@given(rotations())
def test_the_direction_gives_its_rotation_back(rotation):
    back = geometry.rotation_from_direction(geometry.direction_from_rotation(rotation))
    assert geometry.geodesic_degrees(back, rotation) < 1e-5


@given(rotations())
def test_azimuth_and_elevation_are_those_of_the_nose(rotation):
    azimuth, elevation, _ = np.deg2rad(geometry.direction_from_rotation(rotation))
    nose = (-math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation))
    np.testing.assert_allclose(rotation @ (0, 0, 1), nose, atol=1e-6)


@given(upright)
def test_a_mirror_flips_azimuth_and_tilt_and_the_in_plane_angle(euler):
    rotation = geometry.rotation_from_euler(euler)
    found, mirrored = (geometry.direction_from_rotation(each) for each in (rotation, geometry.mirror(rotation)))
    np.testing.assert_allclose(mirrored, found * (-1, 1, -1), atol=1e-6)
    assert geometry.in_plane_angle(geometry.mirror(rotation)) == pytest.approx(-geometry.in_plane_angle(rotation))


@pytest.mark.parametrize("angle", [-60, 30])
def test_a_direction_is_an_euler_angle_where_the_head_turns_about_one_axis(angle):
    for axis in range(3):
        euler = np.eye(3)[axis] * angle
        found = geometry.direction_from_rotation(geometry.rotation_from_euler(euler))
        np.testing.assert_allclose(found, euler, atol=1e-9)


def test_the_direction_is_smooth_through_the_profile_where_euler_angles_jump():
    """A head nods and tilts by some degrees while it turns past the profile: no step beyond that of the rotation."""
    turn = np.arange(60.0, 121.0)
    rotation = geometry.rotation_from_direction(np.column_stack([turn, 4 + turn / 60, -5 + turn / 60]))
    steps = np.abs(np.diff(geometry.direction_from_rotation(rotation), axis=0)).max()
    assert steps < 1.01
    assert np.abs(np.diff(geometry.euler_from_rotation(rotation), axis=0)).max() > 10 * steps


def test_a_plain_profile_reads_as_one():
    profile = HeadPose(Face(Box(0, 0, 9, 9), 1.0), geometry.rotation_from_euler((84, -26, -22)))
    assert (*profile.direction, profile.tilt) == pytest.approx((84.6, -2.6, 3.9), abs=0.1)
    assert profile.direction.azimuth == profile.direction[0]


@pytest.mark.parametrize("tilt", [-40, 25])
@pytest.mark.parametrize("elevation", [90, -90])
def test_a_nose_that_points_straight_up_or_down_has_no_tilt(elevation, tilt):
    locked = geometry.rotation_from_direction((30, elevation, tilt))
    direction = geometry.direction_from_rotation(locked)
    assert direction[1:] == pytest.approx((elevation, 0))
    np.testing.assert_allclose(geometry.rotation_from_direction(direction), locked, atol=1e-9)


@given(rotations(), st.integers(-180, 180))
def test_the_in_plane_angle_turns_with_the_picture(rotation, clockwise):
    if np.hypot(*rotation[:2, 1]) > 1e-3:  # else the head's up axis points at the camera
        turned = geometry.in_plane_angle(geometry.turn_picture(rotation, clockwise))
        expected = geometry.in_plane_angle(rotation) + clockwise
        assert geometry.wrap_degrees(turned - expected + 90) == pytest.approx(90, abs=1e-6)


@given(upright)
def test_rotations_give_their_euler_angles_back(euler):
    np.testing.assert_allclose(geometry.euler_from_rotation(geometry.rotation_from_euler(euler)), euler, atol=1e-6)


@given(rotations())
def test_the_smallest_branch_is_the_smallest(rotation):
    smallest, asin = (np.abs(geometry.euler_from_rotation(rotation, branch)) for branch in ("smallest", "asin"))
    assert smallest[1:].sum() <= asin[1:].sum() + 1e-9
    assert asin[0] <= 90 + 1e-9


@given(angles, angles, angles)
def test_every_euler_triple_is_a_rotation(yaw, pitch, roll):
    rotation = geometry.rotation_from_euler((yaw, pitch, roll))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


@given(angles, angles, angles)
def test_mirroring_flips_yaw_and_roll(yaw, pitch, roll):
    mirrored = geometry.mirror(geometry.rotation_from_euler((yaw, pitch, roll)))
    np.testing.assert_allclose(mirrored, geometry.rotation_from_euler((-yaw, pitch, -roll)), atol=1e-12)


@given(rotations(), angles)
def test_turning_the_picture_turns_the_axes_on_the_screen(rotation, clockwise):
    c, s = math.cos(math.radians(clockwise)), math.sin(math.radians(clockwise))
    turned, axes = _axes(geometry.turn_picture(rotation, clockwise)), _axes(rotation)
    # On a screen (right, down) a clockwise turn takes right to down.
    np.testing.assert_allclose(turned[:, :2], axes[:, :2] @ np.array([[c, s], [-s, c]]), atol=1e-12)
    np.testing.assert_allclose(turned[:, 2], axes[:, 2], atol=1e-12)


@given(angles)
def test_turning_an_upright_face_is_its_roll(clockwise):
    turned = geometry.turn_picture(np.eye(3), clockwise)
    np.testing.assert_allclose(turned, geometry.rotation_from_euler((0, 0, clockwise)), atol=1e-12)


@given(rotations(), st.floats(0, 180))
def test_geodesic_distance_is_the_angle_of_the_turn(rotation, angle):
    axis = rotation[0] * math.radians(angle)
    other = cv2.Rodrigues(axis)[0] @ rotation
    # At a half turn asin is flat: one last bit of the chord is worth 2e-6 degrees.
    assert geometry.geodesic_degrees(rotation, other) == pytest.approx(angle, abs=1e-5)
    assert geometry.geodesic_degrees(other, rotation) == pytest.approx(angle, abs=1e-5)


def test_geodesic_distance_keeps_small_angles():
    assert geometry.geodesic_degrees(np.eye(3), geometry.rotation_from_euler((1e-7, 0, 0))) == pytest.approx(1e-7)


@given(st.floats(-1e6, 1e6))
def test_wrapping_changes_by_whole_turns(angle):
    wrapped = float(geometry.wrap_degrees(angle))
    assert -180 <= wrapped < 180
    assert (angle - wrapped) / 360 == pytest.approx(round((angle - wrapped) / 360), abs=1e-6)


@given(rotations(), st.floats(0.5, 2))
def test_nearest_rotation_undoes_a_scale(rotation, scale):
    np.testing.assert_allclose(geometry.nearest_rotation(scale * rotation), rotation, atol=1e-9)


def test_nearest_rotation_is_never_a_reflection():
    matrices = np.random.default_rng(0).normal(size=(200, 3, 3))
    nearest = geometry.nearest_rotation(matrices)
    np.testing.assert_allclose(np.linalg.det(nearest), 1)
    # No other rotation may be nearer: compare with random ones.
    others = geometry.nearest_rotation(np.random.default_rng(1).normal(size=(200, 3, 3)))
    distance = np.linalg.norm(matrices - nearest, axis=(1, 2))
    assert (distance <= np.linalg.norm(matrices - others, axis=(1, 2)) + 1e-12).all()


# Frames of other tools.


@pytest.mark.parametrize("frame", ["opencv", "mediapipe", "ros"])
@given(rotation=rotations())
def test_other_frames_come_back(frame, rotation):
    there, back = getattr(geometry, f"to_{frame}"), getattr(geometry, f"from_{frame}")
    np.testing.assert_allclose(back(there(rotation)), rotation, atol=1e-12)
    assert np.linalg.det(there(rotation)) == pytest.approx(1)


@given(rotations())
def test_the_nose_and_the_left_ear_point_the_same_way_in_every_frame(rotation):
    left, _, nose = _axes(rotation)  # each (right, down, towards the camera)
    away = np.array([1.0, 1.0, -1.0])
    opencv, ros, mediapipe = geometry.to_opencv(rotation), geometry.to_ros(rotation), geometry.to_mediapipe(rotation)
    np.testing.assert_allclose(opencv @ [0, 0, -1], nose * away, atol=1e-12)
    np.testing.assert_allclose(opencv @ [1, 0, 0], left * away, atol=1e-12)
    np.testing.assert_allclose(ros @ [1, 0, 0], nose * away, atol=1e-12)  # REP 103: x forward, y left
    np.testing.assert_allclose(ros @ [0, 1, 0], left * away, atol=1e-12)
    np.testing.assert_allclose(mediapipe @ [0, 0, 1], nose * [1, -1, 1], atol=1e-12)


@given(upright)
def test_opencv_projects_the_nose_where_the_axes_say(euler):
    rotation = geometry.rotation_from_euler(euler)
    rvec, _ = cv2.Rodrigues(geometry.to_opencv(rotation))
    # A camera so far away that its projection is nearly parallel; the nose is one unit out of the face.
    far = 1e5
    camera = np.array([[far, 0, 0], [0, far, 0], [0, 0, 1.0]])
    point, _ = cv2.projectPoints(np.array([[0.0, 0.0, -1.0]]), rvec, np.array([0.0, 0.0, far]), camera, None)
    np.testing.assert_allclose(point.ravel(), _axes(rotation)[2, :2], atol=1e-4)


def test_functions_take_any_leading_shape():
    euler = np.random.default_rng(0).uniform(-80, 80, (4, 5, 3))
    rotation = geometry.rotation_from_euler(euler)
    assert rotation.shape == (4, 5, 3, 3)
    np.testing.assert_allclose(geometry.euler_from_rotation(rotation), euler)
    np.testing.assert_array_equal(rotation[2, 3], geometry.rotation_from_euler(euler[2, 3]))
    assert geometry.euler_from_rotation(np.zeros((0, 3, 3))).shape == (0, 3)


@pytest.mark.data
def test_the_convention_is_that_of_aflw2000(data_dir):
    """The labels' nose and brow line point where the landmarks of the same files say."""
    loadmat = pytest.importorskip("scipy.io").loadmat
    nose_labels, nose_points, left_labels, left_points = [], [], [], []
    for path in sorted((data_dir / "aflw2000").rglob("*.mat"))[:200]:
        content = loadmat(path)
        pitch, yaw, roll = np.rad2deg(content["Pose_Para"][0, :3])
        axes, points = _axes(geometry.rotation_from_euler((yaw, pitch, roll))), content["pt3d_68"][:2].T
        corners = points[[36, 45, 48, 54]]  # outer corners of the eyes, corners of the mouth
        size = np.ptp(points, axis=0).max()
        nose_labels.append(axes[2, :2])
        nose_points.append((points[30] - corners.mean(0)) / size)
        left_labels.append(axes[0, :2])
        left_points.append((points[45] - points[36]) / size)
    for labels, points in ((nose_labels, nose_points), (left_labels, left_points)):
        for coordinate in (0, 1):
            assert np.corrcoef(np.array(labels)[:, coordinate], np.array(points)[:, coordinate])[0, 1] > 0.9


def _axes(rotation):
    return HeadPose(Face(Box(0, 0, 1, 1), 1.0), rotation).axes


# Rotation vectors.


@pytest.mark.parametrize(
    ("vector", "euler"),
    [
        ((0, 0, 0), (0, 0, 0)),
        ((90, 0, 0), (0, -90, 0)),  # by the right-hand rule about x, the nose turns down
        ((0, 90, 0), (-90, 0, 0)),  # about y, to the image's right
        ((0, 0, 90), (0, 0, -90)),  # about z, counter-clockwise on the screen
    ],
)
def test_rotation_vectors_by_hand(vector, euler):
    np.testing.assert_allclose(geometry.rotation_from_vector(vector), geometry.rotation_from_euler(euler), atol=1e-15)


@given(st.tuples(*[st.floats(-100, 100)] * 3))
def test_rotation_vectors_agree_with_opencv(vector):
    ours = geometry.rotation_from_vector(vector)
    np.testing.assert_allclose(ours, cv2.Rodrigues(np.deg2rad(np.array(vector, float)))[0], atol=1e-12)


@given(rotations())
def test_every_rotation_has_a_vector(rotation):
    vector = geometry.vector_from_rotation(rotation)
    assert np.linalg.norm(vector) <= 180 + 1e-9
    assert np.linalg.norm(vector) == pytest.approx(geometry.geodesic_degrees(rotation, np.eye(3)), abs=1e-5)
    np.testing.assert_allclose(geometry.rotation_from_vector(vector), rotation, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-6, 90.0, 179.999999, 180.0])
def test_vectors_keep_their_precision_at_small_and_at_half_turns(angle):
    vector = angle * np.array([[2, -1, 2], [0, 1, 0], [-0.6, 0, 0.8]]) / np.array([[3], [1], [1]])
    back = geometry.vector_from_rotation(geometry.rotation_from_vector(vector))
    if angle == 180.0:  # the opposite axis is as good
        back = back * np.sign((back * vector).sum(-1, keepdims=True))
    np.testing.assert_allclose(back, vector, rtol=1e-9, atol=1e-15)
