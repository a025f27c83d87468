"""Draw poses on images (axes, cube, labels) and describe them in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.choices import STYLES, Style
from headpose.errors import InputError
from headpose.types import Box, Face, HeadPose, Image, check_image

Color = tuple[int, int, int]
_RED, _GREEN, _BLUE = (60, 60, 255), (80, 210, 60), (255, 130, 50)
_WHITE, _SHADE, _GREY, _YELLOW = (255, 255, 255), (25, 25, 25), (150, 150, 150), (40, 230, 255)
ANGLE_COLORS: dict[str, Color] = {"yaw": _GREEN, "pitch": _RED, "roll": _BLUE}
"""BGR color of each angle, equal to the color of its rotation axis."""
_DIRECTION_COLORS = {"azimuth": _GREEN, "elevation": _RED, "tilt": _BLUE}
_FONT = cv2.FONT_HERSHEY_DUPLEX
_FONT_HEIGHT = 21  # height of a capital letter at scale 1, pixels
_FRACTION_BITS = 4  # cv2 draws with a precision of 1/16 pixel, which avoids jitter in videos
_THICKEST = 200  # pixels; cv2 allows 255
_FARTHEST = 30_000  # pixels; cv2 stores coordinates in 1/16 pixel as 32-bit integers
_STRAIGHT = 2.5  # degrees; smaller angles are described as straight


def draw_pose(image: Image, pose: HeadPose, style: Style = "axes", label: bool = True) -> None:
    """Draw one pose into ``image``, in place.

    The head's x axis (to its left) is red, y (up) is green and z (out of the nose) is blue. The projection is
    orthographic: an axis that points at the camera appears as a dot. A pose that is not ``reliable`` is drawn in grey,
    and its label ends in a question mark. Landmarks, if there are any, are yellow dots.

    Args:
        image: (H, W, 3) uint8 BGR, contiguous.
        pose: Pose with its box in pixels of ``image``.
        style: ``"axes"``, ``"cube"`` (the side of the face is green) or ``"none"`` (tight box only).
        label: Draw the direction of the nose (azimuth, elevation) and the tilt about it in degrees below the face,
            preceded by the track number if there is one.

    Raises:
        ImageError: ``image`` is not (H, W, 3) uint8.
        InputError: ``style`` is unknown.
    """
    check_image(image)
    if style == "axes":
        _draw_axes(image, pose)
    elif style == "cube":
        _draw_cube(image, pose)
    elif style == "none":
        _draw_box(image, pose)
    else:
        raise InputError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    if pose.landmarks is not None:
        draw_points(image, pose.landmarks, _side(pose))
    if label:
        draw_labels(image, [pose])


def draw_points(image: Image, points: NDArray[np.float64] | NDArray[np.float32], side: float) -> None:
    """Draw dots into ``image``, in place.

    Args:
        image: (H, W, 3) uint8 BGR, contiguous.
        points: (K, 2) x and y in pixels.
        side: Side of the face in pixels, which the dots grow with.
    """
    radius = max(1.0, side / 110)
    for color, extra in ((_SHADE, 1.0), (_YELLOW, 0.0)):
        for point in points:
            size = round((radius + extra) * (1 << _FRACTION_BITS))
            cv2.circle(image, _fixed_point(point), size, color, cv2.FILLED, cv2.LINE_AA, _FRACTION_BITS)


def draw_poses(
    image: Image,
    poses: Iterable[HeadPose],
    style: Style = "axes",
    label: bool = True,
    numbers: Sequence[HeadPose] | None = None,
) -> Image:
    """Return a copy of ``image`` with all poses drawn, the first one on top.

    Args:
        image: (H, W, 3) uint8 BGR.
        poses: Poses with their boxes in pixels of ``image``.
        style: As in ``draw_pose``.
        label: Draw the angles beside the faces (see ``draw_labels``).
        numbers: Poses of the same faces whose angles the labels show, for example relative to a neutral pose; None for
            ``poses``.

    Raises:
        ImageError: ``image`` is not (H, W, 3) uint8.
        InputError: ``style`` is unknown.

    Example:
        >>> image = read_image("photo.jpg")
        >>> write_image("drawn.jpg", draw_poses(image, HeadPoseEstimator().estimate(image), "cube"))
    """
    check_image(image)
    if style not in STYLES:  # check it even if there are no poses
        raise InputError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    drawn, poses = np.array(image, order="C"), list(poses)
    for pose in reversed(poses):
        draw_pose(drawn, pose, style, label=False)
    if label:
        draw_labels(drawn, poses if numbers is None else numbers)
    return drawn


def draw_labels(image: Image, poses: Sequence[HeadPose]) -> None:
    """Draw the direction of each pose beside its face into ``image``, in place.

    A label shows azimuth, elevation and tilt, which near a profile say where the face looks; yaw, pitch and roll do
    not. Each has the color of the axis that yaw, pitch or roll turns about (``ANGLE_COLORS``). The expected error
    follows where the network has that output ("error 5", degrees). A label starts with the track number or, if there
    are several poses, with the index in ``poses`` from 1. Labels overlap neither each other nor other faces: if labels
    with words do not fit, all labels show numbers only, and if these do not fit, only the number of the face.

    Args:
        image: (H, W, 3) uint8 BGR, contiguous.
        poses: Poses with their boxes in pixels of ``image``.
    """
    for label, (x, y) in _layout(image, poses):
        for shade in (True, False):
            at = x
            for text, color in label.parts:
                if shade:
                    cv2.putText(image, text, (at, y), _FONT, label.scale, _SHADE, label.thickness + 3, cv2.LINE_AA)
                else:
                    cv2.putText(image, text, (at, y), _FONT, label.scale, _light(color), label.thickness, cv2.LINE_AA)
                at += _text_width(text, label.scale, label.thickness)


def draw_mirrored(
    image: Image, poses: Iterable[HeadPose], style: Style = "axes", numbers: Sequence[HeadPose] | None = None
) -> Image:
    """Return a mirrored copy of ``image`` with all poses drawn and readable labels, for a mirror view.

    The labels show the angles of the original image.

    Args:
        image: (H, W, 3) uint8 BGR.
        poses: Poses with their boxes in pixels of ``image``.
        style: As in ``draw_pose``.
        numbers: As in ``draw_poses``.
    """
    poses, width = list(poses), image.shape[1]
    flipped = np.ascontiguousarray(draw_poses(image, poses, style, label=False)[:, ::-1])
    draw_labels(flipped, [_mirrored(pose, width) for pose in (poses if numbers is None else numbers)])
    return flipped


def _mirrored(pose: HeadPose, width: int) -> HeadPose:
    """Return a pose with the same angles and a box mirrored in an image of ``width`` pixels."""
    x1, y1, x2, y2 = pose.box.as_tuple()
    # The region is left out: labels are placed by the box.
    return dataclasses.replace(pose, face=Face(Box(width - x2, y1, width - x1, y2), pose.face.score))


def draw_panel(image: Image, lines: Sequence[str], at_bottom: bool = False) -> None:
    """Draw lines of text on a darkened panel into ``image``, in place.

    Args:
        image: (H, W, 3) uint8 BGR, contiguous.
        lines: ASCII text, at least one line.
        at_bottom: Place the panel in the lower left corner instead of the upper left one.
    """
    height, width = image.shape[:2]
    scale = float(np.clip(min(height, width) / 1000, 0.45, 1.4))
    step, margin = round(34 * scale), round(14 * scale)
    text_width = max(cv2.getTextSize(line, _FONT, scale, 1)[0][0] for line in lines)
    top = max(0, height - step * len(lines) - 2 * margin) if at_bottom else margin
    panel = image[top : top + step * len(lines) + margin, margin : 3 * margin + text_width]
    panel[:] = panel // 3
    for number, line in enumerate(lines, 1):
        at = (2 * margin, top + number * step - round(3 * scale))
        cv2.putText(image, line, at, _FONT, scale, _WHITE, 1, cv2.LINE_AA)


@dataclass(frozen=True, slots=True)
class _Label:
    """One line of text in several colors; ``letter`` is the height of a capital letter in pixels."""

    parts: list[tuple[str, Color]]
    letter: float

    @property
    def scale(self) -> float:
        return self.letter / _FONT_HEIGHT

    @property
    def thickness(self) -> int:
        return max(1, round(self.letter / 14))

    @property
    def width(self) -> int:
        return sum(_text_width(text, self.scale, self.thickness) for text, _ in self.parts)


def _light(color: Color) -> Color:
    """Return a lighter shade of an axis color, readable in thin letters."""
    blue, green, red = (round(0.7 * part + 0.3 * 255) for part in color)
    return blue, green, red


def _text_width(text: str, scale: float, thickness: int) -> int:
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    return int(width)


def _layout(image: Image, poses: Sequence[HeadPose]) -> list[tuple[_Label, tuple[int, int]]]:
    """Return all labels in the longest form that fits, each with the left end of its baseline in pixels."""
    found: list[tuple[_Label, tuple[int, int]]] = []
    for form in ("words", "numbers", "face"):
        found = _place(image, poses, [_label(image, poses, index, form) for index in range(len(poses))], form)
        if len(found) == len(poses):
            break
    return found


def _label(image: Image, poses: Sequence[HeadPose], index: int, form: str) -> _Label:
    """Return the label of one pose.

    ``form`` is ``words`` (azimuth +1  elevation +2  tilt +3), ``numbers`` (+1 +2 +3) or ``face`` (its number only).
    """
    pose = poses[index]
    number = pose.track if pose.track is not None else index + 1 if len(poses) > 1 else None
    parts = [] if number is None else [(str(number) if form == "face" else f"{number}: ", _WHITE)]
    if form != "face" or number is None:
        angles = {**pose.direction._asdict(), "tilt": pose.tilt}
        named = [(f"{name} " if form == "words" else "", name, angle) for name, angle in angles.items()]
        gap = "  " if form == "words" else " "
        parts += [(f"{word}{round(angle):+d}{gap}", _DIRECTION_COLORS[name]) for word, name, angle in named]
        parts[-1] = (parts[-1][0].rstrip(), parts[-1][1])
        if pose.uncertainty is not None:  # the font has ASCII letters only
            error = f"{pose.uncertainty:.0f}"
            parts.append((f"  error {error}" if form == "words" else f" ({error})", _WHITE))
    if not pose.reliable:
        parts = [*((text, _GREY) for text, _ in parts), ("?", _GREY)]
    height, width = image.shape[:2]
    widest = sum(_text_width(text, 1.0, 1) for text, _ in parts) / _FONT_HEIGHT  # in letter heights
    letter = float(np.clip(0.09 * _side(pose), 9, min(0.06 * max(height, 150), max(5, (width - 12) / widest))))
    return _Label(parts, letter)


def _place(
    image: Image, poses: Sequence[HeadPose], labels: Sequence[_Label], form: str
) -> list[tuple[_Label, tuple[int, int]]]:
    """Place each label below or above its face; stop at the first one that would overlap a label or another face.

    The shortest form, ``face``, is always placed where it overlaps least, if necessary on the lower edge of its face.
    """
    taken: list[Box] = []
    placed = []
    for index, (pose, label) in enumerate(zip(poses, labels, strict=True)):
        others = [other.box for other in (*poses[:index], *poses[index + 1 :])]
        choices = [_inside(image, label, anchor) for anchor in _anchors(pose, label, form)]
        covered = [_covered(_extent(label, at), taken) + _covered(_extent(label, at), others) for at in choices]
        best = int(np.argmin(covered))
        if covered[best] > 0 and form != "face" and len(poses) > 1:
            break
        taken.append(_extent(label, choices[best]))
        placed.append((label, choices[best]))
    return placed


def _anchors(pose: HeadPose, label: _Label, form: str) -> list[tuple[float, float]]:
    """Return candidate centers of the baseline: below, closely below and above the face; for ``face`` also its edge."""
    x, y = pose.box.center
    below, above = y + 0.68 * _side(pose) + 1.5 * label.letter, y - 0.68 * _side(pose) - 0.5 * label.letter
    outside = [(x, below), (x, pose.box.y2 + label.letter + 5), (x, above)]
    return [*outside, (x, pose.box.y2)] if form == "face" else outside


def _inside(image: Image, label: _Label, anchor: tuple[float, float]) -> tuple[int, int]:
    """Return the left end of the baseline, moved so that the label is inside of the image."""
    height, width = image.shape[:2]
    letter, margin = label.letter, label.thickness + 3  # includes the halo
    x = round(np.clip(anchor[0] - label.width / 2, margin, max(margin, width - label.width - margin)))
    y = round(np.clip(anchor[1], letter + 2, max(letter + 2, height - 0.5 * letter)))
    return x, y


def _extent(label: _Label, at: tuple[int, int]) -> Box:
    margin = label.thickness + 2
    below = 0.3 * label.letter  # descenders of p and y
    return Box(at[0] - margin, at[1] - label.letter - margin, at[0] + label.width + margin, at[1] + below + margin)


def _covered(box: Box, others: Sequence[Box]) -> float:
    """Return the area of the intersections of a box with ``others`` in pixels."""
    total = 0.0
    for other in others:
        width = min(box.x2, other.x2) - max(box.x1, other.x1)
        height = min(box.y2, other.y2) - max(box.y1, other.y1)
        total += max(0.0, width) * max(0.0, height)
    return total


def _side(pose: HeadPose) -> float:
    return max(pose.box.width, pose.box.height)


def _thickness(pose: HeadPose) -> int:
    # At one pixel, the outline would hide the color.
    return min(max(2, round(_side(pose) / 45)), _THICKEST)


def _line(image: Image, start: NDArray[np.float64], end: NDArray[np.float64], color: Color, thickness: int) -> None:
    """Draw a line with round ends between two points in pixels."""
    points = [_fixed_point(point) for point in (start, end)]
    cv2.line(image, points[0], points[1], color, thickness, cv2.LINE_AA, _FRACTION_BITS)


def _fixed_point(point: NDArray[np.float64]) -> tuple[int, int]:
    # Pixel i covers [i, i + 1) in our coordinates and is centered on i in those of cv2.
    scaled = (np.clip(point[:2], -_FARTHEST, _FARTHEST) - 0.5) * (1 << _FRACTION_BITS)
    return round(scaled[0]), round(scaled[1])


def _draw_axes(image: Image, pose: HeadPose) -> None:
    center, thickness = np.array(pose.box.center), _thickness(pose)
    ends = center + 0.62 * _side(pose) * pose.axes[:, :2]
    nearest_last = np.argsort(pose.axes[:, 2])
    for axis in nearest_last:
        _line(image, center, ends[axis], _SHADE, thickness + 2)
        color = _color(pose, (_RED, _GREEN, _BLUE)[axis])
        _line(image, center, ends[axis], color, thickness)
        radius = round(0.9 * thickness * (1 << _FRACTION_BITS)) + 8
        dot = _fixed_point(ends[axis])
        cv2.circle(image, dot, radius + (1 << _FRACTION_BITS), _SHADE, cv2.FILLED, cv2.LINE_AA, _FRACTION_BITS)
        cv2.circle(image, dot, radius, color, cv2.FILLED, cv2.LINE_AA, _FRACTION_BITS)


def _draw_cube(image: Image, pose: HeadPose) -> None:
    x, y, z = 0.55 * _side(pose) * pose.axes[:, :2]
    center, thickness = np.array(pose.box.center), _thickness(pose)
    square = [-x - y, x - y, x + y, -x + y]
    front, back = [center + corner + z for corner in square], [center + corner - z for corner in square]
    around = [(corner, (corner + 1) % 4) for corner in range(4)]
    edges = [(back[a], back[b], _RED) for a, b in around]
    edges += [(back[corner], front[corner], _BLUE) for corner in range(4)]
    edges += [(front[a], front[b], _GREEN) for a, b in around]
    if pose.axes[2, 2] < 0:  # the head looks away, so its back is nearer to the camera
        edges.reverse()
    for start, end, color in edges:
        _line(image, start, end, _SHADE, thickness + 2)
        _line(image, start, end, _color(pose, color), thickness)


def _color(pose: HeadPose, color: Color) -> Color:
    return color if pose.reliable else _GREY


def _draw_box(image: Image, pose: HeadPose) -> None:
    x1, y1, x2, y2 = pose.box.as_tuple()
    corners = [np.array(corner) for corner in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]
    for corner, following in zip(corners, corners[1:] + corners[:1], strict=True):
        _line(image, corner, following, _color(pose, _WHITE), _thickness(pose))


def describe(pose: HeadPose) -> str:
    """Describe the direction and the tilt of a pose in words. Left and right refer to the image."""
    sides = (("left", "right"), ("up", "down"))
    ways = [
        f"{abs(angle):.0f}° {positive if angle > 0 else negative}"
        for angle, (positive, negative) in zip(pose.direction, sides, strict=True)
        if abs(angle) >= _STRAIGHT
    ]
    looks = "looks " + (" and ".join(ways) or "straight ahead")
    if abs(pose.tilt) < _STRAIGHT:
        return looks
    return f"{looks}, tilted {abs(pose.tilt):.0f}° {'' if pose.tilt > 0 else 'counter-'}clockwise"
