"""Triangles become the pixels that they cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headpose.synth import raster
from headpose.synth.surface import MASK_SIDE

SIDE = 16  # pixels
SOLID = np.zeros((1, MASK_SIDE, MASK_SIDE), np.uint8)


def seen(points, faces, part=None, masks=SOLID, mask=None, two_sided=1, uv=None):
    points, faces = np.array(points, np.float32), np.array(faces, np.int32)
    part = np.zeros(len(faces), np.int32) if part is None else np.array(part, np.int32)
    depth = np.zeros((2 * SIDE, 2 * SIDE), np.float32)
    triangle = np.full(depth.shape, -1, np.int32)
    parts = part.max() + 1
    mask = np.full(parts, -1, np.int32) if mask is None else np.array(mask, np.int32)
    uv = np.zeros((len(points), 2), np.float32) if uv is None else np.array(uv, np.float32)
    raster.visibility(points, faces, part, uv, mask, np.full(parts, two_sided, np.int32), masks, depth, triangle)
    return triangle, depth


def square(z, low=0, high=2 * SIDE):
    return [[low, low, z], [low, high, z], [high, high, z], [high, low, z]]


def test_the_nearer_one_is_seen_in_any_order():
    points = square(0.1) + square(0.2, 8, 24)
    for order in ([0, 1, 2, 3], [2, 3, 0, 1]):
        faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])[order]
        triangle, depth = seen(points, faces)
        assert (triangle >= 0).all()
        assert np.allclose(depth[8:24, 8:24], 0.2)
        assert np.allclose(np.delete(depth, np.s_[8:24], 0), 0.1)


def test_backs_are_seen_only_on_request():
    front, back = [[0, 1, 2], [0, 2, 3]], [[0, 2, 1], [0, 3, 2]]
    assert (seen(square(0.1), front, two_sided=0)[0] >= 0).all()
    assert (seen(square(0.1), back, two_sided=0)[0] < 0).all()
    assert (seen(square(0.1), back, two_sided=1)[0] >= 0).all()


@pytest.mark.parametrize("share", [0, 1, 2, 3, 4])
def test_coverage_is_a_share_of_the_samples_of_every_pixel(share):
    masks = np.full((1, MASK_SIDE, MASK_SIDE), min(share * 64, 255), np.uint8)
    triangle, _ = seen(square(0.1), [[0, 1, 2], [0, 2, 3]], masks=masks, mask=[0])
    covered = (triangle >= 0).reshape(SIDE, 2, SIDE, 2).sum((1, 3))
    assert (covered == share).all()


@settings(max_examples=40)
@given(depths=st.lists(st.floats(2, 20), min_size=3, max_size=3), data=st.data())
def test_attributes_are_straight_in_space(depths, data):
    """What is linear in camera axes comes out as it is at the point that a sample sees."""
    ends = [[0, 0], [0, 2 * SIDE], [2 * SIDE, 0]]
    focal = 20.0
    world = np.array(
        [[(x - SIDE) * d / focal, (y - SIDE) * d / focal, d] for (x, y), d in zip(ends, depths, strict=True)]
    )
    points = np.array([[x, y, 1 / d] for (x, y), d in zip(ends, depths, strict=True)], np.float32)
    faces, part = np.array([[0, 1, 2]], np.int32), np.zeros(1, np.int32)
    triangle, depth = seen(points, faces)
    attributes = np.column_stack([np.zeros((3, 2)), world]).astype(np.float32)
    pixel, owner = np.empty(SIDE * SIDE * 4, np.int32), np.empty(SIDE * SIDE * 4, np.int32)
    values = np.empty((SIDE * SIDE * 4, 6), np.float32)
    count = raster.resolve(points, faces, part, attributes, triangle, pixel, owner, values)
    whole = values[:count][values[:count, 0] == 1]
    row, column = np.divmod(pixel[:count][values[:count, 0] == 1], SIDE)
    near = 1 / depth.reshape(SIDE, 2, SIDE, 2).transpose(0, 2, 1, 3).reshape(SIDE, SIDE, 4)[row, column]
    assert np.allclose(whole[:, 5], near.mean(1), rtol=1e-3)
    x = np.array([0.5, 1.5, 0.5, 1.5]) + 2 * column[:, None] - SIDE
    assert np.allclose(whole[:, 3], (x * near / focal).mean(1), atol=1e-2)


def test_seams_of_a_texture_are_not_averaged():
    points = np.array(square(0.1, 0, 31), np.float32)
    points[2:, 0] = 15
    points = np.concatenate([points, points + np.array([15, 0, 0])]).astype(np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    uv = np.repeat([[0.1, 0.5], [0.9, 0.5]], 4, 0).astype(np.float32)
    triangle, _ = seen(points, faces)
    pixel, owner = np.empty(SIDE * SIDE * 4, np.int32), np.empty(SIDE * SIDE * 4, np.int32)
    values = np.empty((SIDE * SIDE * 4, 3), np.float32)
    count = raster.resolve(points, faces, np.zeros(4, np.int32), uv, triangle, pixel, owner, values)
    assert set(np.round(values[:count, 1], 3).tolist()) == {
        np.float32(0.1).round(3).item(),
        np.float32(0.9).round(3).item(),
    }
    assert np.bincount(pixel[:count]).max() == 2
