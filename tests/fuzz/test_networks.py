"""Network files that are nearly right: a rotation, or one line that says what is wrong."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose import HeadPoseEstimator, weights
from headpose.errors import HeadPoseError, WeightsError
from headpose.inference import OnnxPoseModel
from headpose.landmarks import OnnxLandmarkModel, locate
from headpose.types import Box, Face, HeadPose
from tests.fuzz.damage import damaged, odd_values, spoiled
from tests.fuzz.test_readers import only
from tests.network_files import PLAIN, color_network, landmark_network

BOXES = [Box(5, 6, 40, 50), Box(-10, 30, 20, 90), Box(30, 30, 31, 31)]
CARD = {"name": "color", "precision": "fp32", "license": "permissive", "parent": "", "architecture": {"stem": [1, 2]}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return color_network(tmp_path_factory.mktemp("network") / "color.onnx", size=PLAIN.size).read_bytes()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged") / "color.onnx"


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def read_poses(path, picture):
    """All the way from a file to angles."""
    with only(HeadPoseError):
        model = OnnxPoseModel(path, device="cpu", threads=1)
        for pose in HeadPoseEstimator(model, detector=NoFaces()).estimate(picture, BOXES):
            np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-3)
            assert np.linalg.det(pose.rotation) > 0
            assert np.isfinite(pose.euler).all()


class NoFaces:
    """A detector: boxes are given here."""

    def detect(self, image):
        return []


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    file = tmp_path_factory.mktemp("network") / "points.onnx"
    return landmark_network(file, np.random.default_rng(0).uniform(size=(68, 2))).read_bytes()


def read_landmarks(path, picture):
    """All the way from a file to pixels."""
    with only(HeadPoseError):
        model = OnnxLandmarkModel(path, device="cpu", threads=1)
        for pose in locate(model, picture, [HeadPose(Face(box, 1.0), np.eye(3)) for box in BOXES]):
            assert pose.landmarks.shape == (68, 2)
            assert np.isfinite(pose.landmarks).all()


@given(data=st.data())
def test_damaged_landmark_files(points, path, picture, data):
    path.write_bytes(data.draw(damaged([points], changes=3)))
    read_landmarks(path, picture)


@given(kind=odd_values, contract=odd_values, listed=odd_values)
def test_odd_kinds(points, path, picture, kind, contract, listed):
    model = onnx.load_from_string(points)
    about = {"name": "points", "kind": kind, "contract": contract, "outputs": listed}
    texts = {"headpose.crop": json.dumps(PLAIN.to_dict()), "headpose.model": json.dumps(about)}
    del model.metadata_props[:]
    for key, text in texts.items():
        model.metadata_props.add(key=key, value=text.encode("utf-8", "replace").decode())
    onnx.save(model, path)
    read_landmarks(path, picture)
    read_poses(path, picture)


@given(data=st.data())
def test_damaged_files(whole, path, picture, data):
    path.write_bytes(data.draw(damaged([whole], changes=3)))
    read_poses(path, picture)


@given(
    crop=st.one_of(spoiled(PLAIN.to_dict()), odd_values),
    card=st.one_of(spoiled(CARD), odd_values),
    change=st.one_of(st.none(), st.tuples(st.sampled_from(["headpose.crop", "headpose.model"]), st.text(max_size=20))),
)
def test_odd_metadata(whole, path, picture, crop, card, change):
    model = onnx.load_from_string(whole)
    texts = {"headpose.crop": json.dumps(crop), "headpose.model": json.dumps(card), **dict([change] if change else [])}
    del model.metadata_props[:]
    for key, text in texts.items():
        model.metadata_props.add(key=key, value=text.encode("utf-8", "replace").decode())
    onnx.save(model, path)
    read_poses(path, picture)


ENTRY = f"""[one]
file = "one.onnx"
sha256 = "{"0" * 64}"
bytes = 5
precision = "fp32"
license = "permissive"
license_terms = "any use"
data = "none"
recipe = "one"
parent = ""
crop = {{size = 96, scale = 1.3, mean = [0.5, 0.5, 0.5], std = [0.25, 0.25, 0.25]}}
metrics = {{mae = 3.5}}
"""


@given(data=damaged([ENTRY.encode()]))
def test_manifests_of_weights(path, data):
    manifest = path.with_name("models.toml")
    manifest.write_bytes(data)
    with only(WeightsError):
        for name, info in weights.read_manifest(manifest).items():
            assert info.name == name
            assert info.crop.size >= 8
