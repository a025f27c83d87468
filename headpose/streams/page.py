"""Parts of the web page that do not need gradio: tables, messages and the points of curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose import geometry
from headpose.draw import ANGLE_COLORS, describe
from headpose.geometry import Array
from headpose.neutral import NeutralPose
from headpose.types import HeadPose, Image

if TYPE_CHECKING:
    import pandas as pd

RGB = NDArray[np.uint8]
"""Image array for gradio: (H, W, 3) uint8, channels in RGB order."""
COLORS = {name: f"#{r * 4 // 5:02x}{g * 4 // 5:02x}{b * 4 // 5:02x}" for name, (b, g, r) in ANGLE_COLORS.items()}
"""Colors of the drawn axes, darkened so that text is readable on white and on black."""
_CURVE_POINTS = 500  # maximum number of plotted points per angle; more slow the browser down


def swap_red_and_blue(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert a (H, W, 3) uint8 image from BGR to RGB, or from RGB to BGR."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def note_on(image: Image, seconds: float) -> str:
    """Return the note below a table: the size of the image, and the time that it took."""
    return f"{image.shape[1]} x {image.shape[0]} pixels, {1e3 * seconds:.0f} ms"


def said(message: str) -> str:
    """Return the HTML of a message that screen readers read out."""
    return f'<p class="note" role="status">{message}</p>'


def curve_frame(lines: Iterable[Array]) -> pd.DataFrame:
    """Return the points of curves for a plot: columns ``seconds``, ``degrees`` and ``angle``.

    Args:
        lines: Stretches of (N, 4) seconds, yaw, pitch and roll in degrees. Between two of them is a point without an
            angle, which interrupts the line. Of many points, some are left out.
    """
    import pandas as pd  # installed with gradio

    stretches = [line for line in lines if len(line)]
    step = max(1, -(-sum(map(len, stretches)) // _CURVE_POINTS))
    points: list[tuple[float, float, str]] = []
    for number, line in enumerate(stretches):
        if number:
            points += [(float(line[0, 0]), np.nan, name) for name in ANGLE_COLORS]
        points += [(time_s, angle, name) for time_s, *euler in line[::step].tolist() for name, angle in _named(euler)]
    return pd.DataFrame(points, columns=["seconds", "degrees", "angle"])


def _named(euler: Iterable[float]) -> Iterable[tuple[str, float]]:
    return zip(ANGLE_COLORS, euler, strict=True)


def in_words(neutral: NeutralPose) -> str:
    """Return the angles of a neutral pose, such as "yaw +1.0°, pitch -12.3°, roll +0.4°"."""
    return ", ".join(f"{name} {angle:+.1f}°" for name, angle in _named(geometry.euler_from_rotation(neutral.rotation)))


def table(poses: Sequence[HeadPose], note: str, neutral: NeutralPose | None = None) -> str:
    """Return an HTML table with one row per face, starting with its drawn number, and a note below.

    The columns of the expected error and of the probability of a readable face are there if the network has these
    outputs. Rows of poses that are not ``reliable`` have the class ``unreliable`` and say so.

    Args:
        poses: Poses of one image.
        note: HTML of the note.
        neutral: Neutral pose that the poses are relative to, for the caption; None if they are absolute.
    """
    if not poses:
        return f'<p class="note">No face found. {note}</p>'
    titles = ["Face", "Yaw", "Pitch", "Roll", "In words", "Score"]
    titles += ["Expected error"] * any(pose.uncertainty is not None for pose in poses)
    titles += ["Readable"] * any(pose.readable is not None for pose in poses)
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    rows = "".join(_row(number, pose) for number, pose in enumerate(poses, 1))
    caption = "" if neutral is None else f"<caption>Relative to the neutral pose ({in_words(neutral)}).</caption>"
    return f'<table class="angles">{caption}<tr>{head}</tr>{rows}</table><p class="note">{note}</p>'


def _row(number: int, pose: HeadPose) -> str:
    cells = [f"<td>{number}</td>"]
    cells += [f'<td class="{name}">{angle:+.1f}°</td>' for name, angle in pose.euler._asdict().items()]
    words = describe(pose)
    cells += [f"<td>{words if pose.reliable else f'unreliable: {words}'}</td>", f"<td>{pose.face.score:.2f}</td>"]
    if pose.uncertainty is not None:
        cells.append(f"<td>{pose.uncertainty:.1f}°</td>")
    if pose.readable is not None:
        cells.append(f"<td>{pose.readable:.2f}</td>")
    kind = "" if pose.reliable else ' class="unreliable"'
    return f"<tr{kind}>{''.join(cells)}</tr>"
