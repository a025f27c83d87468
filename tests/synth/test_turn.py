"""Turned photographs against the same heads rendered in the turned pose, whose labels are exact."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from headpose import geometry
from headpose.synth import hairline, scene, surroundings, texture, turn
from headpose.synth.anatomy import LABEL
from headpose.synth.background import Background
from headpose.synth.pose import Pose
from headpose.synth.render import render, stage
from headpose.synth.turn import View
from headpose.types import Box, EulerAngles
from tests.synth.heads import bare_scene


def view_of(label, **others):
    return View(EulerAngles(*map(float, label)), shift=(0.0, 0.0), **others)


def rendered(studio, euler, index=0, bare=True):
    """A head of the renderer with its label in ``euler``, evenly lit from all sides, before a grey wall."""
    drawn = bare_scene(studio, (0, 0, 0), index)
    sky = np.array([[1.0] * 3, [0] * 3, [0] * 3, [0] * 3], np.float32)
    even = dataclasses.replace(drawn.light, sky=sky, colors=np.zeros((1, 3), np.float32))
    drawn = dataclasses.replace(drawn, light=even)
    if not bare:
        own = scene.draw(7, index, studio)
        drawn = dataclasses.replace(drawn, person=own.person, expression=own.expression)
    wall = Background("plain", blur=0.1, brightness=1.0, saturation=0.0)
    pose = Pose(
        EulerAngles(*geometry.euler_from_rotation(geometry.rotation_from_euler(euler) @ LABEL.T)), EulerAngles(0, 0, 0)
    )
    return render(stage(dataclasses.replace(drawn, pose=pose, background=wall), studio, 96), studio)


def fit_rendered(turner, source, image=None):
    return turner.fit(source.image if image is None else image, source.box, source.rotation, source.landmarks[:, :2])


@pytest.mark.parametrize(("by", "largest_error"), [("points", 0.02), ("box", 0.034)])
def test_turned_landmarks_are_those_of_the_head_in_that_pose(studio, turner, load_program, by, largest_error):
    """People with expressions whom the shape space has not seen, turned to +-99 degrees of yaw and +-60 of pitch."""
    program = load_program("scripts/measure_turning.py")
    heads = [scene.draw(program.SEED, index, studio).build(studio).landmarks for index in range(40)]
    errors = program.measure(turner.space, heads, by)
    assert errors.landmarks.mean() < largest_error
    assert abs(errors.bias.mean(0)).max() < 1.0  # about each of the camera's axes
    assert abs(errors.along.mean()) < 1.0  # in the direction of the turn: what flat depth would make


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((5, 0, 0), (45, 0, 0)),
        ((-30, 5, 0), (-75, -10, 0)),
        ((0, 0, 0), (10, -40, 0)),
        ((15, 5, 0), (20, 40, 5)),
    ],
)
def test_a_turned_picture_is_nearest_to_the_head_rendered_at_its_label(studio, turner, before, after):
    """The pixels, not the landmarks: against the same head 7 degrees to each side."""
    source = rendered(studio, before)
    fitted = fit_rendered(turner, source)
    turned = turner.turn(fitted, view_of(after, follow=1.0))
    assert geometry.geodesic_degrees(turned.rotation, geometry.rotation_from_euler(after)) < 1e-9

    def distance(yaw, pitch):
        return inner_difference(turned, rendered(studio, np.add(after, (yaw, pitch, 0))))

    here = distance(0, 0)
    assert here < min(distance(7, 0), distance(-7, 0))
    assert here < min(distance(0, 7), distance(0, -7))


def inner_difference(turned, other):
    """1 - correlation of two faces' pixels in one scale, at the place where they agree best."""
    cut = []
    for each, scale in ((turned, turned.scale), (other, other.view.focal / other.view.distance)):
        middle = each.landmarks[17:, :2].mean(0)
        affine = np.column_stack([np.eye(2) * 36 / scale, 40 - middle * 36 / scale])
        grey = cv2.cvtColor(cv2.warpAffine(each.image, affine, (80, 80)), cv2.COLOR_BGR2GRAY).astype(np.float32)
        cut.append(cv2.GaussianBlur(grey, (0, 0), 1.5))
    agreement = cv2.matchTemplate(cut[0], cut[1][18:62, 24:56], cv2.TM_CCOEFF_NORMED)
    return float(1 - agreement.max())


