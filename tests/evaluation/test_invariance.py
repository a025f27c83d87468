import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose import geometry
from headpose.evaluation import invariance
from headpose.images import write_image
from headpose.inference import load_model
from headpose.types import Box, CropSpec, EulerAngles, Sample
from tests.network_files import color_network


class Dot:
    """A network that reads the pose off a drawn face: where a red dot lies, and a blue one, from the middle.

    Red is the nose: right of the middle is yaw < 0. Blue is the top of the head: its direction is the roll.
    """

    name = "dot"
    crop = CropSpec(size=64, scale=1.5, mean=(0, 0, 0), std=(1, 1, 1))

    def __init__(self, batch_leaks=0.0, blind_to_mirror=False):
        self.batch_leaks, self.blind_to_mirror, self.calls = batch_leaks, blind_to_mirror, 0

    def predict(self, inputs):
        self.calls += 1
        rotations = []
        for red, _, blue in inputs:
            (nose_x, _), (top_x, top_y) = (self._middle(channel) for channel in (red, blue))
            roll = np.degrees(np.arctan2(top_x, -top_y))
            turned = geometry.rotation_from_euler((0, 0, roll))
            size = np.hypot(*self._middle(red))
            yaw = size if self.blind_to_mirror else -size * np.sign(nose_x)
            rotations.append(turned @ geometry.rotation_from_euler((yaw + self.batch_leaks * len(inputs), 0, 0)))
        return np.stack(rotations)

    @staticmethod
    def _middle(channel):
        y, x = np.mgrid[: channel.shape[0], : channel.shape[1]] - 31.5
        return (channel * x).sum() / channel.sum(), (channel * y).sum() / channel.sum()


@pytest.fixture
def samples(tmp_path):
    found = []
    for index, nose in enumerate((12, -8, 10, -14)):
        image = np.zeros((200, 220, 3), np.uint8)
        cv2.circle(image, (110 + nose, 95), 5, (0, 0, 255), -1)
        cv2.circle(image, (110, 72), 5, (255, 0, 0), -1)
        write_image(tmp_path / f"{index}.png", image)
        found.append(Sample(tmp_path / f"{index}.png", Box(80, 65, 140, 125), EulerAngles(0, 0, 0)))
    return found


def by_name(checks):
    return {check.name: check for check in checks}


def test_a_network_that_obeys_geometry_passes_all(samples):
    checks = by_name(invariance.check(Dot(), samples, batch=3))
    assert [check.verdict for check in checks.values()] == ["same", "same", "", "", "", "", ""]
    assert checks["mirrored picture"].largest < 0.5
    for angle in invariance.TURNS:
        assert checks[f"picture turned {angle:+g}"].largest < 2


def test_a_network_that_minds_its_batch_is_found(samples):
    checks = by_name(invariance.check(Dot(batch_leaks=0.1), samples, batch=3))
    leak = checks["1 face a call against 3"]
    # The fourth face is alone in its batch of three.
    assert (leak.largest, leak.mean, leak.verdict) == (pytest.approx(0.2), pytest.approx(0.15), "DIFFERS")
    assert checks["order of the faces"].verdict in ("same", "DIFFERS")


def test_a_network_that_cannot_tell_left_from_right_is_found(samples):
    checks = by_name(invariance.check(Dot(blind_to_mirror=True), samples))
    assert checks["mirrored picture"].mean > 10
    assert checks["mirrored picture"].verdict == ""
    assert checks["1 face a call against 64"].verdict == "same"


def test_a_real_session_does_not_mind_its_batch(samples, tmp_path):
    model = load_model(color_network(tmp_path / "color.onnx"), device="cpu", threads=1)
    checks = invariance.check(model, samples, batch=2)
    assert [check.verdict for check in checks if check.exact] == ["same", "same"]
    text = invariance.table(checks)
    assert len(text.splitlines()) == 2 + len(checks) and "| same |" in text


@given(st.floats(1, 30), st.floats(1, 30), st.floats(5, 20), st.floats(5, 20))
def test_mirroring_twice_changes_nothing(x, y, width, height):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    box = Box(x, y, x + width, y + height)
    once = invariance.mirrored(image, box)
    again, back = invariance.mirrored(*once)
    np.testing.assert_array_equal(again, image)
    assert back.as_tuple() == pytest.approx(box.as_tuple())
    assert once[1].center == pytest.approx((60 - box.center[0], box.center[1]))


def test_a_turned_picture_turns_clockwise_about_the_box():
    image = np.zeros((60, 60, 3), np.uint8)
    image[10, 30] = 255  # 20 above the middle of pixel (30, 30)
    turned, box = invariance.turned(image, Box(20.5, 20.5, 40.5, 40.5), 90)
    assert turned[30, 50].tolist() == [255] * 3
    assert box == Box(20.5, 20.5, 40.5, 40.5)
