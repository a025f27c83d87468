"""Types of command-line arguments, for argparse's ``type``: what is out of range is wrong usage, exit status 2."""

from __future__ import annotations

import argparse
from pathlib import Path


def non_empty(text: str) -> str:
    """Reads the name of a file or folder; an empty text, which ``Path`` takes for the working folder, is wrong."""
    if not text:
        raise argparse.ArgumentTypeError("an empty text is no name of a file or folder")
    return text


def named_path(text: str) -> Path:
    """Reads the name of a file or folder as a path (see ``non_empty``)."""
    return Path(non_empty(text))


def whole(text: str) -> int:
    """Reads a whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def positive(text: str) -> int:
    """Reads a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def share(text: str) -> float:
    """Reads a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value
