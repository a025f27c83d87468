from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from headpose.geometry import rotation_from_euler
from headpose.types import Box, CropSpec, EulerAngles, Face, HeadPose, Sample

BROKEN = (math.nan, math.inf, -math.inf, 1e6, 1e30, -1e30, 10**400, True, "1.3", None)
"""What no setting of a crop that is a number may be."""


def test_box_measures():
    box = Box(10, 20, 40, 80)
    assert (box.width, box.height, box.center) == (30, 60, (25, 50))
    assert box.as_tuple() == (10, 20, 40, 80)


def test_iou():
    box = Box(0, 0, 10, 10)
    assert box.iou(box) == 1
    assert box.iou(Box(5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert box.iou(Box(10, 0, 20, 10)) == 0  # they share an edge only
    assert box.iou(Box(-20, -20, -10, -10)) == 0  # the product of two negative overlaps is no overlap


@pytest.mark.parametrize("sides", [(0, 0, 0, 1), (0, 0, 1, 0), (5, 0, 1, 1)])
def test_an_empty_box_is_refused(sides):
    with pytest.raises(ValueError, match="empty"):
        Box(*sides)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_box_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="not a number"):
        Box(0, 0, value, 1)


def test_value_objects_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Box(0, 0, 1, 1).x1 = 3  # type: ignore[misc]


def test_head_pose_views():
    pose = HeadPose(Face(Box(0, 0, 1, 1), 0.5), rotation_from_euler((30, 10, -5)))
    assert pose.euler == pytest.approx((30, 10, -5))
    assert isinstance(pose.euler, EulerAngles)
    assert pose.box == Box(0, 0, 1, 1)


@pytest.mark.parametrize(
    ("euler", "nose", "up"),
    [
        ((0, 0, 0), (0, 0, 1), (0, -1, 0)),  # into the lens; up is towards smaller rows
        ((90, 0, 0), (-1, 0, 0), (0, -1, 0)),  # nose to the left of the picture
        ((0, 90, 0), (0, -1, 0), (0, 0, -1)),  # nose to its top
        ((0, 0, 90), (0, 0, 1), (1, 0, 0)),  # lying clockwise: the top of the head to the right
    ],
)
def test_axes_on_the_screen(euler, nose, up):
    _, y, z = HeadPose(Face(Box(0, 0, 1, 1), 1.0), rotation_from_euler(euler)).axes
    np.testing.assert_allclose(z, nose, atol=1e-12)
    np.testing.assert_allclose(y, up, atol=1e-12)


def test_crop_spec_survives_its_dictionary():
    spec = CropSpec(size=64, scale=1.4, shift_y=-0.1, square=False, interpolation="cubic", mean=(0.1, 0.2, 0.3))
    assert CropSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 4}, "size"),
        ({"size": 4096}, "size"),
        ({"size": 96.0}, "size"),
        ({"size": True}, "size"),
        ({"size": "96"}, "size"),
        ({"size": math.nan}, "size"),
        *(({name: value}, name) for name in ("scale", "shift_y") for value in BROKEN),
        *(({name: [0.5, value, 0.5]}, name) for name in ("mean", "std") for value in BROKEN),
        ({"scale": 0.49}, "scale"),
        ({"scale": 4.01}, "scale"),
        ({"shift_y": -1.01}, "shift_y"),
        ({"mean": (0.5, 1.01, 0.5)}, "mean"),
        ({"mean": (0.5, -0.01, 0.5)}, "mean"),
        ({"mean": "abc"}, "mean"),
        ({"std": 0.5}, "std"),
        ({"std": (0.0009, 1, 1)}, "std"),
        ({"square": 1}, "square"),
        ({"square": "false"}, "square"),
        ({"channels": "grey"}, "channels"),
        ({"channels": ["rgb"]}, "channels"),
        ({"scale": 0}, "scale"),
        ({"interpolation": "nearest"}, "nearest"),
        ({"border": "reflect"}, "reflect"),
        ({"std": (1, 0, 1)}, "std"),
        ({"mean": (0.5,)}, "mean"),
        ({"margin": 0.3}, "margin"),
    ],
)
def test_a_wrong_crop_spec_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        CropSpec.from_dict({"size": 64, **change})


@pytest.mark.parametrize("values", [[], None, "size", {}, {"scale": 1.3}])
def test_what_is_no_crop_spec_is_refused(values):
    with pytest.raises(ValueError, match="crop"):
        CropSpec.from_dict(values)


@pytest.mark.parametrize(
    "change",
    [
        {"size": 8},
        {"size": 1024, "scale": 0.5, "shift_y": -1, "mean": [0, 0, 0], "std": [10, 1, 0.001]},
        {"scale": 4, "shift_y": 1, "mean": [1, 1, 1]},
        {"channels": "bgr", "mean": [0.358805, 0.407383, 0.514083], "std": [1 / 255] * 3},  # VGGFace2's
        {"size": np.int64(96), "scale": np.float32(1.5)},
    ],
)
def test_a_crop_spec_takes_what_networks_are_trained_with(change):
    spec = CropSpec.from_dict({"size": 64, **change})
    assert CropSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_sample_rotation():
    sample = Sample(Path("a.jpg"), Box(0, 0, 1, 1), EulerAngles(20, -30, 5))
    np.testing.assert_array_equal(sample.rotation, rotation_from_euler((20, -30, 5)))
