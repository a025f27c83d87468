"""Labels that can be read and cannot be true are refused, wherever they are read."""

import math
import struct

import cv2
import numpy as np
import pytest

from headpose.cli import main
from headpose.datasets import aflw2000, manifest, w300lp
from headpose.errors import DataError
from headpose.evaluation import testsets
from tests.datasets.labels import POSE, landmarks, write_face

HEADER = "image,x1,y1,x2,y2,yaw,pitch,roll"
DEGREES = [
    (37.7, -29.7, -19.7),
    (-66.7, -25.0, 19.0),
    (55.3, -34.7, 48.4),
    (0.0, 2.5, -3.0),
    (12.0, 8.0, 1.0),
    (4, 1, 2),
]
RADIANS = [tuple(math.radians(angle) for angle in each) for each in DEGREES]


def write_pictures(folder, width=64, height=48):
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    for suffix in ("jpg", "png", "bmp", "webp"):
        assert cv2.imwrite(str(folder / f"a.{suffix}"), noise)
    return folder


def write(folder, angles, box="10,10,40,40", picture="a.jpg", unit=None):
    """A manifest with a face for each triple of angles."""
    lines = [HEADER + (",unit" if unit else "")]
    lines += [",".join([picture, box, *map(str, each), *([unit] if unit else [])]) for each in angles]
    file = folder / "labels.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture
def folder(tmp_path):
    return write_pictures(tmp_path / "pictures")


