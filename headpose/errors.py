"""Errors caused by user input.

Every message is one line that says what is wrong and what to do. Programs print the message and exit with status 1.
``except HeadPoseError`` catches all of them.
"""


class HeadPoseError(Exception):
    """Base class of all errors that are caused by input rather than by a defect of this package."""


class InputError(HeadPoseError, ValueError):
    """Invalid argument: an empty box, an unknown style, a number out of range. Also a ValueError."""


class ImageError(HeadPoseError):
    """Unreadable image, video or stream."""


class WeightsError(HeadPoseError):
    """Model file that is missing, modified, or inconsistent with its manifest."""


class DataError(HeadPoseError):
    """Invalid data set, label file or manifest."""


class RecipeError(HeadPoseError):
    """Configuration with an unknown key, a wrong type or a value out of range."""


def first_line(error: Exception) -> str:
    """Return the first line of an error of a library, or the name of its class; at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def install_advice(extra: str) -> str:
    """Return how to install an extra, for the end of an error message. The package is not on PyPI yet."""
    return f"pip install '.[{extra}]' in a checkout of headpose"
