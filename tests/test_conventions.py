"""The conventions of ``headpose.geometry``, checked against AFLW2000-3D's own landmarks.

``pt3d_68`` is the fitted face in image coordinates (x right, y down, z towards the camera), fitted
with Pose_Para: what the landmarks do must be what the signs say.
"""

import numpy as np
import pytest

from headpose import geometry
from headpose.datasets import aflw2000, matlab5
from headpose.types import Face, HeadPose

pytestmark = pytest.mark.data

NOSE_TIP, CHIN = 30, 8
LEFT_OF_PICTURE_EYE, RIGHT_OF_PICTURE_EYE = slice(36, 42), slice(42, 48)
EYE_AND_MOUTH_CORNERS = [36, 45, 48, 54]
JAW = slice(0, 17)


@pytest.fixture(scope="module")
def faces(data_dir):
    """(samples, (N, 68, 3) landmarks with y up) of the 1969 pictures within +-99 degrees."""
    samples = [s for s in aflw2000.read(data_dir / "aflw2000") if max(map(abs, s.euler)) <= 99]
    points = [matlab5.read(s.image.with_suffix(".mat").read_bytes())["pt3d_68"].T for s in samples]
    return samples, np.stack(points) * [1, -1, 1]


@pytest.fixture(scope="module")
def euler(faces):
    return np.array([sample.euler for sample in faces[0]])


def correlation(a, b):
    return np.corrcoef(a, b)[0, 1]


def test_a_positive_yaw_turns_the_nose_to_the_left_of_the_picture(faces, euler):
    _, points = faces
    offset = (points[:, NOSE_TIP, 0] - points[:, JAW, 0].mean(1)) / np.ptp(points[:, :, 1], axis=1)
    assert correlation(offset, np.sin(np.deg2rad(euler[:, 0]))) < -0.98


def test_a_positive_pitch_turns_the_nose_up(faces, euler):
    _, points = faces
    frontal = np.abs(euler[:, [0, 2]]).max(1) < 25
    ears = points[:, [0, 16], 1].mean(1)
    offset = (points[:, NOSE_TIP, 1] - ears) / np.ptp(points[:, :, 1], axis=1)
    assert correlation(offset[frontal], euler[frontal, 1]) > 0.98


def test_a_positive_roll_tilts_the_head_clockwise(faces, euler):
    _, points = faces
    frontal = np.abs(euler[:, :2]).max(1) < 15
    across = points[:, RIGHT_OF_PICTURE_EYE].mean(1) - points[:, LEFT_OF_PICTURE_EYE].mean(1)
    # Clockwise on the screen: the eye on the right of the picture goes down.
    tilt = -np.rad2deg(np.arctan2(across[:, 1], across[:, 0]))
    assert correlation(tilt[frontal], euler[frontal, 2]) > 0.99
    assert np.abs(tilt - euler[:, 2])[frontal].mean() < 1.5


def test_the_rotation_of_the_labels_is_the_rotation_of_the_landmarks(faces):
    """Orthogonal Procrustes of each face onto the mean face: no angle, no sign and no order is assumed."""
    samples, points = faces
    labels = np.stack([sample.rotation for sample in samples])
    heads = points - points.mean(1, keepdims=True)
    heads /= np.linalg.norm(heads, axis=(1, 2), keepdims=True)
    # Turned back by their labels all faces look straight ahead; their mean is the model.
    mean_face = np.einsum("nij,nki->kj", labels, heads) / len(heads)
    assert mean_face[NOSE_TIP, 2] == mean_face[:, 2].max()
    assert mean_face[CHIN, 1] == mean_face[:, 1].min()
    fitted = geometry.nearest_rotation(np.einsum("nki,kj->nij", heads, mean_face))
    error = geometry.geodesic_degrees(fitted, labels)
    assert error.mean() < 2
    assert np.quantile(error, 0.95) < 4


def test_any_other_reading_of_the_labels_fits_the_landmarks_worse(faces, euler):
    _, points = faces
    heads = points - points.mean(1, keepdims=True)
    heads /= np.linalg.norm(heads, axis=(1, 2), keepdims=True)

    def misfit(labels):
        mean_face = np.einsum("nij,nki->kj", labels, heads) / len(heads)
        return np.square(heads - np.einsum("nij,kj->nki", labels, mean_face)).sum((1, 2)).mean()

    right = misfit(geometry.rotation_from_euler(euler))
    wrong = {
        "transposed": misfit(np.swapaxes(geometry.rotation_from_euler(euler), -1, -2)),
        **{
            f"axis {axis} flipped": misfit(geometry.rotation_from_euler(euler * (1 - 2 * np.eye(3)[axis])))
            for axis in range(3)
        },
        "yaw and pitch swapped": misfit(geometry.rotation_from_euler(euler[:, [1, 0, 2]])),
        "yaw and roll swapped": misfit(geometry.rotation_from_euler(euler[:, [2, 1, 0]])),
    }
    assert right < 0.5 * min(wrong.values()), (right, wrong)


def test_the_nose_axis_points_where_the_nose_points(faces):
    samples, points = faces
    noses = (points[:, NOSE_TIP] - points[:, EYE_AND_MOUTH_CORNERS].mean(1)) * [1, -1, 1]  # right, down, towards us
    axes = np.array([HeadPose(Face(s.box, 1.0), s.rotation).axes[2] for s in samples])
    cosine = (noses * axes).sum(1) / np.linalg.norm(noses, axis=1)
    apart = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    assert np.median(apart) < 4
    assert np.quantile(apart, 0.95) < 10


def test_the_box_spans_the_landmarks(faces):
    samples, points = faces
    for sample, face in zip(samples[::100], points[::100], strict=True):
        low, high = face.min(0), face.max(0)
        assert sample.box.as_tuple() == pytest.approx((low[0], -high[1], high[0], -low[1]))
