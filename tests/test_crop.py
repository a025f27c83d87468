"""The crop contract: where it samples, what it averages, and which channel comes first."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headpose import crop
from headpose.types import Box, CropSpec
from tests.golden import assert_golden

EXACT = CropSpec(size=64, scale=1.0)


def smooth_picture(height=240, width=320):
    """A picture without edges: a crop that is off by a fraction of a pixel differs by little, a wrong one by much."""
    y, x = np.mgrid[:height, :width]
    channels = [np.sin(x / 23 + k) * np.cos(y / 17 - k) for k in range(3)]
    return np.round(127 + 120 * np.stack(channels, -1)).astype(np.uint8)


def test_a_box_of_the_crops_size_is_cut_pixel_for_pixel():
    image = smooth_picture()
    np.testing.assert_array_equal(crop.cut(image, Box(30, 40, 94, 104), EXACT), image[40:104, 30:94])


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5, 0.75])
def test_boxes_are_sub_pixel(shift):
    ramp = np.tile((np.arange(60) * 4).astype(np.uint8)[None, :, None], (60, 1, 3))
    cropped = crop.cut(ramp, Box(10 + shift, 20, 42 + shift, 52), EXACT)
    centers = 10 + shift + (np.arange(64) + 0.5) / 2  # pixel (i, j) covers [i, i + 1)
    np.testing.assert_allclose(cropped[32, :, 0], 4 * (centers - 0.5), atol=0.7)


@pytest.mark.parametrize("factor", [2, 5, 8])
def test_shrinking_averages_over_the_area(factor):
    noise = np.random.default_rng(factor).integers(0, 256, (64 * factor, 64 * factor, 3), np.uint8)
    whole = Box(0, 0, 64 * factor, 64 * factor)
    expected = noise.reshape(64, factor, 64, factor, 3).mean((1, 3))
    np.testing.assert_allclose(crop.cut(noise, whole, EXACT), expected, atol=1.01)


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_a_fine_pattern_becomes_grey_not_stripes(shift):
    checkerboard = np.indices((400, 400)).sum(0) % 2 * 255
    image = np.repeat(checkerboard.astype(np.uint8)[..., None], 3, -1)
    cropped = crop.cut(image, Box(20 + shift, 20, 20 + shift + 64 * 5.3, 20 + 64 * 5.3), EXACT)
    assert np.abs(cropped.astype(int) - 127).max() < 25
    assert np.ptp(image[::5, ::5]) == 255  # what taking every fifth pixel would have kept


def test_the_border_repeats_the_edge_or_is_black():
    image = np.full((50, 50, 3), 200, np.uint8)
    beyond = Box(-32, 0, 32, 64)
    assert (crop.cut(image, beyond, EXACT) == 200).all()
    black = crop.cut(image, beyond, CropSpec(size=64, scale=1.0, border="black"))
    assert (black[:, :31] == 0).all() and (black[:49, 33:] == 200).all() and (black[51:] == 0).all()


def test_square_takes_the_longer_side_and_keeps_the_center():
    image = smooth_picture()
    wide = Box(100, 100, 164, 132)
    np.testing.assert_array_equal(crop.cut(image, wide, EXACT), image[84:148, 100:164])
    stretched = crop.cut(image, wide, CropSpec(size=64, scale=1.0, square=False))
    np.testing.assert_allclose(stretched[::2, :], image[100:132, 100:164], atol=4)


def test_scale_and_shift_are_in_multiples_of_the_box():
    image = smooth_picture()
    box = Box(100, 100, 132, 132)
    np.testing.assert_array_equal(crop.cut(image, box, CropSpec(size=64, scale=2.0)), image[84:148, 84:148])
    shifted = crop.cut(image, box, CropSpec(size=64, scale=2.0, shift_y=0.25))
    np.testing.assert_array_equal(shifted, image[92:156, 84:148])


def test_cubic_interpolation_overshoots_at_an_edge_and_linear_does_not():
    edge = np.full((40, 40, 3), 50, np.uint8)
    edge[:, 20:] = 200
    box = Box(4, 4, 36, 36)  # twice as large in the crop
    linear, cubic = (crop.cut(edge, box, CropSpec(64, 1.0, interpolation=name)) for name in ("linear", "cubic"))
    assert (linear.min(), linear.max()) == (50, 200)
    assert cubic.min() < 45 and cubic.max() > 205


def test_normalize_flips_to_rgb_and_uses_each_channels_mean_and_std():
    bgr = np.zeros((1, 8, 8, 3), np.uint8)
    bgr[..., 0], bgr[..., 1], bgr[..., 2] = 255, 51, 102  # blue, green, red
    spec = CropSpec(size=8, mean=(0.4, 0.1, 0.5), std=(0.5, 0.2, 0.25))
    values = crop.normalize(bgr, spec)
    assert values.shape == (1, 3, 8, 8) and values.dtype == np.float32 and values.flags.c_contiguous
    np.testing.assert_allclose(values[0, :, 3, 3], [(0.4 - 0.4) / 0.5, (0.2 - 0.1) / 0.2, (1 - 0.5) / 0.25], atol=1e-6)


def test_network_input_stacks_one_crop_a_box():
    image, boxes = smooth_picture(), [Box(10, 10, 80, 90), Box(-20, 150, 60, 300)]
    both = crop.network_input(image, boxes, EXACT)
    assert both.shape == (2, 3, 64, 64)
    for index, box in enumerate(boxes):
        np.testing.assert_array_equal(both[index], crop.network_input(image, [box], EXACT)[0])
    assert crop.network_input(image, [], EXACT).shape == (0, 3, 64, 64)


corners = st.floats(-40, 200)
sides = st.floats(8, 250)


@settings(deadline=None, max_examples=30)
@given(corners, corners, sides, sides)
def test_a_mirrored_picture_gives_the_mirrored_crop(x, y, width, height):
    image = smooth_picture()
    box, spec = Box(x, y, x + width, y + height), CropSpec(size=48)
    mirrored = crop.cut(image[:, ::-1].copy(), Box(320 - box.x2, box.y1, 320 - box.x1, box.y2), spec)
    np.testing.assert_allclose(mirrored[:, ::-1].astype(int), crop.cut(image, box, spec).astype(int), atol=2)


@settings(deadline=None, max_examples=30)
@given(corners, corners, sides, st.integers(1, 60), st.integers(1, 60))
def test_a_shifted_picture_gives_the_same_crop(x, y, side, right, down):
    image, spec = smooth_picture(), CropSpec(size=48)
    shifted = cv2.copyMakeBorder(image, down, 0, right, 0, cv2.BORDER_REPLICATE)
    here, there = Box(x, y, x + side, y + side), Box(x + right, y + down, x + side + right, y + side + down)
    np.testing.assert_allclose(crop.cut(shifted, there, spec).astype(int), crop.cut(image, here, spec), atol=2)


def test_a_turned_picture_gives_the_turned_crop():
    image, box = smooth_picture(), Box(100.3, 80.6, 170.3, 150.6)
    straight = crop.cut(image, box, CropSpec(size=48))
    for quarters, turn in ((1, cv2.ROTATE_90_CLOCKWISE), (2, cv2.ROTATE_180), (3, cv2.ROTATE_90_COUNTERCLOCKWISE)):
        turned = crop.cut(image, box, CropSpec(size=48), clockwise_degrees=90 * quarters)
        np.testing.assert_allclose(turned.astype(int), cv2.rotate(straight, turn), atol=2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3, 2)])
def test_the_smallest_pictures_have_a_crop(shape):
    image = np.full((*shape, 3), 77, np.uint8)
    assert (crop.cut(image, Box(0, 0, 1, 1), EXACT) == 77).all()


def test_a_box_of_any_size_has_a_crop():
    image = smooth_picture()
    for side in (1e-3, 3e3):
        assert crop.cut(image, Box(100, 100, 100 + side, 100 + side), EXACT).shape == (64, 64, 3)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
    ],
)
def test_what_is_no_bgr_picture_is_refused(image):
    with pytest.raises(ValueError, match="BGR"):
        crop.cut(image, Box(0, 0, 5, 5), EXACT)


def test_golden(photo):
    cropped = crop.cut(photo, Box(174.6, 77.2, 271.9, 176.4), CropSpec(size=48, scale=1.4, shift_y=-0.05))
    assert_golden(cropped, "crop", tolerance=2)
