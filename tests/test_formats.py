"""What a file is by its content, and what is refused before it is decoded."""

from __future__ import annotations

import functools
import io
import json
import struct
import sys

import cv2
import numpy as np
import pytest

from headpose import formats, images
from headpose.errors import ImageError
from tests import memory
from tests.picture_files import FORMATS, HEIF, WHOLE, claiming, encoded, with_pillow

MEASURE = """
import json, sys
import cv2
from headpose import images
from headpose.errors import ImageError

try:
    import PIL.AvifImagePlugin, PIL.ImageOps, pillow_heif  # not what is measured
except ImportError:
    pass
found = {}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    before = peak_mb()
    try:
        message = str(images.read_image(path).shape)
    except ImageError as error:
        message = str(error)
    found[path.name] = [message, peak_mb() - before]
print(json.dumps(found))
"""


@pytest.fixture
def picture():
    """(96, 160, 3), its quarters blue, green, red and white: no two orientations look alike."""
    image = np.zeros((96, 160, 3), np.uint8)
    image[:48, :80], image[:48, 80:], image[48:, :80], image[48:, 80:] = (
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 255),
    )
    return image


def assert_alike(read, expected):
    """The same size, and the same colors in the middle of each quarter."""
    assert read.dtype == np.uint8 and read.shape == expected.shape
    step = read.shape[0] // 4, read.shape[1] // 4
    middles = np.s_[step[0] :: 2 * step[0], step[1] :: 2 * step[1]]
    assert np.abs(read[middles].astype(int) - expected[middles]).max() < 30


@pytest.mark.parametrize("kind", WHOLE + HEIF)
def test_a_format_is_known_by_its_content_and_read_whole(tmp_path, picture, kind):
    data = encoded(kind, picture)
    assert formats.picture_format(data[: formats.HEAD_BYTES]) == FORMATS[kind.split(".")[-1]]
    (tmp_path / "a.mp4").write_bytes(data)
    assert images.is_picture(tmp_path / "a.mp4")
    assert_alike(images.read_image(tmp_path / "a.mp4"), picture)
    header = formats.read_header(data)
    assert header.frames == 1
    if kind not in HEIF:
        assert (header.height, header.width) == picture.shape[:2]


def ftyp(*brands):
    body = brands[0] + bytes(4) + b"".join(brands[1:])
    return struct.pack(">I", 8 + len(body)) + b"ftyp" + body


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (ftyp(b"heic", b"mif1", b"heic"), "HEIC"),
        (ftyp(b"heix", b"mif1"), "HEIC"),
        (ftyp(b"mif1", b"mif1", b"heic"), "HEIC"),
        (ftyp(b"mif1", b"miaf", b"avif"), "AVIF"),
        (ftyp(b"avif", b"mif1", b"miaf"), "AVIF"),
        (ftyp(b"avis", b"avif", b"msf1"), "AVIF"),
        (ftyp(b"isom", b"avif"), "AVIF"),
        (ftyp(b"isom", b"heic"), "HEIC"),
        (ftyp(b"isom", b"iso2", b"avc1", b"mp41"), None),
        (ftyp(b"mp42", b"mif1", b"isom"), None),  # a film that is a picture's companion
        (ftyp(b"qt  "), None),
        (ftyp(b"isom", b"mp41") + b"heicavif", None),  # behind the box
        (b"\xff\x0a" + bytes(60), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "JPEG XL"),
        (b"#?RADIANCE\n", "Radiance HDR"),
        (b"BM, the German car maker, is a text of more than eighteen bytes", None),
        (b"P5, a text", None),
        (b"RIFF\0\0\0\0AVI LIST", None),
        (b"\x1aE\xdf\xa3" + bytes(60), None),
        (b"", None),
    ],
)
def test_brands_and_signatures(head, expected):
    assert formats.picture_format(head) == expected


@pytest.mark.parametrize("head", [b"\xff\x0a", b"#?RGBE\n", b"PF\n", b"P7\nWIDTH 4\n", b"8BPS", b"\x76\x2f\x31\x01"])
def test_a_known_format_that_is_not_read_is_refused_by_its_name(head):
    with pytest.raises(ImageError, match="save it as PNG or JPEG"):
        images.decode_image(head + bytes(200))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF"])
