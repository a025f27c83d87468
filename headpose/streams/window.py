"""A window on the screen: where live pictures go, and where keys come from."""

from __future__ import annotations

import os
import sys

import cv2

from headpose.errors import HeadPoseError
from headpose.types import Image

ESCAPE = 27


def letter_of(key: int) -> str:
    """The ASCII character of a key of ``cv2.waitKeyEx``, in lower case; "" for any other key, and for none (-1).

    The low 16 bits are the key: an X11 keysym or the character, 0xF700 and up for the arrows of macOS. GTK puts the
    state of Shift, Caps Lock and Num Lock above them, Windows puts the arrows there, with nothing below.
    """
    code = key & 0xFFFF
    return chr(code).lower() if 0 < code < 128 else ""


class Window:
    """A window that shows pictures and returns keys. Entering raises HeadPoseError where there cannot be one."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._sized = False

    def __enter__(self) -> Window:
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            # Asked all the same, Qt would end the process.
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
        """Shows a picture and returns the key that was pressed within ``wait_s`` seconds.

        Returns:
            The whole code of ``cv2.waitKeyEx``, for ``letter_of``; -1 for no key, ``ESCAPE`` for a closed window.
        """
        if not self._sized:
            cv2.resizeWindow(self._title, picture.shape[1], picture.shape[0])
            self._sized = True
        cv2.imshow(self._title, picture)
        # Not waitKey: it cuts codes to 8 bits, which turns Left (0xFF51) into Q, Up into R and Right into S.
        key: int = cv2.waitKeyEx(max(1, round(1e3 * wait_s)))
        return key if self._is_open() else ESCAPE

    def _is_open(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # Qt's answer once the last window is closed
            return False
