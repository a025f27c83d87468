"""Functions for argparse's ``type``, and options of several programs.

An invalid value is wrong usage: exit status 2.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from headpose.choices import DEFAULT_DETECTOR, DEFAULT_MODEL, DETECT_EVERY, DETECTORS, DEVICES, STYLES

_LANDMARKS = "landmarks"  # network of --landmarks without a value
_NETWORK_FILES = (".onnx", ".safetensors")


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


def add_network_options(parser: argparse.ArgumentParser, *, min_face: int | None = None) -> None:
    """Add the options of the networks that find and read faces; ``min_face`` is the default of --min-face."""
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="name (headpose models lists them) or file (.onnx, .safetensors) of the network (default: %(default)s)",
    )
    parser.add_argument(
        "--detector", choices=DETECTORS, default=DEFAULT_DETECTOR, help="face detector (default: %(default)s)"
    )
    parser.add_argument(
        "--detector-model", type=non_empty, metavar="FILE", help="model file of the detector (required for yunet)"
    )
    parser.add_argument(
        "--min-face",
        type=positive,
        default=min_face,
        metavar="PX",
        help="size of the smallest face that blazeface detects, in pixels; larger values are faster (default: "
        f"{min_face or 40})",
    )
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="device of the networks (default: auto, the best one that is installed and works)",
    )


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads``."""
    parser.add_argument("--threads", type=whole, default=0, metavar="N", help="number of CPU threads (default: all)")


def add_detect_every_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--detect-every``."""
    parser.add_argument(
        "--detect-every",
        type=positive,
        default=DETECT_EVERY,
        metavar="N",
        help="look for new faces in a video every N frames, if the network can follow faces (default: %(default)s)",
    )


def add_draw_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--draw``."""
    parser.add_argument("--draw", choices=STYLES, default=STYLES[0], help="how poses are drawn (default: %(default)s)")


def add_face_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that select and judge faces: ``--max-faces``, ``--min-score`` and ``--min-confidence``."""
    parser.add_argument(
        "--max-faces", type=positive, metavar="N", help="keep the N best-scoring faces of each image (default: all)"
    )
    parser.add_argument(
        "--min-score",
        type=share,
        default=0.0,
        metavar="S",
        help="minimum score of a face, 0 to 1 (default: 0; blazeface itself drops faces below 0.5)",
    )
    parser.add_argument(
        "--min-confidence",
        type=share,
        default=0.0,
        metavar="P",
        help="mark poses as unreliable whose probability of a readable face is below P, 0 to 1 (default: 0); needs a "
        "network with the output face",
    )


def add_landmark_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--landmarks``: the landmark network to use, or None."""
    parser.add_argument(
        "--landmarks",
        type=_landmark_network,
        nargs="?",
        const=_LANDMARKS,
        metavar="MODEL",
        help="also locate the 68 landmarks of each face, with a network by name or file (.onnx, .safetensors; default: "
        f"{_LANDMARKS})",
    )


def _landmark_network(text: str) -> str:
    """Return the name of a landmark network or its file; a SOURCE that follows the option is an error."""
    if text != _LANDMARKS and not text.endswith(_NETWORK_FILES):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither {_LANDMARKS!r} nor an .onnx or .safetensors file; if it is a SOURCE, give it before "
            "--landmarks"
        )
    return text
