"""Writing files so that a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from headpose.errors import HeadPoseError


def check_target(target: str | os.PathLike[str]) -> Path:
    """The path, if a file can be put there; for programs that work for a while before they write.

    Raises:
        HeadPoseError: its folder does not exist, or it is a folder or a device.
    """
    path = Path(target)
    if not path.parent.is_dir():
        raise HeadPoseError(f"cannot write {path}: the folder {path.parent} does not exist")
    if path.exists() and not path.is_file():  # renaming onto /dev/null would replace the device
        raise HeadPoseError(f"cannot write {path}: it is a folder or a device, not a file")
    return path


@contextlib.contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside ``target``; renames it onto ``target`` on success.

    The temporary name keeps the suffix, because image and video encoders choose their format by it.
    When the block fails, nothing is left behind and ``target`` is as it was.

    Raises:
        HeadPoseError: the folder does not exist, ``target`` is no file, the disk is full, or the file
            cannot be written.
    """
    path = check_target(target)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise HeadPoseError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(target: str | os.PathLike[str], data: bytes) -> None:
    """Writes ``data`` to ``target`` atomically (see ``atomic_path`` for the errors)."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Writes ``text`` to ``target`` as UTF-8, atomically (see ``atomic_path`` for the errors)."""
    write_bytes(target, text.encode())


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, 64 lower-case hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(file)


def _sha256(file: BinaryIO) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
