"""The loop over frames, on painted markers (tests/markers.py: neither network nor detector is a trained one)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from headpose import FaceStream, HeadPoseError, HeadPoseEstimator, ImageError, Smoothing
from headpose.geometry import in_plane_angle, wrap_degrees
from tests.markers import BLUE, RED, MarkerDetector, MarkerModel, marker, scene

FPS = 30.0
NEVER = 10**9  # detect_every: the detector runs only for lost faces


def stream(outputs=("region", "face"), repeats=1, max_faces=None, **settings):
    estimator = HeadPoseEstimator(MarkerModel(outputs), detector=MarkerDetector(repeats), max_faces=max_faces)
    return FaceStream(estimator, **settings)


def play(loop, frames, **settings):
    return [loop.update(scene(*regions, **settings), index / FPS) for index, regions in enumerate(frames)]


def off(pose, region):
    """Distance of the middle in lengths of the face, and difference of the angles."""
    shift = math.dist(pose.face.region.center, region.center) / region.height
    return shift, abs(float(wrap_degrees(pose.face.region.turn - region.turn)))


def wanderer(frames):
    """A face that moves, grows, and turns by half a turn."""
    t = np.arange(frames) / FPS
    x, y = 120 + 60 * np.sin(1.3 * t), 80 + 25 * np.sin(2.1 * t)
    size, turn = 44 + 12 * np.sin(0.9 * t), 90 * np.sin(0.8 * t)
    return [marker(*values) for values in zip(x, y, size, turn, strict=True)]


def test_a_moving_turning_face_is_followed_and_the_detector_looks_now_and_then():
    path = wanderer(150)
    loop = stream(detect_every=15)
    for (pose,), region in zip(play(loop, [[region] for region in path]), path, strict=True):
        shift, angle = off(pose, region)
        assert pose.track == 1 and shift < 0.06 and angle < 6
        assert pose.box.iou(region.bounds) > 0.75
        assert abs(pose.roll - region.turn) < 6, "the rotation is turned back to the camera"
    assert loop.searches == 10 == loop.estimator.detector.calls


def test_the_crops_turn_with_the_head():
    class Recording(MarkerModel):
        def read(self, inputs):
            reading = super().read(inputs)
            seen.extend(np.abs(in_plane_angle(reading.rotation)))  # in the axes of the crop
            return reading

    seen: list[float] = []
    loop = FaceStream(HeadPoseEstimator(Recording(), detector=MarkerDetector()))
    play(loop, [[region] for region in wanderer(60)])
    assert len(seen) == 60 and max(seen) < 10, "the face turns by up to 72 degrees a second"


@pytest.mark.parametrize("path", [[marker(117.3, 83.6, 47, 25)] * 2000, wanderer(2000)], ids=["still", "moving"])
def test_two_thousand_frames_do_not_walk_off(path):
    """The detector looks once: only the regions of the network hold the face."""
    loop = stream(detect_every=NEVER)
    poses = play(loop, [[region] for region in path])
    assert loop.searches == 1
    for start in (0, 1900):
        worst = max(off(pose, region)[0] for (pose,), region in zip(poses[start:], path[start:], strict=True))
        assert worst < 0.06, f"from frame {start}"
    sizes = [pose.face.region.height / region.height for (pose,), region in zip(poses, path, strict=True)]
    assert max(abs(size - 1) for size in sizes) < 0.15
    assert {pose.track for (pose,) in poses} == {1}


def test_an_empty_scene_is_searched_ten_times_a_second():
    loop = stream()
    assert play(loop, [[]] * 60) == [[]] * 60
    assert loop.searches == 20
    slow = stream()
    for index in range(10):
        slow.update(scene(), index / 5)
    assert slow.searches == 10


def test_a_newcomer_is_found_at_the_next_look():
    old, new = marker(50, 80), marker(180, 80)
    loop = stream(detect_every=15)
    poses = play(loop, [[old]] * 20 + [[old, new]] * 20)
    assert [len(found) for found in poses] == [1] * 30 + [2] * 10
    assert {pose.track for pose in poses[-1]} == {1, 2}


def test_a_cut_is_answered_in_the_same_frame():
    loop = stream(detect_every=NEVER)
    poses = play(loop, [[marker(50, 50)]] * 10 + [[marker(190, 110)]] * 10)
    assert all(len(found) == 1 for found in poses)
    assert [found[0].track for found in poses] == [1] * 10 + [2] * 10
    assert loop.searches <= 7, "ten times a second for half a second"


@pytest.mark.parametrize(("away", "number"), [(9, 1), (30, 2)])
def test_a_face_that_comes_back_soon_keeps_its_number(away, number):
    face = marker(120, 80)
    loop = stream()
    poses = play(loop, [[face]] * 5 + [[]] * away + [[face]] * 8)
    assert all(found == [] for found in poses[5 : 5 + away])
    assert poses[-1][0].track == number
    found = [index for index, each in enumerate(poses[5 + away :]) if each]
    assert found[0] <= 3, "a lost face is searched ten times a second"


def test_faces_that_cross_keep_their_numbers():
    """The one in front hides the other for some frames."""
    x = np.linspace(40, 200, 60)
    frames = [[marker(240 - at, 76, 44), marker(at, 84, 44)] for at in x]
    loop = stream(detect_every=15)
    poses = play(loop, frames, colors=(RED, BLUE))
    first, last = ({pose.track: pose.box.center[0] for pose in poses[index]} for index in (0, -1))
    assert set(first) == set(last) == {1, 2}
    assert all((first[track] < 120) == (last[track] > 120) for track in (1, 2))


def test_two_boxes_on_one_face_are_one_face():
    poses = play(stream(repeats=2), [[marker(120, 80)]] * 5)
    assert [[pose.track for pose in found] for found in poses] == [[1]] * 5


def test_two_followed_faces_never_share_a_place():
    """Both crops show the one marker that is left."""
    a, b = marker(100, 80), marker(142, 80)
    loop = stream(detect_every=NEVER)
    poses = play(loop, [[a, b]] * 5 + [[a]] * 5)
    assert [len(found) for found in poses] == [2] * 5 + [1] * 5


def test_what_the_network_does_not_take_for_a_face_is_not_followed():
    class Blind(MarkerModel):
        def read(self, inputs):
            reading = super().read(inputs)
            reading.face[:] = -1.0
            return reading

    loop = FaceStream(HeadPoseEstimator(Blind(), detector=MarkerDetector()))
    assert play(loop, [[marker(120, 80)]] * 6) == [[]] * 6
    assert loop.searches == 2


def test_without_the_output_face_the_detector_decides():
    """The network always sees a face, so a face that the detector misses twice is gone."""
    face = marker(120, 80)
    loop = stream(outputs=("region",), detect_every=5)
    poses = play(loop, [[face]] * 10 + [[]] * 25)
    assert len(poses[9]) == 1 and poses[9][0].readable is None
    assert poses[-1] == []


def test_a_region_that_drifted_starts_again_from_the_detectors_box():
    class Creeping(MarkerModel):
        def read(self, inputs):
            reading = super().read(inputs)
            reading.region[:, 0] += 0.02  # each frame a little further to the right
            return reading

    def worst(every):
        loop = FaceStream(HeadPoseEstimator(Creeping(), detector=MarkerDetector()), detect_every=every)
        return max(off(pose, face)[0] for found in play(loop, [[face]] * 60) for pose in found)

    face = marker(120, 80)
    assert worst(5) < 0.5


def test_a_network_without_regions_has_the_detector_in_every_frame():
    loop = stream(outputs=())
    poses = play(loop, [[marker(60 + index, 80)] for index in range(12)])
    assert loop.searches == 12
    assert [found[0].track for found in poses] == [1] * 12


def test_at_most_max_faces_are_followed():
    loop = stream(max_faces=1)
    poses = play(loop, [[marker(60, 80), marker(180, 80)]] * 20)
    assert [len(found) for found in poses] == [1] * 20


def test_smoothing_calms_what_is_returned_and_not_what_is_measured():
    rng = np.random.default_rng(0)
    path = [marker(120 + dx, 80, 44, turn) for dx, turn in zip(rng.normal(0, 1, 60), rng.normal(0, 4, 60), strict=True)]
    loop = stream(smoothing=Smoothing())
    smooth, measured = [], []
    for index, region in enumerate(path):
        (pose,) = loop.update(scene(region), index / FPS)
        smooth.append(pose.roll)
        measured.append(loop.measured[0].roll)
        assert loop.measured[0].track == pose.track == 1
    assert np.std(smooth[10:]) < 0.75 * np.std(measured[10:])


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "15"])
def test_settings_out_of_range(every):
    with pytest.raises(HeadPoseError, match="detect_every"):
        stream(detect_every=every)


def test_what_is_no_picture_is_refused():
    with pytest.raises(ImageError, match="uint8"):
        stream().update(np.zeros((4, 4)), 0.0)
