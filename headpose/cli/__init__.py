"""The command line. A subcommand's module, and what it imports, is loaded only when it is called."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, TextIO

from headpose._version import __version__
from headpose.cli.log import add_verbose, show_log
from headpose.errors import HeadPoseError, install_advice

# Name -> module with add_arguments(parser) and run(args) -> exit status, and a line for --help.
COMMANDS = {
    "estimate": ("headpose.cli.estimate", "read the head poses in pictures, videos or a camera's stream"),
    "models": ("headpose.cli.models", "list the networks there are"),
    "fetch": ("headpose.cli.fetch", "bring networks that do not come with the package"),
    "doctor": ("headpose.cli.doctor", "say what is installed, what is missing and what is in the way"),
    "train": ("headpose.training.command", "train a network from a recipe (needs the extra: train)"),
    "compress": (
        "headpose.compression.command",
        "prune, distil and quantise a network (needs the extra: train)",
    ),
    "quantize": (
        "headpose.compression.quantize_command",
        "write a network in fp16 or int8, checked against fp32 (needs the extra: train)",
    ),
    "synth": ("headpose.synth.command", "render heads with exact labels (needs the extra: synth)"),
    "report": ("headpose.cli.report", "write one report of what was measured"),
    "weights": ("headpose.training.convert", "turn a network back into safetensors (needs the extra: train)"),
}
_EXTRAS = {"headpose.training": "train", "headpose.compression": "train", "headpose.synth": "synth"}
_INTERRUPTED, _NO_READER = 130, 141  # what a shell reports for SIGINT and SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: the arguments after the program's name; those of the process by default.

    Returns:
        Exit status: 0; 1 after an error in the input, told in one line on stderr; 130 after Ctrl-C; 141 when
        nobody reads stdout any more.
        Wrong usage exits with 2 (``SystemExit``).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_program("headpose", lambda: _run(arguments))


def run_program(name: str, program: Callable[[], int]) -> int:
    """Runs a program so that it ends with an exit status and at most one line, never with a traceback.

    For every program of this project. stdout and stderr may be closed, full, or without a reader.

    Args:
        name: what the line on stderr begins with.
        program: does the work and returns the exit status.

    Returns:
        Its status, or one of those of ``main``. ``SystemExit``, of wrong usage or --help, passes.
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
        return _leave_stdout(_INTERRUPTED)
    except BrokenPipeError:  # the reader of our stdout has gone, which is its right: `headpose ... | head`
        return _leave_stdout(_NO_READER)
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


def _run(arguments: list[str]) -> int:
    parsed = _parser(arguments).parse_args(arguments)
    show_log("headpose", parsed.verbose)
    status: int = parsed.run(parsed)
    return status


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    """The parser, with the arguments of the one subcommand that is called."""
    parser = argparse.ArgumentParser(prog="headpose", description="Yaw, pitch and roll of every face in a picture.")
    parser.add_argument("--version", action="version", version=f"headpose {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, (module, summary) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        subparser.description = summary[0].upper() + summary[1:] + "."
        if name == called:
            command = _import_command(name, module)
            command.add_arguments(subparser)
            subparser.set_defaults(run=command.run)
            add_verbose(subparser)
    return parser


def _import_command(name: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing, extra = error.name or "", _EXTRAS.get(".".join(module.split(".")[:2]))
        if extra is None or missing.startswith("headpose"):
            raise
        raise HeadPoseError(f"headpose {name} needs {missing}: {install_advice(extra)}") from None


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
