"""Functions for argparse's ``type``. An invalid value is wrong usage: exit status 2."""

from __future__ import annotations

import argparse
from pathlib import Path


def non_empty(text: str) -> str:
    """Return the name of a file or folder. An empty name is an error: ``Path`` would read it as the working folder."""
    if not text:
        raise argparse.ArgumentTypeError("the name of a file or folder must not be empty")
    return text


def named_path(text: str) -> Path:
    """Return the path of a file or folder (see ``non_empty``)."""
    return Path(non_empty(text))


def whole(text: str) -> int:
    """Parse a whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def positive(text: str) -> int:
    """Parse a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def port(text: str) -> int:
    """Parse the number of a TCP port."""
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value
