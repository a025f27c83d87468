"""Picture formats by their content: which one a file has, its size and its frames, before anything is decoded.

Names of files play no part. Sizes are those that the decoder allocates memory for.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

HEAD_BYTES = 64
"""How many first bytes of a file ``picture_format`` needs."""

READ_ONLY_BY_NAME = frozenset({"JPEG XL", "OpenEXR", "Radiance HDR", "PFM", "PAM", "Sun raster", "Photoshop"})
"""Formats that are recognised in order to refuse them by their name."""

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
_BMP_HEADERS = {12, *range(36, 256)}  # bytes; the smallest is that of OS/2
# The brands of ISO/IEC 23008-12 (HEIF) and of the AV1 image format; in one group those of image sequences.
_AVIF = frozenset({b"avif", b"avis"})
_HEIF_SEQUENCES = frozenset({b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"})
_HEIF_CODED = frozenset({b"heic", b"heix", b"heim", b"heis"})
_HEIF = _HEIF_SEQUENCES | _HEIF_CODED | {b"mif1", b"mif2", b"avci", b"avcs", b"jpeg", b"jpgs", b"j2ki", b"vvic"}

_HEIF_BOXES = (b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid")  # at the top of a file

_PNM_SIZE = re.compile(rb"P[1-6](?:\s|#[^\r\n]*[\r\n])+(\d{1,10})(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})")
# In a JPEG's coded data FF 00 is a plain FF, FF D0 to FF D7 are restart marks and FF FF is padding;
# any other FF xx starts the next segment.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_END, _JPEG_SCAN, _JPEG_BARE = 0xD9, 0xDA, (0x01, 0xD8)
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MOST_SCANS = 100  # a progressive JPEG has about ten, and each takes the time of a whole picture
# Tags of a TIFF's page.
_KIND, _WIDTH, _HEIGHT, _BITS, _STRIP_ROWS, _TILE_WIDTH, _TILE_HEIGHT = _TIFF_TAGS = (254, 256, 257, 258, 278, 322, 323)
_TIFF_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_PART = 0b101  # of the kind: a smaller copy of another page, or a mask of one
_MOST_PAGES, _MOST_TAGS = 100, 4096
_CUT_SHORT = "cut short: the end of the picture is missing"
_DAMAGED = "damaged: its header makes no sense"


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's header says.

    Attributes:
        format: its name, as ``picture_format`` gives it.
        width: pixels of the stored picture, before any orientation is applied.
        height: likewise. Both are 0 for HEIC and AVIF, whose libraries tell the size.
        frames: pictures in the file that are shown one after the other, or are pages; a thumbnail is none.
    """

    format: str
    width: int
    height: int
    frames: int = 1


def picture_format(head: bytes) -> str | None:
    """Names the format of a picture file, also of one that is not read here (HEIC without its library, JPEG XL).

    Args:
        head: its first ``HEAD_BYTES`` bytes, or all of them if it has fewer.

    Returns:
        ``JPEG``, ``PNG``, ``GIF``, ``WebP``, ``BMP``, ``TIFF``, ``JPEG 2000``, ``PNM``, ``HEIC``, ``AVIF``, one
        of ``READ_ONLY_BY_NAME``, or None for what is no picture.
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
    # A film may list a general brand of HEIF beside its own, so behind another first brand only codecs count.
    if brands[0] in _HEIF or not _HEIF_CODED.isdisjoint(brands):
        return "HEIC"
    return "AVIF" if b"avif" in brands else None


def read_header(data: bytes) -> Header:
    """Reads the header of a picture, and checks its container as far as the decoders do not.

    Decoders cannot be left to say it: OpenCV before 4.13 pads a cut JPEG with grey and calls it read,
    and libpng writes to stderr.

    Args:
        data: the whole file.

    Raises:
        ValueError: it is no picture, or broken; the message continues "the picture is".
    """
    name = picture_format(data[:HEAD_BYTES])
    if name is None:
        raise ValueError("not a picture that can be read, or it is damaged")
    if name in READ_ONLY_BY_NAME:
        raise ValueError(f"a picture of a format that is not read ({name}): save it as PNG or JPEG")
    if name == "AVIF" or name == "HEIC":
        if not _boxes_are_whole(data):  # libheif leaves the tiles that are missing black
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
    """Whether the boxes of an ISO media file end where it ends, or before; what is no box may follow them."""
    position = 0
    while data[position + 4 : position + 8] in _HEIF_BOXES:
        size = int.from_bytes(data[position : position + 4], "big")
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size < 8:  # 0: to the end of the file
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
        # Skipping segments whole keeps the end of an EXIF thumbnail from passing for the picture's.
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
        if kind == b"acTL":  # of an animation
            (frames,) = struct.unpack_from(">I", data, position + 8)
        if kind == b"IEND":
            width, height = struct.unpack_from(">II", data, 16)
            return Header("PNG", width, height, frames)
        position = checksum_at + 4
    raise ValueError(_CUT_SHORT)


def _gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position, frames = 13 + _gif_palette(flags), 0
    while data[position] != 0x3B:  # the end; IndexError if it is missing
        if data[position] == 0x2C:
            left, top, frame_width, frame_height, flags = struct.unpack_from("<HHHHB", data, position + 1)
            width, height = max(width, left + frame_width), max(height, top + frame_height)
            frames += 1
            position += 11 + _gif_palette(flags)
        elif data[position] == 0x21:  # an extension
            position += 2
        else:
            raise ValueError("damaged: an unknown block in it")
        while data[position]:  # blocks of at most 255 bytes, each behind its length
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
    # The decoder's buffer has the size of a tile or a strip, which may be larger than the picture.
    rows = first[_STRIP_ROWS] if first[_STRIP_ROWS] < 2**32 - 1 else 0  # all of them
    width, height = max(first[_WIDTH], first[_TILE_WIDTH]), max(first[_HEIGHT], first[_TILE_HEIGHT], rows)
    return Header("TIFF", width, height, sum(not page[_KIND] & _TIFF_PART for page in pages))


def _tiff_page(data: bytes, position: int, order: str, big: bool) -> tuple[dict[int, int], int]:
    """The tags of a page that are of interest, 0 where there is none, and the position of the next page."""
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
