"""Heads at the edge of a wide picture."""

from __future__ import annotations

import numpy as np
import pytest

from headpose import geometry
from headpose.camera import Camera


def test_a_straight_view_is_what_a_camera_that_looks_at_the_head_sees(studio, load_program):
    measure = load_program("scripts/measure_camera.py")
    seen = measure._render(0, studio)
    for right, down in ((0.6, 0.0), (-0.3, 0.5)):
        picture, box = measure._wide_picture(seen, geometry.along_ray(right, down))
        view, inside = measure._WIDE.straight_view(picture, box)
        # Lay the rendered picture over the view: same place and size of the box.
        scale = inside.height / seen.box.height
        assert inside.width / seen.box.width == pytest.approx(scale, rel=0.04)
        shift = np.array(inside.center) - scale * np.array(seen.box.center)
        expected = measure.cv2.warpAffine(
            seen.image, np.column_stack([np.eye(2) * scale, shift + scale / 2 - 0.5]), view.shape[1::-1]
        )
        face = tuple(slice(round(a), round(b)) for a, b in ((inside.y1, inside.y2), (inside.x1, inside.x2)))
        difference = np.abs(view[face].astype(float) - expected[face]).mean()
        assert difference < 0.25 * np.abs(view[face].astype(float) - expected[face].mean()).mean()


def test_distortion_is_removed(studio, load_program):
    measure = load_program("scripts/measure_camera.py")
    picture, box = measure._wide_picture(measure._render(0, studio), geometry.along_ray(0.5, 0.2))
    plain = measure._WIDE
    lens = Camera(*(getattr(plain, name) for name in ("fx", "fy", "cx", "cy", "width", "height")), (-0.2, 0.05, 0, 0))
    matrix = np.array([[plain.fx, 0, plain.cx - 0.5], [0, plain.fy, plain.cy - 0.5], [0, 0, 1]])
    grid = np.stack(np.meshgrid(np.arange(1280.0), np.arange(1280.0)), -1).reshape(-1, 1, 2)
    undistorted = measure.cv2.undistortPoints(grid, matrix, np.array(lens.distortion), P=matrix)
    bent = measure.cv2.remap(picture, undistorted.reshape(1280, 1280, 2).astype(np.float32), None, 1)
    x1, y1, x2, y2 = box
    middle = lens.slopes([(0.0, 0.0)])  # distortion changes what a pixel means
    assert np.abs(middle - plain.slopes([(0.0, 0.0)])).max() > 0.05
    rays = np.column_stack([plain.slopes([(x1, y1), (x2, y2)]), np.ones(2)])
    seen = measure.cv2.projectPoints(rays, np.zeros(3), np.zeros(3), matrix, np.array(lens.distortion))[0][:, 0] + 0.5
    view, _ = lens.straight_view(bent, type(box)(*seen[0], *seen[1]))
    straight, _ = plain.straight_view(picture, box)
    side = min(view.shape[0], straight.shape[0])
    middles = [each[each.shape[0] // 2 - side // 4 :, each.shape[1] // 2 - side // 4 :] for each in (view, straight)]
    first, other = (each[: side // 2, : side // 2].astype(float) for each in middles)
    assert np.abs(first - other).mean() < 0.5 * np.abs(first - other.mean()).mean()


@pytest.mark.slow
def test_the_bias_at_the_edge_is_below_a_degree_and_without_a_camera_it_is_not(studio, load_program):
    measure = load_program("scripts/measure_camera.py")
    plain, turned, straightened = measure.biases(5, "student", studio)
    for place, (right, down) in measure.PLACES.items():
        off = [float(geometry.geodesic_degrees(each[place], each["middle"])) for each in (plain, turned, straightened)]
        assert off[2] < 1.0, place
        if max(abs(right), abs(down)) >= 35:
            assert off[0] > 25 and off[1] > 2, place
