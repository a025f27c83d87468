"""The command line. A subcommand's module, and what it imports, is loaded only when it is called."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from headpose._version import __version__
from headpose.cli.log import add_verbose, show_log
from headpose.cli.program import run_program
from headpose.errors import HeadPoseError, install_advice


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        module: has ``add_arguments(parser)`` and ``run(args)``, which returns the exit status.
        summary: a line for --help.
        extra: of this project, which has the packages that it needs beside the runtime's; "" for none.
    """

    module: str
    summary: str
    extra: str = ""


COMMANDS = {
    "estimate": Command("headpose.cli.estimate", "read the head poses in pictures, videos or a camera's stream"),
    "models": Command("headpose.cli.models", "list the networks there are"),
    "fetch": Command("headpose.cli.fetch", "bring networks that do not come with the package"),
    "doctor": Command("headpose.cli.doctor", "say what is installed, what is missing and what is in the way"),
    "train": Command("headpose.cli.train", "train a network from a recipe", "train"),
    "compress": Command("headpose.cli.compress", "prune, distil and quantise a network", "train"),
    "quantize": Command("headpose.cli.quantize", "write a network in fp16 or int8, checked against fp32", "train"),
    "synth": Command("headpose.cli.synth", "render heads with exact labels", "synth"),
    "report": Command("headpose.cli.report", "write one report of what was measured"),
    "weights": Command("headpose.cli.weights", "turn a network back into safetensors", "train"),
}


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
    for name, command in COMMANDS.items():
        summary = command.summary + (f" (needs the extra: {command.extra})" if command.extra else "")
        subparser = subparsers.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        subparser.description = summary[0].upper() + summary[1:] + "."
        if name == called:
            module = _import_command(name, command)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
            add_verbose(subparser)
    return parser


def _import_command(name: str, command: Command) -> ModuleType:
    try:
        return importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not command.extra or missing.startswith("headpose"):
            raise
        raise HeadPoseError(f"headpose {name} needs {missing}: {install_advice(command.extra)}") from None
