import pytest

from headpose.datasets import w300lp
from headpose.errors import DataError
from headpose.images import read_image
from tests.datasets.labels import landmarks, write_face


@pytest.mark.parametrize(
    ("stem", "photograph"),
    [
        ("AFW_134212_1_0", "AFW_134212"),
        ("AFW_1051618982_1_12", "AFW_1051618982"),
        ("HELEN_100040721_2_3", "HELEN_100040721"),
        ("IBUG_image_003_1_0", "IBUG_image_003"),
        ("LFPW_image_train_0012_7", "LFPW_image_train_0012"),
        ("LFPW_image_test_0001_10", "LFPW_image_test_0001"),
        ("HELEN_100040721_2_3_Flip", "HELEN_100040721"),
        ("LFPW_image_train_0012_7_Flip", "LFPW_image_train_0012"),
    ],
)
def test_view_face_number_and_mirroring_are_not_part_of_the_photograph(stem, photograph):
    assert w300lp.source_photograph(stem) == photograph


@pytest.fixture
def layout(tmp_path):
    """The published folder: pictures two levels down, landmark files and code that are no samples."""
    for subset, stem in (
        ("AFW", "AFW_134212_1_0"),
        ("AFW", "AFW_134212_1_1"),
        ("AFW", "AFW_134212_2_0"),
        ("LFPW", "LFPW_image_train_0012_0"),
        ("LFPW", "LFPW_image_train_0013_0"),
    ):
        points = landmarks((12, 22, 48, 68), rows=2)
        for suffix in ("", "_Flip"):
            write_face(tmp_path / f"{subset}{suffix}" / f"{stem}.jpg", pt3d_68=None, pt2d=points)
    write_face(tmp_path / "landmarks" / "AFW" / "AFW_134212_1_0_pts.jpg").unlink()
    (tmp_path / "Code").mkdir()
    (tmp_path / "Code" / "main.m").write_text("disp(1)")
    return tmp_path


def test_every_subset_is_read_and_grouped_by_photograph(layout):
    samples = w300lp.read(layout)
    assert len(samples) == 10
    groups = [sample.group for sample in samples]
    assert groups.count("AFW_134212") == 6
    assert groups.count("LFPW_image_train_0012") == groups.count("LFPW_image_train_0013") == 2
    assert samples[0].box.as_tuple() == pytest.approx((12, 22, 48, 68))


def test_a_single_subset_is_read_alone(layout):
    assert {sample.image.parent.name for sample in w300lp.read(layout / "AFW_Flip")} == {"AFW_Flip"}
    assert len(w300lp.read(layout / "AFW_Flip")) == 3


def test_a_folder_without_labeled_pictures_is_an_error(tmp_path):
    (tmp_path / "HELEN").mkdir()
    with pytest.raises(DataError, match="no 300W-LP"):
        w300lp.read(tmp_path)
    with pytest.raises(DataError, match="cannot read the folder"):
        w300lp.read(tmp_path / "nowhere")


@pytest.mark.data
def test_helen_has_its_annotated_points_as_box(data_dir):
    samples = w300lp.read(data_dir / "helen")
    assert len(samples) == 870
    assert len({sample.group for sample in samples}) < 870
    # These pictures were cut to twice the tight box of the annotated points.
    for sample in samples[::40]:
        height, width = read_image(sample.image).shape[:2]
        assert sample.box.center == pytest.approx((width / 2, height / 2), abs=1.0)
        assert 2 * max(sample.box.width, sample.box.height) == pytest.approx(max(width, height), abs=2.0)