def test_an_animation_is_refused_with_its_number_of_frames(picture, form):
    data = with_pillow(form, [picture, picture[::-1], picture[:, ::-1]], duration=100)
    with pytest.raises(ImageError, match=r"^it is an animation of 3 frames.*convert it to a video"):
        images.decode_image(data, "it")


def test_a_webp_animation_of_one_frame_is_a_picture(picture):
    data = with_pillow("WEBP", [picture, picture[::-1]])
    second = data.rindex(b"ANMF")
    one = b"RIFF" + struct.pack("<I", second - 8) + data[8:second]
    assert_alike(images.decode_image(one), picture)


def test_a_heif_sequence_is_refused(picture):
    data = ftyp(b"hevc", b"msf1") + encoded("heic", picture)
    with pytest.raises(ImageError, match="animation"):
        images.decode_image(data)


def test_pages_of_a_tiff_are_refused_and_copies_of_its_first_are_not(picture):
    two = with_pillow("TIFF", [picture, picture[::-1]])
    with pytest.raises(ImageError, match="TIFF of 2 pages"):
        images.decode_image(two)
    (first,) = struct.unpack_from("<I", two, 4)
    assert_alike(images.decode_image(as_thumbnail(two, next_page(two, first))), picture)
    with pytest.raises(ImageError, match="thumbnail, as in a camera's raw file"):
        images.decode_image(as_thumbnail(two, first))


def next_page(tiff, position):
    count = int.from_bytes(tiff[position : position + 2], "little")
    return int.from_bytes(tiff[position + 2 + 12 * count :][:4], "little")


def as_thumbnail(tiff, position):
    """The first tag of a page, its width, moved in place of the second's; before it NewSubfileType."""
    changed = bytearray(tiff)
    count = int.from_bytes(tiff[position : position + 2], "little")
    entries = [tiff[position + 2 + 12 * i : position + 14 + 12 * i] for i in range(count)]
    dropped = next(i for i, entry in enumerate(entries) if entry[:2] in (b"\x1c\1", b"\x31\1"))  # not needed
    entries.insert(0, struct.pack("<HHII", 254, 4, 1, 1))
    del entries[dropped + 1]
    changed[position + 2 : position + 2 + 12 * count] = b"".join(entries)
    return bytes(changed)


def tiff(*pages):
    """The headers of a TIFF: {tag: number} of each page, without pixels."""
    data = b"II*\0" + struct.pack("<I", 8)
    for index, tags in enumerate(pages):
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, number) for tag, number in sorted(tags.items()))
        follows = len(data) + 2 + len(entries) + 4 if index + 1 < len(pages) else 0
        data += struct.pack("<H", len(tags)) + entries + struct.pack("<I", follows)
    return data


@pytest.mark.parametrize(
    ("tags", "size"),
    [
        ({}, (160, 96)),
        ({322: 8192, 323: 64}, (8192, 96)),  # one tile is wider than the picture
        ({322: 64, 323: 8192}, (160, 8192)),
        ({278: 5000}, (160, 5000)),  # a strip has more rows
        ({278: 2**32 - 1}, (160, 96)),  # all rows
    ],
)
def test_the_size_of_a_tiff_is_that_of_its_buffer(tags, size):
    header = formats.read_header(tiff({256: 160, 257: 96, 258: 8, 262: 1, 277: 1} | tags))
    assert (header.width, header.height) == size


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff(*[{256: 9, 257: 9}] + [{254: 1, 256: 9, 257: 9}] * 150), "more than 100 pages"),
        (tiff(dict.fromkeys(range(5000), 1)), "makes no sense"),
        (b"II*\0" + bytes(100), "makes no sense"),
        (b"II*\0\xff\xff\xff\xff" + bytes(100), "cut short"),
        (b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(100), "cut short"),
    ],
)
def test_a_tiff_without_end_or_sense_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        formats.read_header(data)


def test_a_tiff_of_floats_is_refused(picture):
    done, data = cv2.imencode(".tif", picture.astype(np.float32) / 255)
    assert done
    with pytest.raises(ImageError, match="32 bits a channel"):
        images.decode_image(data.tobytes())


def test_a_tiff_whose_pages_go_round_in_a_circle_ends(picture):
    data = bytearray(encoded("tif", picture))
    (first,) = struct.unpack_from("<I", data, 4)
    count = int.from_bytes(data[first : first + 2], "little")
    struct.pack_into("<I", data, first + 2 + 12 * count, first)
    assert formats.read_header(bytes(data)).frames == 1


