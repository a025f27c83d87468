"""Writing files: a reader sees the old content or the new, never half of it, and no output destroys an input."""

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
"""Endings, in lower case, of pictures, videos, networks and arrays. No file of text gets such a name: where a shell
expands ``--json *.jpg``, the first picture becomes the target."""

_SLOTS = 4  # writers of one target at a time whose temporary folders are found again after a crash
_TEMPORARY, _LOCK = ".headpose", "lock"


def check_outputs(
    inputs: Iterable[PathLike | None],
    *,
    text: Mapping[str, PathLike | None] | None = None,
    data: Mapping[str, PathLike | Sequence[PathLike] | None] | None = None,
) -> None:
    """Refuses outputs that would destroy an input or each other. Programs call it before they make or open anything.

    Files are compared as the file system identifies them, so that links and other spellings of a path count too.

    Args:
        inputs: files, and folders with all that is in them. None, and what does not exist, is passed over: a
            camera's number, the name of a network, an address.
        text: JSON, CSV and the like, by the option that names each. None and "-" (stdout) are passed over.
        data: other files. A sequence holds files in a folder that the program may have to make.

    Raises:
        HeadPoseError: an output cannot be put there, has a name that it must not have, is an input, or is
            another output too.
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
    """HeadPoseError if a file of text would get the name of a picture, a video or a network."""
    suffix = Path(target).suffix.lower()
    if suffix in DATA_SUFFIXES:
        raise HeadPoseError(f"cannot write text to {target}: {suffix} is for other data; use .json, .csv or .txt")


def check_target(target: PathLike) -> Path:
    """The path, if a file can be put there; for programs that work for a while before they write.

    Raises:
        HeadPoseError: its folder does not exist or takes no files, or it is a folder or a device.
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
    """Yields a temporary path; renames it onto ``target`` on success.

    The temporary name keeps the suffix, because image and video encoders choose their format by it. It lies in a
    hidden folder beside ``target``, with a lock that ends with the process: what a killed process left there is
    removed by the next one that writes ``target``. When the block fails, nothing is left behind and ``target``
    is as it was. If ``target`` is a link, the link is replaced and the file it points to stays.

    Raises:
        HeadPoseError: the folder does not exist, ``target`` is no file, the disk is full, or the file
            cannot be written.
    """
    path = check_target(target)
    try:
        with _temporary_folder(path) as (folder, held):
            temporary = folder / f"whole{path.suffix}"
            yield temporary
            with contextlib.suppress(PermissionError):  # a file system without modes
                # Some writers make files of mode 0600; the lock has what the user's umask gives.
                temporary.chmod(stat.S_IMODE(os.fstat(held).st_mode))
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    except OSError as error:
        raise HeadPoseError(f"cannot write {path}: {error.strerror or error}") from error


def write_bytes(target: PathLike, data: bytes) -> None:
    """Writes ``data`` to ``target`` atomically (see ``atomic_path`` for the errors)."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_text(target: PathLike, text: str) -> None:
    """Writes ``text`` to ``target`` as UTF-8, atomically (see ``atomic_path`` for the errors)."""
    write_bytes(target, text.encode())


def lock(descriptor: int, *, wait: bool = False) -> bool | None:
    """Locks an open file for this process until the descriptor is closed, at the latest when the process ends.

    Returns:
        Whether it is locked now: False if another holder has it, None if the file system has no locks.
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
    """Whether ``path`` itself, not what it links to, is still the open file."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


def sha256_of(path: PathLike) -> str:
    """SHA-256 of a file's bytes, 64 lower-case hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(file)


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
    """The outputs that exist by their identity; HeadPoseError if two options name one file."""
    taken: dict[object, tuple[str, Path]] = {}
    there: dict[tuple[int, int] | None, tuple[str, Path]] = {}
    for option, path in outputs:
        identity = _identity(path)
        # A file that is not there yet has no identity. Upper and lower case, and the forms of an accent, may be one.
        name = unicodedata.normalize("NFC", path.name).casefold()
        for key in (identity, (_identity(path.parent) or path.parent.absolute(), name)):
            other = taken.setdefault(key, (option, path)) if key is not None else (option, path)
            if other[0] != option:
                raise HeadPoseError(f"{other[0]} {other[1]} and {option} {path} are one file: give two names")
        if identity is not None:
            there[identity] = (option, path)
    return there


def _identity(path: PathLike) -> tuple[int, int] | None:
    """Device and inode of what is there, links followed; None if nothing is."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _files(given: PathLike) -> Iterator[Path]:
    """A file; or a folder and all that is in it, at any depth, links followed."""
    waiting, seen = [Path(given)], set()
    while waiting:
        path = waiting.pop()
        yield path
        if path.is_dir() and (identity := _identity(path)) not in seen:
            seen.add(identity)
            with contextlib.suppress(OSError):  # a folder that cannot be read is nobody's input
                waiting += path.iterdir()


@contextlib.contextmanager
def _temporary_folder(target: Path) -> Iterator[tuple[Path, int]]:
    """A hidden folder beside ``target`` and the descriptor of its lock; removes those whose owners are dead."""
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
    while mine is None:  # as many writers as slots
        folder = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}{_TEMPORARY}")
        if (held := _enter(folder)) is not None:
            mine = folder, held
    try:
        yield mine
    finally:
        _leave(*mine)


def _enter(folder: Path) -> int | None:
    """Makes a temporary folder, or takes over one whose owner is dead; its lock, or None if another holds it."""
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
        except FileNotFoundError:  # its owner died, or left, between two steps
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
        # The owner removes the lock before it lets go: one that is no longer there does not count.
        if is_same_file(folder / _LOCK, held) and (locked or (locked is None and made)):
            return held
        os.close(held)
        return None
    return None


def _is_own_folder(folder: Path) -> bool:
    """Whether it is no link, and this user's: nobody else says what is deleted here."""
    try:
        found = folder.lstat()
    except OSError:
        return True  # gone by now: the next step finds out
    return stat.S_ISDIR(found.st_mode) and (sys.platform == "win32" or found.st_uid == os.getuid())


def _empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name != _LOCK:
                path.unlink()


def _leave(folder: Path, held: int) -> None:
    """Removes a temporary folder. Its errors would hide that of the writer; the next one tries again."""
    _empty(folder)
    if sys.platform == "win32":  # which removes no open file
        os.close(held)
    with contextlib.suppress(OSError):
        (folder / _LOCK).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
    if sys.platform != "win32":
        os.close(held)
