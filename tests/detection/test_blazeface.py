"""The default detector on the photograph that comes with the project, and on awkward pictures."""

import time

import cv2
import numpy as np
import onnxruntime
import pytest

from headpose.detection import create_detector
from headpose.detection.blazeface import MODEL, BlazeFace, level_sizes
from headpose.errors import HeadPoseError, WeightsError
from headpose.geometry import wrap_degrees
from headpose.types import Box

# Brows to chin, jaw to jaw of examples/astronaut.jpg, read off by eye.
FACE = Box(177, 87, 272, 177)


@pytest.fixture(scope="module")
def detector():
    return create_detector("blazeface", threads=1, device="cpu")


def test_the_network_computes_what_tensorflow_lite_does(repo):
    golden = np.load(repo / "tests/detection/blazeface_golden.npz")  # ai-edge-litert on blazeface-short.tflite
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    image = (golden["image"].astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
    boxes, scores = session.run(["boxes", "scores"], {"image": np.repeat(image, 2, axis=0)})
    for index in range(2):
        np.testing.assert_allclose(boxes[index], golden["boxes"], rtol=1e-4, atol=2e-4)
        np.testing.assert_allclose(scores[index], golden["scores"], rtol=1e-4, atol=2e-4)


def test_finds_the_face_and_only_it(detector, photo):
    (face,) = detector.detect(photo)
    assert face.box.iou(FACE) > 0.85
    assert face.score > 0.7


def turned_photo(photo, clockwise):
    """The photograph turned about the middle of its face, and where the face is."""
    (x, y) = FACE.center
    matrix = cv2.getRotationMatrix2D((x, y), -clockwise, 1.0)
    return cv2.warpAffine(photo, matrix, photo.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize("turn", [0, 45, 90, 135, 180, -45, -90, -135])
def test_a_face_at_any_angle_is_found_with_its_angle(detector, photo, turn):
    faces = detector.detect(turned_photo(photo, turn))
    face = max(faces, key=lambda each: each.box.iou(FACE))
    assert face.box.iou(FACE) > 0.6
    assert abs(wrap_degrees(face.region.turn - turn)) < 25  # 5 in the median, and the network reads the rest


def test_the_angle_of_an_upright_face_leaves_its_box_alone(detector, photo):
    (face,) = detector.detect(photo)
    assert abs(face.region.turn) < 10
    assert tuple(face.region.bounds) == pytest.approx(tuple(face.box), abs=2)


def test_the_same_picture_gives_the_same_faces(detector, photo):
    assert detector.detect(photo) == detector.detect(photo.copy())


@pytest.mark.parametrize("scale", [0.36, 1.0, 3.1])
def test_the_box_follows_the_size_of_the_picture(detector, photo, scale):
    resized = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    (face,) = detector.detect(resized)
    assert Box(*(value / scale for value in face.box.as_tuple())).iou(FACE) > 0.8


def test_a_mirrored_picture_gives_mirrored_boxes(detector, photo):
    (face,), (mirrored,) = detector.detect(photo), detector.detect(np.ascontiguousarray(photo[:, ::-1]))
    width = photo.shape[1]
    box = Box(width - mirrored.box.x2, mirrored.box.y1, width - mirrored.box.x1, mirrored.box.y2)
    assert face.box.iou(box) > 0.85


def test_small_faces_in_a_large_frame(detector, photo):
    frame = np.full((1080, 1920, 3), (90, 120, 100), np.uint8)
    small = cv2.resize(
        photo[30:240, 115:335], None, fx=40 / FACE.width, fy=40 / FACE.width, interpolation=cv2.INTER_AREA
    )
    truths = []
    for x, y in [(30, 20), (940, 500), (1800, 980), (400, 900)]:
        frame[y : y + small.shape[0], x : x + small.shape[1]] = small
        corner = np.array([x - 115 * 40 / FACE.width, y - 30 * 40 / FACE.width] * 2)
        truths.append(Box(*(corner + np.array(FACE.as_tuple()) * 40 / FACE.width)))
    boxes = [face.box for face in detector.detect(frame)]
    assert len(boxes) == len(truths)
    assert all(max(box.iou(truth) for box in boxes) > 0.4 for truth in truths)


def test_a_larger_least_face_leaves_small_ones_out(photo):
    frame = np.full((1080, 1920, 3), 128, np.uint8)
    small = cv2.resize(photo[30:240, 115:335], None, fx=0.42, fy=0.42, interpolation=cv2.INTER_AREA)
    frame[500 : 500 + small.shape[0], 900 : 900 + small.shape[1]] = small
    assert len(BlazeFace(threads=1, min_face=40).detect(frame)) == 1
    assert BlazeFace(threads=1, min_face=300).detect(frame) == []


@pytest.mark.parametrize(("left", "top"), [(190, 0), (0, 90), (185, 90)])
def test_a_face_at_the_border_keeps_its_box(detector, photo, left, top):
    (face,) = detector.detect(np.ascontiguousarray(photo[top:, left:]))
    shifted = Box(FACE.x1 - left, FACE.y1 - top, FACE.x2 - left, FACE.y2 - top)
    assert face.box.iou(shifted) > 0.55


def test_grey_and_dark_pictures(detector, photo):
    grey = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    assert detector.detect(grey)[0].box.iou(FACE) > 0.7
    assert detector.detect(photo // 3)[0].box.iou(FACE) > 0.7


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (3, 2), (17, 4000)])
@pytest.mark.parametrize("value", [0, 130, 255])
def test_no_face_is_an_empty_list(detector, shape, value):
    assert detector.detect(np.full((*shape, 3), value, np.uint8)) == []


def test_twelve_thousand_by_nine_thousand(detector, photo):
    image = np.zeros((9000, 12000, 3), np.uint8)
    image[:8704, :8704] = np.repeat(np.repeat(photo, 17, axis=0), 17, axis=1)
    start = time.process_time()
    (face,) = detector.detect(image)
    assert time.process_time() - start < 4.0
    assert Box(*(value / 17 for value in face.box.as_tuple())).iou(FACE) > 0.8


def test_levels_run_from_the_least_face_to_128_pixels():
    assert level_sizes(128, 96, 40.0) == [(128, 96)]
    assert level_sizes(640, 480, 40.0) == [(256, 192), (128, 96)]
    assert level_sizes(1920, 1080, 40.0) == [(768, 432), (314, 176), (128, 72)]
    assert max(level_sizes(12000, 9000, 40.0)[0]) == 1536
    assert level_sizes(10000, 3, 40.0)[-1] == (128, 1)


@pytest.mark.parametrize(
    "settings", [{"min_score": 0.0}, {"min_score": 1.0}, {"min_face": 0.0}, {"min_face": float("nan")}]
)
def test_settings_out_of_range(settings):
    with pytest.raises(HeadPoseError, match="min_score"):
        BlazeFace(**settings)


def test_a_missing_file_and_another_network(tmp_path, repo):
    with pytest.raises(WeightsError, match="does not exist"):
        create_detector("blazeface", model_path=tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(WeightsError, match=r"text\.onnx is not a network"):
        create_detector("blazeface", model_path=tmp_path / "text.onnx")


def test_unknown_names_and_scores():
    with pytest.raises(HeadPoseError, match="blazeface, mediapipe, yunet"):
        create_detector("haar")
    with pytest.raises(HeadPoseError, match="between 0 and 1"):
        create_detector("blazeface", min_score=1.5)
