"""Errors that a user's input can cause.

Every message is one line that says what is wrong and what to do about it: programs print it as it
is and exit with status 1; nothing else in the package turns an exception into text.

``except HeadPoseError`` catches them all. ``InputError`` is a ValueError as well, for code that expects one.
"""


class HeadPoseError(Exception):
    """Base of every error caused by input rather than by a defect of this package."""


class InputError(HeadPoseError, ValueError):
    """An argument of a public function with a wrong value: an empty box, an unknown style, a number out of range."""


class ImageError(HeadPoseError):
    """A picture or a stream of pictures that cannot be read."""


class WeightsError(HeadPoseError):
    """A model file that is missing, altered, or at odds with its manifest."""


class DataError(HeadPoseError):
    """A data set, label file or manifest that cannot be used as it is."""


class RecipeError(HeadPoseError):
    """A configuration with an unknown key, a wrong type or a value out of range."""


def install_advice(extra: str) -> str:
    """How to install an extra of this package, for the end of a message. It is not on a package index yet."""
    return f"pip install '.[{extra}]' in a checkout of headpose"
