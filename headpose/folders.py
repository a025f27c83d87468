"""Output folders of long runs, locked so that only one run uses a folder at a time."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from headpose.errors import HeadPoseError

if sys.platform != "win32":  # Windows has no such locks: two runs in one folder are not detected there
    import fcntl

LOCK = ".lock"
"""Name of the lock file of a run; it is removed when the run ends."""

_log = logging.getLogger("headpose")


@contextlib.contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Lock a folder for this process until the block ends.

    The operating system releases the lock when the process ends, even if it is killed. Child processes do not inherit
    it, so data-loader processes that outlive a killed run do not hold it.

    Args:
        folder: Folder to lock. It is created if missing, and removed at the end if it was created and is still empty.

    Raises:
        HeadPoseError: Another process uses the folder, or it cannot be created or written.
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
    """Create and lock the lock file; return its descriptor."""
    file = folder / LOCK
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            if _locks(lock, file) and _is(lock, file):
                with contextlib.suppress(OSError):  # a full disk is reported by the run itself
                    os.ftruncate(lock, 0)
                    os.write(lock, f"{os.getpid()}\n".encode())
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # the previous owner removed the file in the meantime: try again


def _locks(lock: int, file: Path) -> bool:
    """Lock the file; raise HeadPoseError if another process holds it. File systems without locks log a warning."""
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
    """Remove empty folders, innermost first."""
    with contextlib.suppress(OSError, ValueError):
        for folder in folders:
            folder.rmdir()