def test_the_photographs_own_pose_gives_the_photograph_back(studio, turner):
    source = rendered(studio, (20, -5, 3))
    fitted = fit_rendered(turner, source)
    turned = turner.turn(fitted, view_of((20, -5, 3)))
    assert geometry.geodesic_degrees(fitted.fit.rotation, source.rotation @ LABEL.T) < 1e-6
    drawn = fitted.fit.project(fitted.vertices[turner.space.landmarks] @ fitted.fit.rotation.T)
    scale = turned.scale / fitted.fit.scale
    assert (turned.landmarks - drawn * scale).std(0) == pytest.approx(np.zeros(3), abs=1e-3)
    assert inner_difference(turned, source) < 0.02
    assert turned.unseen < 0.1
    low, high = turned.landmarks[:, :2].min(0), turned.landmarks[:, :2].max(0)
    assert turned.box.as_tuple() == pytest.approx([*low, *high])
    assert (high - low).max() == pytest.approx(96 / 1.75)
    assert (low + high) / 2 == pytest.approx([48, 48])


def test_the_unseen_side_is_the_mirror_image_of_the_seen_one(studio, turner):
    """Of a head seen from one side, turned to the other: an even face is as if photographed there."""
    source = rendered(studio, (45, 0, 0))
    fitted = fit_rendered(turner, source)
    turned = turner.turn(fitted, view_of((-30, 0, 0)))
    assert turned.unseen < 0.15
    here, other = (inner_difference(turned, rendered(studio, (yaw, 0, 0))) for yaw in (-30, 30))
    assert here < 0.05
    assert here < other / 3


def test_nothing_of_the_head_stays_in_the_background(studio, turner):
    """The wall is grey and plain: what is left of the face would stand out."""
    source = rendered(studio, (0, 0, 0))
    fitted = fit_rendered(turner, source)
    wall = np.median(fitted.behind.reshape(-1, 3), axis=0)
    assert abs(fitted.behind - wall).max() < 40
    assert abs(fitted.photo - wall).max() > 100


def test_a_photograph_that_ends_at_the_face_gets_another_background(studio, turner):
    source = rendered(studio, (0, 0, 0))
    x1, y1, x2, y2 = (round(edge) for edge in source.box.as_tuple())
    tight = np.ascontiguousarray(source.image[y1 - 6 : y2 + 6, x1 - 6 : x2 + 6])
    box = dataclasses.replace(source.box, x1=6.0, y1=6.0, x2=6.0 + x2 - x1, y2=6.0 + y2 - y1)
    fitted = turner.fit(tight, box, source.rotation)
    first, second, again = (turner.turn(fitted, view_of((40, 0, 0), seed=seed)).image for seed in (1, 2, 1))
    assert np.array_equal(first, again)
    assert abs(first[:10, :10].astype(int) - second[:10, :10]).mean() > 5
    whole = turner.fit(source.image, source.box, source.rotation)
    first, second = (turner.turn(whole, view_of((40, 0, 0), seed=seed)).image[:10, :10] for seed in (1, 2))
    assert abs(first.astype(int) - second).mean() < 2  # its own


def test_a_head_before_a_wall_is_found_with_its_hair():
    picture = np.full((120, 120, 3), (40, 160, 60), np.uint8)
    cv2.ellipse(picture, (60, 55), (30, 42), 0, 0, 360, (20, 30, 40), -1)  # hair
    cv2.ellipse(picture, (60, 65), (22, 30), 0, 0, 360, (120, 150, 210), -1)
    face, head = np.zeros((2, 120, 120), np.uint8)
    cv2.ellipse(face, (60, 65), (18, 26), 0, 0, 360, (1,), -1)
    cv2.ellipse(head, (60, 60), (26, 38), 0, 0, 360, (1,), -1)
    true = (picture != (40, 160, 60)).any(2)
    picture = np.clip(picture + np.random.default_rng(0).normal(0, 5, picture.shape), 0, 255).astype(np.uint8)
    mask = surroundings.head_mask(picture, face, head, 30)
    assert (mask.astype(bool) & true).sum() / (mask.astype(bool) | true).sum() > 0.9


def test_filling_keeps_what_is_known_and_is_smooth_in_between():
    ramp = np.tile(np.linspace(0, 200, 60, dtype=np.float32)[None, :, None], (60, 1, 3))
    hole = np.zeros((60, 60), np.uint8)
    hole[20:40, 25:35] = 1
    damaged = ramp.copy()
    damaged[hole > 0] = 255
    filled = surroundings.without_head(damaged, hole, 2)
    outside = cv2.dilate(hole, np.ones((9, 9), np.uint8)) == 0
    assert abs(filled - ramp)[outside].max() < 1e-3
    assert abs(filled - ramp).max() < 40
    assert np.isfinite(surroundings.without_head(damaged, np.ones_like(hole), 2)).all()


