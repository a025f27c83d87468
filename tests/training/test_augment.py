import dataclasses
import functools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose import crop, geometry
from headpose.recipes.training import AugmentRecipe
from headpose.training import augment
from headpose.training.augment import Augmenter
from headpose.types import Box, CropSpec

SPEC = CropSpec(96)
BOX = Box(100, 80, 220, 200)
PIXELS = ("brightness", "shade", "light", "grey", "blur", "low_resolution", "noise", "jpeg", "occlude")
STEPS = (*PIXELS, "flip", "wide_turn")
STILL = AugmentRecipe(scale=(1.3, 1.3), shift=0.0, stretch=0.0, turn=0.0, **dict.fromkeys(STEPS, 0.0))
COLORS = np.array([(0, 255, 0), (255, 0, 0)])


def drawn(rotation):
    """A dot at the top of a head (y axis, green) and at its nose (z axis, blue) around the middle of BOX."""
    picture = np.zeros((300, 320, 3), np.uint8)
    for tip, color in zip((rotation[:2, 1:] * [[1], [-1]]).T * 50 + BOX.center, COLORS, strict=True):
        cv2.circle(picture, tuple(int(v) for v in tip.round()), 6, color.tolist(), -1)
    return picture


def seen(view):
    """Image directions (2, 2), right and up, of the two dots from the middle of a crop."""
    tips = []
    for color in COLORS:
        weight = (np.abs(view.astype(int) - color).sum(2) < 150).astype(float)
        ys, xs = np.nonzero(weight)
        tips.append((xs.mean() - 47.5, 47.5 - ys.mean()))
    return np.array(tips) / (50 * 96 / (1.3 * 120))


@pytest.mark.parametrize("change", [{"turn": 25.0}, {"wide_turn": 1.0}, {"flip": 1.0}, {"turn": 25.0, "flip": 0.5}])
def test_the_label_turns_with_the_picture(change):
    augmenter = Augmenter(dataclasses.replace(STILL, **change), SPEC)
    start = geometry.rotation_from_euler([35.0, -30.0, 20.0])
    labels = []
    for seed in range(12):
        view, rotation, *_ = augmenter(drawn(start), BOX, start, np.random.default_rng(seed))
        np.testing.assert_allclose(seen(view), rotation[:2, 1:].T, atol=0.06)
        labels.append(rotation)
    if "flip" not in change:
        assert np.std(labels, axis=0).max() > 0.1


def places(change, count=400):
    """Middle and sides of a white box in crops, in shares of the box's own side."""
    picture = np.zeros((300, 320, 3), np.uint8)
    picture[80:200, 100:220] = 255  # BOX
    augmenter = Augmenter(
        dataclasses.replace(STILL, scale=(2.0, 2.0), **change), dataclasses.replace(SPEC, square=False)
    )
    found = []
    for seed in range(count):
        view = augmenter(picture, BOX, np.eye(3), np.random.default_rng(seed))[0][..., 0] / 255
        across, down = view.max(0), view.max(1)
        middle = [(side * (np.arange(96) + 0.5)).sum() / side.sum() - 48 for side in (across, down)]
        found.append([*middle, across.sum(), down.sum()])
    return np.array(found) / 48


def test_the_crop_shifts_by_shares_of_the_box():
    x, y, width, height = places({"shift": 0.1}).T
    assert (x.std(), y.std()) == pytest.approx((0.1, 0.1), rel=0.15)
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.2
    np.testing.assert_allclose([width, height], 1, atol=0.05)


def test_the_crop_stretches_and_keeps_its_area():
    x, y, width, height = places({"stretch": 0.2}).T
    assert np.log(width / height).std() == pytest.approx(0.2, rel=0.15)
    np.testing.assert_allclose(width * height, 1, atol=0.06)
    np.testing.assert_allclose([x, y], 0, atol=0.03)


