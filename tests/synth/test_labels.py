"""The labels are those of the pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headpose import geometry
from headpose.synth import anatomy, assets, pose, scene
from headpose.synth.render import render, stage
from tests.synth.heads import bare_scene, rotation_of_landmarks

ANGLES = st.tuples(st.floats(-99, 99), st.floats(-60, 60), st.floats(-60, 60))


@settings(max_examples=12)
@given(index=st.integers(0, 10_000))
def test_landmarks_tell_the_label_whoever_it_is(studio, index):
    drawn = scene.draw(5, index, studio)
    rendered = render(stage(drawn, studio, 48), studio)
    assert geometry.geodesic_degrees(rotation_of_landmarks(rendered), rendered.rotation) < 0.3
    # Heads are turned in one set of axes, and labeled in the one that was measured.
    assert np.allclose(rendered.rotation @ anatomy.LABEL.T, geometry.rotation_from_euler(drawn.pose.euler))


@pytest.mark.parametrize("euler", [(0, 0, 0), (50, 0, 0), (-50, 20, 30), (0, 40, -30), (90, 0, 0)])
def test_pixels_lie_where_the_landmarks_say(studio, euler):
    staged = stage(bare_scene(studio, euler), studio, 160)
    rendered = render(staged, studio)
    seen = 0
    for place, point in zip(rendered.landmarks, rendered.head_landmarks @ rendered.rotation.T, strict=True):
        column, row = (place[:2] * 2).astype(int)
        triangle = staged.triangle[row, column]
        corners = staged.geometry.points[staged.geometry.faces[triangle]]
        seen += triangle >= 0 and np.linalg.norm(corners - point, axis=1).min() < 0.06
    assert seen >= (30 if abs(euler[0]) > 80 else 40)  # the rest is turned away, or covered by lids and eyeballs


@pytest.mark.parametrize("axis, euler", [("x", (40, 0, 0)), ("y", (0, 40, 0)), ("x", (-40, 0, 0)), ("y", (0, -40, 0))])
def test_the_nose_points_where_the_angles_say(studio, axis, euler):
    rendered = render(stage(bare_scene(studio, euler), studio, 64), studio)
    nose = rendered.landmarks[30, :2] - rendered.landmarks[[0, 16], :2].mean(0)
    # yaw > 0 is to the left of the picture, pitch > 0 up; the picture's y points down.
    moved = nose[0] if axis == "x" else nose[1]
    assert np.sign(moved) == -np.sign(sum(euler))
    assert abs(moved) > 4


@settings(max_examples=8, print_blob=False)
@given(euler=ANGLES)
def test_a_mirrored_pose_gives_the_mirrored_picture(studio, euler):
    yaw, pitch, roll = euler
    one, other = (stage(bare_scene(studio, e), studio, 96) for e in (euler, (-yaw, pitch, -roll)))
    ours, mirrored = one.triangle >= 0, other.triangle[:, ::-1] >= 0
    assert (ours & mirrored).sum() / (ours | mirrored).sum() > 0.98
    lit = [render(each, studio).image.astype(int) for each in (one, other)]
    assert abs(lit[0] - lit[1][:, ::-1])[ours[::2, ::2] & mirrored[::2, ::2]].mean() < 4
    assert geometry.geodesic_degrees(geometry.mirror(one.scene.pose.rotation), other.scene.pose.rotation) < 1e-6
    assert anatomy.FRAME.yaw == anatomy.FRAME.roll == 0


@settings(max_examples=20)
@given(euler=ANGLES, scale=st.floats(0.7, 1.4), move=st.tuples(*[st.floats(-5, 5)] * 3))
def test_head_axes_do_not_depend_on_how_a_head_was_turned(studio, euler, scale, move):
    vertices = studio.assets.morph({"macro/asian-male-old": 0.6, "head/head-square": 0.5})
    turned = vertices @ geometry.rotation_from_euler(euler).T * scale + move
    ours, theirs = (anatomy.to_head_axes(studio.anatomy, v.astype(np.float32)) for v in (vertices, turned))
    used = studio.anatomy.rigid
    assert np.allclose(ours[used], theirs[used], atol=2e-4)


@settings(max_examples=30)
@given(euler=ANGLES, neck=st.tuples(st.floats(-65, 65), st.floats(-40, 40), st.floats(-30, 30)), data=st.data())
def test_the_head_turns_by_the_label_whatever_the_neck_does(euler, neck, data):
    points = np.array(data.draw(st.lists(st.tuples(*[st.floats(-2, 2)] * 3), min_size=1, max_size=5)), np.float32)
    turned = pose.Pose(pose.EulerAngles(*euler), pose.EulerAngles(*neck))
    follow = pose.bend(turned, np.array([0, -0.5, -0.4], np.float32))
    bent = follow(points, np.ones(len(points), np.float32))
    assert np.allclose(bent, points @ turned.rotation.T, atol=1e-4)


def test_poses_keep_their_limits_and_reach_every_corner():
    drawn = np.array([pose.draw_people(scene.Draws(0, index).stream("pose")).euler for index in range(4000)])
    assert (abs(drawn).max(0) <= 99).all()
    assert (abs(drawn).max(0) > np.array(pose.LARGEST) - 3).all()
    yaw, pitch, _ = abs(drawn).T
    assert 0.22 < (yaw > 60).mean() < 0.29
    tilt = abs(geometry.rotation_from_euler(drawn)[:, 2, 1])[yaw > 75]  # of the head's top to the camera
    assert 0.15 < (tilt > np.sin(np.deg2rad(30))).mean() < 0.35, "profiles from above and below occur, but are few"
    assert np.median(tilt) < np.sin(np.deg2rad(16))
    assert 0.1 < (pitch > 30)[yaw < 30].mean() < 0.2


def test_the_head_weighs_one_where_the_landmarks_are(studio):
    from headpose.synth.landmarks68 import VERTICES

    upper = VERTICES[17:]
    assert studio.assets.head_weight[upper].min() > 0.99
    joints = studio.assets.vertices[slice(*assets.HELPERS["joint-head"])]
    assert joints.shape == (8, 3)
