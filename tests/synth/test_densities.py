"""Densities of poses by name: where the camera is, what gravity, light and surroundings do, and what is seen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headpose import geometry
from headpose.datasets import manifest, matlab5, negatives, w300lp
from headpose.errors import DataError
from headpose.synth import background, layout, light, occluders, pose, scene, writer
from headpose.synth.render import render, stage
from headpose.synth.writer import Settings
from tests.synth.heads import bare_scene, rotation_of_landmarks

DOWN = np.array([0.0, -1.0, 0.0])
INDICES = st.integers(0, 100_000)


def drawn(name, count):
    return [pose.DENSITIES[name].draw(scene.Draws(1, index).stream("pose")) for index in range(count)]


def around(poses):
    """Azimuth and elevation of the camera as those of a label, and the camera's roll, degrees."""
    rotations = np.array([each.rotation for each in poses])
    toward = rotations[:, 2]
    azimuth, elevation = np.arctan2(toward[:, 0], toward[:, 2]), -np.arcsin(toward[:, 1])
    upright = geometry.rotation_from_euler(np.rad2deg(np.stack([azimuth, elevation, 0 * azimuth], 1)))
    turn = rotations @ np.swapaxes(upright, 1, 2)
    return np.rad2deg([azimuth, elevation, np.arctan2(turn[:, 0, 1], turn[:, 0, 0])])


def evenness(values, low, high, bins=8):
    return np.abs(np.histogram(values, bins, (low, high))[0] / len(values) * bins - 1).max()


def test_far_is_uniform_on_the_sphere():
    azimuth, elevation, roll = around(drawn("far", 2000))
    assert abs(azimuth).max() <= 110
    assert abs(elevation).max() <= 70
    assert abs(roll).max() <= 45.001
    assert evenness(azimuth, -110, 110) < 0.2
    assert evenness(np.sin(np.deg2rad(elevation)), -np.sin(np.deg2rad(70)), np.sin(np.deg2rad(70))) < 0.2
    assert evenness(roll, -45, 45) < 0.2
    assert abs(np.corrcoef([azimuth, elevation, roll]) - np.eye(3)).max() < 0.1


def test_back_is_behind_the_head():
    azimuth, elevation, roll = around(drawn("back", 800))
    assert abs(azimuth).min() >= 165
    assert evenness(azimuth % 360, 165, 195) < 0.35
    assert abs(elevation).max() <= 60
    assert abs(roll).max() <= 45.001


@given(index=INDICES, name=st.sampled_from(["far", "back"]))
def test_shoulders_stand_upright_below_the_camera(index, name):
    each = pose.DENSITIES[name].draw(scene.Draws(2, index).stream("pose"))
    shoulders = each.rotation @ geometry.rotation_from_euler(each.neck).T
    assert shoulders @ DOWN == pytest.approx(each.rotation @ each.gravity)  # gravity runs down the body
    assert each.tilt @ DOWN == pytest.approx(each.rotation @ each.gravity)
    assert np.linalg.norm(each.gravity) == pytest.approx(1)
    angle = np.rad2deg(np.arccos(np.clip(DOWN @ each.rotation @ each.gravity, -1, 1)))
    assert geometry.geodesic_degrees(each.tilt, np.eye(3)) == pytest.approx(angle, abs=1e-4)  # and nothing beside it


def test_hardly_a_camera_is_far_below_the_shoulders():
    below = np.array([each.gravity @ each.rotation[2] for each in drawn("far", 800)])  # sine of the camera's depth
    assert (below > np.sin(np.deg2rad(40.1))).mean() < 0.03
    assert (below > np.sin(np.deg2rad(30))).mean() > 0.03
    assert (below < -np.sin(np.deg2rad(45))).mean() > 0.05  # views from above are not restricted


def test_people_are_level():
    for each in drawn("people", 20):
        assert each.down is None
        assert each.rotation @ each.gravity == pytest.approx(DOWN)
        assert each.tilt == pytest.approx(np.eye(3))


