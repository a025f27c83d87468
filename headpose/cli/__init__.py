"""The ``headpose`` command line. Only the module of the subcommand in use is imported."""

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
        module: Name of the module. It defines ``add_arguments(parser)`` and ``run(args)``, which returns the exit
            status.
        summary: One line for --help.
        extra: Extra that installs the packages that the command needs beyond those of the runtime; "" for none.
    """

    module: str
    summary: str
    extra: str = ""


COMMANDS = {
    "estimate": Command("headpose.cli.estimate", "estimate head poses in images, videos or a camera stream"),
    "best": Command("headpose.cli.best", "save the most frontal, sharpest pictures of each person in a video"),
    "serve": Command("headpose.cli.serve", "serve head poses over HTTP and WebSocket", "serve"),
    "label": Command("headpose.cli.label", "label millions of pictures and hours of video", "bulk"),
    "select": Command("headpose.cli.select", "filter, balance and sample the faces of headpose label", "bulk"),
    "models": Command("headpose.cli.models", "list the available networks"),
    "fetch": Command("headpose.cli.fetch", "download networks that are not part of the package"),
    "doctor": Command("headpose.cli.doctor", "check the installation and report what is missing or conflicts"),
    "train": Command("headpose.cli.train", "train a network from a recipe", "train"),
    "compress": Command("headpose.cli.compress", "prune, distill and quantize a network", "train"),
    "quantize": Command("headpose.cli.quantize", "convert a network to fp16 or int8 and compare it with fp32", "train"),
    "synth": Command("headpose.cli.synth", "render heads with exact labels", "synth"),
    "report": Command("headpose.cli.report", "write a report of the measured results"),
    "weights": Command("headpose.cli.weights", "convert networks between safetensors and ONNX", "train"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments after the program's name. None uses those of the process.

    Returns:
        Exit status: 0 after success, 1 after an error in the input (one line on stderr), 130 after Ctrl-C, 141 after
        the reader of stdout has closed it.

    Raises:
        SystemExit: The usage is wrong; the exit status is 2.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_program("headpose", lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    parsed = _parser(arguments).parse_args(arguments)
    show_log("headpose", parsed.verbose)
    status: int = parsed.run(parsed)
    return status


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    """Return the parser, with the arguments of the subcommand in use only."""
    parser = argparse.ArgumentParser(
        prog="headpose", description="Estimate yaw, pitch and roll of every face in an image."
    )
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
