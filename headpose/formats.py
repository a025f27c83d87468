"""Detect image formats and read image headers without decoding: format, size and number of frames.

File names are ignored. Sizes are those for which the decoder allocates memory.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

HEAD_BYTES = 64
"""Number of bytes at the start of a file that ``picture_format`` needs."""

READ_ONLY_BY_NAME = frozenset({"JPEG XL", "OpenEXR", "Radiance HDR", "PFM", "PAM", "Sun raster", "Photoshop"})
"""Formats that are recognized but not supported."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_JPEG2000_START = b"\xff\x4f\xff\x51"
_SIGNATURES = (
    (b"\xff\xd8", "JPEG"),
    (_PNG_SIGNATURE, "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (_JP2_SIGNATURE, "JPEG 2000"),
    (_JPEG2000_START, "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"PF\n", "PFM"),
    (b"Pf\n", "PFM"),
    (b"P7\n", "PAM"),
    (b"\x59\xa6\x6a\x95", "Sun raster"),
    (b"8BPS", "Photoshop"),
)
_BMP_HEADERS = {12, *range(36, 256)}  # header sizes in bytes; 12 is OS/2
# Brands of ISO/IEC 23008-12 (HEIF) and of the AV1 image format.
_AVIF = frozenset({b"avif", b"avis"})
_HEIF_SEQUENCES = frozenset({b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"})
_HEIF_CODED = frozenset({b"heic", b"heix", b"heim", b"heis"})
_HEIF = _HEIF_SEQUENCES | _HEIF_CODED | {b"mif1", b"mif2", b"avci", b"avcs", b"jpeg", b"jpgs", b"j2ki", b"vvic"}

_HEIF_BOXES = (b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid")  # top-level boxes

_PNM_SIZE = re.compile(rb"P[1-6](?:\s|#[^\r\n]*[\r\n])+(\d{1,10})(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})")
# In the coded data of a JPEG, FF 00 is a literal FF, FF D0 to FF D7 are restart markers and FF FF is padding. Any other
# FF xx starts the next segment.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_END, _JPEG_SCAN, _JPEG_BARE = 0xD9, 0xDA, (0x01, 0xD8)
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MOST_SCANS = 100  # progressive JPEGs have about ten; decoding each scan takes as long as a whole image
# TIFF tags.
_KIND, _WIDTH, _HEIGHT, _BITS, _STRIP_ROWS, _TILE_WIDTH, _TILE_HEIGHT = _TIFF_TAGS = (254, 256, 257, 258, 278, 322, 323)
_TIFF_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_PART = 0b101  # bits of NewSubfileType: a reduced copy or a mask of another page
_MOST_PAGES, _MOST_TAGS = 100, 4096
_CUT_SHORT = "cut short: the end of the picture is missing"
_DAMAGED = "damaged: its header makes no sense"


@dataclass(frozen=True, slots=True)
class Header:
    """Content of an image header.

    Attributes:
        format: Format as returned by ``picture_format``.
        width: Width of the stored image in pixels, before the orientation is applied; 0 for HEIC and AVIF.
        height: Height of the stored image in pixels, before the orientation is applied; 0 for HEIC and AVIF.
        frames: Number of frames or pages, without thumbnails.
    """

    format: str
    width: int
    height: int
    frames: int = 1


def picture_format(head: bytes) -> str | None:
    """Detect the format of an image file, including unsupported formats.

    Args:
        head: First ``HEAD_BYTES`` bytes of the file, or the whole file if it is shorter.

    Returns:
        ``JPEG``, ``PNG``, ``GIF``, ``WebP``, ``BMP``, ``TIFF``, ``JPEG 2000``, ``PNM``, ``HEIC``, ``AVIF`` or one of
        ``READ_ONLY_BY_NAME``; None if the file is not an image.
    """
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if re.match(rb"P[1-6]\s", head):
        return "PNM"
    if head[4:8] == b"ftyp":
        return _heif(head)
    return None


def _heif(head: bytes) -> str | None:
    end = min(len(head), int.from_bytes(head[:4], "big"))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))]
    if brands[0] in _AVIF or (brands[0] in _HEIF and not _AVIF.isdisjoint(brands)):
        return "AVIF"
    # Videos may list a general HEIF brand too, so after another major brand only the codec brands count.
    if brands[0] in _HEIF or not _HEIF_CODED.isdisjoint(brands):
        return "HEIC"
    return "AVIF" if b"avif" in brands else None


def read_header(data: bytes) -> Header:
    """Read the header of an image and check that the file is complete.

    The check is needed because OpenCV before 4.13 fills a truncated JPEG with gray and reports success, and libpng
    prints to stderr.

    Args:
        data: Content of the file.

    Raises:
        ValueError: The data are not an image, or damaged. The message completes "the image is ...".
    """
    name = picture_format(data[:HEAD_BYTES])
    if name is None:
        raise ValueError("not a picture that can be read, or it is damaged")
    if name in READ_ONLY_BY_NAME:
        raise ValueError(f"a picture of a format that is not read ({name}): save it as PNG or JPEG")
    if name == "AVIF" or name == "HEIC":
        if not _boxes_are_whole(data):  # libheif leaves missing tiles black
            raise ValueError(_CUT_SHORT)
        return Header(name, 0, 0, 2 if name == "HEIC" and data[8:12] in _HEIF_SEQUENCES else 1)
    try:
        header = _READERS[name](data)
    except (struct.error, IndexError, OverflowError):  # the file ends within the header
        raise ValueError(_CUT_SHORT) from None
    if header.width < 1 or header.height < 1 or header.frames < 1:
        raise ValueError(_DAMAGED)
    return header


def _boxes_are_whole(data: bytes) -> bool:
    """Return whether all top-level boxes of an ISO media file are complete. Other data may follow them."""
    position = 0
    while data[position + 4 : position + 8] in _HEIF_BOXES:
        size = int.from_bytes(data[position : position + 4], "big")
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size < 8:  # 0 means to the end of the file
            return True
        position += size
    return position <= len(data)


def _jpeg(data: bytes) -> Header:
    width = height = scans = 0
    position = 2
    while found := _JPEG_MARKER.search(data, position):
        marker, position = data[found.end() - 1], found.end()
        if marker == _JPEG_END:
            return Header("JPEG", width, height)
        if marker in _JPEG_BARE:  # no segment follows
            continue
        if marker in _JPEG_FRAMES and not width:
            height, width = struct.unpack_from(">HH", data, position + 3)
        scans += marker == _JPEG_SCAN
        if scans > _MOST_SCANS:
            raise ValueError(f"damaged: it has more than {_MOST_SCANS} scans")
        # Skip whole segments, so that the end marker of an EXIF thumbnail is not taken for that of the image.
        position += max(int.from_bytes(data[position : position + 2], "big"), 2)
    raise ValueError(_CUT_SHORT)


def _png(data: bytes) -> Header:
    view, position, frames = memoryview(data), len(_PNG_SIGNATURE), 1
    while position + 12 <= len(data):  # length, type, content, checksum of type and content
        checksum_at = position + 8 + int.from_bytes(view[position : position + 4], "big")
        if checksum_at + 4 > len(data):
            break
        if zlib.crc32(view[position + 4 : checksum_at]) != int.from_bytes(view[checksum_at : checksum_at + 4], "big"):
            raise ValueError("damaged: a checksum in it is wrong")
        kind = data[position + 4 : position + 8]
        if kind == b"acTL":  # animation control chunk
            (frames,) = struct.unpack_from(">I", data, position + 8)
        if kind == b"IEND":
            width, height = struct.unpack_from(">II", data, 16)
            return Header("PNG", width, height, frames)
        position = checksum_at + 4
    raise ValueError(_CUT_SHORT)


def _gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position, frames = 13 + _gif_palette(flags), 0
    while data[position] != 0x3B:  # trailer; IndexError if it is missing
        if data[position] == 0x2C:
            left, top, frame_width, frame_height, flags = struct.unpack_from("<HHHHB", data, position + 1)
            width, height = max(width, left + frame_width), max(height, top + frame_height)
            frames += 1
            position += 11 + _gif_palette(flags)
        elif data[position] == 0x21:  # an extension
            position += 2
        else:
            raise ValueError("damaged: an unknown block in it")
        while data[position]:  # sub-blocks of at most 255 bytes, each preceded by its length
            position += 1 + data[position]
        position += 1
    return Header("GIF", width, height, frames)


def _gif_palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(data: bytes) -> Header:
    if len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise ValueError(_CUT_SHORT)
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("WebP", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind != b"VP8X":
        raise ValueError(_DAMAGED)
    flags, sizes = data[20], data[24:30]
    width, height = (int.from_bytes(side, "little") + 1 for side in (sizes[:3], sizes[3:]))
    if not flags & 0x02:
        return Header("WebP", width, height)
    frames, position = 0, 12
    while position + 8 <= len(data):
        frames += data[position : position + 4] == b"ANMF"
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
    return Header("WebP", width, height, frames)


def _bmp(data: bytes) -> Header:
    form = "<HH" if data[14] == 12 else "<ii"
    width, height = struct.unpack_from(form, data, 18)
    return Header("BMP", abs(width), abs(height))


def _pnm(data: bytes) -> Header:
    if not (found := _PNM_SIZE.match(data)):
        raise ValueError(_DAMAGED)
    return Header("PNM", int(found[1]), int(found[2]))


def _jpeg_2000(data: bytes) -> Header:
    start = 0
    if data.startswith(_JP2_SIGNATURE):
        while data[start + 4 : start + 8] != b"jp2c":
            size, content = int.from_bytes(data[start : start + 4], "big"), 8
            if size == 1:
                size, content = int.from_bytes(data[start + 8 : start + 16], "big"), 16
            if size < content or start + size >= len(data):
                raise ValueError(_CUT_SHORT)
            start += size
        start += 16 if int.from_bytes(data[start : start + 4], "big") == 1 else 8
    if data[start : start + 4] != _JPEG2000_START:
        raise ValueError(_DAMAGED)
    width, height, left, top = struct.unpack_from(">4I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    if components > 4:
        raise ValueError(f"a picture of {components} channels: save it as PNG or JPEG")
    return Header("JPEG 2000", width - left, height - top)


def _tiff(data: bytes) -> Header:
    order, big = "<" if data[:2] == b"II" else ">", b"+" in data[2:4]
    (position,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    pages: list[dict[int, int]] = []
    seen: set[int] = set()
    while position and position not in seen:
        seen.add(position)
        page, position = _tiff_page(data, position, order, big)
        pages.append(page)
        if len(pages) > _MOST_PAGES:
            raise ValueError(f"a TIFF of more than {_MOST_PAGES} pages: save each as a file of its own")
    if not pages:
        raise ValueError(_DAMAGED)
    first = pages[0]
    if first[_KIND] & _TIFF_PART:
        raise ValueError("a TIFF whose first picture is a thumbnail, as in a camera's raw file: save it as JPEG")
    if first[_BITS] > 16:
        raise ValueError(f"a TIFF of {first[_BITS]} bits a channel: save it with 8 or 16")
    # The decoder allocates a buffer of one tile or strip, which may be larger than the image.
    rows = first[_STRIP_ROWS] if first[_STRIP_ROWS] < 2**32 - 1 else 0  # 2^32 - 1 means one strip
    width, height = max(first[_WIDTH], first[_TILE_WIDTH]), max(first[_HEIGHT], first[_TILE_HEIGHT], rows)
    return Header("TIFF", width, height, sum(not page[_KIND] & _TIFF_PART for page in pages))


def _tiff_page(data: bytes, position: int, order: str, big: bool) -> tuple[dict[int, int], int]:
    """Return the values of ``_TIFF_TAGS`` of a page (0 if absent) and the position of the next page."""
    count_form, entry_form, offset_form = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    (count,) = struct.unpack_from(order + count_form, data, position)
    if count > _MOST_TAGS:
        raise ValueError(_DAMAGED)
    position += struct.calcsize(order + count_form)
    tags = dict.fromkeys(_TIFF_TAGS, 0)
    for _ in range(count):
        tag, kind, length = struct.unpack_from(order + entry_form, data, position)
        position += struct.calcsize(order + entry_form)
        if tag in tags and kind in _TIFF_NUMBERS:
            at = position
            if length * struct.calcsize(order + _TIFF_NUMBERS[kind]) > struct.calcsize(order + offset_form):
                (at,) = struct.unpack_from(order + offset_form, data, position)
            tags[tag] = max(tags[tag], *struct.unpack_from(order + _TIFF_NUMBERS[kind], data, at))
        position += struct.calcsize(order + offset_form)
    return tags, *struct.unpack_from(order + offset_form, data, position)


_READERS: dict[str, Callable[[bytes], Header]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "WebP": _webp,
    "BMP": _bmp,
    "PNM": _pnm,
    "JPEG 2000": _jpeg_2000,
    "TIFF": _tiff,
}
