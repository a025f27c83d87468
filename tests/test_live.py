"""Neutral pose, attention, pose quality, frames of other programs, camera."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose import geometry
from headpose.attention import Attention, AttentionSettings, frontal
from headpose.camera import _FACE, Camera
from headpose.errors import DataError, HeadPoseError, InputError
from headpose.neutral import NeutralPose, RecentPoses
from headpose.types import Box, Face, HeadPose

angles = st.tuples(st.floats(-89, 89), st.floats(-85, 85), st.floats(-175, 175))
rotations = angles.map(geometry.rotation_from_euler)


def pose(rotation, track=None, place=None, box=(0, 0, 9, 9)):
    return HeadPose(Face(Box(*box), 1.0), np.asarray(rotation), track, place=place)


def turned(yaw=0.0, pitch=0.0, roll=0.0, **more):
    return pose(geometry.rotation_from_euler((yaw, pitch, roll)), **more)


@given(angles)
def test_the_angles_of_opentrack_round_trip(given_angles):
    rotation = geometry.from_opentrack(given_angles)
    assert geometry.to_opentrack(rotation) == pytest.approx(given_angles, abs=1e-6)


@given(rotations)
def test_opentrack_sees_the_nose_and_the_tilt(rotation):
    yaw, pitch, _ = np.deg2rad(geometry.to_opentrack(rotation))
    nose = rotation[:, 2]
    assert nose == pytest.approx([-math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
    flipped = geometry.to_opentrack(geometry.mirror(rotation))
    assert flipped == pytest.approx(geometry.to_opentrack(rotation) * [-1, 1, -1], abs=1e-6)


@pytest.mark.parametrize("axis", range(3))
def test_the_single_turns_of_opentrack_are_ours(axis):
    angle = np.eye(3)[axis] * 30
    assert geometry.to_opentrack(geometry.rotation_from_euler(angle)) == pytest.approx(angle, abs=1e-9)


@given(rotations)
def test_unity_quaternions_round_trip(rotation):
    quaternion = geometry.to_unity(rotation)
    assert np.linalg.norm(quaternion) == pytest.approx(1) and quaternion[3] >= 0
    assert geometry.from_unity(quaternion) == pytest.approx(rotation, abs=1e-9)
    assert geometry.from_unity(-quaternion) == pytest.approx(rotation, abs=1e-9)


def test_an_avatar_turns_as_the_person_does():
    # Unity's Quaternion.Euler: +y turns z to x (the avatar's right), +x turns the face down, +z tilts to its left.
    half = math.sqrt(0.5)
    assert geometry.to_unity(turned(yaw=90).rotation) == pytest.approx([0, half, 0, half])  # image left: its right
    assert geometry.to_unity(turned(pitch=90).rotation) == pytest.approx([-half, 0, 0, half])
    assert geometry.to_unity(turned(roll=90).rotation) == pytest.approx([0, 0, half, half])
    assert geometry.to_unity(np.eye(3)) == pytest.approx([0, 0, 0, 1])


@given(rotations, rotations)
def test_a_pose_relative_to_itself_is_frontal_and_turns_keep_their_angle(rotation, neutral):
    assert geometry.relative_to(rotation, rotation) == pytest.approx(np.eye(3), abs=1e-9)
    relative = geometry.relative_to(rotation, neutral)
    assert geometry.geodesic_degrees(relative, np.eye(3)) == pytest.approx(
        geometry.geodesic_degrees(rotation, neutral), abs=1e-4
    )


def test_a_turn_about_the_own_axis_of_a_nodding_head_is_pure_yaw():
    neutral = geometry.rotation_from_euler((0, -20, 0))
    rotation = neutral @ geometry.rotation_from_euler((30, 0, 0))
    assert geometry.euler_from_rotation(geometry.relative_to(rotation, neutral)) == pytest.approx([30, 0, 0], abs=1e-9)


def test_a_neutral_pose_is_the_mean_and_comes_back_from_its_file(tmp_path):
    neutral = NeutralPose.of([turned(9, -3, place=(1, 2, -50)), turned(11, -3, place=(3, 2, -52))])
    assert geometry.euler_from_rotation(neutral.rotation) == pytest.approx([10, -3, 0], abs=0.01)
    assert neutral.place == (2.0, 2.0, -51.0)
    neutral.write(tmp_path / "n.json")
    again = NeutralPose.read(tmp_path / "n.json")
    assert again.rotation == pytest.approx(neutral.rotation) and again.place == neutral.place
    assert json.loads((tmp_path / "n.json").read_text())["yaw"] == pytest.approx(10, abs=0.01)
    (moved,) = again.apply([turned(10, -3, place=(2, 3, -50), track=7)])
    assert moved.euler == pytest.approx((0, 0, 0), abs=0.01)
    assert moved.place == pytest.approx((0, 1, 1)) and moved.track == 7
    assert again.apply([turned(10, -3)])[0].place is None
    assert NeutralPose().apply([turned(5, place=(1, 1, 1))])[0].place == (1, 1, 1)


def test_a_new_neutral_pose_comes_from_the_last_second_of_the_largest_face():
    recent, far = RecentPoses(), turned(50, track=9, box=(0, 0, 5, 5))
    for time_s, yaw in ((0.0, 40), (0.5, 8), (1.4, 12)):
        recent.add([far, turned(yaw, track=1)], time_s)
    assert geometry.euler_from_rotation(recent.neutral().rotation) == pytest.approx([10, 0, 0], abs=0.01)
    recent.add([turned(-20, track=2)], 1.5)
    assert geometry.euler_from_rotation(recent.neutral().rotation) == pytest.approx([-20, 0, 0], abs=0.01)
    recent.add([], 2.4)
    recent.neutral()
    recent.add([], 2.6)
    with pytest.raises(InputError, match="needs a face"):
        recent.neutral()


def test_a_neutral_pose_needs_a_face():
    with pytest.raises(InputError, match="needs a face"):
        NeutralPose.of([])


ROWS = "[[1,0,0],[0,1,0],[0,0,1]]"


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "no", '{"rotation": 1}', '{"rotation": [[1,0,0],[0,1,0],[0,0,-1]]}', "[" * 100_000),
        *('{"rotation": [[2,0,0],[0,1,0],[0,0,1]]}', '{"rotation": [[NaN,0,0],[0,1,0],[0,0,1]]}'),
        *(f'{{"rotation": {ROWS}, "place": [1]}}', f'{{"rotation": {ROWS}, "place": [1, 2, Infinity]}}'),
    ],
)
def test_a_file_that_is_no_neutral_pose_is_one_line(tmp_path, text):
    (tmp_path / "n.json").write_text(text)
    with pytest.raises(DataError, match=r"n\.json is not a neutral pose[^\n]*save it again"):
        NeutralPose.read(tmp_path / "n.json")


def test_a_neutral_pose_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(DataError, match="does not exist: press z"):
        NeutralPose.read(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot read"):
        NeutralPose.read(tmp_path)
    with pytest.raises(HeadPoseError, match="cannot write text"):
        NeutralPose().write(tmp_path / "n.jpg")


def events(yaws, times, **settings):
    attention = Attention(AttentionSettings(**settings))
    found = []
    for yaw, time_s in zip(yaws, times, strict=True):
        found += attention.update([] if yaw is None else [turned(yaw, track=1)], time_s)
    return [(event.kind, event.time_s, event.since_s) for event in found]


def test_looking_away_takes_time_and_coming_back_takes_less_angle():
    yaws = [0, 31, 31, 31, 31, 29, 23, 0]
    times = [0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
    assert events(yaws, times) == [("found", 0.0, 0.0), ("away", 2.5, 1.0), ("back", 3.5, 3.5)]
    assert events(yaws, times, back=28) == [("found", 0.0, 0.0), ("away", 2.5, 1.0), ("back", 3.5, 3.5)]
    assert events(yaws, times, back=30)[2] == ("back", 3.0, 3.0)
    assert events(yaws, times, away=20, back=20, after_s=0)[1:] == [("away", 1.0, 1.0), ("back", 4.0, 4.0)]


def test_a_glance_is_no_event_but_jitter_about_the_angle_does_not_restart_the_clock():
    assert events([40, 0, 40, 0], [0.0, 1.4, 2.0, 3.4]) == [("found", 0.0, 0.0)]
    assert events([31, 29, 31, 29, 31], [0.0, 0.5, 1.0, 1.4, 1.6])[1] == ("away", 1.6, 0.0)
    assert events([31, 29, 29, 31], [0.0, 1.4, 1.6, 2.0])[1:] == [("away", 2.0, 0.0)], "an event is beyond the angle"


def test_a_lost_face_is_told_once_and_may_be_found_again():
    assert events([0, None, None, None, 0], [0.0, 0.5, 1.0, 1.5, 2.0]) == [
        ("found", 0.0, 0.0),
        ("lost", 1.0, 0.0),
        ("found", 2.0, 2.0),
    ]


def test_pitch_counts_and_roll_does_not():
    attention = Attention(AttentionSettings(after_s=0))
    kinds = [event.kind for event in attention.update([turned(pitch=-40, track=1), turned(roll=60, track=2)], 0.0)]
    assert kinds == ["found", "away", "found"]


def test_events_need_tracks_and_sensible_settings():
    with pytest.raises(InputError, match="use a tracker"):
        Attention().update([turned()], 0.0)
    for values in ({"away": 0}, {"away": 180}, {"after_s": -1}, {"back": 40}, {"lost_s": 0}, {"after_s": math.nan}):
        with pytest.raises(InputError, match="must be"):
            AttentionSettings(**values)


def test_frontal_faces():
    poses = [turned(19), turned(21), turned(14, 15), turned(roll=90)]
    assert frontal(poses, 20) == [poses[0], poses[3]]  # 14 and 15 degrees make 20.4


@pytest.mark.parametrize(("degrees", "quality"), [(0, 100), (10, 97), (45, 50), (60, 25), (90, 0)])
def test_quality_is_the_cosine_squared(degrees, quality):
    assert HeadPose(Face(Box(0, 0, 1, 1), 1), geometry.rotation_from_euler((0, 0, degrees))).quality == (
        100,
        100,
        quality,
    )
    assert turned(-degrees / 2).quality.yaw == round(100 * math.cos(math.radians(degrees / 2)) ** 2)


def test_quality_and_place_are_in_the_dictionary():
    values = turned(60, place=(1.0, 2.0, -3.0)).to_dict()
    assert values["quality"] == {"yaw": 25, "pitch": 100, "roll": 100} and values["place"] == [1.0, 2.0, -3.0]
    assert "place" not in turned().to_dict()


# The camera


def seen_by(camera, rotation, place):
    """The pose that a network would read, and the box, of a mean head at a place."""
    points = _FACE @ rotation.T + place
    pixels = np.stack(
        [camera.cx + camera.fx * points[:, 0] / -points[:, 2], camera.cy - camera.fy * points[:, 1] / -points[:, 2]], 1
    )
    low, high = pixels.min(0), pixels.max(0)
    # A camera at the same point that looks straight at the middle of the box.
    middle = ((low + high) / 2 - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    towards = np.array([-middle[0], middle[1], 1.0])
    towards /= np.linalg.norm(towards)
    axis = np.cross([0, 0, 1], towards)
    angle = math.atan2(np.linalg.norm(axis), towards[2])
    virtual = cv2.Rodrigues(axis / max(np.linalg.norm(axis), 1e-12) * angle)[0]
    return pose(virtual.T @ rotation, box=(*low, *high))


@given(rotations, st.floats(-45, 45), st.floats(-30, 30), st.floats(40, 300))
def test_a_camera_gives_the_pose_and_the_place_of_a_mean_head_back(rotation, right, down, distance):
    camera = Camera.from_fov(90, 1280, 720)
    place = np.array([math.tan(math.radians(right)), -math.tan(math.radians(down)), -1.0]) * distance
    corrected = camera.correct(seen_by(camera, rotation, place))
    assert corrected.rotation == pytest.approx(rotation, abs=1e-6)
    assert corrected.place == pytest.approx(place, abs=0.05)


def test_a_face_at_the_right_edge_that_looks_ahead_is_read_as_turned_and_corrected():
    camera = Camera.from_fov(90, 1000, 1000)
    edge = pose(geometry.rotation_from_euler((-45, 0, 0)), box=(950, 450, 1050, 550))
    assert camera.correct(edge).yaw == pytest.approx(0, abs=1e-6)
    middle = turned(20, 10, 5, box=(450, 450, 550, 550))
    assert camera.correct(middle).rotation == pytest.approx(middle.rotation)


def test_the_place_has_camera_axes_in_centimeters():
    camera = Camera.from_fov(60, 640, 480)
    far, near = (camera.correct(turned(box=(320 - s, 240 - s, 320 + s, 240 + s))).place for s in (30, 60))
    assert far[2] < near[2] < -20
    assert far[2] + 3.6 == pytest.approx(2 * (near[2] + 3.6), rel=0.01)  # the outline is some 4 cm before the ears
    x, y, _ = camera.correct(turned(box=(500, 50, 560, 110))).place
    assert x > 0 and y > 0


OPENCV = """%YAML:1.0
---
image_width: 640
image_height: 480
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 600., 0., 319.5, 0., 610., 239.5, 0., 0., 1. ]
distortion_coefficients: !!opencv-matrix
   rows: 1
   cols: 5
   dt: d
   data: [ -0.3, 0.1, 0., 0., 0. ]
