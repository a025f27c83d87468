"""Reading and writing pictures: BGR uint8 whatever the file holds, and an error where it holds no whole picture."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

import cv2
import numpy as np

from headpose import files
from headpose.errors import HeadPoseError, ImageError
from headpose.types import Image

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".jp2", ".ppm", ".pgm", ".pbm"}
)
"""Endings, in lower case, of the files that a folder of pictures is searched for."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# In a JPEG's coded data FF 00 is a plain FF, FF D0 to FF D7 are restart marks and FF FF is padding;
# any other FF xx starts the next segment.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_END = 0xD9
_CUT_SHORT = "cut short: the end of the picture is missing"


def read_image(path: str | os.PathLike[str]) -> Image:
    """Reads a picture, turned upright by its EXIF orientation.

    Args:
        path: any format that OpenCV reads. Grey becomes three equal channels, 16 bits become 8
            (white stays white), CMYK becomes BGR, an alpha channel is dropped.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: the file is missing, empty, cut short, or no picture.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder, not a picture") from None
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from None
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str = "the picture") -> Image:
    """Decodes the bytes of a picture file (see ``read_image``).

    Args:
        data: the whole file.
        name: what error messages call it.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: the data are empty, cut short, or no picture.
    """
    if not data:
        raise ImageError(f"{name} is empty (0 bytes)")
    if fault := _fault(data):
        raise ImageError(f"{name} is {fault}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # more than 2^30 pixels, or not enough memory for them
        raise ImageError(f"{name} is too large to decode: make it smaller than 2^30 pixels") from None
    if image is None:
        raise ImageError(f"{name} is not a picture that can be read, or it is damaged")
    return image


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Writes (H, W, 3) uint8 BGR atomically, in the format that the ending of ``path`` names.

    Raises:
        HeadPoseError: no encoder has that ending, or the file cannot be written.
    """
    suffix = Path(path).suffix
    if not is_writable_format(path):
        raise HeadPoseError(f"cannot write {path}: {suffix or 'no ending'} is no picture format; use .jpg or .png")
    ok, encoded = cv2.imencode(suffix, image)
    if not ok:
        raise HeadPoseError(f"cannot write {path}: a {image.shape[1]}x{image.shape[0]} picture does not fit {suffix}")
    files.write_bytes(path, encoded.tobytes())


def is_writable_format(path: str | os.PathLike[str]) -> bool:
    """Whether ``write_image`` has an encoder for the ending of ``path``."""
    suffix = Path(path).suffix
    return suffix.isascii() and len(suffix) > 1 and bool(cv2.haveImageWriter(f"picture{suffix}"))


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The pictures directly in a folder, by their endings (``SUFFIXES``), in the order of their names.

    Raises:
        ImageError: there is no such folder, or no picture in it.
    """
    path = Path(folder)
    if not path.is_dir():
        raise ImageError(f"{folder} is not a folder")
    found = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES and _is_visible_file(entry))
    if not found:
        raise ImageError(f"no picture in the folder {folder} (looked for {' '.join(sorted(SUFFIXES))})")
    return found


def _is_visible_file(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def _fault(data: bytes) -> str:
    """What is wrong with the container, or "".

    Decoders cannot be left to say it: OpenCV before 4.13 pads a cut JPEG with grey and calls it read,
    and libpng writes to stderr.
    """
    if data.startswith(b"\xff\xd8"):
        return "" if _jpeg_has_end(data) else _CUT_SHORT
    if data.startswith(_PNG_SIGNATURE):
        return _png_fault(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _CUT_SHORT if len(data) < 8 + int.from_bytes(data[4:8], "little") else ""
    return ""


def _jpeg_has_end(data: bytes) -> bool:
    position = 2
    while found := _JPEG_MARKER.search(data, position):
        if data[found.end() - 1] == _JPEG_END:
            return True
        # Skipping segments whole keeps the end of an EXIF thumbnail from passing for the picture's.
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        position = found.end() + max(length, 2)
    return False


def _png_fault(data: bytes) -> str:
    view, position = memoryview(data), len(_PNG_SIGNATURE)
    while position + 12 <= len(data):  # length, type, content, checksum of type and content
        checksum_at = position + 8 + int.from_bytes(view[position : position + 4], "big")
        if checksum_at + 4 > len(data):
            break
        if zlib.crc32(view[position + 4 : checksum_at]) != int.from_bytes(view[checksum_at : checksum_at + 4], "big"):
            return "damaged: a checksum in it is wrong"
        if data[position + 4 : position + 8] == b"IEND":
            return ""
        position = checksum_at + 4
    return _CUT_SHORT
