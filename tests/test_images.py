"""Every kind of picture file, whole and broken. Files are made here by OpenCV, or byte by byte."""

from __future__ import annotations

import os
import struct
import zlib

import cv2
import numpy as np
import pytest

from headpose import images
from headpose.errors import HeadPoseError, ImageError


def encoded(image, suffix, *options):
    ok, data = cv2.imencode(suffix, image, list(options))
    assert ok
    return data.tobytes()


@pytest.fixture
def picture():
    """(40, 60, 3), its quarters blue, green, red and white: no two orientations look alike."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:20, :30], image[:20, 30:], image[20:, :30], image[20:, 30:] = (
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 255),
    )
    return image


def with_exif(jpeg, orientation, thumbnail=b""):
    """A JPEG with an EXIF segment that has an orientation, and a thumbnail's bytes behind it."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0) + thumbnail
    content = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".webp", ".jpg"])
def test_formats(tmp_path, picture, suffix):
    path = tmp_path / f"picture{suffix}"
    images.write_image(path, picture)
    read = images.read_image(path)
    assert read.dtype == np.uint8
    lossy = suffix in (".jpg", ".webp")
    middles = np.s_[10::20, 15::30]
    np.testing.assert_allclose(read[middles].astype(int), picture[middles], atol=6 if lossy else 0)


def test_names_beyond_ascii(tmp_path, picture):
    path = tmp_path / "Ünïcödé 写真 😀.png"
    images.write_image(path, picture)
    np.testing.assert_array_equal(images.read_image(path), picture)
    assert images.list_images(tmp_path) == [path]


def test_grey_becomes_three_equal_channels():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    read = images.decode_image(encoded(grey, ".png"))
    np.testing.assert_array_equal(read, np.repeat(grey[..., None], 3, -1))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_become_8(suffix, channels):
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16, 1).repeat(channels, -1) * 257
    read = images.decode_image(encoded(levels, suffix))
    assert read.shape == (16, 16, 3) and read.dtype == np.uint8
    np.testing.assert_allclose(read[..., 0].ravel(), np.arange(256), atol=1)


def test_alpha_is_dropped(picture):
    alpha = np.dstack([picture, np.full(picture.shape[:2], 40, np.uint8)])
    np.testing.assert_array_equal(images.decode_image(encoded(alpha, ".png")), picture)


def test_cmyk(tmp_path, picture):
    pillow = pytest.importorskip("PIL.Image")
    path = tmp_path / "cmyk.jpg"
    pillow.fromarray(picture[..., ::-1]).convert("CMYK").save(path, quality=95)
    read = images.read_image(path)
    middles = np.s_[10::20, 15::30]
    np.testing.assert_allclose(read[middles].astype(int), picture[middles], atol=12)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda stored: stored),
        (2, lambda stored: stored[:, ::-1]),
        (3, lambda stored: np.rot90(stored, 2)),
        (6, lambda stored: np.rot90(stored, -1)),  # stored lying on its left side: turn it clockwise
        (8, lambda stored: np.rot90(stored, 1)),
    ],
)
def test_exif_orientation_is_applied(picture, orientation, upright):
    read = images.decode_image(with_exif(encoded(picture, ".jpg"), orientation))
    expected = upright(picture)
    assert read.shape == expected.shape
    assert np.abs(read[5::10, 5::10].astype(int) - expected[5::10, 5::10]).max() < 12


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)])
def test_a_cut_jpeg_is_an_error_never_a_half_grey_picture(photo, options, kept):
    data = encoded(photo, ".jpg", *options)
    assert images.decode_image(data).shape == photo.shape
    with pytest.raises(ImageError, match=r"^it is cut short"):
        images.decode_image(data[: int(len(data) * kept)], "it")


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture(photo):
    data = with_exif(encoded(photo, ".jpg"), 1, thumbnail=encoded(photo[::8, ::8], ".jpg"))
    assert images.decode_image(data).shape == photo.shape
    with pytest.raises(ImageError, match="cut short"):
        images.decode_image(data[:-1000])


