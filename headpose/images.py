"""Read and write images. Images are BGR uint8; incomplete files raise an error."""

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
    """Interface of ``PIL.Image.Image`` for type checkers; Pillow is not a dependency."""

    @property
    def mode(self) -> str: ...

    @property
    def size(self) -> tuple[int, int]: ...

    def convert(self, mode: str) -> PillowImage: ...


ImageLike: TypeAlias = "str | os.PathLike[str] | Image | PillowImage"
"""Image argument: a file path, an array or a PIL image."""

Color = Literal["bgr", "rgb"]
"""Channel order of an array."""

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp", ".gif", ".tif", ".tiff"}
    | {".jp2", ".j2k", ".pnm", ".ppm", ".pgm", ".pbm", ".heic", ".heif", ".hif", ".avif"}
)
"""File name extensions of images, in lower case, that are looked for in folders."""

MAX_PIXELS = 128_000_000
"""Default of the maximum number of pixels; the environment variable ``HEADPOSE_MAX_PIXELS`` and arguments override it.
Decoding takes 6 bytes per pixel (JPEG 2000 and AVIF: 15). Phones take photographs of 108 million pixels."""

LONGEST_SIDE = 32766
"""Maximum side in pixels, a limit of ``cv2.warpAffine``."""

_VARIABLE = "HEADPOSE_MAX_PIXELS"
_FILE_BYTES_PER_PIXEL, _FILE_BYTES = 8, 1 << 28  # uncompressed 16-bit RGBA, plus appended data such as a phone's video


def read_image(path: str | os.PathLike[str], *, max_pixels: int | None = None) -> Image:
    """Read an image file and rotate it upright according to its EXIF orientation.

    Args:
        path: JPEG, PNG, WebP, BMP, TIFF, JPEG 2000, PNM or single-frame GIF file; HEIC and AVIF with the extra
            ``heif``. The format is detected from the content. Gray is expanded to three channels, 16 bits are reduced
            to 8, CMYK is converted to BGR, and an alpha channel is dropped.
        max_pixels: Maximum number of pixels, checked before decoding. None uses the environment variable
            ``HEADPOSE_MAX_PIXELS``, or ``MAX_PIXELS`` if it is not set.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: The file is missing, empty, truncated, too large, not an image, or contains several images (an
            animation or pages).
    """
    limit = _limit(max_pixels)
    try:
        with Path(path).open("rb") as file:
            data = file.read(formats.HEAD_BYTES)
            if data and formats.picture_format(data) is None:  # do not read videos and devices to the end
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
    """Decode the content of an image file; see ``read_image``.

    Args:
        data: Content of the file.
        name: Name for error messages.
        max_pixels: As in ``read_image``.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: The data are empty, truncated, too large, not an image, or contain several images.
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
    except (cv2.error, MemoryError):  # OpenCV's own limit is 2^30 pixels
        raise ImageError(f"{name} is too large to decode, or damaged") from None
    if image is None:
        raise ImageError(f"{name} is not a picture that can be read, or it is damaged")
    height, width = image.shape[:2]
    if max(height, width) > LONGEST_SIDE:
        raise ImageError(f"{name} is {width} x {height} pixels: make it {LONGEST_SIDE} at most a side")
    return image


def as_image(image: ImageLike, *, color: Color = "bgr") -> Image:
    """Convert a path, a PIL image or an array to a BGR array.

    Args:
        image: Path of an image file (see ``read_image``), PIL image of any color mode (its EXIF orientation is applied,
            an alpha channel is dropped), or (H, W, 3) uint8 array.
        color: Channel order of an array, ``"bgr"`` or ``"rgb"``. It does not apply to files and PIL images.

    Returns:
        (H, W, 3) uint8 BGR. A BGR array is returned without a copy.

    Raises:
        ImageError: The file cannot be read, or ``image`` has another type, is empty, or has a side longer than 32766
            pixels.
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
    """Return whether ``image`` is a PIL image, without importing Pillow."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Return whether the content of a file is an image, including formats that ``read_image`` rejects.

    HEIC, AVIF, GIF and JPEG XL count as images, because a video reader would return only their first tile or frame. An
    unreadable file returns False.
    """
    path = Path(path)
    try:
        if not path.is_file():  # reading from a pipe would consume its data
            return False
        with path.open("rb") as file:
            return formats.picture_format(file.read(formats.HEAD_BYTES)) is not None
    except OSError:
        return False


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Write an image file atomically.

    Args:
        path: File to write. The extension selects the format.
        image: (H, W, 3) uint8 BGR.

    Raises:
        ImageError: ``image`` is not (H, W, 3) uint8.
        HeadPoseError: The extension is not an image format, or the file cannot be written.
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
    """Return whether ``write_image`` supports the extension of ``path``."""
    suffix = Path(path).suffix
    try:
        return suffix.isascii() and len(suffix) > 1 and bool(cv2.haveImageWriter(f"picture{suffix}"))
    except cv2.error:  # the encoder exists but is disabled, as for OpenEXR
        return False


