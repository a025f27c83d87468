"""Contact sheet of predictions on held-out faces, for inspection during training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose import geometry
from headpose.draw import draw_pose
from headpose.images import write_image
from headpose.types import Box, CropSpec, Face, HeadPose, Image

_TILE = 144  # pixels
_COLUMNS, _USUAL_ROWS, _WORST_ROWS = 8, 3, 1


def draw_predictions(
    path: Path,
    crops: Sequence[Image],
    spec: CropSpec,
    predicted: NDArray[np.float64],
    labels: NDArray[np.float64],
) -> None:
    """Write a contact sheet that shows each face with the axes of its label (left) and of the prediction (right).

    The first three rows are faces at even intervals in the list, always the same ones. The last row shows the faces
    with the largest errors. The number is the geodesic error in degrees.

    Args:
        path: Image file to write.
        crops: N crops, (S, S, 3) uint8 BGR.
        spec: Crop settings.
        predicted: (N, 3, 3) predicted rotations.
        labels: (N, 3, 3) rotations of the labels.
    """
    errors = geometry.geodesic_degrees(predicted, labels)
    usual = np.linspace(0, len(crops) - 1, min(len(crops), _COLUMNS * _USUAL_ROWS)).astype(int)
    worst = np.argsort(-errors)[: _COLUMNS * _WORST_ROWS]
    tiles = [_tile(crops[i], spec, predicted[i], labels[i], float(errors[i])) for i in (*usual, *worst)]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[start : start + _COLUMNS]) for start in range(0, len(tiles), _COLUMNS)]
    write_image(path, np.vstack(rows))


def _tile(
    face: Image, spec: CropSpec, predicted: NDArray[np.float64], label: NDArray[np.float64], error: float
) -> Image:
    side = _TILE / spec.scale
    low, high = (_TILE - side) / 2, (_TILE + side) / 2
    where = Face(Box(low, low, high, high), 1.0)
    halves = []
    for rotation in (label, predicted):
        half = cv2.resize(face, (_TILE, _TILE), interpolation=cv2.INTER_CUBIC)
        draw_pose(half, HeadPose(where, rotation), label=False)
        halves.append(half)
    tile: Image = np.hstack(halves)
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(tile, f"{error:.1f}", (_TILE + 4, _TILE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, thickness)
    return tile
