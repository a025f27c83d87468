"""What `student-wide` reads besides the rotation, on real pictures: where the face is, how sure it is, any angle."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from headpose import Box, FaceStream, HeadPoseEstimator
from headpose.crop import network_input, region_in_image
from headpose.geometry import expected_angle, geodesic_degrees, turn_picture
from headpose.inference import OnnxPoseModel, load_model

FACE = Box(178, 83, 273, 176)  # of the photo
NAMES = ["student-wide", "student-wide-fp16", "student-wide-int8"]


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return load_model(request.param, device="cpu", threads=1)


@pytest.fixture(scope="module")
def wide():
    return load_model("student-wide", device="cpu", threads=1)


def read(model: OnnxPoseModel, image, *boxes):
    return model.read(network_input(image, boxes, model.crop))


def moved(box: Box, right: float, down: float, larger: float) -> Box:
    (x, y), width, height = box.center, box.width * larger / 2, box.height * larger / 2
    x, y = x + right * box.width, y + down * box.height
    return Box(x - width, y - height, x + width, y + height)


def rotated(image, clockwise: float):
    height, width = image.shape[:2]
    about = cv2.getRotationMatrix2D(FACE.center, -clockwise, 1.0)
    return cv2.warpAffine(image, about, (width, height), borderMode=cv2.BORDER_REPLICATE)


def test_the_region_is_the_face_wherever_the_crop_is(model, photo):
    boxes = [moved(FACE, *change) for change in [(0, 0, 1), (0.1, 0, 1), (-0.1, 0.1, 1), (0, 0, 1.25), (0, 0, 0.9)]]
    reading = read(model, photo, *boxes)
    found = [
        region_in_image(values, box, model.crop, 0.0).bounds for values, box in zip(reading.region, boxes, strict=True)
    ]
    assert min(region.iou(FACE) for region in found) > 0.75
    assert np.std([region.center for region in found], axis=0).max() < 0.04 * FACE.width


def test_a_face_is_readable_and_patterns_are_not(model, photo):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (200, 200, 3)).astype(np.uint8)
    checks = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((25, 25)))[..., None].repeat(3, 2).astype(np.uint8) * 255
    flat = np.full((200, 200, 3), 128, np.uint8)
    whole = Box(40, 40, 160, 160)
    assert read(model, photo, FACE).readable[0] > 0.9
    patterns = [noise, cv2.GaussianBlur(noise, None, 9), checks, flat]
    assert max(read(model, pattern, whole).readable[0] for pattern in patterns) < 0.5


def test_doubt_grows_as_the_picture_gets_worse(model, photo):
    pictures = [photo, cv2.GaussianBlur(photo, None, 4), cv2.GaussianBlur(photo, None, 8), photo // 6]
    sure, blurred, smeared, dark = (expected_angle(read(model, p, FACE).covariance[0]) for p in pictures)
    assert sure < 4
    assert sure < blurred < smeared
    assert sure < dark


@pytest.mark.parametrize("clockwise", [45, 90, 135, 180, 225, 270, 315])
def test_a_box_without_an_angle_is_read_at_any(clockwise, wide, photo):
    estimator = HeadPoseEstimator(wide)
    (upright,) = estimator.estimate(photo, boxes=[FACE])
    (pose,) = estimator.estimate(rotated(photo, clockwise), boxes=[FACE])
    assert geodesic_degrees(pose.rotation, turn_picture(upright.rotation, clockwise)) < 6


def test_a_stream_follows_the_face_and_rarely_detects(wide, photo):
    stream = FaceStream(HeadPoseEstimator(wide), detect_every=15)
    for index in range(30):
        shift = np.float32([[1, 0, 3 * index], [0, 1, -index]])
        frame = cv2.warpAffine(photo, shift, photo.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        (pose,) = stream.update(frame, index / 30)
        expected = Box(FACE.x1 + 3 * index, FACE.y1 - index, FACE.x2 + 3 * index, FACE.y2 - index)
        assert pose.track == 1
        assert pose.box.iou(expected) > 0.7
        assert pose.readable > 0.9
    assert stream.searches == 2
