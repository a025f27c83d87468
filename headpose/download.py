"""Brings the files of the manifest from where they are published. Nothing else in the package downloads.

Written on the standard library: of the packages for downloads that verify a hash (pooch and its kin) none goes
on with a file that was cut off, and the networks are up to 100 MB.
"""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from headpose._version import __version__
from headpose.errors import WeightsError
from headpose.files import sha256_of
from headpose.types import ModelInfo

SOURCE = f"https://github.com/open-headpose/headpose/releases/download/v{__version__}"
"""Where this version's networks are published; ``$HEADPOSE_SOURCE`` names another place, a mirror for example."""

_BLOCK = 1 << 16
_TIMEOUT = 30.0  # seconds without a byte


def fetch(info: ModelInfo, folder: Path, source: str | None = None) -> Path:
    """Brings a network's file into a folder, or goes on with one that was cut off.

    What has come so far is kept as ``.FILE.part``; only a file whose SHA-256 is the manifest's gets its name.

    Args:
        info: the manifest's entry.
        folder: made if it does not exist.
        source: address of the folder that holds the files; ``SOURCE`` by default.

    Returns:
        The file.

    Raises:
        WeightsError: the source cannot be reached, has no such file or another one, or the disk is full.
    """
    target = folder / info.file
    if target.is_file() and sha256_of(target) == info.sha256:
        return target
    address = f"{(source or os.environ.get('HEADPOSE_SOURCE') or SOURCE).rstrip('/')}/{info.file}"
    part = folder / f".{info.file}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not part.is_file() or part.stat().st_size < info.bytes:
            _receive(address, part, info.bytes)
        if part.stat().st_size != info.bytes or sha256_of(part) != info.sha256:
            part.unlink()
            raise WeightsError(
                f"{address} is not model {info.name} of this version: update headpose, or tell its makers"
            )
        part.replace(target)
    except OSError as error:  # urllib's errors are OSErrors too
        raise WeightsError(f"cannot fetch {address}: {_reason(error)}; the same command goes on from here") from None
    except (http.client.HTTPException, ValueError) as error:
        raise WeightsError(f"cannot fetch {address}: {_reason(error)}; check $HEADPOSE_SOURCE") from None
    return target


def _receive(address: str, part: Path, size: int) -> None:
    """Appends to ``part`` what it lacks of ``size`` bytes."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(address, headers={"User-Agent": f"headpose/{__version__}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            have = 0  # a server that cannot go on sends all of it
        with part.open("ab" if have else "wb") as file, _bar(part, have, size) as bar:
            while have < size and (block := answer.read(min(_BLOCK, size - have))):
                file.write(block)
                have += len(block)
                bar.update(len(block))
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
