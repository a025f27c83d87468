"""Painted markers in place of faces, with a network and a detector that read them exactly.

``MarkerModel`` is no trained network: it measures the ellipse nearest to the middle of each crop, and finds its
top by a green dot. So the loop around a network is tested with a network that has no error of its own.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from headpose import Box, CropSpec, Face, Region
from headpose.geometry import rotation_from_euler
from headpose.reading import Reading

SPEC = CropSpec(size=48, scale=1.5, mean=(0, 0, 0), std=(1, 1, 1))


RED, BLUE = (40, 40, 230), (230, 40, 40)


def scene(*regions, size=(160, 240), colors=(RED, RED)):
    """A grey (H, W, 3) picture with an ellipse in each region, the last one on top; a green dot is near its top."""
    image = np.full((*size, 3), 110, np.uint8)
    fine, one = 4, 1 << 4
    for region, color in zip(regions, colors, strict=False):
        center = tuple(round((value - 0.5) * one) for value in region.center)
        axes = (round(region.width / 2 * one), round(region.height / 2 * one))
        cv2.ellipse(image, center, axes, region.turn, 0, 360, color, -1, cv2.LINE_AA, fine)
        angle, far = math.radians(region.turn), 0.3 * region.height
        top = region.center[0] + far * math.sin(angle), region.center[1] - far * math.cos(angle)
        dot = tuple(round((value - 0.5) * one) for value in top)
        cv2.circle(image, dot, round(0.1 * region.height * one), (40, 230, 40), -1, cv2.LINE_AA, fine)
    return image


def _markers(image):
    """Boxes (x, y, width, height), centers of mass and masks of the red and blue ellipses of a BGR picture."""
    values = image.astype(np.int16)
    found = []
    for own, other in ((2, 0), (0, 2)):
        mask = (values[..., own] - values[..., other] > 60).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
        for number, (x, y, width, height, area) in enumerate(stats[1:].tolist(), 1):
            if area > 30:
                found.append(((x, y, width, height), labels == number))
    return found


class MarkerDetector:
    """Boxes of all markers, without angles."""

    name = "markers"

    def __init__(self, repeats=1):
        self.repeats, self.calls = repeats, 0

    def detect(self, image):
        self.calls += 1
        boxes = [Box(x, y, x + width, y + height) for (x, y, width, height), _ in _markers(image)]
        return [Face(box, 0.9) for box in boxes for _ in range(self.repeats)]


class MarkerModel:
    """Region, angle in the plane and presence of the marker nearest to the middle of each crop."""

    name = "markers"
    crop = SPEC

    def __init__(self, outputs=("region", "face")):
        self.outputs = outputs

    def predict(self, inputs):
        return self.read(inputs).rotation

    def read(self, inputs):
        found = [self._one(crop) for crop in inputs]
        rotation, region, face = (np.array(values) for values in zip(*found, strict=True)) if found else (
            np.zeros((0, 3, 3)), np.zeros((0, 4)), np.zeros(0))  # fmt: skip
        known = {"region": region, "face": face}
        return Reading(rotation, **{name: known[name] for name in self.outputs})

    def _one(self, crop):
        image = np.round(255 * crop[::-1]).astype(np.uint8).transpose(1, 2, 0)
        found = _markers(image)
        if not found:
            return np.eye(3), np.array([0.5, 0.5, 0.6, 0.6]), -5.0
        middle = SPEC.size / 2
        (x, y, width, height), mask = min(
            found,
            key=lambda each: math.dist((each[0][0] + each[0][2] / 2, each[0][1] + each[0][3] / 2), (middle, middle)),
        )
        inside = np.zeros_like(mask)
        inside[y : y + height, x : x + width] = True
        green = inside & (image[..., 1] > image[..., 2] + 40) & (image[..., 1] > image[..., 0] + 40)
        angle = 0.0
        if green.any():
            (at_y, at_x), (of_y, of_x) = (np.argwhere(each).mean(0) for each in (green, mask))
            angle = math.degrees(math.atan2(at_x - of_x, of_y - at_y))
        region = np.array([x + width / 2, y + height / 2, width, height]) / SPEC.size
        return rotation_from_euler((0, 0, angle)), region, 5.0


def marker(x, y, height=40.0, turn=0.0, ratio=0.8):
    return Region((x, y), ratio * height, height, turn)
