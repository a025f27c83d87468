"""Reading and writing pictures: BGR uint8 whatever the file holds, and an error where it holds no whole picture."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import cv2
import numpy as np

from headpose import files, formats
from headpose.errors import HeadPoseError, ImageError, InputError, install_advice
from headpose.types import Image, check_image


class PillowImage(Protocol):
    """What a type checker compares ``PIL.Image.Image`` with: Pillow is no dependency."""

    @property
    def mode(self) -> str: ...

    @property
    def size(self) -> tuple[int, int]: ...

    def convert(self, mode: str) -> PillowImage: ...


ImageLike: TypeAlias = "str | os.PathLike[str] | Image | PillowImage"
"""A picture as callers have it: the path of a file, an array, or a PIL image."""

Color = Literal["bgr", "rgb"]
"""The order of an array's channels."""

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp", ".gif", ".tif", ".tiff"}
    | {".jp2", ".j2k", ".pnm", ".ppm", ".pgm", ".pbm", ".heic", ".heif", ".hif", ".avif"}
)
"""Endings, in lower case, of the files that a folder of pictures is searched for."""

MAX_PIXELS = 128_000_000
"""Most pixels of a picture, unless ``HEADPOSE_MAX_PIXELS`` or a caller says otherwise. Decoding takes 6 bytes a
pixel, 15 for JPEG 2000 and AVIF; phones take pictures of 108 million."""

LONGEST_SIDE = 32766
"""Most pixels of a side: ``cv2.warpAffine`` takes no more."""

_VARIABLE = "HEADPOSE_MAX_PIXELS"
_FILE_BYTES_PER_PIXEL, _FILE_BYTES = 8, 1 << 28  # uncompressed 16-bit RGBA, and what may follow, as a phone's film


def read_image(path: str | os.PathLike[str], *, max_pixels: int | None = None) -> Image:
    """Reads a picture, turned upright by its orientation.

    Args:
        path: JPEG, PNG, WebP, BMP, TIFF, JPEG 2000, PNM, a GIF of one frame; with the extra ``heif`` HEIC and
            AVIF. The content decides, not the name. Grey becomes three equal channels, 16 bits become 8
            (white stays white), CMYK becomes BGR, an alpha channel is dropped.
        max_pixels: larger pictures are refused before they are decoded. None: the environment variable
            ``HEADPOSE_MAX_PIXELS``, or ``MAX_PIXELS`` where it is not set.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: the file is missing, empty, cut short, too large, no picture, or more than one (an
            animation, pages).
    """
    limit = _limit(max_pixels)
    try:
        with Path(path).open("rb") as file:
            data = file.read(formats.HEAD_BYTES)
            if data and formats.picture_format(data) is None:  # a film or a device is not read to its end
                raise ImageError(f"{path} is not a picture that can be read, or it is damaged")
            if (size := os.fstat(file.fileno()).st_size) > _FILE_BYTES_PER_PIXEL * limit + _FILE_BYTES:
                raise ImageError(f"{path} is too large: {size >> 20} MB")
            data += file.read()
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder, not a picture") from None
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from None
    return decode_image(data, str(path), max_pixels=max_pixels)


def decode_image(data: bytes, name: str = "the picture", *, max_pixels: int | None = None) -> Image:
    """Decodes the bytes of a picture file (see ``read_image``).

    Args:
        data: the whole file.
        name: what error messages call it.
        max_pixels: as in ``read_image``.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: the data are empty, cut short, too large, no picture, or more than one.
    """
    if not data:
        raise ImageError(f"{name} is empty (0 bytes)")
    try:
        header = formats.read_header(data)
    except ValueError as fault:
        raise ImageError(f"{name} is {fault}") from None
    _check_frames(name, header.format, header.frames)
    _check_size(name, header.width, header.height, max_pixels)
    try:
        if header.format == "HEIC":
            image = _decode_heic(data, name, max_pixels)
        elif header.format == "AVIF":
            image = _decode_avif(data, name, max_pixels)
        else:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError):  # OpenCV has a limit of its own, 2^30 pixels
        raise ImageError(f"{name} is too large to decode, or damaged") from None
    if image is None:
        raise ImageError(f"{name} is not a picture that can be read, or it is damaged")
    height, width = image.shape[:2]
    if max(height, width) > LONGEST_SIDE:
        raise ImageError(f"{name} is {width} x {height} pixels: make it {LONGEST_SIDE} at most a side")
    return image


