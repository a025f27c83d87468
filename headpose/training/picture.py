"""A picture of what a network says of held-out faces, to look at while it trains."""

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
    """Writes a sheet of faces, each twice: with the label's axes on the left, with the prediction's on the right.

    Three rows are faces evenly spaced in the list, the same ones every time; the last has those with the largest
    errors. The number is the geodesic error in degrees.

    Args:
        path: of the picture.
        crops: N faces, (S, S, 3) uint8 BGR.
        spec: how they were cut.
        predicted, labels: (N, 3, 3) rotations.
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
