"""Landmarks of faces: the second network, its file, and where its points come out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import re

import numpy as np
import pytest

from headpose import (
    Box,
    CropSpec,
    Face,
    FaceStream,
    HeadPose,
    HeadPoseEstimator,
    ModelInfo,
    Region,
    cli,
    crop,
    draw_poses,
    weights,
)
from headpose.errors import HeadPoseError, InputError, WeightsError
from headpose.images import write_image
from headpose.inference import load_model
from headpose.landmarks import load_landmark_model, locate
from tests.markers import MarkerDetector, MarkerModel, marker, scene
from tests.network_files import PLAIN, color_network, landmark_network

POINTS = np.random.default_rng(0).uniform(0.1, 0.9, (68, 2))
CROP = CropSpec(size=16, scale=1.4, shift_y=0.1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
BLACK, WHITE = (np.full((120, 160, 3), value, np.uint8) for value in (0, 255))
BOX = Box(30, 20, 90, 100)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return landmark_network(tmp_path_factory.mktemp("networks") / "points.onnx", POINTS, CROP)


@pytest.fixture(scope="module")
def model(file):
    return load_landmark_model(file, device="cpu", threads=1)


def posed(place):
    region = place if isinstance(place, Region) else None
    return HeadPose(Face(region.bounds if region else place, 0.9, region), np.eye(3))


def test_points_of_the_crop_become_pixels_of_the_image(model):
    (pose,) = locate(model, BLACK, [posed(BOX)])
    assert (pose.landmarks.shape, pose.landmarks.dtype) == ((68, 2), np.float32)
    side = 1.4 * 80  # the longer side of the box times the scale
    corner = np.array([60 - side / 2, 60 + 0.1 * 80 - side / 2])
    np.testing.assert_allclose(pose.landmarks, corner + side * POINTS, atol=1e-3)
    (moved,) = locate(model, WHITE, [posed(BOX)])  # so the points are those of this crop
    np.testing.assert_allclose(moved.landmarks - pose.landmarks, side, atol=1e-2)
    assert locate(model, BLACK, []) == []


def test_points_turn_with_the_region_of_a_face(model):
    upright, turned = (Region((80.0, 60.0), 40, 50, turn) for turn in (0.0, 90.0))
    first, second = (locate(model, BLACK, [posed(region)])[0].landmarks for region in (upright, turned))
    x, y = (first - (80, 60)).T
    np.testing.assert_allclose(second - (80, 60), np.stack([-y, x], 1), atol=1e-3)  # a quarter clockwise


def test_an_estimator_gives_landmarks_only_where_it_has_a_network(file, tmp_path):
    network = load_model(color_network(tmp_path / "color.onnx"), device="cpu", threads=1)
    without = HeadPoseEstimator(network, detector=MarkerDetector())
    (plain,) = without.estimate(BLACK, [BOX])
    assert plain.landmarks is None
    assert "landmarks" not in plain.to_dict()
    estimator = HeadPoseEstimator(network, detector=MarkerDetector(), device="cpu", threads=1, landmarks=file)
    (pose,) = estimator.estimate(BLACK, [BOX])
    assert pose.to_dict() == plain.to_dict() | {"landmarks": pose.to_dict()["landmarks"]}
    np.testing.assert_allclose(json.loads(json.dumps(pose.to_dict()["landmarks"])), pose.landmarks, atol=6e-3)
    pairs = estimator.estimate_batch([BLACK, WHITE], [[BOX, Box(0, 0, 20, 20)], [BOX]])
    assert [len(poses) for poses in pairs] == [2, 1]
    np.testing.assert_array_equal(pairs[0][0].landmarks, pose.landmarks)
    assert not np.allclose(pairs[1][0].landmarks, pose.landmarks)
    with pytest.raises(InputError, match="image 1: box 0"):
        estimator.estimate_batch([BLACK, BLACK], [[BOX], [(0, 0, 0, 0)]])
    copy = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(copy.estimate(BLACK, [BOX])[0].landmarks, pose.landmarks)


@pytest.mark.parametrize("outputs", [("region", "face"), ()])
def test_a_stream_locates_the_faces_that_it_follows(model, outputs):
    estimator = HeadPoseEstimator(MarkerModel(outputs), detector=MarkerDetector(), landmarks=model)
    stream = FaceStream(estimator)
    for index in range(3):
        region = marker(100 + 3 * index, 80, 50, 0)
        (pose,) = stream.update(scene(region), index / 30)
        inside = crop.points_in_crop(pose.landmarks, pose.face.region or pose.box, CROP)
        shift = (inside - POINTS).mean()  # by the brightness of the crop
        np.testing.assert_allclose(inside - shift, POINTS, atol=1e-3)
        assert 0.2 < shift < 0.5


def test_landmarks_are_drawn_as_dots():
    landmarks = np.float32([[20.5, 20.5], [100.5, 90.5]])
    pose = dataclasses.replace(posed(BOX), landmarks=landmarks)
    drawn, plain = (draw_poses(BLACK, [each], "none", label=False) for each in (pose, posed(BOX)))
    changed = np.argwhere((drawn != plain).any(2))[:, ::-1]
    nearest = np.linalg.norm(changed[:, None] + 0.5 - landmarks, axis=2).min(1)
    assert nearest.max() < 4
    assert drawn[20, 20].tolist() == drawn[90, 100].tolist() == [40, 230, 255]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"about": {"kind": "pose", "outputs": []}}, "is a head pose network, not a network that locates landmarks"),
        ({"about": {"kind": "gaze"}}, "is of the kind 'gaze', not"),
        ({"about": {"kind": 5}}, "is of no valid kind"),
        ({"about": {"contract": 3}}, "follows contract 3, this version knows 2: update headpose"),
        ({"output": "dots"}, "is not a landmark network: it needs one input, image, and an output landmarks"),
    ],
)
def test_another_file_is_one_clear_error(tmp_path, changes, message):
    path = landmark_network(tmp_path / "other.onnx", POINTS, **changes)
    with pytest.raises(WeightsError, match=message):
        load_landmark_model(path, device="cpu")


def test_the_two_kinds_of_networks_do_not_take_each_others_place(file, tmp_path):
    with pytest.raises(WeightsError, match="is a network that locates landmarks, not a head pose network"):
        load_model(file, device="cpu")
    with pytest.raises(WeightsError, match="is a head pose network, not"):
        load_landmark_model(color_network(tmp_path / "color.onnx"), device="cpu")


def test_a_named_network_is_checked_against_the_manifest(file, tmp_path, monkeypatch):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    stated = ["points", file.name, digest, file.stat().st_size, "fp32", "permissive", "any use", "none", "points", ""]
    info = ModelInfo(*stated, CROP, {"nme": 3.5}, "landmarks")
    monkeypatch.setenv("HEADPOSE_WEIGHTS", str(file.parent))
    monkeypatch.setattr(weights, "manifest", lambda: {"points": info})
    assert load_landmark_model("points", device="cpu").crop == CROP
    assert (weights.list_models(), weights.list_models(kind="landmarks")) == ([], ["points"])
    with pytest.raises(WeightsError, match="is a network that locates landmarks"):
        load_model("points", device="cpu")
    monkeypatch.setattr(weights, "manifest", lambda: {"points": dataclasses.replace(info, crop=PLAIN)})
    with pytest.raises(WeightsError, match=r"differs from that in models\.toml for points"):
        load_landmark_model("points", device="cpu")


@pytest.mark.parametrize("points", [POINTS[:60], np.full((68, 2), np.nan), np.full((68, 2), 1e6)])
def test_an_output_that_is_no_landmarks_is_an_error(tmp_path, points):
    model = load_landmark_model(landmark_network(tmp_path / "bad.onnx", points, PLAIN), device="cpu", threads=1)
    with pytest.raises(HeadPoseError, match="model points returned no landmarks"):
        locate(model, BLACK, [posed(BOX)])
    with pytest.raises(HeadPoseError, match="not a finite number"):
        model.predict(np.full((1, 3, 16, 16), np.inf, np.float32))


def test_the_command_writes_and_draws_them(file, tmp_path, photo, capfd):
    write_image(tmp_path / "photo.png", photo)
    words = ["estimate", str(tmp_path / "photo.png"), "--threads", "1", "--device", "cpu", "--quiet"]
    outputs = ["--json", str(tmp_path / "poses.json"), "--out", str(tmp_path / "drawn.png"), "--draw", "none"]
    assert cli.main([*words, *outputs, "--landmarks", str(file)]) == 0
    (row,) = map(json.loads, (tmp_path / "poses.json").read_text().splitlines())
    points = np.array(row["landmarks"])
    assert points.shape == (68, 2)
    side = 1.4 * np.ptp(np.reshape(row["box"], (2, 2)), axis=0).max()
    np.testing.assert_allclose(np.ptp(points, axis=0), side * np.ptp(POINTS, axis=0), atol=0.1)
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        cli.main(["estimate", "--landmarks", str(tmp_path / "photo.png")])
    assert stopped.value.code == 2
    assert re.search("if it is a SOURCE, give it before --landmarks", capfd.readouterr().err)
