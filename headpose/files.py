"""Atomic file output, checks of output paths, file locks and hashes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from headpose.errors import HeadPoseError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PathLike = str | os.PathLike[str]

_PICTURES = (
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .bmp .dib .webp .tif .tiff .jp2 .j2k .ppm .pgm .pbm .pnm .pam .pfm .ras "
    ".sr .gif .heic .heif .hif .avif .jxl .exr .hdr .pic .psd .dng .cr2 .nef .arw"
)
_VIDEOS = (
    ".mp4 .m4v .mov .mkv .avi .webm .mpg .mpeg .m2v .ts .mts .m2ts .wmv .asf .flv .3gp .ogv .mjpg .mjpeg .h264 .h265 "
    ".hevc .vob .y4m"
)
_NETWORKS = ".onnx .ort .safetensors .pt .pth .ckpt .tflite .task .pb .h5 .keras .caffemodel .engine .npy .npz .mat"
DATA_SUFFIXES = frozenset(f"{_PICTURES} {_VIDEOS} {_NETWORKS}".split())
"""Extensions, in lower case, of images, videos, networks and arrays. Text outputs must not use them: when a shell
expands ``--json *.jpg``, the first image becomes the target."""

_SLOTS = 4  # concurrent writers of one target whose temporary folders are found again after a crash
_TEMPORARY, _LOCK = ".headpose", "lock"


def check_outputs(
    inputs: Iterable[PathLike | None],
    *,
    text: Mapping[str, PathLike | None] | None = None,
    data: Mapping[str, PathLike | Sequence[PathLike] | None] | None = None,
) -> None:
    """Reject outputs that would overwrite an input or each other. Programs call this before they create any file.

    Files are compared by their identity in the file system, so links and different spellings of a path are recognized.

    Args:
        inputs: Input files, and folders with all their content. None and names that do not exist (a camera number, the
            name of a network, a URL) are skipped.
        text: Text outputs such as JSON and CSV, by option. None and "-" (stdout) are skipped.
        data: Other outputs, by option. A sequence names files in a folder that need not exist yet.

    Raises:
        HeadPoseError: An output cannot be written, has an invalid name, is an input, or is the same as another output.
    """
    outputs: list[tuple[str, Path]] = []
    for option, target in (text or {}).items():
        if target is not None and target != "-":
            check_text_name(target)
            outputs.append((option, _checked(option, target)))
    for option, several in (data or {}).items():
        if isinstance(several, (str, os.PathLike)):
            outputs.append((option, _checked(option, several)))
        elif several is not None:
            outputs += [(option, Path(target)) for target in several]
    there = _distinct(outputs)
    for given in inputs if there else ():
        for path in _files(given) if given is not None else ():
            if (found := there.get(_identity(path))) is not None:
                raise HeadPoseError(f"{found[0]} {found[1]} would overwrite {path}, which is read: give another name")


def check_text_name(target: PathLike) -> None:
    """Reject the extension of an image, a video or a network for a text output.

    Raises:
        HeadPoseError: The extension is one of ``DATA_SUFFIXES``.
    """
    suffix = Path(target).suffix.lower()
    if suffix in DATA_SUFFIXES:
        raise HeadPoseError(f"cannot write text to {target}: {suffix} is for other data; use .json, .csv or .txt")


def check_target(target: PathLike) -> Path:
    """Check that a file can be written, for programs that compute before they write.

    Args:
        target: Path of the output.

    Returns:
        ``target`` as a Path.

    Raises:
        HeadPoseError: The folder does not exist or is read-only, or ``target`` is a folder or a device.
    """
    path = Path(target)
    if not path.parent.is_dir():
        raise HeadPoseError(f"cannot write {path}: the folder {path.parent} does not exist")
    if path.exists() and not path.is_file():  # renaming onto /dev/null would replace the device
        raise HeadPoseError(f"cannot write {path}: it is a folder or a device, not a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise HeadPoseError(f"cannot write {path}: no permission to write into the folder {path.parent}")
    return path


@contextlib.contextmanager
def atomic_path(target: PathLike) -> Iterator[Path]:
    """Write a file atomically: yield a temporary path and rename it to ``target`` on success.

    The temporary name keeps the extension, because image and video encoders derive the format from it. It is in a
    hidden folder beside ``target`` with a lock that ends with the process; the next writer of ``target`` removes what a
    killed process left there. If the block fails, the temporary file is removed and ``target`` is unchanged. If
    ``target`` is a link, the link is replaced and the file that it points to is kept.

    Args:
        target: Path of the output.

    Yields:
        Path to write to.

    Raises:
        HeadPoseError: The folder does not exist, ``target`` is not a regular file, the disk is full, or writing fails.
    """
    path = check_target(target)
    try:
        with _temporary_folder(path) as (folder, held):
            temporary = folder / f"whole{path.suffix}"
            yield temporary
            with contextlib.suppress(PermissionError):  # file systems without modes
                # Some writers create files with mode 0600; the lock file has the mode of the user's umask.
                temporary.chmod(stat.S_IMODE(os.fstat(held).st_mode))
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    except OSError as error:
        raise HeadPoseError(f"cannot write {path}: {error.strerror or error}") from error


def write_bytes(target: PathLike, data: bytes) -> None:
    """Write bytes to a file atomically; see ``atomic_path`` for the errors."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_text(target: PathLike, text: str) -> None:
    """Write text to a file as UTF-8, atomically; see ``atomic_path`` for the errors."""
    write_bytes(target, text.encode())