def test_diffusion_meets_its_goal_and_its_fixed_values():
    start = np.array([0, 1, 3, 5, 7, 8], np.int32)  # a chain of five
    neighbors = np.array([1, 0, 2, 1, 3, 2, 4, 3], np.int32)
    values = np.zeros((5, 3), np.float32)
    values[4] = 8
    fixed = np.array([np.inf, 0, 0, 0, np.inf], np.float32)
    texture.diffuse(values, fixed, np.zeros_like(values), start, neighbors, 60)
    assert values[:, 0] == pytest.approx([0, 2, 4, 6, 8], abs=1e-3)
    goal = np.full((5, 3), 5, np.float32)
    texture.diffuse(values, np.full(5, 100, np.float32), goal, start, neighbors, 10)
    assert values == pytest.approx(goal, abs=0.1)


def test_only_what_faces_the_camera_is_seen(studio, turner):
    source = rendered(studio, (60, 0, 0))
    fitted = fit_rendered(turner, source)
    own = fitted.attributes[:, 4]
    x, y, z = turner.space.mean.T
    cheek = (abs(x) > 0.25) & (abs(x) < 0.5) & (abs(y) < 0.25) & (z > 0.3)
    assert own[cheek & (x < 0)].mean() < 0.2  # on the far side: the nose points to the image's left
    assert own[cheek & (x > 0)].mean() > 0.6  # the rest is inside of the mouth
    assert own[fitted.vertices[:, 2] < -0.9].max() < 0.05  # the back of the head


def test_shoulders_follow_by_their_share_and_no_neck_breaks():
    before, after = (geometry.rotation_from_euler((yaw, 0, 0)) for yaw in (0, 60))
    body = np.eye(3)
    for follow, yaw in ((0.0, 0), (0.5, 30), (1.0, 60)):
        turned = turn.turned_shoulders(body, before, after, follow)
        assert geometry.euler_from_rotation(turned) == pytest.approx([yaw, 0, 0], abs=1e-6)
    far = geometry.rotation_from_euler((99, 0, 0))
    assert geometry.euler_from_rotation(turn.turned_shoulders(body, before, far, 0.0))[0] == pytest.approx(29)


def test_people_and_expressions_survive_the_turn(studio, turner):
    for index in range(3):
        source = rendered(studio, (10, 0, 0), index, bare=False)
        fitted = fit_rendered(turner, source)
        turned = turner.turn(fitted, view_of((50, 5, 0)))
        other = rendered(studio, (50, 5, 0), index, bare=False)
        ours, true = (each.landmarks[:, :2] for each in (turned, other))
        ours, true = ours - ours.mean(0), true - true.mean(0)
        scale = (ours * true).sum() / (ours**2).sum()
        size = np.sqrt(np.ptp(true, axis=0).prod())
        assert np.linalg.norm(ours * scale - true, axis=1).mean() / size < 0.03


@pytest.mark.parametrize(
    ("shape", "box", "euler"),
    [
        ((60, 60), (20, 20, 40, 45), (0, 0, 0)),  # of one color: nothing to tell the head by
        ((60, 60), (40, 40, 80, 90), (30, 10, 0)),  # cut by the picture's edge
        ((60, 60), (-30, -30, 12, 10), (-80, 0, 40)),
        ((6, 5), (1, 1, 4, 5), (0, 0, 0)),
        ((400, 3), (0, 100, 3, 300), (10, 0, 0)),
        ((60, 60), (20, 20, 40, 45), (170, 60, -120)),  # from behind
    ],
)
def test_no_photograph_is_too_odd(turner, shape, box, euler):
    photo = np.full((*shape, 3), 90, np.uint8)
    fitted = turner.fit(photo, Box(*map(float, box)), geometry.rotation_from_euler(euler))
    turned = turner.turn(fitted, view_of((60, 30, 0)))
    assert turned.image.shape == (96, 96, 3)
    assert np.isfinite(turned.landmarks).all()
    assert 0 <= turned.unseen <= 1
    assert np.isfinite(fitted.attributes).all()


def test_the_surroundings_stay_where_they_are(studio, turner):
    """A red mark on the wall, in a picture in the photograph's own pose, has moved as the landmarks have."""
    source = rendered(studio, (10, 0, 0))
    photo = source.image.copy()
    photo[30:36, 2:12] = (0, 0, 255)
    turned = turner.turn(fit_rendered(turner, source, photo), view_of((10, 0, 0)))
    rows, columns = np.nonzero((turned.image[:, :, 2] > 180) & (turned.image[:, :, 0] < 80))
    before, after = (each.landmarks[:, :2] - each.landmarks[:, :2].mean(0) for each in (source, turned))
    scale = (before * after).sum() / (before**2).sum()
    expected = (np.array([7, 33]) - source.landmarks[:, :2].mean(0)) * scale + turned.landmarks[:, :2].mean(0)
    assert [columns.mean() + 0.5, rows.mean() + 0.5] == pytest.approx(expected, abs=1.5)


