"""How a program of this project runs: its exit status, its streams, and what it says where a package is missing."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from headpose.errors import HeadPoseError, install_advice

INTERRUPTED, NO_READER = 130, 141
"""Exit statuses after Ctrl-C and when nobody reads stdout any more: those that a shell reports for the signals."""


def run_program(name: str, program: Callable[[], int]) -> int:
    """Runs a program so that it ends with an exit status and at most one line, never with a traceback.

    For every program of this project. stdout and stderr may be closed, full, or without a reader.

    Args:
        name: what the line on stderr begins with.
        program: does the work and returns the exit status.

    Returns:
        Its status; 1 after an error, which is one line on stderr; ``INTERRUPTED`` or ``NO_READER``. ``SystemExit``,
        of wrong usage or --help, passes.
    """
    stdout = _open_streams()
    try:
        try:
            return program()
        finally:
            if sys.exc_info()[0] in (None, SystemExit):
                sys.stdout.flush()
                if stdout and stdout.error:  # somebody has passed over it, as argparse does
                    raise stdout.error
    except HeadPoseError as error:
        return _fail(name, str(error))
    except KeyboardInterrupt:
        return _leave_stdout(INTERRUPTED)
    except BrokenPipeError:  # the reader of our stdout has gone, which is its right: `headpose ... | head`
        return _leave_stdout(NO_READER)
    except OSError as error:
        what = "cannot write to stdout" if stdout and error is stdout.error else error.filename
        return _fail(name, f"{what}: {error.strerror}" if what else str(error))


@contextlib.contextmanager
def imports_from(extra: str, program: str) -> Iterator[None]:
    """Ends a program in one line, with status 1, where a package that it imports in this block is not installed.

    Args:
        extra: of this project, which has all of these packages.
        program: what the line on stderr begins with.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = error.name or str(error)
        if missing.startswith("headpose"):
            raise
        print(f"{program}: error: {program} needs {missing}: {install_advice(extra)}", file=sys.stderr)
        raise SystemExit(1) from None


class _Stdout(io.FileIO):
    """Keeps the error that it could not be written with."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


class _Stderr(io.FileIO):
    """Drops what cannot be written: nobody reads it, and the results still matter."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _open_streams() -> _Stdout | None:
    """Opens what the caller closed, and watches stdout and stderr; stdout, if it is watched."""
    stdout = None
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The next file that is opened would get this number, and what libraries print would end in it. stdout
            # is opened for reading only, so that writing to it stays an error.
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
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may hold what the terminal's encoding cannot
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stderr is None or _is_plain(sys.stderr, 2):
        encoding = getattr(sys.stderr, "encoding", None)
        raw = io.BufferedWriter(_Stderr(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(raw, encoding, errors="backslashreplace", line_buffering=True)
    return stdout


def _is_plain(stream: TextIO, descriptor: int) -> bool:
    """Whether it is Python's own for this descriptor; not a console of Windows, and nothing that a test put there."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return type(raw) is io.FileIO and raw.fileno() == descriptor


def printable(text: str) -> str:
    """One line that does nothing to a terminal: the name of a file may hold line ends and escape sequences."""
    return "".join(
        letter if letter.isprintable() or "\ud800" <= letter <= "\udfff" else ascii(letter)[1:-1] for letter in text
    )


def _fail(name: str, message: str) -> int:
    print(f"{name}: error: {printable(message)}", file=sys.stderr)
    return _leave_stdout(1)


def _leave_stdout(status: int) -> int:
    """Flushes stdout, or drops what it cannot take: Python would try again, and complain, on its way out."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
