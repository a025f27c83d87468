"""Analysis of predictions for single faces: error curves over yaw, and the worst cases. It needs the labels."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from headpose import crop, geometry
from headpose.draw import draw_pose
from headpose.errors import DataError
from headpose.evaluation import accuracy, predictions, testsets
from headpose.evaluation.testsets import FaceSet
from headpose.geometry import Array
from headpose.images import read_image
from headpose.report import folder as layout
from headpose.report.records import CurvePoint, Results
from headpose.types import Box, CropSpec, Face, HeadPose, Image, Sample

STEP = 10.0
"""Range of yaw for one point of a curve, degrees."""

FEWEST = 10
"""Minimum number of faces for one point of a curve: a mean of fewer is not meaningful."""

WORST = 12
"""Number of faces on a sheet of worst cases."""

_GEODESIC, _MAE = accuracy.MEASURES.index("geodesic"), accuracy.MEASURES.index("mae")
_TILE, _COLUMNS = 150, 2
_VIEW = CropSpec(size=_TILE, scale=1.6)


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predictions of several networks for the same faces.

    Attributes:
        faces: N labeled faces.
        angles: (N, 3) predicted yaw, pitch, roll in degrees, by name of the network.
    """

    faces: FaceSet
    angles: Mapping[str, Array]


def read(folder: str | os.PathLike[str], results: Results, data: str | os.PathLike[str]) -> Predicted:
    """Read the predictions in a folder of results, and the labels of AFLW2000-3D.

    Args:
        folder: Folder of results.
        results: Results read from this folder.
        data: Folder of AFLW2000-3D.

    Raises:
        DataError: The data cannot be read or contain other faces than the results, or a file of predictions does not
            have the format of ``headpose.evaluation.predictions``.
    """
    faces = next(
        (
            faces
            for faces in map(testsets.read(data).select, ("99", "90", "all"))
            if faces.sha256 == results.list_sha256
        ),
        None,
    )
    if faces is None:
        raise DataError(f"{data} does not have the list of faces that was measured: the SHA-256 differs")
    files = {
        name: Path(folder) / layout.PREDICTIONS / f"{stem}.csv" for name, stem in layout.stems(Path(folder)).items()
    }
    names = [network.name for network in results.networks if files[network.name].is_file()]
    return Predicted(faces, {name: predictions.read(files[name], faces.names) for name in names})


def with_curves(results: Results, predicted: Predicted) -> Results:
    """Return the results with a curve of the error over yaw for each network with predictions."""
    networks = [
        dataclasses.replace(network, curve=_curve(predicted.angles[network.name], predicted.faces.samples))
        if network.name in predicted.angles
        else network
        for network in results.networks
    ]
    return dataclasses.replace(results, networks=networks)


def worst_sheet(name: str, predicted: Predicted) -> Image:
    """Draw the faces with the largest errors: label on the left, prediction on the right, geodesic error below.

    Args:
        name: Name of the network.
        predicted: Predictions that include this network.

    Returns:
        (H, W, 3) uint8 BGR image.
    """
    angles, samples = predicted.angles[name], predicted.faces.samples
    rotations = geometry.rotation_from_euler(angles)
    distance = accuracy.errors(angles, rotations, samples)[:, _GEODESIC]
    order = np.argsort(-distance, kind="stable")[:WORST]
    tiles = [_tile(samples[i], rotations[i], float(distance[i]), predicted.faces.names[i]) for i in order]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    return np.vstack([np.hstack(tiles[start : start + _COLUMNS]) for start in range(0, len(tiles), _COLUMNS)])


def _curve(angles: Array, samples: list[Sample]) -> list[CurvePoint]:
    errors = accuracy.errors(angles, geometry.rotation_from_euler(angles), samples)
    yaw = np.array([sample.euler.yaw for sample in samples])
    place = np.floor(yaw / STEP).astype(int)
    points = []
    for index in range(place.min(), place.max() + 1):
        chosen = errors[place == index]
        if len(chosen) >= FEWEST:
            mean = chosen.mean(0)
            low = index * STEP
            points.append(CurvePoint(low, low + STEP, len(chosen), float(mean[_GEODESIC]), float(mean[_MAE])))
    return points


def _tile(sample: Sample, rotation: Array, error: float, name: str) -> Image:
    face = crop.cut(read_image(sample.image), sample.box, _VIEW)
    side = _TILE / _VIEW.scale
    low, high = (_TILE - side) / 2, (_TILE + side) / 2
    halves = []
    for shown in (sample.rotation, rotation):
        half: Image = face.copy()
        draw_pose(half, HeadPose(Face(Box(low, low, high, high), 1.0), shown), label=False)
        halves.append(half)
    tile: Image = cv2.copyMakeBorder(np.hstack(halves), 3, 20, 3, 3, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    text = f"{name}   {error:.0f} degrees"
    cv2.putText(tile, text, (5, tile.shape[0] - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    return tile
