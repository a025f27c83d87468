"""Read files by path or fsspec address (``s3://``, ``gs://``, ...)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from headpose.errors import ImageError, InputError, install_advice

LARGEST = 1 << 30
"""Largest picture file that is read into memory, in bytes."""


def is_url(address: str) -> bool:
    """Return whether an address is an fsspec URL and not a path."""
    return "://" in address


def is_pattern(address: str) -> bool:
    """Return whether an address may be a glob pattern; files and folders of that name take precedence."""
    return any(sign in address for sign in "*?[")


def absolute(address: str) -> str:
    """Return a URL unchanged, a path as an absolute one."""
    return address if is_url(address) else os.path.abspath(address)  # noqa: PTH100, links are kept


def file_system(address: str) -> tuple[Any, str]:
    """Return the fsspec file system of an address, and the path in it.

    Raises:
        InputError: The scheme is unknown, or its package is not installed.
    """
    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise InputError(f"cannot read {address}: {str(error).splitlines()[0]} ({install_advice('bulk')})") from None
    except Exception as error:  # each file system has its own exceptions for wrong addresses and credentials
        raise InputError(f"cannot read {address}: {first_line(error)}") from None
    return system, path


def open_file(address: str) -> BinaryIO:
    """Open a file for reading.

    Raises:
        ImageError: The file cannot be opened.
    """
    system, path = file_system(address)
    try:
        return system.open(path, "rb")
    except Exception as error:
        raise ImageError(f"cannot read {address}: {first_line(error)}") from None


def read(address: str) -> bytes:
    """Return the content of a file.

    Raises:
        ImageError: The file cannot be read, or has more than ``LARGEST`` bytes.
    """
    with open_file(address) as file:
        try:
            data = file.read(LARGEST + 1)
        except Exception as error:
            raise ImageError(f"cannot read {address}: {first_line(error)}") from None
    if len(data) > LARGEST:
        raise ImageError(f"{address} is too large: more than {LARGEST >> 20} MB")
    return data


def find(address: str) -> Iterator[tuple[str, int]]:
    """Yield the files of a folder and its subfolders, or the files of a glob pattern, in order.

    Args:
        address: Folder, file or pattern, as the user named it.

    Yields:
        (address of the file, with the same beginning; size in bytes). Hidden files and folders are skipped.

    Raises:
        InputError: There is no such file or folder, or it cannot be listed.
    """
    system, path = file_system(address)
    root = system.unstrip_protocol(path) if is_url(address) else path
    try:
        if system.isfile(path):
            yield address, int(system.size(path) or 0)
            return
        if system.isdir(path):
            found = system.find(path, detail=True)
        elif is_pattern(path):
            found = system.glob(path, detail=True)
        else:
            raise InputError(f"{address} does not exist")
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"cannot list {address}: {first_line(error)}") from None
    for name in sorted(found):
        if found[name]["type"] != "file" or _is_hidden(name, path):
            continue
        if is_url(address):
            yield system.unstrip_protocol(name), int(found[name].get("size") or 0)
        else:
            yield _as_named(name, address, root), int(found[name].get("size") or 0)


def _as_named(name: str, address: str, root: str) -> str:
    """Return the absolute path ``name`` as the user wrote its folder: relative if ``address`` is relative."""
    if Path(address).is_absolute():
        return name
    return os.path.relpath(name) if is_pattern(root) else str(Path(address) / Path(name).relative_to(root))


def _is_hidden(name: str, root: str) -> bool:
    below = name[len(root) :] if name.startswith(root) else Path(name).name
    return any(part.startswith(".") for part in below.replace("\\", "/").split("/"))


class LocalCopies:
    """Local copies of remote videos, the last ones only: OpenCV reads no fsspec address."""

    def __init__(self, most: int = 2) -> None:
        """Create an empty folder for at most ``most`` copies; it is removed with this object."""
        self._most = most
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._there: dict[str, Path] = {}
        self._given = 0

    def path(self, address: str) -> Path:
        """Return a local path with the content of a file.

        Raises:
            ImageError: The file cannot be read.
        """
        if not is_url(address):
            return Path(address)
        if address not in self._there:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="headpose-", ignore_cleanup_errors=True)
            while len(self._there) >= self._most:
                self._there.pop(next(iter(self._there))).unlink(missing_ok=True)
            self._given += 1
            target = Path(self._folder.name) / f"{self._given}{Path(address).suffix}"
            system, path = file_system(address)
            try:
                system.get_file(path, str(target))
            except Exception as error:
                target.unlink(missing_ok=True)
                raise ImageError(f"cannot read {address}: {first_line(error)}") from None
            self._there[address] = target
        return self._there[address]


def first_line(error: BaseException) -> str:
    """Return the reason of an error in one line of at most 200 characters."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(text).splitlines()[0][:200]
