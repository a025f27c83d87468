"""Keys of the live window, and the settings that they change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from headpose.choices import STYLES, Style
from headpose.streams.window import ESCAPE, letter_of

HELP = (
    "1-9  model",
    "a  axes    c  cube    n  box only",
    "m  mirror the window",
    "f  smooth on/off",
    "t  times of the stages",
    "g  chart of the last ten seconds",
    "z  neutral pose    x  clear it",
    "s  save an image",
    "r  start/stop recording",
    "h  this help    q, Esc  quit",
    "yaw green   pitch red   roll blue",
)

_SWITCHES = {"m": "mirror", "f": "smooth", "t": "times", "g": "chart", "h": "help", "r": "recording"}
_SETS: dict[str, dict[str, Any]] = {key: {"style": style} for key, style in zip("acn", STYLES, strict=True)}
_SETS |= {"z": {"neutral": "set"}, "x": {"neutral": "clear"}}
_SETS |= {"q": {"running": False}, chr(ESCAPE): {"running": False}, "s": {"snapshot": True}}


@dataclass(frozen=True, slots=True)
class View:
    """Display settings chosen by the user. The session applies them.

    Attributes:
        model: Name of the network.
        style: Drawing style.
        mirror: Mirror the picture of the window.
        smooth: Smooth the poses.
        times: Show the time of each stage.
        chart: Show the chart of the last ten seconds.
        help: Show the keys.
        recording: Record.
        snapshot: Save one picture.
        neutral: "set" or "clear" once after the key; "" otherwise.
        running: False ends the loop.
    """

    model: str
    style: Style = "axes"
    mirror: bool = False
    smooth: bool = False
    times: bool = False
    chart: bool = False
    help: bool = False
    recording: bool = False
    snapshot: bool = False
    neutral: str = ""
    running: bool = True


def press(view: View, key: int, models: Sequence[str]) -> View:
    """Return the view after a key press.

    Args:
        view: Current view.
        key: Key code from ``cv2.waitKeyEx``, -1 for none.
        models: Names of the networks that the keys 1 to 9 select.
    """
    letter = letter_of(key)
    changes: dict[str, Any] = _SETS.get(letter, {})
    if letter in _SWITCHES:
        changes = {_SWITCHES[letter]: not getattr(view, _SWITCHES[letter])}
    if letter.isdecimal() and 1 <= int(letter) <= len(models):
        changes = {"model": models[int(letter) - 1]}
    return replace(view, **changes)
