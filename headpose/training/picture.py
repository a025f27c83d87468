"""Contact sheet of predictions on held-out faces, for inspection during training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose import geometry
from headpose.datasets.points import Landmarks
from headpose.draw import draw_points, draw_pose
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
    _write_sheet(path, [_tile(crops[i], spec, predicted[i], labels[i], float(errors[i])) for i in _shown(errors)])


def draw_landmarks(
    path: Path,
    crops: Sequence[Image],
    predicted: NDArray[np.float64],
    labels: Sequence[Landmarks],
    errors: NDArray[np.float64],
) -> None:
    """Write a contact sheet like ``draw_predictions``, with the labeled (left) and the predicted landmarks (right).

    Args:
        path: Image file to write.
        crops: N crops, (S, S, 3) uint8 BGR.
        predicted: (N, 68, 2) predicted landmarks in sides of the crop.
        labels: N labels in sides of the crop.
        errors: (N,) NME of each face in percent, which is the number in its tile.
    """
    tiles = []
    for i in _shown(errors):
        sides = [(labels[i].points, labels[i].known > 0), (predicted[i], np.ones(len(predicted[i]), bool))]
        halves = [_dotted(crops[i], places[shown]) for places, shown in sides]
        tiles.append(_numbered(np.hstack(halves), float(errors[i])))
    _write_sheet(path, tiles)


def _shown(errors: NDArray[np.float64]) -> list[int]:
    """Return the faces of a sheet: some at even intervals, then those with the largest errors."""
    usual = np.linspace(0, len(errors) - 1, min(len(errors), _COLUMNS * _USUAL_ROWS)).astype(int)
    return [*map(int, usual), *map(int, np.argsort(-errors)[: _COLUMNS * _WORST_ROWS])]


def _write_sheet(path: Path, tiles: list[Image]) -> None:
    tiles = tiles + [np.zeros_like(tiles[0])] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[start : start + _COLUMNS]) for start in range(0, len(tiles), _COLUMNS)]
    write_image(path, np.vstack(rows))


def _dotted(face: Image, places: NDArray[np.float64]) -> Image:
    half = cv2.resize(face, (_TILE, _TILE), interpolation=cv2.INTER_CUBIC)
    draw_points(half, places * _TILE, _TILE)
    return half


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
    return _numbered(np.hstack(halves), error)


def _numbered(tile: Image, error: float) -> Image:
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(tile, f"{error:.1f}", (_TILE + 4, _TILE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, thickness)
    return tile
