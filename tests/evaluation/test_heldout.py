import dataclasses

import cv2
import numpy as np
import pytest

from headpose import HeadPoseEstimator, geometry, read_image
from headpose.corruptions import CLEAN
from headpose.datasets import aflw2000
from headpose.errors import DataError
from headpose.evaluation import heldout
from headpose.evaluation.cells import Cells
from headpose.evaluation.heldout import HeldOutSet
from headpose.evaluation.robustness import ERRORS, Cell, Setup
from headpose.inference import load_model
from headpose.types import Box, CropSpec, EulerAngles, Sample
from tests.evaluation.faces import write_colored_faces
from tests.network_files import color_network

GRID = [(float(yaw), float(pitch), 0.0) for yaw in range(-48, 49, 16) for pitch in (-24, 0, 24)]


@pytest.fixture
def samples(tmp_path):
    return aflw2000.read(write_colored_faces(tmp_path / "faces", GRID))


class BrightSide:
    """Reads roll off the direction in which its input gets brighter: to the right in a face that is upright."""

    name = "halves"
    crop = CropSpec(size=16, scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    def predict(self, inputs):
        red = inputs[:, 0].astype(np.float64)
        right = red[:, :, 8:].mean((1, 2)) - red[:, :, :8].mean((1, 2))
        down = red[:, 8:].mean((1, 2)) - red[:, :8].mean((1, 2))
        roll = np.rad2deg(np.arctan2(down, right))
        return geometry.rotation_from_euler(np.stack([0 * roll, 0 * roll, roll], 1))


def test_the_name_of_a_set_decides_the_change(samples):
    assert HeldOutSet.of("aflw", samples).parts == {"aflw": CLEAN}
    assert [each.setting for each in HeldOutSet.of("cut", samples).parts.values()] == [333, 500]
    turned = HeldOutSet.of("web/in-plane", samples)
    assert list(turned.parts) == [f"web/in-plane {degrees}" for degrees in (45, 90, 135, 180)]
    assert HeldOutSet.of("in-plane-of-ours", samples).parts == {"in-plane-of-ours": CLEAN}
    with pytest.raises(DataError, match="empty has no faces"):
        HeldOutSet.of("empty", [])


def test_turned_faces_are_compared_with_turned_labels(tmp_path):
    """A network that reads the turn of the picture errs by nothing; one that does not see it errs by all of it."""
    picture = np.zeros((60, 60, 3), np.uint8)
    picture[:, 30:, 2] = 255
    assert cv2.imwrite(str(tmp_path / "face.png"), picture)
    faces = [Sample(tmp_path / "face.png", Box(20, 20, 40, 40), EulerAngles(0.0, 0.0, 0.0))]
    blind = load_model(color_network(tmp_path / "blind.onnx", gain=1.0), device="cpu", threads=1)
    setups = [Setup(BrightSide()), Setup(blind)]
    turned = HeldOutSet.of("in-plane", faces)
    scores = heldout.score(turned, heldout.measure(setups, turned))
    seeing = {each.part: each.geodesic for each in scores if each.network == "halves"}
    assert seeing["in-plane 90"] == pytest.approx(0, abs=0.1)
    assert max(seeing.values()) < 6  # of a square turned by 45 degrees 16 pixels a side tell no more
    away = [each.geodesic for each in scores if each.network == "color"]
    assert np.diff(away).min() > 30


def test_turned_faces_are_read_as_the_estimator_reads_boxes(tmp_path):
    """A network that errs beyond 60 degrees in the plane: the second look is upright, where it does not."""

    class Short(BrightSide):
        def predict(self, inputs):
            rotation = super().predict(inputs)
            far = np.abs(geometry.in_plane_angle(rotation)) > 60
            return np.where(far[:, None, None], geometry.turn_picture(rotation, 20), rotation)

    picture = np.zeros((60, 60, 3), np.uint8)
    picture[:, 30:, 2] = 255
    assert cv2.imwrite(str(tmp_path / "face.png"), picture)
    box = Box(20, 20, 40, 40)
    turned = HeldOutSet.of("in-plane", [Sample(tmp_path / "face.png", box, EulerAngles(0.0, 0.0, 0.0))])
    errors = heldout.measure([Setup(Short())], turned)[Cell("halves", "in_plane@90", 0)]
    view = turned.parts["in-plane 90"](read_image(tmp_path / "face.png"), box, key="face")
    (pose,) = HeadPoseEstimator(Short(), detector=NoDetector()).estimate(view.image, [view.box])
    label = geometry.turn_picture(np.eye(3), view.clockwise_degrees)
    assert errors[0, 0] == pytest.approx(geometry.geodesic_degrees(pose.rotation, label), abs=1e-6)
    assert errors[0, 0] < 10, "one look errs by 20 degrees"


class NoDetector:
    name = "none"

    def detect(self, image):
        return []


def test_scores_by_hand(samples):
    """Two networks with known errors on three photographs, one of which has most of the faces."""
    groups = ["a"] * 19 + ["b", "c"]
    faces = [dataclasses.replace(sample, group=group) for sample, group in zip(samples, groups, strict=True)]
    labeled = HeldOutSet.of("aflw", faces)
    first = np.zeros((21, len(ERRORS)))
    first[:, ERRORS.index("geodesic")] = 4.0
    first[:, ERRORS.index("mae")] = 2.0
    second = first + 1.0
    second[:3, ERRORS.index("geodesic")] = 20.0
    measured = {Cell("one", "clean", 0): first, Cell("two", "clean", 0): second}
    one, two = heldout.score(labeled, measured)
    assert (one.n, one.geodesic, one.median, one.far, one.mae, one.versus) == (21, 4.0, 4.0, 0.0, 2.0, None)
    assert two.geodesic == pytest.approx((18 * 5 + 3 * 20) / 21)
    assert (two.median, two.far, two.mae) == (5.0, pytest.approx(3 / 21), pytest.approx(3.0))
    assert two.versus.mean == pytest.approx(two.geodesic - 4)
    # Only "b" and "c" drawn: all errors 1. Only "a": 16 of its faces 1, 3 of them 16.
    assert (two.versus.low, two.versus.high) == (pytest.approx(1), pytest.approx((16 + 48) / 19))
    assert two.versus.p < 0.001
    assert two.ci["geodesic"] == (pytest.approx(5), pytest.approx((16 * 5 + 60) / 19))
    assert two.ci["mae"] == (pytest.approx(3), pytest.approx(3))
    assert {name: (bin.n, bin.geodesic) for name, bin in one.bins.items()} == {
        "0-30": (9, 4.0), "30-60": (12, 4.0), "60-180": (0, None),
    }  # fmt: skip
    assert "| two | 5.00 | 2.0 |" in heldout.pivot([one, dataclasses.replace(two, geodesic=5.0)])
    text = heldout.table([one, two])
    assert "| aflw | two | 21 | 7.14 [5.00, 7.37] | 5.00 | 14.3% | 3.00 [3.00, 3.00] |" in text
    assert "+3.14 (+1.00 to +3.37), p < 0.001 |" in text


def test_faces_that_look_backwards_have_a_bin(samples):
    behind = [dataclasses.replace(sample, euler=EulerAngles(-110.0, 0.0, 0.0)) for sample in samples]
    far = HeldOutSet.of("rendered-far", behind)
    (score,) = heldout.score(far, {Cell("one", "clean", 0): np.ones((21, 5))})
    assert [bin.n for bin in score.bins.values()] == [0, 0, 21]


def test_a_second_measurement_comes_from_the_files(samples, tmp_path):
    model = load_model(color_network(tmp_path / "color.onnx"), device="cpu", threads=1)
    labeled, setup = HeldOutSet.of("aflw", samples), Setup(model, label="run-a")
    first = heldout.measure([setup], labeled, Cells(tmp_path, samples))
    again = heldout.measure([setup], labeled, Cells(tmp_path, samples))
    (cell,) = again
    assert cell.network == "run-a"
    np.testing.assert_allclose(again[cell], first[cell], atol=1e-4)
    (file,) = tmp_path.glob("cells/*/*.json")
    file.write_text(file.read_text().replace('"geodesic": [', '"geodesic": [99.0, '))
    with pytest.raises(DataError, match="remove it"):
        heldout.measure([setup], labeled, Cells(tmp_path, samples))


def test_runs_of_one_recipe_keep_their_own_files(samples, tmp_path):
    labeled = HeldOutSet.of("aflw", samples)
    right, wrong = (
        load_model(color_network(tmp_path / f"{i}.onnx", CropSpec(16, mean=(0.5 * i,) * 3, std=(1.0,) * 3)))
        for i in range(2)
    )
    setups = [Setup(right, label="a"), Setup(wrong, label="b")]
    for _ in range(2):
        errors = list(heldout.measure(setups, labeled, Cells(tmp_path, samples)).values())
        assert errors[0].mean() + 5 < errors[1].mean()
    # A run that was trained again under its name is measured again.
    trained_again = [setups[0], Setup(right, label="b")]
    first, second = heldout.measure(trained_again, labeled, Cells(tmp_path, samples)).values()
    np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs one table"),
        ("[sets]", "needs one table"),
        ('[sets]\na = "x"\n[more]', "nothing else"),
        ("[sets]\na = 3", "sets.a is a path in quotes"),
        ('[sets]\n"a b" = "x"', "'a b' cannot name"),
        ("[sets", "cannot read the sets"),
    ],
)
def test_a_file_of_sets_that_is_wrong(tmp_path, text, said):
    (tmp_path / "sets.toml").write_text(text)
    with pytest.raises(DataError, match=said):
        heldout.read_config(tmp_path / "sets.toml")


def test_paths_start_at_the_file(tmp_path):
    (tmp_path / "sets.toml").write_text('[sets]\naflw = "held/aflw.csv"\n"web/cut" = "/data/web.csv"\n')
    paths = heldout.read_config(tmp_path / "sets.toml")
    assert {name: str(path) for name, path in paths.items()} == {
        "aflw": str(tmp_path / "held/aflw.csv"),
        "web/cut": "/data/web.csv",
    }