def as_image(image: ImageLike, *, color: Color = "bgr") -> Image:
    """Return a picture in the form that this package works with.

    Args:
        image: the path of a picture file (see ``read_image``), a PIL image of any mode whose values are colours
            (its EXIF orientation is applied, an alpha channel is dropped), or a (H, W, 3) uint8 array.
        color: channel order of an array, ``"bgr"`` or ``"rgb"``. Files and PIL images have their own.

    Returns:
        (H, W, 3) uint8 BGR. An array in BGR is returned as it is, not copied.

    Raises:
        ImageError: the file cannot be read, or ``image`` is none of these, empty, or longer than 32766 pixels on a
            side.
        InputError: ``color`` is neither ``"bgr"`` nor ``"rgb"``.
    """
    if color not in ("bgr", "rgb"):
        raise InputError(f"color must be bgr or rgb, got {color!r}")
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    if is_pillow(image):
        pixels = _from_pillow(image)
    elif isinstance(image, np.ndarray):
        check_image(image)
        pixels = image if color == "bgr" else np.ascontiguousarray(image[:, :, ::-1])
    else:
        raise ImageError(f"an image is a path, a PIL image or a (H, W, 3) uint8 array; got {type(image).__name__}")
    height, width = pixels.shape[:2]
    if max(height, width) > LONGEST_SIDE:
        raise ImageError(f"the image is {width}x{height}: make it {LONGEST_SIDE} pixels at most a side")
    return pixels