@settings(max_examples=8)
@given(index=INDICES)
def test_landmarks_tell_the_label_of_far_heads(studio, index):
    staged = stage(scene.draw(5, index, studio, poses="far"), studio, 48)
    assert (
        geometry.geodesic_degrees(rotation_of_landmarks(render(staged, studio)), render(staged, studio).rotation) < 0.3
    )


def seen(studio, euler, **changes):
    return stage(dataclasses.replace(bare_scene(studio, euler), **changes), studio, 96).face_seen


def test_the_share_of_the_face_that_is_seen(studio):
    by_yaw = [seen(studio, (yaw, 0, 0)) for yaw in (0, 45, 90, 110, 145, 180)]
    assert by_yaw == pytest.approx([1.0, 0.75, 0.49, 0.35, 0.13, 0.0], abs=0.04)
    assert seen(studio, (-90, 0, 0)) == pytest.approx(by_yaw[2], abs=0.03)
    from_above, from_below = seen(studio, (0, -70, 0)), seen(studio, (0, 70, 0))
    assert from_above == pytest.approx(0.55, abs=0.05)
    assert from_below == pytest.approx(0.78, abs=0.05)
    assert max(seen(studio, (yaw, pitch, 0)) for yaw in (165, 180) for pitch in (-60, 0, 30, 60)) < 0.06


def test_what_covers_the_face_is_not_seen(studio):
    bare = bare_scene(studio, (0, 0, 0))
    masked = seen(studio, (0, 0, 0), wear=dataclasses.replace(bare.wear, mask=True))
    assert 0.15 < masked < 0.4
    covered = next(
        drawn
        for drawn in (scene.draw(5, index, studio) for index in range(400))
        if any(each.kind in ("sheet", "phone") for each in drawn.occluders.things)
    )
    assert seen(studio, (0, 0, 0), occluders=covered.occluders) < 0.97
    assert seen(studio, (0, 0, 0), occluders=occluders.Occluders((), ())) > 0.97


def test_a_beard_and_glasses_belong_to_a_face(studio):
    bare = bare_scene(studio, (0, 0, 0))
    for index in range(400):
        worn = scene.draw(5, index, studio)
        if worn.wear.glasses is not None and worn.wear.glasses.density < 0.5 and not worn.wear.hat:
            break
    wear = dataclasses.replace(worn.wear, mask=False)
    assert seen(studio, (0, 0, 0), wear=wear) > 0.97
    bearded = dataclasses.replace(bare.skin, beard="full", beard_share=1.0)
    assert seen(studio, (0, 0, 0), skin=bearded) > 0.9