@pytest.mark.parametrize(
    "change",
    [
        {"shift": 0.15},
        {"stretch": 0.3},
        {"scale": (1.0, 1.8)},
        {"flip": 1.0, "shift": 0.1},
        {"wide_turn": 1.0},
        {"cut": 1.0},
    ],
)
def test_the_region_is_where_the_face_is(change):
    """A white ellipse in its box, in crops that show all of it."""
    box = Box(110, 70, 200, 190)
    picture = np.zeros((300, 320, 3), np.uint8)
    middle = tuple(round(value * 16 - 8) for value in box.center)
    cv2.ellipse(picture, middle, (45 * 16, 60 * 16), 0, 0, 360, (255, 255, 255), -1, cv2.LINE_AA, 4)
    wide = {"wide_turn_degrees": 180.0, "scale": (1.8, 1.8)}
    augmenter = Augmenter(dataclasses.replace(STILL, **{**wide, **change}), dataclasses.replace(SPEC, border="black"))
    for seed in range(8):
        view, _, region, _ = augmenter(picture, box, np.eye(3), np.random.default_rng(seed))
        rows, columns = np.nonzero(view[..., 0] > 127)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        wanted = 96 * np.concatenate([region[:2] - region[2:] / 2, region[:2] + region[2:] / 2])
        seen = np.abs(found - wanted) < 1.5
        assert seen.sum() >= 2 if "cut" in change else seen.all()


def test_everything_off_is_the_plain_crop():
    picture = np.random.default_rng(0).integers(0, 256, (300, 320, 3), np.uint8)
    view, rotation, *_ = Augmenter(STILL, SPEC)(picture, BOX, np.eye(3), np.random.default_rng(0))
    np.testing.assert_array_equal(view, crop.cut(picture, BOX, SPEC))
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-12)


def test_a_view_depends_on_its_generator_alone():
    picture = np.random.default_rng(0).integers(0, 256, (300, 320, 3), np.uint8)
    everything = dataclasses.replace(AugmentRecipe(), **dict.fromkeys(STEPS, 1.0))
    one, other = Augmenter(everything, SPEC), Augmenter(everything, SPEC)
    for seed in range(3):
        one(picture, BOX, np.eye(3), np.random.default_rng(99))  # a different past
        for a, b in zip(
            one(picture, BOX, np.eye(3), np.random.default_rng(seed)),
            other(picture, BOX, np.eye(3), np.random.default_rng(seed)),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("step", PIXELS)
def test_every_step_changes_pixels_and_keeps_the_shape(step):
    picture = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (300, 320, 3), np.uint8), (0, 0), 5)
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
    augmenter = Augmenter(dataclasses.replace(STILL, **{step: 1.0}), SPEC)
    plain = crop.cut(picture, BOX, SPEC)
    views = [augmenter(picture, BOX, np.eye(3), np.random.default_rng(seed))[0] for seed in range(6)]
    assert all(view.shape == plain.shape and view.dtype == np.uint8 for view in views)
    assert np.mean([np.abs(view.astype(int) - plain).mean() for view in views]) > 0.5


def test_a_share_of_the_faces_is_left_plain():
    augmenter = Augmenter(dataclasses.replace(AugmentRecipe(), share=0.5), SPEC)
    picture = np.random.default_rng(0).integers(0, 256, (300, 320, 3), np.uint8)
    plain = crop.cut(picture, BOX, SPEC)
    views = [augmenter(picture, BOX, np.eye(3), np.random.default_rng(seed))[0] for seed in range(200)]
    assert 0.4 < np.mean([np.array_equal(view, plain) for view in views]) < 0.6


def test_shade_is_light_that_falls_off_evenly_to_any_side():
    augmenter = Augmenter(dataclasses.replace(STILL, shade=1.0), SPEC)
    picture = np.full((300, 320, 3), 100, np.uint8)
    views = [augmenter(picture, BOX, np.eye(3), np.random.default_rng(seed))[0] for seed in range(200)]
    light = np.log(np.array(views).mean(-1) / 100)  # means of the colors: (200, 96, 96)
    assert np.abs(np.diff(light, axis=1)).max() < 0.05  # no edges
    slopes = np.array([light[:, :20].mean((1, 2)), light[:, :, :20].mean((1, 2))])
    slopes -= np.array([light[:, -20:].mean((1, 2)), light[:, :, -20:].mean((1, 2))])
    assert np.abs(slopes.mean(1)).max() < 0.12, "no side is preferred"
    assert np.all(slopes.std(1) > 0.25)


