"""Folders that a long run fills: one run at a time."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from headpose.errors import HeadPoseError

if sys.platform != "win32":  # which has no such locks: there nothing keeps two runs apart
    import fcntl

LOCK = ".lock"
"""Name of the file that a run locks in its folder; it is gone when the run ends."""

_log = logging.getLogger("headpose")


@contextlib.contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Keeps a folder for this process until the block ends; makes it if need be, and removes it if it stays empty.

    The lock is the system's and ends with the process, also with one that is killed. It is not inherited: loader
    processes that outlive a killed run do not hold it.

    Raises:
        HeadPoseError: another process has the folder, or it cannot be made or written.
    """
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _take(folder)
    except (OSError, ValueError) as error:
        _remove_empty(made)
        raise HeadPoseError(f"cannot use the folder {folder}: {getattr(error, 'strerror', None) or error}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink()
        os.close(lock)
        _remove_empty(made)


def _take(folder: Path) -> int:
    """The descriptor of the locked file."""
    file = folder / LOCK
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            if _locks(lock, file) and _is(lock, file):
                with contextlib.suppress(OSError):  # on a full disk the run itself fails
                    os.ftruncate(lock, 0)
                    os.write(lock, f"{os.getpid()}\n".encode())
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # its last owner removed it in the meantime: take the next one


def _locks(lock: int, file: Path) -> bool:
    """Locks the file; HeadPoseError if another process has it. A file system without locks keeps nobody apart."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        owner = os.read(lock, 20).decode("ascii", "replace").strip() or "unknown"
        raise HeadPoseError(
            f"{file.parent} is in use by another run (process {owner}): wait until it ends, or give another --out"
        ) from None
    except OSError as error:
        _log.warning("%s cannot be locked (%s): start no second run there", file.parent, error.strerror)
    return True


def _is(lock: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), file.stat())
    except FileNotFoundError:
        return False


def _remove_empty(folders: list[Path]) -> None:
    """Removes folders from the innermost on, as far as they are empty."""
    with contextlib.suppress(OSError, ValueError):
        for folder in folders:
            folder.rmdir()
