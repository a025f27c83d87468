"""Faces at any angle in the image plane: regions, turned crops and the second look."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headpose import Box, Face, HeadPoseEstimator, InputError, Region, crop, geometry, looking
from headpose.types import CropSpec
from tests.markers import SPEC, MarkerDetector, MarkerModel, marker, scene

sides = st.floats(30, 60)  # faces are at most twice as wide as high, or twice as high as wide
turns = st.floats(-180, 180)
places = st.builds(Region, st.tuples(st.floats(-50, 300), st.floats(-50, 300)), sides, sides, turns)


@given(places)
def test_bounds_touch_the_ellipse_in_the_region(region):
    t = np.linspace(0, 2 * np.pi, 3601)
    across, down = region.width / 2 * np.cos(t), region.height / 2 * np.sin(t)
    cos, sin = math.cos(math.radians(region.turn)), math.sin(math.radians(region.turn))
    x, y = region.center[0] + cos * across - sin * down, region.center[1] + sin * across + cos * down
    assert tuple(region.bounds) == pytest.approx((x.min(), y.min(), x.max(), y.max()), abs=1e-2)


@given(places.filter(lambda region: abs(math.cos(math.radians(2 * region.turn))) > 0.98))
def test_a_region_of_its_own_bounds_is_itself_away_from_45_degrees(region):
    again = Region.of(region.bounds, region.turn)
    assert again.center == pytest.approx(region.center)
    assert (again.width, again.height) == pytest.approx((region.width, region.height), rel=0.06)


@given(sides, sides)
def test_at_right_angles_the_region_is_exact(width, height):
    box = Box(0, 0, width, height)
    assert (Region.of(box).width, Region.of(box).height) == pytest.approx((width, height))
    assert (Region.of(box, 90).width, Region.of(box, 90).height) == pytest.approx((height, width), rel=1e-6)


@given(sides, sides, turns)
def test_a_region_has_the_size_of_its_box_at_any_angle(width, height, turn):
    region = Region.of(Box(0, 0, width, height), turn)
    assert region.width**2 + region.height**2 == pytest.approx(width**2 + height**2)


@pytest.mark.parametrize("values", [((0, 0), 0, 5), ((0, 0), 5, -1), ((0, math.nan), 5, 5), ((0, 0), 5, 5, math.inf)])
def test_what_is_no_region_is_refused(values):
    with pytest.raises(InputError, match="region"):
        Region(*values)


@pytest.mark.parametrize("turn", [0, 30, 90, 180, -135])
def test_a_turned_crop_shows_the_face_upright(turn):
    upright = scene(marker(120, 80, 50, 0))
    turned = scene(marker(120, 80, 50, turn))
    expected = crop.cut(upright, marker(120, 80, 50, 0), SPEC)
    found = crop.cut(turned, marker(120, 80, 50, turn), SPEC)
    error = np.abs(found.astype(int) - expected).mean()
    assert error < 3
    if turn:
        assert np.abs(crop.cut(turned, marker(120, 80, 50, 0), SPEC).astype(int) - expected).mean() > 2 * error


def test_the_shift_of_a_crop_turns_with_the_face():
    spec = CropSpec(size=48, scale=1.5, shift_y=0.2)
    down = np.array([0.5, 0.5])
    for turn, expected in ((0, (120, 90)), (90, (110, 80)), (180, (120, 70)), (-90, (130, 80))):
        affine = crop.source_from_crop(marker(120, 80, 50, turn), spec, 1)
        assert affine[:, :2] @ down + affine[:, 2] == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(places, st.floats(-12, 12))
def test_a_region_in_a_crop_comes_back_to_the_image(region, off):
    """The crop is shifted, larger and turned against the face in it."""
    center = (region.center[0] + 5, region.center[1] - 3)
    place = Region(center, 1.1 * region.width, 1.1 * region.height, region.turn - off)
    affine = crop.source_from_crop(place, SPEC, 1)
    middle = np.linalg.solve(affine[:, :2], np.subtract(region.center, affine[:, 2]))
    seen = Region(tuple(middle), region.width, region.height, off).bounds
    side = np.linalg.norm(affine[:, 0])
    back = crop.region_in_image(np.array([*middle, seen.width / side, seen.height / side]), place, SPEC, region.turn)
    assert back.center == pytest.approx(region.center, abs=1e-6)
    assert (back.width, back.height) == pytest.approx((region.width, region.height), rel=0.02)


def reader(turn, **known):
    image, region = scene(marker(120, 80, 50, turn)), marker(120, 80, 50, turn)
    looks = [looking.look(image, Face(region.bounds, 1.0, **known), SPEC)]
    return looking.read(MarkerModel(), looks), region


@pytest.mark.parametrize("turn", [0, 20, -45, 90, 135, 180, -170])
def test_a_box_without_an_angle_is_read_at_any_angle(turn):
    (reading, (place,)), region = reader(turn)
    error = geometry.geodesic_degrees(reading.rotation[0], geometry.rotation_from_euler((0, 0, turn)))
    assert error < 6, "of 48 pixels a side"
    assert isinstance(place, Region) == (abs(turn) > 30)
    if isinstance(place, Region):
        assert abs(geometry.wrap_degrees(place.turn - turn)) < 6
        assert place.height == pytest.approx(region.height, rel=0.15)


def test_a_known_angle_is_used_at_once():
    class Once(MarkerModel):
        calls = 0

        def read(self, inputs):
            self.calls += len(inputs)
            return super().read(inputs)

    for turn, calls in ((150, 1), (10, 1), (None, 2)):
        region, model = marker(120, 80, 50, turn or 150), Once()
        face = Face(region.bounds, 1.0, None if turn is None else region)
        reading, _ = looking.read(model, [looking.look(scene(region), face, SPEC)])
        assert model.calls == calls
        assert geometry.geodesic_degrees(reading.rotation[0], geometry.rotation_from_euler((0, 0, region.turn))) < 6


def test_only_tilted_faces_of_a_batch_are_read_twice():
    straight, lying = marker(60, 80, 50, 5), marker(170, 80, 50, 100)
    image = scene(straight, lying)
    looks = [looking.look(image, Face(region.bounds, 1.0), SPEC) for region in (straight, lying)]
    reading, places = looking.read(MarkerModel(), looks)
    assert isinstance(places[0], Box) and isinstance(places[1], Region)
    assert geometry.in_plane_angle(reading.rotation) == pytest.approx([5, 100], abs=5)
    assert len(reading) == 2 == len(reading.region) and (reading.face > 0).all()


@pytest.mark.parametrize("x", [4, 120, 236])
def test_the_second_look_sees_what_the_image_shows_also_at_its_border(x):
    region = marker(x, 80, 50, 120)
    image = scene(region)
    look = looking.look(image, Face(region.bounds, 1.0), SPEC)
    np.testing.assert_array_equal(looking._recut(look, region, SPEC), crop.cut(image, region, SPEC))


def test_the_estimator_says_where_it_looked_in_one_image_and_in_many():
    estimator = HeadPoseEstimator(MarkerModel(), detector=MarkerDetector())
    image = scene(marker(60, 80, 50, 5), marker(170, 80, 50, 100))
    poses = sorted(estimator.estimate(image), key=lambda pose: pose.box.x1)
    assert poses[0].face.region is None
    assert poses[1].face.region.turn == pytest.approx(100, abs=5)
    assert [pose.roll for pose in poses] == pytest.approx([5, 100], abs=5)
    boxes = [pose.box for pose in poses]
    given_boxes = estimator.estimate(image, boxes)
    (batch,) = estimator.estimate_batch([image], [boxes])
    for one, other in zip(given_boxes, batch, strict=True):
        np.testing.assert_array_equal(one.rotation, other.rotation)
