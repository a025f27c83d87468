"""Poses drawn on a picture: axes, a cube, a label; and told in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.types import Box, EulerAngles, Face, HeadPose, Image

Style = Literal["axes", "cube", "none"]
STYLES: tuple[Style, ...] = ("axes", "cube", "none")

Colour = tuple[int, int, int]
_RED, _GREEN, _BLUE = (60, 60, 255), (80, 210, 60), (255, 130, 50)
_WHITE, _SHADE = (255, 255, 255), (25, 25, 25)
_FONT = cv2.FONT_HERSHEY_DUPLEX
_FONT_HEIGHT = 21  # pixels of a capital letter at scale 1
_FRACTION_BITS = 4  # cv2 draws at 1/16 of a pixel, which keeps the lines of a video from trembling
_THICKEST = 200  # pixels; cv2 allows 255
_FARTHEST = 30_000  # pixels; cv2 counts 1/16 pixels in 32 bits
_STRAIGHT = 2.5  # degrees that are not worth a word


def draw_pose(image: Image, pose: HeadPose, style: Style = "axes", label: bool = True) -> None:
    """Draws one pose into ``image``, in place.

    The head's x axis (towards its left) is red, y (up) green, z (out of the nose) blue. The projection
    is parallel, as the angles are: what points at the camera is a dot.

    Args:
        image: (H, W, 3) uint8 BGR, contiguous.
        pose: in pixels of ``image``.
        style: ``"axes"``, ``"cube"`` (its front, where the face is, in green), or ``"none"``: the
            tight box alone.
        label: write yaw, pitch and roll in degrees below the face, after the number of a tracked one.
    """
    if style == "axes":
        _draw_axes(image, pose)
    elif style == "cube":
        _draw_cube(image, pose)
    elif style == "none":
        _draw_box(image, pose)
    else:
        raise ValueError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    if label:
        draw_label(image, pose)


def draw_poses(image: Image, poses: Iterable[HeadPose], style: Style = "axes", label: bool = True) -> Image:
    """A copy of (H, W, 3) uint8 BGR ``image`` with every pose drawn, the best score on top."""
    drawn = np.array(image, np.uint8, order="C")
    for pose in reversed(list(poses)):
        draw_pose(drawn, pose, style, label)
    return drawn


def draw_label(image: Image, pose: HeadPose) -> None:
    """Writes what ``draw_pose`` has as its label into ``image``, in place."""
    yaw, pitch, roll = map(round, pose.euler)
    number = "" if pose.track is None else f"{pose.track}:  "
    text = f"{number}yaw {yaw:+d}  pitch {pitch:+d}  roll {roll:+d}"
    height, width = image.shape[:2]
    widest = cv2.getTextSize(text, _FONT, 1.0, 1)[0][0] / _FONT_HEIGHT  # in letter heights
    letter = float(np.clip(0.09 * _side(pose), 9, min(0.06 * max(height, 150), max(5, (width - 12) / widest))))
    scale, thickness = letter / _FONT_HEIGHT, max(1, round(letter / 14))
    (text_width, _), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    below = pose.box.center[1] + 0.68 * _side(pose) + 1.5 * letter
    margin = thickness + 3  # of the halo
    x = round(np.clip(pose.box.center[0] - text_width / 2, margin, max(margin, width - text_width - margin)))
    y = round(np.clip(below, letter + 2, max(letter + 2, height - 0.5 * letter)))
    cv2.putText(image, text, (x, y), _FONT, scale, _SHADE, thickness + 3, cv2.LINE_AA)
    cv2.putText(image, text, (x, y), _FONT, scale, _WHITE, thickness, cv2.LINE_AA)


def draw_mirrored(image: Image, poses: Iterable[HeadPose], style: Style = "axes") -> Image:
    """``draw_poses`` for a window that shows a mirror: a flipped copy whose labels can still be read.

    The labels keep the angles of ``image`` as it is: one head has one answer, mirrored or not.
    """
    poses, width = list(poses), image.shape[1]
    flipped = np.ascontiguousarray(draw_poses(image, poses, style, label=False)[:, ::-1])
    for pose in reversed(poses):
        x1, y1, x2, y2 = pose.box.as_tuple()
        face = Face(Box(width - x2, y1, width - x1, y2), pose.face.score)
        draw_label(flipped, dataclasses.replace(pose, face=face))
    return flipped


def draw_panel(image: Image, lines: Sequence[str], at_bottom: bool = False) -> None:
    """Writes lines of text on a darkened panel in the left corner at the top or bottom of ``image``, in place."""
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


def _side(pose: HeadPose) -> float:
    return max(pose.box.width, pose.box.height)


def _thickness(pose: HeadPose) -> int:
    return min(max(1, round(_side(pose) / 45)), _THICKEST)


def _line(image: Image, start: NDArray[np.float64], end: NDArray[np.float64], colour: Colour, thickness: int) -> None:
    """A line between points in pixels, round at its ends."""
    points = [_fixed_point(point) for point in (start, end)]
    cv2.line(image, points[0], points[1], colour, thickness, cv2.LINE_AA, _FRACTION_BITS)


def _fixed_point(point: NDArray[np.float64]) -> tuple[int, int]:
    # Pixel (i, j) covers [i, i + 1) in our coordinates and is centred on i in cv2's.
    scaled = (np.clip(point[:2], -_FARTHEST, _FARTHEST) - 0.5) * (1 << _FRACTION_BITS)
    return round(scaled[0]), round(scaled[1])


def _draw_axes(image: Image, pose: HeadPose) -> None:
    center, thickness = np.array(pose.box.center), _thickness(pose)
    ends = center + 0.62 * _side(pose) * pose.axes[:, :2]
    nearest_last = np.argsort(pose.axes[:, 2])
    for axis in nearest_last:
        _line(image, center, ends[axis], _SHADE, thickness + 2)
        _line(image, center, ends[axis], (_RED, _GREEN, _BLUE)[axis], thickness)
        radius = round(0.9 * thickness * (1 << _FRACTION_BITS)) + 8
        dot = _fixed_point(ends[axis])
        cv2.circle(image, dot, radius + (1 << _FRACTION_BITS), _SHADE, cv2.FILLED, cv2.LINE_AA, _FRACTION_BITS)
        cv2.circle(image, dot, radius, (_RED, _GREEN, _BLUE)[axis], cv2.FILLED, cv2.LINE_AA, _FRACTION_BITS)


def _draw_cube(image: Image, pose: HeadPose) -> None:
    x, y, z = 0.55 * _side(pose) * pose.axes[:, :2]
    center, thickness = np.array(pose.box.center), _thickness(pose)
    square = [-x - y, x - y, x + y, -x + y]
    front, back = [center + corner + z for corner in square], [center + corner - z for corner in square]
    around = [(corner, (corner + 1) % 4) for corner in range(4)]
    edges = [(back[a], back[b], _RED) for a, b in around]
    edges += [(back[corner], front[corner], _BLUE) for corner in range(4)]
    edges += [(front[a], front[b], _GREEN) for a, b in around]
    if pose.axes[2, 2] < 0:  # the head looks away: its back is what is near
        edges.reverse()
    for start, end, colour in edges:
        _line(image, start, end, _SHADE, thickness + 2)
        _line(image, start, end, colour, thickness)


def _draw_box(image: Image, pose: HeadPose) -> None:
    x1, y1, x2, y2 = pose.box.as_tuple()
    corners = [np.array(corner) for corner in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]
    for corner, following in zip(corners, corners[1:] + corners[:1], strict=True):
        _line(image, corner, following, _WHITE, _thickness(pose))


def describe(euler: EulerAngles) -> str:
    """The angles in words, left and right being those of the picture."""
    sides = (("left", "right"), ("up", "down"))
    ways = [
        f"{abs(angle):.0f}° {positive if angle > 0 else negative}"
        for angle, (positive, negative) in zip(euler[:2], sides, strict=True)
        if abs(angle) >= _STRAIGHT
    ]
    looks = "looks " + (" and ".join(ways) or "straight ahead")
    if abs(euler.roll) < _STRAIGHT:
        return looks
    return f"{looks}, tilted {abs(euler.roll):.0f}° {'' if euler.roll > 0 else 'counter-'}clockwise"