def test_what_follows_a_jpeg_does_not_matter(photo):
    assert images.decode_image(encoded(photo, ".jpg") + b"a motion photo's video").shape == photo.shape


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif", ".ppm"])
@pytest.mark.parametrize("kept", [0.3, 0.99])
def test_other_cut_pictures_are_errors(photo, suffix, kept, capfd):
    data = encoded(photo, suffix)
    with pytest.raises(ImageError, match=r"cut short|damaged"):
        images.decode_image(data[: int(len(data) * kept)])
    assert "libpng" not in capfd.readouterr().err


def test_a_damaged_png_is_an_error_and_libpng_keeps_silent(photo, capfd):
    data = bytearray(encoded(photo, ".png"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageError, match="damaged"):
        images.decode_image(bytes(data))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"hello, I am a text file\n" * 20, "not a picture"),
        (bytes(1000), "not a picture"),
        (b"\xff\xd8", "cut short"),
        (b"\x89PNG\r\n\x1a\n", "cut short"),
    ],
)
def test_what_is_no_picture_is_an_error(data, message):
    with pytest.raises(ImageError, match=message):
        images.decode_image(data)


def test_one_pixel():
    assert images.decode_image(encoded(np.full((1, 1, 3), 9, np.uint8), ".png")).tolist() == [[[9, 9, 9]]]


def test_108_million_pixels(tmp_path):
    path = tmp_path / "large.jpg"
    path.write_bytes(encoded(np.full((9000, 12000, 3), 120, np.uint8), ".jpg"))
    assert images.read_image(path).shape == (9000, 12000, 3)


def test_a_picture_beyond_the_decoders_limit_is_an_error_in_a_line():
    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="too large"):
        images.decode_image(data)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        images.read_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        images.read_image(tmp_path)


def test_list_images_sorts_by_name_and_takes_pictures_only(tmp_path, picture):
    for name in ("b.PNG", "a.jpg", "c10.bmp", "c9.webp"):
        images.write_image(tmp_path / name, picture)
    for name in ("notes.txt", ".hidden.jpg"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    assert [path.name for path in images.list_images(tmp_path)] == ["a.jpg", "b.PNG", "c10.bmp", "c9.webp"]


def test_a_folder_passes_over_no_kind_of_picture(tmp_path):
    endings = ("heic", "HEIF", "hif", "avif", "gif", "apng", "jfif", "mpo", "jp2", "png")
    for name in (*(f"a.{ending}" for ending in endings), "b.mp4", "notes", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in images.list_images(tmp_path)] == sorted(f"a.{ending}" for ending in endings)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path):
    with pytest.raises(ImageError, match="folder"):
        images.list_images(tmp_path / ("long" * 1000))
    if os.name == "posix" and os.geteuid() != 0:  # root may read everything
        tmp_path.chmod(0)
        with pytest.raises(ImageError, match="cannot read the folder"):
            images.list_images(tmp_path)
        tmp_path.chmod(0o700)


def test_a_folder_without_pictures_is_an_error(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ImageError, match="no picture"):
        images.list_images(tmp_path)
    with pytest.raises(ImageError, match="not a folder"):
        images.list_images(tmp_path / "notes.txt")


@pytest.mark.parametrize("name", ["picture", "picture.xyz", "picture.mp4"])
def test_writing_an_unknown_format_is_an_error(tmp_path, picture, name):
    assert not images.is_writable_format(name)
    with pytest.raises(HeadPoseError, match="no picture format"):
        images.write_image(tmp_path / name, picture)
    assert list(tmp_path.iterdir()) == []


def test_a_format_whose_encoder_is_switched_off_is_an_error_in_a_line(tmp_path, photo):
    """As OpenEXR's in the wheels; where it is on, the file is written."""
    try:
        images.write_image(tmp_path / "a.exr", photo)
    except HeadPoseError as error:
        assert "no picture format; use .jpg or .png" in str(error)
    else:
        assert (tmp_path / "a.exr").exists()