def test_what_is_no_skin_at_the_edge_of_the_face_is_left_out(studio, turner):
    """A hand or hair before the side of the face must not become a part of it; before its middle it may."""
    source = rendered(studio, (0, 0, 0))
    bare = fit_rendered(turner, source)
    x, y, _ = turner.space.mean.T
    near = (abs(y - 0.1) < 0.12) & (turner.space.source >= 0)
    for side, stays in ((near & (x > 0.56) & (x < 0.64), False), (near & (x > 0.2) & (x < 0.35), True)):
        spot = side & (bare.attributes[:, 4] > 0.3)
        assert spot.sum() > 3
        middle = bare.attributes[spot, :2].mean(0) - bare.fit.origin
        scale = source.view.focal / source.view.distance / bare.fit.scale
        place = source.view.center + middle * scale
        photo = source.image.copy()
        cv2.circle(photo, (round(place[0]), round(place[1])), 5, (60, 190, 60), -1)
        own = fit_rendered(turner, source, photo).attributes[spot, 4]
        assert (own.mean() > 0.7 * bare.attributes[spot, 4].mean()) == stays
        assert (own.mean() < 0.5 * bare.attributes[spot, 4].mean()) != stays


def test_the_mirror_image_is_as_bright_as_the_side_that_it_stands_for(studio, turner):
    source = rendered(studio, (25, 0, 0))
    ramp = np.linspace(0.3, 1.0, 96, dtype=np.float32)[None, :, None]  # the far side is in the shade
    fitted = fit_rendered(turner, source, (source.image * ramp).astype(np.uint8))
    own, other = fitted.attributes[:, 4], fitted.attributes[:, 5]
    x, y, z = turner.space.mean.T
    dark = (own < 0.05) & (other > 0.9) & (x < -0.2) & (abs(y) < 0.3) & (z > 0.2)
    assert dark.sum() > 5
    mirrored = texture.sample_all(fitted.photo, np.ascontiguousarray(fitted.attributes[:, 2:4]))
    near = (own > 0.9) & (x < -0.05) & (abs(y) < 0.3) & (z > 0.2)
    here = texture.sample_all(fitted.photo, np.ascontiguousarray(fitted.attributes[:, :2]))[near].mean()
    matched = (mirrored + fitted.attributes[:, 6:9])[dark].mean()
    assert mirrored[dark].mean() > here + 25
    assert here - 10 < matched < (mirrored[dark].mean() + here) / 2


def test_unseen_hair_has_the_color_of_the_hair_and_unseen_skin_that_of_the_skin(studio, turner):
    drawn = bare_scene(studio, (0, 0, 0))
    dark = dataclasses.replace(drawn.hair, style="shaved", painted=0.95, color=(0.02, 0.015, 0.01))
    source = render(stage(dataclasses.replace(drawn, hair=dark), studio, 96), studio)
    fitted = fit_rendered(turner, source)
    color = fitted.attributes[:, 9:12].mean(1)
    x, y, z = turner.space.mean.T
    crown = (y > 0.9) & (z < -0.5) & (turner.space.source >= 0)
    neck = (abs(x) < 0.4) & (y < -0.3) & (y > -0.9) & (z < -0.5)
    cheek = (abs(x) > 0.2) & (abs(x) < 0.4) & (abs(y) < 0.2) & (z > 0.5)
    assert color[crown].mean() < 0.6 * color[cheek].mean()
    assert color[neck].mean() > 0.75 * color[cheek].mean()


@pytest.mark.parametrize(("ratio", "expected"), [(1.0, 1.0), (1.25, 1.25), (3.0, 1.55), (0.6, 0.96)])
def test_the_scalp_grows_to_the_outline_of_the_hair(studio, turner, ratio, expected):
    source = rendered(studio, (0, 0, 0))
    found = fit_rendered(turner, source).fit
    found = dataclasses.replace(found, origin=found.origin + 60)
    vertices = turner.space.vertices(found.amounts)
    middle = found.project((found.rotation @ hairline.SKULL)[None])[0, :2]
    skull, mask = np.zeros((2, 260, 260), np.uint8)
    center, radius = (round(middle[0]), round(middle[1])), 24
    cv2.circle(skull, center, radius, (1,), -1)
    cv2.circle(mask, center, round(radius * ratio), (1,), -1)
    scalp = vertices[:, 1] > 0.9
    grown = hairline.grow(vertices, scalp.astype(np.float32), found, mask, skull)
    assert grown[~scalp] == pytest.approx(vertices[~scalp], abs=1e-5)
    factor = np.linalg.norm(grown - hairline.SKULL, axis=1) / np.linalg.norm(vertices - hairline.SKULL, axis=1)
    assert factor[scalp] == pytest.approx(expected, abs=0.06)
