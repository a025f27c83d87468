"""The command line. A subcommand's module, and what it imports, is loaded only when it is called."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from headpose._version import __version__
from headpose.errors import HeadPoseError

# Name -> module with add_arguments(parser) and run(args) -> exit status, and a line for --help.
_COMMANDS = {
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
    _open_streams()
    try:
        try:
            status = program()
        except SystemExit:
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return status
    except HeadPoseError as error:
        return _fail(name, str(error))
    except KeyboardInterrupt:
        return _leave_stdout(_INTERRUPTED)
    except BrokenPipeError:  # the reader of our stdout has gone, which is its right: `headpose ... | head`
        return _leave_stdout(_NO_READER)
    except OSError as error:
        return _fail(name, _reason(error))


def _run(arguments: list[str]) -> int:
    parsed = _parser(arguments).parse_args(arguments)
    status: int = parsed.run(parsed)
    return status


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    """The parser, with the arguments of the one subcommand that is called."""
    parser = argparse.ArgumentParser(prog="headpose", description="Yaw, pitch and roll of every face in a picture.")
    parser.add_argument("--version", action="version", version=f"headpose {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, (module, summary) in _COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        subparser.description = summary[0].upper() + summary[1:] + "."
        if name == called:
            command = _import_command(name, module)
            command.add_arguments(subparser)
            subparser.set_defaults(run=command.run)
    return parser


def _import_command(name: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing, extra = error.name or "", _EXTRAS.get(".".join(module.split(".")[:2]))
        if extra is None or missing.startswith("headpose"):
            raise
        raise HeadPoseError(
            f"headpose {name} needs {missing}: pip install 'open-headpose[{extra}]', or '.[{extra}]' in a checkout"
        ) from None


class _Patient(io.FileIO):
    """A stream that drops what it cannot write: nobody is left to be told, and the results still matter."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _open_streams() -> None:
    """Puts something in the place of the streams that the caller closed, and makes those there are forgiving."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The next file that is opened would get this number, and what libraries print would end in it. stdout
            # is opened for reading only, so that writing to it stays an error.
            os.open(os.devnull, os.O_WRONLY if descriptor == 2 else os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(os.open(os.devnull, os.O_RDONLY), "w")))
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may hold what the terminal's encoding cannot
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        raw = io.BufferedWriter(_Patient(2, "w", closefd=False))
        encoding = getattr(sys.stderr, "encoding", None)
        sys.stderr = io.TextIOWrapper(raw, encoding, errors="backslashreplace", line_buffering=True)


def _fail(name: str, message: str) -> int:
    print(f"{name}: error: {message}", file=sys.stderr)
    return _leave_stdout(1)


def _reason(error: OSError) -> str:
    """What an error of the operating system is about; stdout keeps, and refuses again, what it could not take."""
    try:
        sys.stdout.flush()
    except OSError as stuck:
        return f"cannot write to stdout: {stuck.strerror or stuck}"
    return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)


def _leave_stdout(status: int) -> int:
    """Flushes stdout, or drops what it cannot take: Python would try again, and complain, on its way out."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
