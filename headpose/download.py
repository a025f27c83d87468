"""Download model files. No other module accesses the network.

The module uses the standard library, because download packages such as pooch do not resume interrupted downloads, and
models are up to 100 MB.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import stat
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from headpose._version import __version__
from headpose.errors import WeightsError
from headpose.files import is_same_file, lock, sha256_of
from headpose.types import ModelInfo

SOURCE = f"https://github.com/open-headpose/headpose/releases/download/v{__version__}"
"""URL of the models of this version. The environment variable ``HEADPOSE_SOURCE`` overrides it, for example with a
mirror."""

_LOG = logging.getLogger("headpose")
_BLOCK = 1 << 16
_TIMEOUT = 30.0  # seconds without data


def fetch(info: ModelInfo, folder: Path, source: str | None = None) -> Path:
    """Download a model file, resuming an interrupted download.

    Partial data are kept as ``.FILE.part``. The file gets its name only after its SHA-256 has been verified.

    Args:
        info: Model to download.
        folder: Target folder; created if missing.
        source: URL of the folder that contains the files. None uses ``HEADPOSE_SOURCE`` or ``SOURCE``.

    Returns:
        Path of the file.

    Raises:
        WeightsError: The source is unreachable, the file is missing there or has another hash, or the disk is full.
    """
    target = folder / info.file
    address = f"{(source or os.environ.get('HEADPOSE_SOURCE') or SOURCE).rstrip('/')}/{info.file}"
    part = folder / f".{info.file}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while not (target.is_file() and sha256_of(target) == info.sha256):
            with _open_part(part) as file:
                if not _is_alone(part, file):  # another process has finished or discarded the file
                    continue
                try:
                    _receive(address, part, file, info.bytes)
                except BaseException:
                    if not os.fstat(file.fileno()).st_size:  # nothing to resume
                        with contextlib.suppress(OSError):
                            part.unlink()
                    raise
                whole = os.fstat(file.fileno()).st_size == info.bytes and sha256_of(part) == info.sha256
                if sys.platform == "win32":  # Windows can neither rename nor remove an open file
                    file.close()
                if whole:
                    part.replace(target)
                    break
                part.unlink()
                raise WeightsError(
                    f"{address} is not model {info.name} of this version: update headpose, or tell its makers"
                )
    except OSError as error:  # includes the errors of urllib
        raise WeightsError(f"cannot fetch {address}: {_reason(error)}; give the same command again to resume") from None
    except (http.client.HTTPException, ValueError) as error:
        raise WeightsError(f"cannot fetch {address}: {_reason(error)}; check $HEADPOSE_SOURCE") from None
    return target


def _open_part(part: Path) -> BinaryIO:
    """Open or create the partial file. A link is removed first, because its target would be overwritten."""
    with contextlib.suppress(FileNotFoundError):
        found = part.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            part.unlink()
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(part, flags, 0o666), "r+b")


def _is_alone(part: Path, file: BinaryIO) -> bool:
    """Wait until no other process downloads the file; return whether ``part`` still names the open file."""
    if sys.platform == "win32":  # a lock would also prevent reading
        return True
    if lock(file.fileno()) is False:
        _LOG.warning("another process fetches %s: waiting for it", part.name.removeprefix(".").removesuffix(".part"))
        lock(file.fileno(), wait=True)
    return is_same_file(part, file.fileno())


def _receive(address: str, part: Path, file: BinaryIO, size: int) -> None:
    """Download the missing part of ``size`` bytes and append it to ``file``."""
    have = os.fstat(file.fileno()).st_size
    if have >= size:
        return
    request = urllib.request.Request(address, headers={"User-Agent": f"headpose/{__version__}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            have = 0  # the server does not support ranges and sends the whole file
        file.truncate(have)
        file.seek(have)
        with _bar(part, have, size) as bar:
            while have < size and (block := answer.read(min(_BLOCK, size - have))):
                file.write(block)
                have += len(block)
                bar.update(len(block))
            file.flush()
    if have < size:
        raise ConnectionError(f"the connection ended after {have} of {size} bytes")


def _bar(part: Path, have: int, size: int) -> tqdm[None]:
    name = part.name.removeprefix(".").removesuffix(".part")
    return tqdm(desc=name, initial=have, total=size, unit="B", unit_scale=True, unit_divisor=1000, disable=None)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
