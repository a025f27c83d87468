"""The signs of yaw, pitch and roll, bound to pictures that ship: no data set and no renderer is needed.

Four rendered heads carry exact labels (``tests/known_heads.py``). Mirror an angle anywhere, in the geometry, the
crop, a network or a label, and what the shipped network reads no longer fits.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from headpose import HeadPoseEstimator, cli, geometry
from headpose.crop import cut, normalize
from headpose.inference import load_model
from headpose.types import Face, HeadPose
from tests import known_heads

NOSE_TIP, EARS = 30, [0, 16]  # of the 68 landmarks
EYE_ON_THE_LEFT, EYE_ON_THE_RIGHT = slice(36, 42), slice(42, 48)  # of the picture
LARGEST_ERROR = 13.0  # degrees; the least mirrored angle is 40 off

YAW, PITCH, ROLL, ALL = range(4)


@pytest.fixture(scope="module")
def heads():
    return known_heads.heads()


@pytest.fixture(scope="module")
def student():
    return load_model("student", device="cpu", threads=1)


def moved_nose(head):
    """From the middle of the ears to the tip of the nose: pixels to the right, down, and towards the camera."""
    return head.landmarks[NOSE_TIP] - head.landmarks[EARS].mean(0)


def test_the_landmarks_move_as_the_convention_says(heads):
    """Nose to the left of the picture, nose up, head tilted clockwise on the screen."""
    assert moved_nose(heads[YAW])[0] < -10
    assert moved_nose(heads[PITCH])[1] < moved_nose(heads[YAW])[1] - 5  # down on the screen is positive
    across = heads[ROLL].landmarks[EYE_ON_THE_RIGHT].mean(0) - heads[ROLL].landmarks[EYE_ON_THE_LEFT].mean(0)
    assert np.rad2deg(np.arctan2(across[1], across[0])) == pytest.approx(30, abs=3)
    assert moved_nose(heads[ALL])[0] > 10
    for head, asked in zip(heads, known_heads.POSES, strict=True):
        np.testing.assert_allclose(head.euler, asked, atol=1.5)


def test_the_axes_of_a_pose_point_where_the_landmarks_point(heads):
    for head in heads:
        left_ear, _, nose = HeadPose(Face(head.box, 1.0), geometry.rotation_from_euler(head.euler)).axes
        across = head.landmarks[EARS[1]] - head.landmarks[EARS[0]]
        towards = head.landmarks[NOSE_TIP] - head.landmarks[[36, 45, 48, 54]].mean(0)
        for axis, seen in ((left_ear, across), (nose, towards)):
            assert np.rad2deg(np.arccos(axis @ seen / np.linalg.norm(seen))) < 15


def test_the_shipped_network_reads_them(heads, student):
    """From the labeled boxes."""
    poses = HeadPoseEstimator(student).estimate(known_heads.picture(), [head.box for head in heads])
    for head, pose in zip(heads, poses, strict=True):
        assert geometry.geodesic_degrees(pose.rotation, geometry.rotation_from_euler(head.euler)) < LARGEST_ERROR
        large = np.abs(head.euler) > 10
        assert (np.sign(pose.euler)[large] == np.sign(head.euler)[large]).all()


def test_the_command_line_finds_and_reads_them(heads, capsys):
    assert cli.main(["estimate", str(known_heads.PICTURE), "--json", "-", "--quiet"]) == 0
    faces = sorted(map(json.loads, capsys.readouterr().out.splitlines()), key=lambda face: face["box"][0])
    assert len(faces) == len(heads)
    for head, face in zip(heads, faces, strict=True):
        angles = np.array([face["yaw"], face["pitch"], face["roll"]])
        large = np.abs(head.euler) > 10
        assert (np.sign(angles)[large] == np.sign(head.euler)[large]).all()
        label = geometry.rotation_from_euler(head.euler)
        for found in (geometry.rotation_from_euler(angles), np.array(face["rotation"])):
            assert geometry.geodesic_degrees(found, label) < LARGEST_ERROR


@pytest.mark.parametrize("clockwise", [-35.0, 35.0])
def test_a_crop_that_is_turned_reads_as_the_turned_label(heads, student, clockwise):
    crops = np.stack([cut(known_heads.picture(), head.box, student.crop, clockwise) for head in heads[:3]])
    read = student.predict(normalize(crops, student.crop))
    labels = geometry.rotation_from_euler([head.euler for head in heads[:3]])
    assert geometry.geodesic_degrees(read, geometry.turn_picture(labels, clockwise)).max() < 20
