"""Parts of the web page that do not need gradio: the table of the angles."""

from __future__ import annotations

from collections.abc import Sequence

from headpose.draw import describe
from headpose.types import HeadPose


def table(poses: Sequence[HeadPose], note: str) -> str:
    """Return an HTML table with one row per face, starting with its drawn number, and a note below.

    The columns of the expected error and of the probability of a readable face are there if the network has these
    outputs. Rows of poses that are not ``reliable`` have the class ``unreliable`` and say so.

    Args:
        poses: Poses of one image.
        note: HTML of the note.
    """
    if not poses:
        return f'<p class="note">No face found. {note}</p>'
    titles = ["Face", "Yaw", "Pitch", "Roll", "In words", "Score"]
    titles += ["Expected error"] * any(pose.uncertainty is not None for pose in poses)
    titles += ["Readable"] * any(pose.readable is not None for pose in poses)
    head = "".join(f"<th>{title}</th>" for title in titles)
    rows = "".join(_row(number, pose) for number, pose in enumerate(poses, 1))
    return f'<table class="angles"><tr>{head}</tr>{rows}</table><p class="note">{note}</p>'


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