def is_pillow(image: object) -> bool:
    """Return whether ``image`` is a PIL image, without importing Pillow: whoever has one has imported it."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether the content of a file is a picture's, also one that ``read_image`` refuses; False if it cannot be read.

    HEIC, AVIF, GIF and JPEG XL files are pictures: a video reader would take the first tile or frame for the whole.
    """
    path = Path(path)
    try:
        if not path.is_file():  # a pipe would lose what is looked at
            return False
        with path.open("rb") as file:
            return formats.picture_format(file.read(formats.HEAD_BYTES)) is not None
    except OSError:
        return False


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Write (H, W, 3) uint8 BGR atomically, in the format that the ending of ``path`` names.

    Raises:
        ImageError: ``image`` is not (H, W, 3) uint8.
        HeadPoseError: no encoder has that ending, or the file cannot be written.
    """
    check_image(image)
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
    try:
        return suffix.isascii() and len(suffix) > 1 and bool(cv2.haveImageWriter(f"picture{suffix}"))
    except cv2.error:  # it is there and switched off, as OpenEXR's
        return False


def writable_name(name: str) -> str:
    """``name``, with .jpg behind an ending that names no encoder: photo.heic.jpg, which is no other picture's name."""
    return name if is_writable_format(name) else f"{name}.jpg"


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The pictures directly in a folder, by their endings (``SUFFIXES``), in the order of their names.

    Raises:
        ImageError: there is no such folder, it cannot be listed, or no picture is in it.
    """
    path = Path(folder)
    try:
        if not path.is_dir():
            raise ImageError(f"{folder} is not a folder")
        found = sorted(e for e in path.iterdir() if e.suffix.lower() in SUFFIXES and _is_visible_file(e))
    except OSError as error:
        raise ImageError(f"cannot read the folder {folder}: {error.strerror or error}") from None
    if not found:
        raise ImageError(f"no picture in the folder {folder} (looked for {' '.join(sorted(SUFFIXES))})")
    return found


def _is_visible_file(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def _limit(max_pixels: int | None) -> int:
    if max_pixels is not None:
        return max_pixels
    text = os.environ.get(_VARIABLE, "").strip()
    if not text:
        return MAX_PIXELS
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ImageError(
            f"the environment variable {_VARIABLE} is {text!r}: set it to a number of pixels, or not at all"
        )
    return int(text)


def _check_size(name: str, width: int, height: int, max_pixels: int | None) -> None:
    limit = _limit(max_pixels)
    if width * height > limit:
        # A limit of the caller's is none that the environment could raise.
        limited = f"the limit is {limit:,} in all" + (f" (environment variable {_VARIABLE})" * (max_pixels is None))
        raise ImageError(f"{name} is too large: {width} x {height} pixels, and {limited}")


def _check_frames(name: str, form: str, frames: int) -> None:
    if frames > 1 and form == "TIFF":
        raise ImageError(f"{name} is a TIFF of {frames} pages: save each as a file of its own")
    if frames > 1:
        count = f" of {frames} frames" if form != "HEIC" else ""
        raise ImageError(
            f"{name} is an animation{count} ({form}): convert it to a video, or save one frame as PNG or JPEG"
        )


def _decode_heic(data: bytes, name: str, max_pixels: int | None) -> Image:
    try:
        import pillow_heif
    except ImportError:
        raise _missing(name, "HEIC", "pillow-heif") from None
    try:
        opened = pillow_heif.open_heif(data, bgr_mode=True)  # the size alone; libheif applies irot, imir and clap
        _check_size(name, opened.size[0], opened.size[1], max_pixels)
        pixels = np.asarray(opened)
    except (OSError, ValueError, SyntaxError, RuntimeError, EOFError, IndexError):
        raise ImageError(f"{name} is not a HEIC picture that can be read, or it is damaged") from None
    if pixels.dtype == np.uint16:  # grey of more than 8 bits, which it leaves as it is
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(pixels[:, :, :3])


def _decode_avif(data: bytes, name: str, max_pixels: int | None) -> Image:
    # OpenCV has a decoder too, which ignores irot and imir and lacks in many builds.
    try:
        from PIL import AvifImagePlugin, ImageOps
    except ImportError:
        raise _missing(name, "AVIF", "Pillow 11.3 or newer") from None
    if not AvifImagePlugin.SUPPORTED:
        raise _missing(name, "AVIF", "a Pillow with AVIF")
    try:
        # The class itself: Image.open warns from 90 million pixels on, and refuses twice as many.
        opened = AvifImagePlugin.AvifImageFile(io.BytesIO(data))
        _check_frames(name, "AVIF", opened.n_frames)
        _check_size(name, opened.size[0], opened.size[1], max_pixels)
        ImageOps.exif_transpose(opened, in_place=True)  # Pillow makes EXIF's tag of irot and imir
        rgb = np.asarray(opened if opened.mode == "RGB" else opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError, RuntimeError, EOFError):
        raise ImageError(f"{name} is not an AVIF picture that can be read, or it is damaged") from None
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)


def _from_pillow(image: Any) -> Image:
    """(H, W, 3) uint8 BGR of a PIL image; ImageError if it cannot be decoded or its mode has no colours."""
    from PIL import ImageOps

    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):  # convert() would clip what is above 255
            grey = (np.asarray(upright) >> 8).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if upright.mode in ("I", "F"):  # these have no white: 1, 255 and 65535 are all in use
            raise ImageError(f"a PIL image of mode {upright.mode} has no fixed range: convert it to L or RGB first")
        if upright.mode in ("RGBa", "La"):  # colours times alpha
            upright = upright.convert("RGBA" if upright.mode == "RGBa" else "LA")
        rgb = np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))
    except (OSError, ValueError, SyntaxError, RuntimeError, EOFError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ImageError(f"the PIL image cannot be converted to RGB: {reason}") from None
    check_image(rgb)
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)


def _missing(name: str, form: str, library: str) -> ImageError:
    return ImageError(f"{name} is {form}, which needs {library}: {install_advice('heif')}")
