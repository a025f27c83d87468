"""A tracker's numbers and its filter, on faces whose movement is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose import FaceTracker, Smoothing, geometry
from headpose.errors import HeadPoseError
from headpose.types import Box, Face, HeadPose

FPS = 30.0
angle = st.floats(-80, 80)
eulers = st.tuples(angle, angle, angle)


def face(x=100.0, y=100.0, euler=(0.0, 0.0, 0.0), side=80.0):
    return HeadPose(Face(Box(x, y, x + side, y + side), 0.9), geometry.rotation_from_euler(euler))


def run(tracker, poses):
    """One face a frame."""
    return [tracker.update([pose], i / FPS)[0] for i, pose in enumerate(poses)]


def errors(poses, truth):
    return geometry.geodesic_degrees(
        np.stack([pose.rotation for pose in poses]), np.stack([geometry.rotation_from_euler(each) for each in truth])
    )


def noisy(truth, degrees, seed=0):
    random = np.random.default_rng(seed)
    return [face(euler=np.add(each, random.normal(0, degrees, 3))) for each in truth]


# Numbers.


def test_faces_keep_their_numbers_whatever_their_order():
    tracker = FaceTracker(None)
    first = tracker.update([face(0), face(200)], 0.0)
    second = tracker.update([face(210), face(400), face(8)], 1 / FPS)
    assert [pose.track for pose in first] == [1, 2]
    assert [pose.track for pose in second] == [2, 3, 1]


def test_the_better_overlap_wins_and_no_number_is_given_twice_in_a_frame():
    tracker = FaceTracker(None)
    tracker.update([face(100)], 0.0)
    assert [pose.track for pose in tracker.update([face(130), face(105)], 1 / FPS)] == [2, 1]


def test_a_face_that_comes_back_soon_is_the_same_and_later_a_new_one():
    for away_s, number in ((0.4, 1), (0.6, 2)):
        tracker = FaceTracker(forget_s=0.5)
        tracker.update([face()], 0.0)
        assert tracker.update([], 0.1) == []
        assert tracker.update([face(105)], away_s)[0].track == number


def test_a_face_elsewhere_is_another():
    tracker = FaceTracker()
    assert [pose.track for pose in run(tracker, [face(100), face(300), face(100)])] == [1, 2, 1]


def test_two_faces_that_pass_at_a_distance_keep_their_numbers_and_their_poses():
    left = [face(10 + 12 * i, 0, (30, 0, 0)) for i in range(40)]
    right = [face(500 - 12 * i, 90, (-30, 0, 0)) for i in range(40)]
    tracker = FaceTracker()
    for i, pair in enumerate(zip(left, right, strict=True)):
        pair = pair if i % 2 else pair[::-1]
        yaws = {pose.track: round(pose.euler.yaw) for pose in tracker.update(pair, i / FPS)}
        assert yaws == {1: -30, 2: 30}  # the right one came first


# Poses.


def test_without_smoothing_a_pose_stays_as_it_is():
    pose = face(euler=(10, 20, 30))
    for given_back in run(FaceTracker(None), [pose, pose]):
        assert given_back.face == pose.face and given_back.rotation is pose.rotation


@given(eulers)
def test_a_still_head_stays_where_it_is_exactly(euler):
    poses = run(FaceTracker(), [face(euler=euler)] * 5)
    np.testing.assert_allclose(errors(poses, [euler] * 5), 0, atol=1e-6)
    np.testing.assert_allclose([pose.box.as_tuple() for pose in poses], [face().box.as_tuple()] * 5, atol=1e-9)


@given(eulers, eulers)
def test_after_a_jump_the_pose_arrives(before, after):
    poses = run(FaceTracker(), [face(euler=before)] * 3 + [face(euler=after)] * 90)
    assert errors(poses[-1:], [after])[0] < 0.1


@given(eulers, eulers, st.integers(0, 2**32 - 1))
def test_a_turn_of_the_camera_turns_what_comes_out(turn, euler, seed):
    """The filter has no axes of its own: it works on the rotation, not on angles."""
    turned = geometry.rotation_from_euler(turn)
    poses = noisy([euler] * 8, 3.0, seed)
    plain = run(FaceTracker(), poses)
    around = run(FaceTracker(), [HeadPose(pose.face, turned @ pose.rotation) for pose in poses])
    for one, other in zip(plain, around, strict=True):
        np.testing.assert_allclose(turned @ one.rotation, other.rotation, atol=1e-6)


def steps(poses):
    """Degrees from each frame to the next."""
    rotations = np.stack([pose.rotation for pose in poses])
    return geometry.geodesic_degrees(rotations[1:], rotations[:-1])


def test_a_tremble_is_calmed():
    truth = [(12, -4, 3)] * 200
    raw = noisy(truth, 0.3)  # as much as the networks' on a noisy camera
    smooth = run(FaceTracker(), raw)
    assert errors(smooth, truth)[30:].mean() < 0.5 * errors(raw, truth)[30:].mean()
    assert steps(smooth)[30:].mean() < 0.25 * steps(raw)[30:].mean()


def test_a_shaking_head_is_followed():
    truth = [(35 * np.sin(2 * np.pi * 0.6 * i / FPS), 0, 0) for i in range(150)]
    raw = noisy(truth, 1.5)
    smooth, slow = run(FaceTracker(), raw), run(FaceTracker(Smoothing(turn_hz=0.0)), raw)
    assert errors(smooth, truth)[30:].mean() < 1.3 * errors(raw, truth)[30:].mean()
    assert errors(slow, truth)[30:].mean() > 3 * errors(smooth, truth)[30:].mean()


def test_a_trembling_box_is_calmed_and_a_moving_one_followed():
    random = np.random.default_rng(0)
    still = run(FaceTracker(), [face(100 + random.normal(0, 1)) for _ in range(200)])[30:]
    assert np.std([pose.box.x1 for pose in still]) < 0.5
    moving = run(FaceTracker(), [face(100 + 4 * i) for i in range(60)])
    assert moving[-1].box.x1 == pytest.approx(100 + 4 * 59, abs=8)
    assert moving[-1].face.score == face().face.score


def test_smoothing_goes_by_time_and_not_by_frames():
    """The same second in 30 frames or in 60 ends about alike: steps are shares of the time that went by."""
    ends = []
    for fps in (30, 60):
        tracker = FaceTracker()
        tracker.update([face(euler=(0, 0, 0))], 0.0)
        for i in range(1, fps // 10 + 1):
            (pose,) = tracker.update([face(euler=(10, 0, 0))], i / fps)
        ends.append(pose.euler.yaw)
    assert ends[0] == pytest.approx(ends[1], abs=1.0)


def test_the_filter_is_the_papers_whatever_the_time_between_frames():
    """Casiez et al. (CHI 2012), algorithm 1, written out for a head that only turns left and right."""
    settings = Smoothing(still_hz=0.8, turn_hz=0.05, speed_hz=1.5)
    times = [0.0, 0.01, 0.05, 0.35, 0.4, 0.75]
    yaws = [0.0, 6.0, 9.0, 14.0, 11.0, 20.0]

    def weight(hz, elapsed_s):
        return 1 / (1 + 1 / (2 * np.pi * hz * elapsed_s))

    wanted, speed, smooth = [yaws[0]], 0.0, yaws[0]
    for i in range(1, len(times)):
        elapsed_s = times[i] - times[i - 1]
        speed += weight(settings.speed_hz, elapsed_s) * ((yaws[i] - yaws[i - 1]) / elapsed_s - speed)
        smooth += weight(settings.still_hz + settings.turn_hz * abs(speed), elapsed_s) * (yaws[i] - smooth)
        wanted.append(smooth)
    tracker = FaceTracker(settings)
    found = [tracker.update([face(euler=(yaw, 0, 0))], t)[0].euler.yaw for yaw, t in zip(yaws, times, strict=True)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_clock_that_stands_still_does_no_harm():
    tracker = FaceTracker()
    for euler in ((0, 0, 0), (5, 0, 0), (5, 0, 0)):
        (pose,) = tracker.update([face(euler=euler)], 1.0)
    assert np.isfinite(pose.rotation).all() and 0 <= pose.euler.yaw <= 5


# Settings.


@pytest.mark.parametrize(
    "settings", [{"still_hz": 0.0}, {"turn_hz": -1.0}, {"move_hz": float("nan")}, {"speed_hz": float("inf")}]
)
def test_smoothing_out_of_range_is_refused(settings):
    with pytest.raises(HeadPoseError, match=next(iter(settings))):
        Smoothing(**settings)


@pytest.mark.parametrize("settings", [{"forget_s": 0.0}, {"least_overlap": 0.0}, {"least_overlap": 1.5}])
def test_a_tracker_out_of_range_is_refused(settings):
    with pytest.raises(HeadPoseError, match=next(iter(settings))):
        FaceTracker(**settings)
