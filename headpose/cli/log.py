"""Logging of the package to stderr, for the command line and for programs."""

from __future__ import annotations

import argparse
import logging
import sys


class _OnStderr(logging.Handler):
    """Handler that prints one line per record, in the format of the programs' own messages."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def emit(self, record: logging.LogRecord) -> None:
        line = " ".join(record.getMessage().split())
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        print(f"{self._program}: {level}{line}", file=sys.stderr)


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Add the option ``-v``."""
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="print details to stderr, for example the device in use"
    )


def show_log(program: str, verbose: bool = False) -> None:
    """Print the records of the logger ``headpose`` to stderr from now on.

    Args:
        program: Name of the program, at the start of each line.
        verbose: Print all records instead of warnings and errors only.
    """
    log = logging.getLogger("headpose")
    for handler in log.handlers[:]:
        if isinstance(handler, _OnStderr):
            log.removeHandler(handler)
    log.addHandler(_OnStderr(program))
    log.setLevel(logging.DEBUG if verbose else logging.WARNING)