BOXES = st.tuples(st.floats(-20, 300), st.floats(-20, 200), st.floats(4, 200), st.floats(4, 200)).map(
    lambda at: Box(at[0], at[1], at[0] + at[2], at[1] + at[3])
)


@functools.cache
def numbered(height, width):
    """A picture whose pixels say where they lie."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns % 256, rows % 256, columns // 256], -1).astype(np.uint8)


@given(box=BOXES, seed=st.integers(0, 2**32))
def test_a_cut_keeps_the_box_on_its_pixels(box, seed):
    picture = numbered(280, 400)
    rest, moved = augment.cut_through(picture, box, np.random.default_rng(seed))
    assert min(rest.shape[:2]) >= 1
    assert (moved.width, moved.height) == pytest.approx((box.width, box.height))
    x, y = round(box.x1 - moved.x1), round(box.y1 - moved.y1)
    assert rest[0, 0].tolist() == [x % 256, y % 256, x // 256]
    again, same = augment.cut_through(picture, box, np.random.default_rng(seed))
    assert same == moved
    np.testing.assert_array_equal(again, rest)


def test_a_cut_takes_up_to_half_of_the_box():
    shares, sides = [], []
    for seed in range(1000):
        image, box = augment.cut_through(numbered(300, 320), BOX, np.random.default_rng(seed))
        height, width = image.shape[:2]
        inside = (min(box.x2, width) - max(box.x1, 0)) * (min(box.y2, height) - max(box.y1, 0))
        shares.append(1 - inside / (box.width * box.height))
        sides.append((box.x1 < 0, box.x2 > width, box.y1 < 0, box.y2 > height))
    shares, sides = np.array(shares), np.array(sides)
    assert shares.min() >= 0
    assert shares.max() <= 0.5 + 1e-9
    single = sides.sum(1) == 1
    np.testing.assert_allclose(np.histogram(shares[single], 5, (0, 0.5))[0] / single.sum(), 0.2, atol=0.06)
    np.testing.assert_allclose(sides.mean(0), 1.25 / 4, atol=0.06)
    assert (sides.sum(1) == 2).mean() == pytest.approx(0.25, abs=0.05)
    assert not ((sides[:, 0] & sides[:, 1]) | (sides[:, 2] & sides[:, 3])).any()


def test_a_cut_leaves_the_label_and_fills_with_the_border():
    picture = np.full((300, 320, 3), 90, np.uint8)
    picture[80:200, 100:220] = numbered(120, 120) + np.uint8(1)  # BOX
    start = geometry.rotation_from_euler([35.0, -30.0, 20.0])
    black = Augmenter(dataclasses.replace(STILL, cut=1.0), dataclasses.replace(SPEC, scale=1.3, border="black"))
    edge = Augmenter(dataclasses.replace(STILL, cut=1.0), SPEC)
    whole = crop.cut(picture, BOX, SPEC)
    for seed in range(20):
        view, rotation, region, _ = black(picture, BOX, start, np.random.default_rng(seed))
        np.testing.assert_array_equal(rotation, start)
        np.testing.assert_allclose(region, [0.5, 0.5, 1 / 1.3, 1 / 1.3])  # the whole box, also what is cut off
        empty = (view == 0).all(2)
        assert 0.05 < empty.mean() < 0.75
        seen = ~cv2.dilate(empty.astype(np.uint8), np.ones((5, 5))).astype(bool)
        np.testing.assert_array_equal(view[seen], whole[seen])  # what is left lies where it lay
        replicated, *_ = edge(picture, BOX, start, np.random.default_rng(seed))
        assert (replicated != 0).any(2).all()


def test_no_cut_draws_nothing():
    """A probability of 0 leaves every view as it was before there was such a step."""
    picture = numbered(300, 320)
    start = geometry.rotation_from_euler([35.0, -30.0, 20.0])
    rare = dataclasses.replace(AugmentRecipe(), cut=1e-12)
    same = 0
    for seed in range(5):
        plain, with_draw = (
            Augmenter(used, SPEC)(picture, BOX, start, np.random.default_rng(seed))[0]
            for used in (AugmentRecipe(), rare)
        )
        same += np.array_equal(plain, with_draw)
    assert same < 5
    assert AugmentRecipe().cut == 0.0
