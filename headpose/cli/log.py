"""The package's log on stderr, for the command line and for programs."""

from __future__ import annotations

import argparse
import logging
import sys


class _OnStderr(logging.Handler):
    """One line a record, in the form of the programs' own messages."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def emit(self, record: logging.LogRecord) -> None:
        line = " ".join(record.getMessage().split())
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        print(f"{self._program}: {level}{line}", file=sys.stderr)


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Adds ``-v``."""
    parser.add_argument("-v", "--verbose", action="store_true", help="say on stderr what is used, such as the device")


def show_log(program: str, verbose: bool = False) -> None:
    """Shows the log ``headpose`` on stderr from now on: its warnings, with ``verbose`` all of it.

    Args:
        program: whose name each line begins with.
        verbose: also what is no warning.
    """
    log = logging.getLogger("headpose")
    for handler in log.handlers[:]:
        if isinstance(handler, _OnStderr):
            log.removeHandler(handler)
    log.addHandler(_OnStderr(program))
    log.setLevel(logging.DEBUG if verbose else logging.WARNING)