"""


def test_a_calibration_of_opencv(tmp_path):
    (tmp_path / "camera.yml").write_text(OPENCV)
    camera = Camera.read(tmp_path / "camera.yml")
    assert camera == Camera(600, 610, 320, 240, 640, 480, (-0.3, 0.1, 0, 0, 0))
    ((right, down),) = camera.slopes([(620, 240)])
    assert right > 0.5 and down == pytest.approx(0)  # barrel distortion hides how far aside it is
    storage = cv2.FileStorage(str(tmp_path / "camera.json"), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write("camera_matrix", np.array([[600, 0, 319.5], [0, 610, 239.5], [0, 0, 1.0]]))
    storage.release()
    assert Camera.read(tmp_path / "camera.json") == Camera(600, 610, 320, 240, 640, 480)


def test_a_camera_in_json_at_another_size(tmp_path):
    values = {"fx": 600, "fy": 610, "cx": 320, "cy": 240, "width": 640, "height": 480}
    (tmp_path / "c.json").write_text(json.dumps(values))
    camera = Camera.read(tmp_path / "c.json")
    assert camera.at_size(1280, 960) == Camera(1200, 1220, 640, 480, 1280, 960)
    assert camera.at_size(640, 480) is camera
    with pytest.raises(InputError, match="calibrated for 640x480 pixels and the picture has 1280x720"):
        camera.at_size(1280, 720)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a camera"),
        ("{}", "is not a camera"),
        ('{"fx": 1}', "is not a camera"),
        ('{"camera_matrix": 3}', "is not a camera"),
        ("%YAML:1.0\n---\nimage_width: 640\n", "it has no camera_matrix"),
        (OPENCV.replace("image_width: 640", ""), "needs focal lengths and an image size above 0"),
        (OPENCV.replace("600.", "-600."), "needs focal lengths"),
        ('{"fx": NaN, "fy": 1, "cx": 1, "cy": 1, "width": 9, "height": 9}', "not a finite number"),
        ('{"fx": 1, "fy": 1, "cx": 1, "cy": 1, "width": 9, "height": 9, "distortion": [1]}', "distortion coefficients"),
        ('{"fx": 1, "fy": 1, "cx": 1, "cy": 1, "width": 9, "height": 9, "fov": 1}', "unknown key: fov"),
    ],
)
def test_a_file_that_is_no_camera_is_one_line(tmp_path, text, message):
    (tmp_path / "c.yml").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        Camera.read(tmp_path / "c.yml")
    assert "\n" not in str(error.value) and "c.yml" in str(error.value)


def test_a_camera_file_that_is_missing_or_no_text(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        Camera.read(tmp_path / "none.yml")
    (tmp_path / "c.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="it is not text"):
        Camera.read(tmp_path / "c.yml")
    for degrees in (0, 180, math.nan):
        with pytest.raises(InputError, match="field of view"):
            Camera.from_fov(degrees, 10, 10)
