"""A window that shows live images and reads keys."""

from __future__ import annotations

import os
import sys

import cv2

from headpose.errors import HeadPoseError
from headpose.types import Image

ESCAPE = 27


def letter_of(key: int) -> str:
    """Return the character of a key code.

    The low 16 bits of a code hold the key: an X11 keysym or a character; macOS uses 0xF700 and up for the arrow keys.
    The high bits hold the state of Shift, Caps Lock and Num Lock (GTK) or the arrow keys (Windows).

    Args:
        key: Code returned by ``cv2.waitKeyEx``.

    Returns:
        One ASCII character in lower case; "" for any other key and for no key (-1).
    """
    code = key & 0xFFFF
    return chr(code).lower() if 0 < code < 128 else ""


class Window:
    """A window that shows images and returns keys.

    Use it as a context manager. Entering raises HeadPoseError if no window can be opened.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._sized = False

    def __enter__(self) -> Window:
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            # Without a display, Qt aborts the process.
            raise HeadPoseError("there is no display to open a window on: set DISPLAY, or run with --no-window")
        try:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error:
            raise HeadPoseError(
                "this OpenCV was built without windows: see `headpose doctor`, or run with --no-window"
            ) from None
        return self

    def __exit__(self, *exc_info: object) -> None:
        cv2.destroyAllWindows()

    def show(self, picture: Image, wait_s: float) -> int:
        """Show an image and wait for a key.

        Args:
            picture: (H, W, 3) uint8 BGR.
            wait_s: Maximum time to wait in seconds.

        Returns:
            Code of ``cv2.waitKeyEx``, for ``letter_of``; -1 for no key, ``ESCAPE`` if the window was closed.
        """
        if not self._sized:
            cv2.resizeWindow(self._title, picture.shape[1], picture.shape[0])
            self._sized = True
        cv2.imshow(self._title, picture)
        # cv2.waitKey truncates codes to 8 bits, which turns Left (0xFF51) into Q, Up into R and Right into S.
        key: int = cv2.waitKeyEx(max(1, round(1e3 * wait_s)))
        return key if self._is_open() else ESCAPE

    def _is_open(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # Qt raises this after the last window has closed
            return False
