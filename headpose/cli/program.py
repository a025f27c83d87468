"""Shared behavior of all programs: exit status, standard streams, and the message if a package is missing."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from headpose.errors import HeadPoseError, install_advice

INTERRUPTED, NO_READER = 130, 141
"""Exit statuses after Ctrl-C and after the reader of stdout has closed it, as a shell reports SIGINT and SIGPIPE."""


def run_program(name: str, program: Callable[[], int]) -> int:
    """Run a program so that a user's error ends it with one line on stderr, without a traceback.

    Every program of this project uses it. stdout and stderr may be closed, full, or without a reader.

    Args:
        name: Name of the program, at the start of the line on stderr.
        program: Function that does the work and returns the exit status.

    Returns:
        The status from ``program``; 1 after an error, which is one line on stderr; ``INTERRUPTED`` or ``NO_READER``.

    Raises:
        SystemExit: From argparse, after wrong usage or --help.
    """
    stdout = _open_streams()
    try:
        try:
            return program()
        finally:
            if sys.exc_info()[0] in (None, SystemExit):
                sys.stdout.flush()
                if stdout and stdout.error:  # the program ignored the error, as argparse does
                    raise stdout.error
    except HeadPoseError as error:
        return _fail(name, str(error))
    except KeyboardInterrupt:
        return _leave_stdout(INTERRUPTED)
    except BrokenPipeError:  # the reader of stdout has closed it, as in `headpose ... | head`
        return _leave_stdout(NO_READER)
    except OSError as error:
        what = "cannot write to stdout" if stdout and error is stdout.error else error.filename
        return _fail(name, f"{what}: {error.strerror}" if what else str(error))


@contextlib.contextmanager
def imports_from(extra: str, program: str) -> Iterator[None]:
    """Exit with one line on stderr and status 1 if a package imported in this block is not installed.

    Args:
        extra: Extra of this project that installs these packages.
        program: Name of the program, at the start of the line.

    Raises:
        SystemExit: A package is missing; the exit status is 1.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = error.name or str(error)
        if missing.startswith("headpose"):
            raise
        print(f"{program}: error: {program} needs {missing}: {install_advice(extra)}", file=sys.stderr)
        raise SystemExit(1) from None


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM, which stops a service, like Ctrl-C: the files are finished."""
    try:
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Stdout(io.FileIO):
    """Raw stdout that keeps the error of a failed write."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


class _Stderr(io.FileIO):
    """Raw stderr that ignores failed writes: without a reader, the results still matter."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _open_streams() -> _Stdout | None:
    """Reopen the streams that the caller closed, and wrap stdout and stderr.

    Returns:
        The raw stdout, or None if stdout is not a plain stream and was not wrapped.
    """
    stdout = None
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Otherwise the next opened file gets this descriptor, and the output of libraries goes into that file.
            # stdout is opened for reading only, so that writing to it remains an error.
            os.open(os.devnull, os.O_WRONLY if descriptor == 2 else os.O_RDONLY)
    if sys.stdout is None:
        stdout = _Stdout(os.open(os.devnull, os.O_RDONLY), "w")
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(stdout))
    elif isinstance(sys.stdout, io.TextIOWrapper) and _is_plain(sys.stdout, 1):
        old, stdout = sys.stdout, _Stdout(1, "w", closefd=False)
        old.flush()
        buffer: Any = stdout if old.write_through else io.BufferedWriter(stdout)
        sys.stdout = io.TextIOWrapper(
            buffer, old.encoding, line_buffering=old.line_buffering, write_through=old.write_through
        )
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may hold characters that the encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stderr is None or _is_plain(sys.stderr, 2):
        encoding = getattr(sys.stderr, "encoding", None)
        raw = io.BufferedWriter(_Stderr(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(raw, encoding, errors="backslashreplace", line_buffering=True)
    return stdout


def _is_plain(stream: TextIO, descriptor: int) -> bool:
    """Return whether this is Python's own stream for the descriptor, not a Windows console or a test's replacement."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return type(raw) is io.FileIO and raw.fileno() == descriptor


def printable(text: str) -> str:
    """Return the text in one line with control characters escaped: a file name may hold terminal escape sequences."""
    return "".join(
        letter if letter.isprintable() or "\ud800" <= letter <= "\udfff" else ascii(letter)[1:-1] for letter in text
    )


def _fail(name: str, message: str) -> int:
    print(f"{name}: error: {printable(message)}", file=sys.stderr)
    return _leave_stdout(1)


def _leave_stdout(status: int) -> int:
    """Flush stdout, or redirect it if that fails: otherwise Python tries again at exit and prints an error.

    Args:
        status: Exit status of the program.

    Returns:
        ``status``.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
