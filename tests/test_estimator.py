"""A picture in, poses out: with a network whose answer is known, and the real detector."""

from __future__ import annotations

import numpy as np
import pytest

from headpose import Box, HeadPoseError, HeadPoseEstimator, ImageError
from headpose.detection import create_detector
from headpose.inference import load_model
from tests.network_files import DEGREES_PER_UNIT, color_network


@pytest.fixture(scope="module")
def estimator(tmp_path_factory):
    network = color_network(tmp_path_factory.mktemp("networks") / "color.onnx")
    return HeadPoseEstimator(network, threads=1)


def colored(blue, green, red, size=100):
    return np.full((size, size, 3), (blue, green, red), np.uint8)


def test_the_network_gets_the_box_in_rgb(estimator):
    image = colored(51, 255, 0)
    image[16:64, 26:74] = (102, 0, 204)  # the crop's edge blends in a little of what is around
    (pose,) = estimator.estimate(image, boxes=[Box(30, 20, 70, 60)])
    assert pose.euler == pytest.approx((DEGREES_PER_UNIT * 0.3, DEGREES_PER_UNIT * -0.1, 0), abs=0.01)
    assert pose.box == Box(30, 20, 70, 60)
    assert pose.face.score == 1


def test_given_boxes_keep_their_order_and_their_number(estimator):
    image = np.hstack([colored(127, 0, 0), colored(127, 0, 255)])
    boxes = [(110, 10, 190, 90), Box(10, 10, 90, 90), np.array([110.0, 10, 190, 90])]
    limited = HeadPoseEstimator(estimator.model, detector=estimator.detector, max_faces=1)
    for each in (estimator, limited):
        yaws = [pose.euler.yaw for pose in each.estimate(image, boxes=boxes)]
        assert yaws == pytest.approx([50, -50, 50], abs=0.01)
    assert estimator.estimate(image, boxes=[]) == []


def test_a_photo_has_its_face(estimator, photo):
    (pose,) = estimator.estimate(photo)
    assert pose.box.iou(Box(176, 78, 272, 175)) > 0.7
    assert 0.5 < pose.face.score <= 1
    assert np.abs(pose.rotation @ pose.rotation.T - np.eye(3)).max() < 1e-5


def test_no_face_no_poses(estimator):
    assert estimator.estimate(colored(120, 120, 120, 300)) == []
    assert estimator.estimate(colored(0, 0, 0, 1)) == []


def test_a_face_at_the_border_is_read(estimator, photo):
    (pose,) = estimator.estimate(np.ascontiguousarray(photo[100:300, 190:400]))
    assert pose.box.iou(Box(-14, -22, 82, 75)) > 0.4


def test_faces_come_best_first_and_at_most_max_faces(estimator, photo):
    faint = (photo * 0.25 + 90).astype(np.uint8)
    image = np.hstack([faint, photo])
    both = estimator.estimate(image)
    assert len(both) == 2
    assert both[0].face.score >= both[1].face.score
    best = HeadPoseEstimator(estimator.model, detector=estimator.detector, max_faces=1).estimate(image)
    assert [pose.box for pose in best] == [both[0].box]


def test_model_and_detector_may_be_given_as_objects(estimator, photo):
    model, detector = load_model(estimator.model.path), create_detector("blazeface")
    other = HeadPoseEstimator(model, detector=detector)
    assert other.model is model and other.detector is detector
    (ours,), (theirs,) = other.estimate(photo), estimator.estimate(photo)
    np.testing.assert_allclose(ours.rotation, theirs.rotation, atol=1e-5)


@pytest.mark.parametrize(
    "image",
    [
        None,
        [[1, 2, 3]],
        np.zeros((50, 50), np.uint8),
        np.zeros((50, 50, 4), np.uint8),
        np.zeros((50, 50, 3), np.float32),
        np.zeros((0, 50, 3), np.uint8),
        np.zeros((1, 40_000, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_an_error_in_a_line(estimator, image):
    with pytest.raises(ImageError, match=r"image (is|must be)") as caught:
        estimator.estimate(image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((10, 10, 10, 20), "empty"),
        ((10, 10, 20), "box 1 is not x1, y1, x2, y2"),
        ((10, 10, 20, float("nan")), "not a number"),
        (("a", 1, 2, 3), "box 1"),
        (5, "box 1"),
        ((1, 1, 10**400, 3), "box 1"),
        ((-1e30, -1e30, 1e30, 1e30), "box 1 is too small or too large"),
        ((-500, -500, 5000, 500), "box 1 is too small or too large"),
        ((10, 10, 10.5, 60), "box 1 is too small or too large"),
        ((200, 10, 300, 20), "outside of the 100x100 image"),
        (Box(-20, -20, 0, 10), "outside"),
    ],
)
def test_a_wrong_box_is_an_error(estimator, box, message):
    with pytest.raises(HeadPoseError, match=message):
        estimator.estimate(colored(0, 0, 0), boxes=[(0, 0, 5, 5), box])


def test_unknown_names_are_errors(estimator):
    with pytest.raises(HeadPoseError, match="unknown model"):
        HeadPoseEstimator("nothing")
    with pytest.raises(HeadPoseError, match="unknown detector"):
        HeadPoseEstimator(estimator.model, detector="haar")


def test_max_faces_is_one_or_more(estimator):
    with pytest.raises(HeadPoseError, match="max_faces"):
        HeadPoseEstimator(estimator.model, detector=estimator.detector, max_faces=0)
