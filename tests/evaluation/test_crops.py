import numpy as np
import pytest

from headpose import crop
from headpose.errors import DataError
from headpose.evaluation import crops
from headpose.types import Box, CropSpec, EulerAngles, Sample
from tests.datasets.labels import landmarks, write_face

OWN = CropSpec(size=32, scale=1.4, shift_y=-0.1)


def sample(picture, box):
    return Sample(picture, Box(*box), EulerAngles(0, 0, 0))


def hopenet(x_min, y_min, x_max, y_max):
    """datasets.AFLW2000 of Hopenet's code, then Scale(224) and CenterCrop(224) as a square of the picture."""
    k = 0.20
    x_min -= 2 * k * abs(x_max - x_min)
    y_min -= 2 * k * abs(y_max - y_min)
    x_max += 2 * k * abs(x_max - x_min)
    y_max += 0.6 * k * abs(y_max - y_min)
    width, height = int(x_max) - int(x_min), int(y_max) - int(y_min)
    side, cx, cy = min(width, height), int(x_min) + width / 2, int(y_min) + height / 2
    return cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2


@pytest.mark.parametrize("box", [(100, 120, 200, 220), (100, 120, 260, 220), (-1, -1, 300.5, 180.2)])
def test_hopenets_margins_are_asymmetric_as_published(box):
    assert crops.hopenet_box(Box(*box)).as_tuple() == pytest.approx(hopenet(*box))


def test_a_hundred_pixel_face_by_hand():
    # 40 to the left, then 0.4 of 140 to the right; 40 up, then 0.12 of 140 down: 60..256 x 80..236.
    assert crops.hopenet_box(Box(100, 120, 200, 220)).as_tuple() == (80, 80, 236, 236)


def test_a_rule_changes_what_is_cut_and_nothing_else(tmp_path):
    face = sample(write_face(tmp_path / "a.jpg"), (30, 30, 50, 50))
    assert crops.apply("own", face, OWN) == (face.box, OWN)
    box, spec = crops.apply("hopenet", face, OWN)
    assert (spec.size, spec.mean, spec.channels) == (OWN.size, OWN.mean, OWN.channels)
    image = np.arange(80 * 80 * 3, dtype=np.uint64).reshape(80, 80, 3).astype(np.uint8)
    x1, y1, x2, y2 = map(int, box.as_tuple())
    exact = crop.cut(image, box, CropSpec(size=x2 - x1, scale=1.0))
    np.testing.assert_array_equal(exact, image[y1:y2, x1:x2])
    assert crop.source_from_crop(box, spec)[:, 2] == pytest.approx((x1, y1))


def test_unseen_points_blow_the_stored_box_up(tmp_path):
    points = landmarks((30, 30, 50, 50), rows=2)[:, :21]
    points[:, 5] = -1
    face = sample(write_face(tmp_path / "a.jpg", pt2d=points), (30, 30, 50, 50))
    box, _ = crops.apply("hopenet-pt2d", face, OWN)
    assert box.as_tuple() == pytest.approx(hopenet(-1, -1, *points.max(1)))


def test_the_stored_points_must_be_there(tmp_path):
    face = sample(write_face(tmp_path / "a.jpg", pt2d=None), (30, 30, 50, 50))
    with pytest.raises(DataError, match=r"a\.mat has no points pt2d"):
        crops.apply("hopenet-pt2d", face, OWN)
    with pytest.raises(DataError, match="no points pt2d"):
        crops.apply("hopenet-pt2d", sample(tmp_path / "nowhere.jpg", (30, 30, 50, 50)), OWN)
