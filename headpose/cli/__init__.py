"""The command line. A subcommand's module, and what it imports, is loaded only when it is called."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from headpose._version import __version__
from headpose.cli.log import add_verbose, show_log
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
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may hold what the terminal's encoding cannot
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        parsed = _parser(arguments).parse_args(arguments)
        show_log("headpose", parsed.verbose)
        status: int = parsed.run(parsed)
        sys.stdout.flush()
        return status
    except HeadPoseError as error:
        print(f"headpose: error: {error}", file=sys.stderr)
        return _leave_stdout(1)
    except KeyboardInterrupt:
        return _leave_stdout(_INTERRUPTED)
    except BrokenPipeError:  # the reader of our stdout has gone, which is its right: `headpose ... | head`
        return _leave_stdout(_NO_READER)


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
            add_verbose(subparser)
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


def _leave_stdout(status: int) -> int:
    """Flushes stdout, or drops what it cannot take: Python would try again, and complain, on its way out."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