@pytest.mark.parametrize("kind", ["jpg", "progressive.jpg"])
def test_a_jpeg_of_endless_scans_is_refused(picture, kind):
    data = encoded(kind, picture)
    start = data.rindex(b"\xff\xda")
    images.decode_image(data)
    with pytest.raises(ImageError, match="scans"):
        images.decode_image(data[:-2] + data[start:-2] * 100 + data[-2:])


def test_marks_without_a_segment_hide_no_size(picture):
    """FF 01 has no length behind it: taken for one it would hide the real size, and show another."""
    data = encoded("jpg", picture)
    hidden = data[:2] + b"\xff\x01" + claiming("jpg", data, 20_000)[2:]
    with pytest.raises(ImageError, match="too large: 20000 x 20000"):
        images.decode_image(hidden)


@pytest.mark.parametrize("kind", WHOLE + HEIF)
def test_the_limit_is_in_pixels(picture, kind, monkeypatch):
    data = encoded(kind, picture)
    assert images.decode_image(data, max_pixels=96 * 160).shape == picture.shape
    with pytest.raises(ImageError, match="too large: 160 x 96 pixels, and the limit is 15,359"):
        images.decode_image(data, max_pixels=96 * 160 - 1)
    monkeypatch.setenv("HEADPOSE_MAX_PIXELS", "15359")
    with pytest.raises(ImageError, match="HEADPOSE_MAX_PIXELS"):
        images.decode_image(data)
    assert images.decode_image(data, max_pixels=96 * 160).shape == picture.shape


@pytest.mark.parametrize("text", ["many", "-5", "0", "1e8"])
def test_a_limit_that_is_no_number_of_pixels_is_an_error(picture, text, monkeypatch):
    monkeypatch.setenv("HEADPOSE_MAX_PIXELS", text)
    with pytest.raises(ImageError, match="set it to a number of pixels"):
        images.decode_image(encoded("png", picture))


def bombs(picture):
    side = {"webp": 16383, "lossless.webp": 16384, "avif": 16000}
    files = {kind: claiming(kind, encoded(kind, picture), side.get(kind, 20_000)) for kind in WHOLE + HEIF}
    strip = bytearray(encoded("tif", picture))  # a picture of 160 x 96 whose strips have 5 million rows
    at = strip.index(struct.pack("<HH", 278, 4)) if struct.pack("<HH", 278, 4) in strip else strip.index(b"\x16\1\3\0")
    struct.pack_into("<HII", strip, at + 2, 4, 1, 5_000_000)
    return files | {"strip.tif": bytes(strip)}


def test_what_claims_to_be_huge_is_refused_without_the_memory_for_it(tmp_path, picture):
    for name, data in bombs(picture).items():
        (tmp_path / name).write_bytes(data)
    found = json.loads(memory.output_of(MEASURE, tmp_path))
    assert len(found) == len(WHOLE + HEIF) + 1
    for name, (message, megabytes) in found.items():
        assert "is too large: " in message, name
        assert megabytes < 40, name  # decoded they take 800 MB and more


def test_a_gif_counts_by_its_largest_frame(picture):
    data = bytearray(encoded("gif", picture))
    descriptor = data.index(b"\x2c" + struct.pack("<HHHH", 0, 0, 160, 96))
    struct.pack_into("<HHHH", data, descriptor + 1, 100, 0, 20_000, 20_000)
    with pytest.raises(ImageError, match="too large: 20100 x 20000"):
        images.decode_image(bytes(data))


def test_a_jpeg_2000_of_many_channels_is_refused(picture):
    data = bytearray(encoded("jp2", picture))
    start = data.index(b"\xff\x4f\xff\x51")
    assert data[start + 40 : start + 42] == b"\0\3"
    data[start + 40] = 64  # times 256
    with pytest.raises(ImageError, match="16387 channels"):
        images.decode_image(bytes(data))


@pytest.mark.parametrize("channels", ["grey", "alpha"])
def test_grey_and_alpha_in_heic_and_avif(picture, channels):
    pillow_heif, pillow = pytest.importorskip("pillow_heif"), pytest.importorskip("PIL.Image")
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    alpha = np.dstack([picture[..., ::-1], np.full(picture.shape[:2], 40, np.uint8)])
    stored = pillow.fromarray(grey if channels == "grey" else alpha)
    expected = np.dstack([grey] * 3) if channels == "grey" else picture
    for save in (pillow_heif.from_pillow(stored).save, functools.partial(stored.save, format="AVIF")):
        file = io.BytesIO()
        save(file, quality=95)
        assert_alike(images.decode_image(file.getvalue()), expected)


