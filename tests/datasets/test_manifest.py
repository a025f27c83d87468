import pytest

from headpose.datasets import manifest
from headpose.errors import DataError

HEADER = "image,x1,y1,x2,y2,yaw,pitch,roll"
FACE = "faces/a.jpg,1,2,30.5,40,10.5,-20,3"


@pytest.fixture
def write(tmp_path):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "a.jpg").write_bytes(b"not opened")

    def write(*lines, encoding="utf-8"):
        file = tmp_path / "labels.csv"
        file.write_text("\n".join(lines) + "\n", encoding=encoding)
        return file

    return write


def test_a_line_is_a_face(write, tmp_path):
    (sample,) = manifest.read(write(HEADER, FACE))
    assert sample.image == tmp_path / "faces" / "a.jpg"
    assert sample.box.as_tuple() == (1, 2, 30.5, 40)
    assert sample.euler == (10.5, -20, 3)
    assert sample.weight == 1
    assert sample.group == "faces/a"


def test_columns_go_by_name_and_unknown_ones_are_passed_over(write):
    (sample,) = manifest.read(
        write("roll,detected,pitch,yaw,y2,x2,y1,x1,image", "3,1,-20,10.5,40,30.5,2,1,faces/a.jpg")
    )
    assert sample.euler == (10.5, -20, 3)
    assert sample.box.as_tuple() == (1, 2, 30.5, 40)


def test_a_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_first_column(write):
    assert len(manifest.read(write(HEADER, FACE, encoding="utf-8-sig"))) == 1


def test_the_weight_falls_with_the_spread(write):
    samples = manifest.read(write(HEADER + ",spread", FACE + ",0", FACE + ",10", FACE + ",30"))
    assert [sample.weight for sample in samples] == pytest.approx([1.0, 0.5, 0.1])
    assert [sample.spread for sample in samples] == [0.0, 10.0, 30.0]
    (weighted,) = manifest.read(write(HEADER + ",weight", FACE + ",2.5"))
    assert (weighted.weight, weighted.spread) == (2.5, None)


def test_a_group_is_named_or_is_the_picture(write):
    samples = manifest.read(write(HEADER + ",group", FACE + ",album:7", FACE + ","))
    assert [sample.group for sample in samples] == ["album:7", "faces/a"]
    with pytest.raises(DataError, match="has the column group twice: keep one"):
        manifest.read(write(HEADER + ",group,group", FACE + ",a,b"))


@pytest.mark.parametrize("missing", HEADER.split(","))
def test_a_missing_column_is_named(write, missing):
    header = ",".join(name for name in HEADER.split(",") if name != missing)
    with pytest.raises(DataError, match=f"lacks the column {missing}:"):
        manifest.read(write(header, FACE))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("faces/a.jpg,1,2,30,40,ten,0,0", "yaw is not a number: 'ten'"),
        ("faces/a.jpg,1,2,30,40,nan,0,0", "yaw is out of range"),
        ("faces/a.jpg,1,2,30,40,0,inf,0", "pitch is out of range"),
        ("faces/a.jpg,1,2,30,40,0,0,4000", "roll is out of range"),
        ("faces/a.jpg,1,2,1e30,40,0,0,0", "x2 is out of range"),
        ("faces/a.jpg,1,2,30,40,0,0", "roll is not a number: None"),
        ("faces/a.jpg,1,2,30,40,,0,0", "yaw is not a number: ''"),
        ("faces/a.jpg,30,2,1,40,0,0,0", "box is empty"),
        ("faces/b.jpg,1,2,30,40,0,0,0", "there is no picture"),
        ("faces,1,2,30,40,0,0,0", "there is no picture"),
        (",1,2,30,40,0,0,0", "image is empty"),
        ("faces/a.jpg,1,2,30,40,12,5,-3,2,1,0", "more values than columns"),  # 12,5 for 12.5
    ],
)
def test_a_bad_line_is_an_error_with_its_number(write, line, says):
    with pytest.raises(DataError, match=f"labels.csv, line 3: .*{says}") as caught:
        manifest.read(write(HEADER, FACE, line))
    assert "\n" not in str(caught.value)


def test_a_line_may_end_with_a_comma_and_column_names_may_have_spaces(write):
    (sample,) = manifest.read(write(HEADER.replace(",", ", "), FACE + ",,"))
    assert sample.euler == (10.5, -20, 3)


def test_a_column_that_is_there_twice_is_an_error(write):
    with pytest.raises(DataError, match="has the column yaw twice"):
        manifest.read(write(HEADER + ",yaw", FACE + ",77"))
    assert len(manifest.read(write(HEADER + ",note,note", FACE + ",1,2"))) == 1


def test_degrees_that_a_line_calls_radians_are_out_of_range(write):
    with pytest.raises(DataError, match=r"line 2: yaw is out of range: 10\.5 radians"):
        manifest.read(write(HEADER + ",unit", FACE + ",radians"))
    (sample,) = manifest.read(write(HEADER + ",unit", "faces/a.jpg,1,2,30,40,-3.14,0.5,6.28,radians"))
    assert sample.euler == pytest.approx((-179.9, 28.65, 359.8), abs=0.05)


def test_other_separators_than_commas_are_reported(write):
    with pytest.raises(DataError, match=r"lacks the columns image, .* separated by commas"):
        manifest.read(write(HEADER.replace(",", ";"), FACE.replace(",", ";")))


@pytest.mark.parametrize("value", ["-1", "nan", "much"])
@pytest.mark.parametrize("column", ["spread", "weight"])
def test_a_bad_weight_is_an_error(write, column, value):
    with pytest.raises(DataError, match=f"line 2: {column}"):
        manifest.read(write(f"{HEADER},{column}", f"{FACE},{value}"))


def test_what_is_no_manifest_is_an_error(write, tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        manifest.read(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="a header and no faces"):
        manifest.read(write(HEADER))
    with pytest.raises(DataError, match="lacks the columns"):
        manifest.read(write(""))
    with pytest.raises(DataError, match="both spread and weight"):
        manifest.read(write(HEADER + ",spread,weight", FACE + ",1,1"))
    (tmp_path / "picture.csv").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00")
    with pytest.raises(DataError, match="not a CSV file"):
        manifest.read(tmp_path / "picture.csv")


@pytest.mark.data
def test_the_aflw_crops_are_read(data_dir):
    samples = manifest.read(data_dir / "aflw" / "labels.csv")
    assert len(samples) == 18_728
    assert samples[0].euler == (10.827, 17.427, -0.464)
    assert 0 < min(sample.weight for sample in samples) < 0.2
    assert max(sample.weight for sample in samples) > 0.99