def test_the_bust_is_closed_below(studio):
    """From below, the ends of the arms and the chest are surfaces; people, whose cameras are level, have none."""
    open_bust = bare_scene(studio, (90, 0, 0))
    closed = dataclasses.replace(open_bust, pose=dataclasses.replace(open_bust.pose, down=(0.0, -1.0, 0.0)))
    parts = closed.build(studio).parts
    assert len(parts) == len(open_bust.build(studio).parts) + 1
    caps = next(each for each in parts if len(each.faces) == sum(map(len, studio.anatomy.openings)))
    corners = caps.vertices[caps.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    assert area > 1.5  # square decimeters of two arms and a chest
    ends, counts = np.unique(np.concatenate(studio.anatomy.openings), return_counts=True)
    assert (counts == 2).all(), "each opening is a closed line"
    assert len(ends) == len(caps.faces)


def test_light_turns_with_the_camera():
    rng = np.random.default_rng(0)
    lit = light.draw(rng)
    turn = geometry.rotation_from_euler([10.0, -50.0, 20.0])
    turned = light.turned(lit, turn)
    assert turned.towards == pytest.approx(lit.towards @ turn.T, abs=1e-6)
    assert turned.colors == pytest.approx(lit.colors)
    normal = np.array([0.6, 0.64, 0.48])
    for each, place in ((lit, normal), (turned, turn @ normal)):
        ambient = each.sky[0] + place @ each.sky[1:]
        assert ambient == pytest.approx(lit.sky[0] + normal @ lit.sky[1:], abs=1e-6)


def test_a_camera_from_above_sees_the_floor():
    environment = np.zeros((64, 128, 3), np.float32)
    environment[32:] = 1.0  # a white floor under a black sky
    kind = background.Background("plain", blur=0.0, brightness=1.0, saturation=1.0)
    lit = light.draw(np.random.default_rng(0))
    shown = []
    for pitch in (-60.0, 0.0, 60.0):  # head in front of a camera that is above, level, below
        tilt = pose.Pose(pose.EulerAngles(0.0, pitch, 0.0), pose.EulerAngles(0.0, 0.0, 0.0), down=(0.0, -1.0, 0.0)).tilt
        shown.append(background.paint(kind, np.random.default_rng(3), 32, environment, lit, tilt).mean())
    assert shown[0] > 0.34  # 0.35 is all of it
    assert 0.05 < shown[1] < 0.3
    assert shown[2] < 0.01
    level = background.paint(kind, np.random.default_rng(3), 32, environment, lit)
    assert level == pytest.approx(background.paint(kind, np.random.default_rng(3), 32, environment, lit, np.eye(3)))


FAR = Settings(seed=3, size=48, poses="far")


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    folder = tmp_path_factory.mktemp("far") / "heads"
    assert writer.write(FAR, 21, folder) == 21
    return folder


def test_a_folder_of_far_heads_says_what_is_seen(far, studio):
    head, *lines = (line.split(",") for line in (far / "manifest.csv").read_text().splitlines())
    assert head[-2:] == ["hidden", "face_seen"]
    _, rendered = writer.make(FAR, 4, studio)
    assert [float(share) for share in lines[4][-2:]] == pytest.approx([rendered.hidden, rendered.face_seen], abs=1e-4)
    assert layout.read_scenes(far, 0)[4]["face_seen"] == pytest.approx(rendered.face_seen, abs=1e-4)
    for ours, theirs in zip(manifest.read(far / "manifest.csv"), w300lp.read(far), strict=True):
        assert geometry.geodesic_degrees(ours.rotation, theirs.rotation) < 1e-4
        assert ours.box.as_tuple() == pytest.approx(theirs.box.as_tuple(), abs=1e-3)


def test_densities_do_not_mix(far, tmp_path):
    with pytest.raises(DataError, match="poses 'far', not 'people'"):
        writer.write(dataclasses.replace(FAR, poses="people"), 1, far)
    writer.write(dataclasses.replace(FAR, poses="people"), 1, tmp_path)
    assert "poses" not in (tmp_path / "synth.json").read_text()
    with pytest.raises(DataError, match="poses 'people', not 'far'"):
        writer.write(FAR, 1, tmp_path)


def test_far_labels_follow_new_head_axes(far, monkeypatch):
    before = [matlab5.read_file(file)["Pose_Para"].copy() for file in sorted(far.rglob("*.mat"))]
    layout.rewrite_labels(far, FAR.seed, "far")
    after = [matlab5.read_file(file)["Pose_Para"] for file in sorted(far.rglob("*.mat"))]
    np.testing.assert_allclose(before, after, atol=1e-9)


def test_backs_of_heads_are_negatives(tmp_path):
    backs = Settings(seed=3, size=48, poses="back")
    assert writer.write(backs, 3, tmp_path / "backs") == 3
    assert writer.write(backs, 3, tmp_path / "backs") == 0
    assert not list((tmp_path / "backs").rglob("*.mat"))
    assert not (tmp_path / "backs" / "manifest.csv").exists()
    found = negatives.read(tmp_path / "backs" / "negatives.csv")
    assert len(found) == 3
    assert all(each.box is not None and each.image.is_file() for each in found)
    line = layout.read_scenes(tmp_path / "backs", 0)[0]
    assert line["face_seen"] < 0.06
    assert not {"euler", "rotation"} & set(line)
    (tmp_path / "backs" / "synth.json").unlink()
    with pytest.raises(DataError, match=r"negatives.csv is of another data set"):
        writer.write(backs, 3, tmp_path / "backs")