def one_line(read, *arguments):
    with pytest.raises(DataError, match=r"\w") as caught:
        read(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("read", [manifest.read, testsets.read])
def test_angles_in_radians_are_refused(folder, read):
    told = one_line(read, write(folder, RADIANS))
    assert "labels.csv: no angle of its 6 faces is larger than 1.16: they look like radians" in told
    assert "add a column unit" in told
    assert len(manifest.read(write(folder, DEGREES))) == 6


def test_angles_from_0_to_2_pi_are_refused_too(folder):
    wrapped = [tuple(angle % (2 * math.pi) for angle in each) for each in RADIANS]
    assert max(max(each) for each in wrapped) > math.pi
    assert "look like radians" in one_line(manifest.read, write(folder, wrapped))


def test_one_face_that_is_turned_by_degrees_makes_them_degrees(folder):
    assert len(manifest.read(write(folder, [*RADIANS, (3.2, 0, 0)]))) == 7
    assert "radians" in one_line(manifest.read, write(folder, [*RADIANS, (3.1, 0, -3.1)]))


def test_few_faces_and_faces_that_all_look_ahead_are_no_alarm(folder):
    assert len(manifest.read(write(folder, RADIANS[:4]))) == 4
    assert len(manifest.read(write(folder, [(0, 0, 0)] * 30))) == 30
    assert "radians" in one_line(manifest.read, write(folder, RADIANS[:5]))


def test_a_column_says_what_the_unit_is(folder):
    as_degrees = manifest.read(write(folder, RADIANS, unit="degrees"))
    assert as_degrees[0].euler == pytest.approx(RADIANS[0])
    as_radians = manifest.read(write(folder, RADIANS, unit="radians"))
    assert as_radians[1].euler == pytest.approx(DEGREES[1])
    assert "line 2: unit is degrees or radians, got 'turns'" in one_line(
        manifest.read, write(folder, RADIANS, unit="turns")
    )


@pytest.mark.parametrize("picture", ["a.jpg", "a.png", "a.bmp", "a.webp"])
@pytest.mark.parametrize(
    "box",
    [
        "5015,5014,5049,5049",
        "64,10,90,40",
        "10,48,40,80",
        "-30,-30,0,0",
        "-3000,10,30,40",  # 1 % of it is on the picture
        "10,10,40,4000",
    ],
)
def test_a_box_outside_of_its_picture_is_refused(folder, picture, box):
    told = one_line(manifest.read, write(folder, DEGREES, box, picture))
    shown = ", ".join(box.split(","))
    assert f"labels.csv, line 2: the box {shown} lies outside of the 64 x 48 picture {picture}" in told


@pytest.mark.parametrize("box", ["0,0,64,48", "-10,-10,30,30", "40,20,80,60", "-20,-20,84,68", "1,1,4,4"])
def test_a_box_may_reach_out_of_its_picture(folder, box):
    for picture in ("a.jpg", "a.png", "a.webp"):
        assert len(manifest.read(write(folder, DEGREES, box, picture))) == 6


@pytest.mark.parametrize("box", ["0.1,0.2,0.5,0.9", "0,0,1,1", "-0.1,0.2,1.1,1.2"])
def test_boxes_in_shares_of_the_picture_are_refused(folder, box):
    assert "it looks like shares of the picture" in one_line(manifest.read, write(folder, DEGREES, box))


def test_the_row_that_is_wrong_is_named(folder):
    file = write(folder, DEGREES)
    lines = file.read_text().splitlines()
    lines[4] = "a.png,900,900,950,950,10,20,30"
    file.write_text("\n".join(lines) + "\n")
    assert "labels.csv, line 5: the box 900, 900, 950, 950" in one_line(manifest.read, file)


def with_orientation(jpeg, orientation):
    """A JPEG with an EXIF segment that turns it."""
    tiff = b"MM\x00*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def test_a_picture_that_exif_turns_has_the_turned_size(folder):
    upright = write_pictures(folder, 100, 40) / "a.jpg"
    turned = folder / "turned.jpg"
    turned.write_bytes(with_orientation(upright.read_bytes(), 6))  # 40 x 100 as it is read
    assert len(manifest.read(write(folder, DEGREES, "2,60,38,98", "turned.jpg"))) == 6
    assert "100 x 40" in one_line(manifest.read, write(folder, DEGREES, "2,140,38,198", "a.jpg"))
    assert "40 x 100" in one_line(manifest.read, write(folder, DEGREES, "2,140,38,198", "turned.jpg"))


def tables_first(jpeg):
    """The same JPEG with its Huffman tables before the frame that has the size, and padding between segments."""
    segments, at = [], 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        segments.append(jpeg[at:end])
        at = end
    tables = [each for each in segments if each[1] == 0xC4]
    others = [each for each in segments if each[1] != 0xC4]
    assert tables
    return jpeg[:2] + b"".join(b"\xff\xff" + each for each in (*tables, *others)) + jpeg[at:]


def test_the_size_is_the_frames_wherever_it_stands(folder):
    (folder / "a.jpg").write_bytes(tables_first((folder / "a.jpg").read_bytes()))
    # As a size, the first table would read 1281 x 1.
    assert "64 x 48" in one_line(manifest.read, write(folder, DEGREES, "100,0,140,2.5"))
    assert len(manifest.read(write(folder, DEGREES))) == 6


def test_a_picture_without_a_header_is_left_to_its_reader(folder):
    for content in (b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x10", b"\x89PNG\r\n\x1a\n", b"text"):
        (folder / "a.jpg").write_bytes(content)
        assert len(manifest.read(write(folder, DEGREES))) == 6


@pytest.mark.parametrize("read", [w300lp.read, aflw2000.read])
def test_pose_para_in_degrees_is_refused(tmp_path, read):
    for number in range(4):
        degrees = POSE.copy()
        degrees[0, :3] = (-20.0 + number, 30.0, 5.0)
        write_face(tmp_path / f"image{number}.jpg", Pose_Para=degrees)
    told = one_line(read, tmp_path)
    assert "Pose_Para is beyond 2 pi in 4 of 4 files, image0.mat the first: it looks like degrees" in told


def test_one_wild_label_among_many_is_a_label(tmp_path):
    wild = POSE.copy()
    wild[0, 2] = 17.0  # as AFLW2000-3D has
    for number in range(12):
        write_face(tmp_path / f"image{number:02}.jpg", Pose_Para=wild if number == 3 else POSE)
    assert len(aflw2000.read(tmp_path)) == 12


@pytest.mark.parametrize("read", [w300lp.read, aflw2000.read])
def test_landmarks_outside_of_the_picture_are_refused(tmp_path, read):
    write_face(tmp_path / "image1.jpg", pt3d_68=landmarks((500, 500, 550, 560)))
    assert "image1.mat: the box 500, 500, 550, 560 lies outside of the 80 x 80 picture" in one_line(read, tmp_path)
    write_face(tmp_path / "image1.jpg", pt3d_68=landmarks((0.1, 0.1, 0.8, 0.9)))
    assert "image1.mat" in one_line(read, tmp_path)


def test_a_training_does_not_begin_on_them(folder, tmp_path, capsys):
    for angles, box, says in (
        (RADIANS, "10,10,40,40", "look like radians"),
        (DEGREES, "99,99,140,140", "lies outside"),
    ):
        path = f"data.sources.0.path={write(folder, angles, box)}"
        assert main(["train", "compact-clean", "--out", str(tmp_path / "run"), "--set", path]) == 1
        err = capsys.readouterr().err
        assert says in err
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