def writable_name(name: str) -> str:
    """Return ``name``, with .jpg appended if its format cannot be written: photo.heic becomes photo.heic.jpg."""
    return name if is_writable_format(name) else f"{name}.jpg"


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """List the images of a folder, not of its subfolders, sorted by name.

    Args:
        folder: Folder to search for files with an extension in ``SUFFIXES``.

    Raises:
        ImageError: The folder does not exist, cannot be listed, or contains no image.
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
        # The environment variable does not raise a limit that was passed as an argument.
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
        opened = pillow_heif.open_heif(data, bgr_mode=True)  # reads the size only; libheif applies irot, imir and clap
        _check_size(name, opened.size[0], opened.size[1], max_pixels)
        pixels = np.asarray(opened)
    except (OSError, ValueError, SyntaxError, RuntimeError, EOFError, IndexError):
        raise ImageError(f"{name} is not a HEIC picture that can be read, or it is damaged") from None
    if pixels.dtype == np.uint16:  # pillow_heif does not convert gray images of more than 8 bits
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(pixels[:, :, :3])


def _decode_avif(data: bytes, name: str, max_pixels: int | None) -> Image:
    # OpenCV's AVIF decoder ignores irot and imir and is missing in many builds.
    try:
        from PIL import AvifImagePlugin, ImageOps
    except ImportError:
        raise _missing(name, "AVIF", "Pillow 11.3 or newer") from None
    if not AvifImagePlugin.SUPPORTED:
        raise _missing(name, "AVIF", "a Pillow with AVIF")
    try:
        # Use the class directly: Image.open warns above 90 million pixels and refuses more than twice as many.
        opened = AvifImagePlugin.AvifImageFile(io.BytesIO(data))
        _check_frames(name, "AVIF", opened.n_frames)
        _check_size(name, opened.size[0], opened.size[1], max_pixels)
        ImageOps.exif_transpose(opened, in_place=True)  # Pillow converts irot and imir to the EXIF tag
        rgb = np.asarray(opened if opened.mode == "RGB" else opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError, RuntimeError, EOFError):
        raise ImageError(f"{name} is not an AVIF picture that can be read, or it is damaged") from None
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)


def _from_pillow(image: Any) -> Image:
    """Convert a PIL image to (H, W, 3) uint8 BGR; raise ImageError if it cannot be decoded or has no color mode."""
    from PIL import ImageOps

    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):  # convert() would clip what is above 255
            grey = (np.asarray(upright) >> 8).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if upright.mode in ("I", "F"):  # the value of white is undefined: 1, 255 and 65535 are all in use
            raise ImageError(f"a PIL image of mode {upright.mode} has no fixed range: convert it to L or RGB first")
        if upright.mode in ("RGBa", "La"):  # premultiplied alpha
            upright = upright.convert("RGBA" if upright.mode == "RGBa" else "LA")
        rgb = np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))
    except (OSError, ValueError, SyntaxError, RuntimeError, EOFError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ImageError(f"the PIL image cannot be converted to RGB: {reason}") from None
    check_image(rgb)
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)


def _missing(name: str, form: str, library: str) -> ImageError:
    return ImageError(f"{name} is {form}, which needs {library}: {install_advice('heif')}")