@pytest.mark.parametrize("orientation", [2, 3, 6, 8, 5])
@pytest.mark.parametrize("kind", ["jpg", "grid.heic", "avif"])
def test_every_orientation_of_heic_and_avif_is_that_of_a_jpeg(picture, kind, orientation):
    pillow = pytest.importorskip("PIL.Image")
    exif = pillow.Exif()
    exif[0x0112] = orientation
    if kind == "jpg":
        data = with_pillow("JPEG", [picture], exif=exif)
    else:  # their writers turn the tag into the boxes irot and imir
        data = encoded(kind, picture, exif=exif.tobytes())
        assert b"irot" in data or b"imir" in data
    turned = {
        2: picture[:, ::-1],
        3: np.rot90(picture, 2),
        5: np.swapaxes(picture, 0, 1),
        6: np.rot90(picture, -1),
        8: np.rot90(picture, 1),
    }
    assert_alike(images.decode_image(data), turned[orientation])


@pytest.mark.parametrize("channels", [1, 3])
def test_heic_of_more_than_8_bits(picture, channels):
    pillow_heif = pytest.importorskip("pillow_heif")
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    mode, values = ("I;16", grey) if channels == 1 else ("BGR;16", picture)
    file = io.BytesIO()
    pillow_heif.from_bytes(mode, (160, 96), (values.astype(np.uint16) * 257).tobytes()).save(file, quality=95)
    assert_alike(images.decode_image(file.getvalue()), picture if channels == 3 else np.dstack([grey] * 3))


@pytest.mark.parametrize("kind", HEIF)
def test_a_cut_or_damaged_heic_or_avif_is_an_error(picture, kind):
    data = encoded(kind, picture)
    for kept in (0.1, 0.6, 0.95, 0.999):
        with pytest.raises(ImageError, match=r"^it is cut short"):
            images.decode_image(data[: int(len(data) * kept)], "it")
    with pytest.raises(ImageError, match=r"^it is not an? (HEIC|AVIF) picture that can be read"):
        images.decode_image(data.replace(b"pitm", b"none"), "it")
    assert_alike(images.decode_image(data + b"a motion photo's trailer"), picture)
    long = struct.pack(">I4sQ", 1, b"mdat", 16 + 50)  # a box whose size takes 64 bits
    assert_alike(images.decode_image(data + long + bytes(50)), picture)
    with pytest.raises(ImageError, match=r"^it is cut short"):
        images.decode_image(data + long + bytes(49), "it")


@pytest.mark.parametrize(("kind", "module"), [("heic", "pillow_heif"), ("avif", "PIL")])
def test_without_the_library_the_extra_is_named(picture, kind, module, monkeypatch):
    data = encoded(kind, picture)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImageError, match=rf"it is {kind.upper()}, which needs .*install '\.\[heif\]' in a checkout"):
        images.decode_image(data, "it")


def test_noise_in_a_file_gives_a_picture_or_an_image_error(picture, monkeypatch):
    monkeypatch.setenv("HEADPOSE_MAX_PIXELS", "100000")
    rng = np.random.default_rng(3)
    refused = 0
    for kind in WHOLE:
        whole = np.frombuffer(encoded(kind, picture), np.uint8)
        for _ in range(150):
            noisy = whole.copy()
            noisy[rng.integers(0, min(len(noisy), 120), 3)] = rng.integers(0, 256, 3)
            try:
                images.decode_image(noisy.tobytes()[: rng.integers(1, 2 * len(noisy))])
            except ImageError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > 800


def test_what_is_no_picture_is_not_read_to_its_end(tmp_path):
    film = tmp_path / "film.jpg"
    film.write_bytes(ftyp(b"isom", b"mp41"))
    with film.open("r+b") as file:
        file.truncate(1 << 40)  # a hole: read, it would not fit into any memory
    with pytest.raises(ImageError, match="not a picture"):
        images.read_image(film)
    with film.open("r+b") as file:
        file.write(b"\xff\xd8\xff\xe0")
    with pytest.raises(ImageError, match="too large: 1048576 MB"):
        images.read_image(film)