def lock(descriptor: int, *, wait: bool = False) -> bool | None:
    """Lock an open file until the descriptor is closed or the process ends.

    Args:
        descriptor: File descriptor.
        wait: Wait while another process holds the lock.

    Returns:
        True if the lock was acquired, False if another process holds it, None if the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def is_same_file(path: Path, descriptor: int) -> bool:
    """Return whether ``path`` (without following links) still names the open file."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


def sha256_of(path: PathLike) -> str:
    """Return the SHA-256 of a file as 64 lower-case hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(file)


def numpy_reason(error: Exception) -> str:
    """Return the reason of an error of ``np.load``, without NumPy's advice to unpickle files of others."""
    text = getattr(error, "strerror", None) or str(error)
    return "it is not a NumPy file, or it holds Python objects" if "pickle" in text.lower() else text


def _sha256(file: BinaryIO) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _checked(option: str, target: PathLike) -> Path:
    if not os.fspath(target):
        raise HeadPoseError(f"{option} needs a file's name, not an empty text")
    return check_target(target)


def _distinct(outputs: Iterable[tuple[str, Path]]) -> dict[tuple[int, int] | None, tuple[str, Path]]:
    """Return the existing outputs by identity; raise HeadPoseError if two options name the same file."""
    taken: dict[object, tuple[str, Path]] = {}
    there: dict[tuple[int, int] | None, tuple[str, Path]] = {}
    for option, path in outputs:
        identity = _identity(path)
        # A new file has no identity yet. The file system may ignore case and Unicode normalization.
        name = unicodedata.normalize("NFC", path.name).casefold()
        for key in (identity, (_identity(path.parent) or path.parent.absolute(), name)):
            other = taken.setdefault(key, (option, path)) if key is not None else (option, path)
            if other[0] != option:
                raise HeadPoseError(f"{other[0]} {other[1]} and {option} {path} are one file: give two names")
        if identity is not None:
            there[identity] = (option, path)
    return there


def _identity(path: PathLike) -> tuple[int, int] | None:
    """Return (device, inode) of an existing path, following links; None if it does not exist."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _files(given: PathLike) -> Iterator[Path]:
    """Yield a file, or a folder and all its content recursively, following links."""
    waiting, seen = [Path(given)], set()
    while waiting:
        path = waiting.pop()
        yield path
        if path.is_dir() and (identity := _identity(path)) not in seen:
            seen.add(identity)
            with contextlib.suppress(OSError):  # an unreadable folder cannot contain an input
                waiting += path.iterdir()


@contextlib.contextmanager
def _temporary_folder(target: Path) -> Iterator[tuple[Path, int]]:
    """Create a hidden folder beside ``target``; remove those of dead processes.

    Yields:
        (folder, descriptor of its lock).
    """
    names = [f".{target.name[:40]}.{slot}{_TEMPORARY}" for slot in range(_SLOTS)]
    mine: tuple[Path, int] | None = None
    for folder in map(target.with_name, names):
        if mine is not None and not folder.is_dir():
            continue
        if (held := _enter(folder)) is None:
            continue
        if mine is None:
            mine = folder, held
            _empty(folder)
        else:
            _leave(folder, held)
    while mine is None:  # all slots are in use
        folder = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}{_TEMPORARY}")
        if (held := _enter(folder)) is not None:
            mine = folder, held
    try:
        yield mine
    finally:
        _leave(*mine)


def _enter(folder: Path) -> int | None:
    """Create a temporary folder or take over that of a dead process.

    Returns:
        Descriptor of its lock; None if another process holds it.
    """
    for _ in range(2):
        try:
            folder.mkdir(mode=0o700)
            made = True
        except FileExistsError:
            made = False
        if not made and not _is_own_folder(folder):
            return None
        flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | (os.O_CREAT if made else 0)
        try:
            held = os.open(folder / _LOCK, flags, 0o666)
        except FileNotFoundError:  # the owner ended between two steps
            with contextlib.suppress(OSError):
                folder.rmdir()
            continue
        except OSError:
            if not made:
                return None
            with contextlib.suppress(OSError):
                folder.rmdir()
            raise
        locked = lock(held)
        # The owner removes the lock file before it releases the lock, so a removed file does not count.
        if is_same_file(folder / _LOCK, held) and (locked or (locked is None and made)):
            return held
        os.close(held)
        return None
    return None


def _is_own_folder(folder: Path) -> bool:
    """Return whether a folder is not a link and belongs to this user, so that its content may be deleted."""
    try:
        found = folder.lstat()
    except OSError:
        return True  # it no longer exists; the next step handles this
    return stat.S_ISDIR(found.st_mode) and (sys.platform == "win32" or found.st_uid == os.getuid())


def _empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name != _LOCK:
                path.unlink()


def _leave(folder: Path, held: int) -> None:
    """Remove a temporary folder. Errors are ignored: they would hide the writer's, and the next writer tries again."""
    _empty(folder)
    if sys.platform == "win32":  # Windows cannot remove an open file
        os.close(held)
    with contextlib.suppress(OSError):
        (folder / _LOCK).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
    if sys.platform != "win32":
        os.close(held)
