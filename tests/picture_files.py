"""Picture files that tests make: one of each format, the same with a size in its header that it does not have."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

WHOLE = ["jpg", "progressive.jpg", "png", "gif", "webp", "lossless.webp", "bmp", "tif", "jp2", "j2k", "ppm"]
"""Kinds of ``encoded`` that need nothing but OpenCV."""
HEIF = ["heic", "grid.heic", "avif"]
"""Kinds that need the extra ``heif``."""

FORMATS = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WebP", "bmp": "BMP", "tif": "TIFF", "jp2": "JPEG 2000"}
FORMATS |= {"j2k": "JPEG 2000", "ppm": "PNM", "heic": "HEIC", "avif": "AVIF"}


def encoded(kind: str, image: NDArray[np.uint8], **options: object) -> bytes:
    """A picture (H, W, 3) BGR as a file of a kind in ``WHOLE`` or ``HEIF``; ``options`` are those of the latter."""
    if kind in ("heic", "grid.heic"):
        pillow_heif = pytest.importorskip("pillow_heif")
        file = io.BytesIO()
        height, width = image.shape[:2]
        picture = pillow_heif.from_bytes("BGR", (width, height), image.tobytes())
        tiles = {"tile_size": 64} if kind == "grid.heic" else {}
        picture.save(file, quality=95, **tiles, **options)
        return file.getvalue()
    if kind == "avif":
        return with_pillow("AVIF", [image], quality=95, **options)
    flags = {
        "progressive.jpg": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, 90],
        "lossless.webp": [cv2.IMWRITE_WEBP_QUALITY, 101],
    }
    suffix = "jp2" if kind == "j2k" else kind.split(".")[-1]
    if kind == "gif" and not cv2.haveImageWriter("a.gif"):
        return with_pillow("GIF", [image])
    done, data = cv2.imencode(f".{suffix}", image, flags.get(kind, []))
    assert done
    whole = data.tobytes()
    return whole[whole.index(b"\xff\x4f\xff\x51") :] if kind == "j2k" else whole


def with_pillow(form: str, images: list[NDArray[np.uint8]], **options: object) -> bytes:
    """Pictures (H, W, 3) BGR as the frames or pages of one file in a format of Pillow's."""
    pillow = pytest.importorskip("PIL.Image")
    first, *others = (pillow.fromarray(np.ascontiguousarray(image[..., ::-1])) for image in images)
    more = {"save_all": True, "append_images": others} if others else {}
    file = io.BytesIO()
    first.save(file, form, **more, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """Of a PNG."""
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def claiming(kind: str, data: bytes, side: int) -> bytes:
    """The file with ``side`` x ``side`` pixels in its header; what is coded in it stays as it is."""
    changed = bytearray(data)

    def put(form: str, position: int) -> None:
        struct.pack_into(form, changed, position, side, side)

    if kind in ("jpg", "progressive.jpg"):
        put(">HH", data.index(b"\xff\xc2" if kind == "progressive.jpg" else b"\xff\xc0") + 5)
    elif kind == "png":
        header = chunk(b"IHDR", struct.pack(">II", side, side) + data[24:29])
        changed[8 : 8 + len(header)] = header
    elif kind == "gif":
        put("<HH", 6)
    elif kind == "bmp":
        put("<ii", 18)
    elif kind == "webp":
        put("<HH", 26)
    elif kind == "lossless.webp":
        struct.pack_into("<I", changed, 21, (side - 1) | (side - 1) << 14)
    elif kind in ("jp2", "j2k"):
        put(">II", data.index(b"\xff\x4f\xff\x51") + 8)
        if kind == "jp2":
            put(">II", data.index(b"ihdr") + 4)
    elif kind == "ppm":
        changed[: data.index(b"255")] = b"P6\n# made\n%d %d\n" % (side, side)
    elif kind == "tif":
        (position,) = struct.unpack_from("<I", data, 4)
        for entry in range(
            position + 2, position + 2 + 12 * int.from_bytes(data[position : position + 2], "little"), 12
        ):
            if data[entry : entry + 2] in (b"\0\1", b"\1\1"):  # width, height
                struct.pack_into("<HIHH", changed, entry + 2, 3, 1, side, 0)
    else:
        position = data.index(b"ispe")
        while position > 0:
            put(">II", position + 8)
            position = data.find(b"ispe", position + 1)
    return bytes(changed)
