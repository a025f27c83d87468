"""The shape of the head in a photograph: a linear space of drawn people, fitted to landmarks or to a box.

The pose is known, it is the photograph's label. So the camera (scale and place) and the shape follow from one linear
least-squares problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headpose.geometry import Array
from headpose.synth import anatomy, expression, eyes, person
from headpose.synth.assets import HELPERS
from headpose.synth.eyes import BALL
from headpose.synth.landmarks68 import VERTICES
from headpose.synth.scene import Draws, Studio
from headpose.synth.surface import F32, I32
from headpose.types import Box

_Numbers = NDArray[np.integer]

_PEOPLE = 240  # drawn for the shape space
_COMPONENTS = 40
_SEED = 68  # of the people; another seed gives other components and other pictures
_JAW = slice(0, 17)

# Depth of scanned faces beyond that of the base mesh, decimeters, by landmark: the mean face of ICT-FaceKit (MIT, see
# NOTICE), aligned by these landmarks and averaged over both sides. The base mesh's bridge of the nose is flatter.
_SCANNED = {
    17: 0.032, 18: 0.009, 19: -0.029, 20: 0.003, 21: 0.012,
    27: 0.024, 28: 0.040, 29: 0.054, 30: 0.029, 31: -0.028, 32: -0.006, 33: -0.010,
    36: -0.023, 37: -0.004, 38: -0.001, 39: -0.013, 40: -0.012, 41: -0.015,
    48: -0.012, 49: -0.002, 50: -0.003, 51: -0.015, 57: 0.002, 58: 0.023, 59: 0.006,
}  # fmt: skip
_SMOOTHING = 0.02  # decimeters

# Standard deviations of what the model does not explain, as shares of the face's size (``_size``).
_POINT_NOISE = 0.012
_JAW_NOISE = 0.04  # annotators follow the visible outline, which is not the jaw's line on a turned head
_FAR_JAW_NOISE = 0.12
_BOX_NOISE = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class ShapeSpace:
    """Heads as a mean and components: bust and eyeballs in drawn head axes (``anatomy.DRAWN``), decimeters.

    Attributes:
        mean: (n, 3) float32.
        components: (k, n, 3) float32, each scaled to one standard deviation.
        faces: (m, 3) int32, counter-clockwise from outside.
        mirrored: (n,) int32, the vertex at the same place on the other side of the head.
        landmarks: (68,) int32, vertices.
        weight: (n,) float32, share of the head's rotation that a vertex follows.
        source: (n,) int32, vertex of the base mesh, or -1 for the eyeballs.
        pivot: (3,) float32, where the neck bends.
    """

    mean: F32
    components: F32
    faces: I32
    mirrored: I32
    landmarks: I32
    weight: F32
    source: I32
    pivot: F32

    def vertices(self, amounts: Array) -> F32:
        """Return the (n, 3) float32 vertices of a head.

        Args:
            amounts: (k,) standard deviations of the components.
        """
        return self.mean + np.tensordot(amounts.astype(np.float32), self.components, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A head in front of a scaled orthographic camera.

    Attributes:
        amounts: (k,) standard deviations of the shape's components.
        rotation: (3, 3) float64, drawn head axes to camera axes.
        scale: pixels a decimeter.
        origin: (2,) float64, where the head's origin lies, pixels.
    """

    amounts: Array
    rotation: Array
    scale: float
    origin: Array

    def project(self, points: Array | F32) -> Array:
        """Project (n, 3) points in camera axes: x right and y down in pixels, z towards the camera in the same unit."""
        x, y, z = np.moveaxis(np.asarray(points, np.float64) * self.scale, -1, 0)
        return np.stack([self.origin[0] + x, self.origin[1] - y, z], -1)


def build(studio: Studio) -> ShapeSpace:
    """Build the shape space from drawn people with expressions and their mirror images."""
    bust = np.unique(studio.assets.pieces["bust"].source)
    ball, _, ball_faces = BALL
    count, n = len(bust), len(ball)
    raw = person.shape(person.AVERAGE, studio.assets)[bust]
    mirrored = np.concatenate([_mirror(raw), count + n + np.arange(n), count + np.arange(n)]).astype(np.int32)
    people = np.stack([_person(studio, bust, number) for number in range(_PEOPLE)])
    people = np.concatenate([people, people[:, mirrored] * np.array([-1, 1, 1], np.float32)])
    mean = people.mean(0)
    offsets = (people - people.mean(0)).reshape(len(people), -1)
    values, vectors = np.linalg.eigh(offsets.astype(np.float64) @ offsets.T.astype(np.float64))
    largest = np.argsort(values)[::-1][:_COMPONENTS]
    # Columns of offsets.T @ vectors have the squared length of their eigenvalue.
    components = (vectors[:, largest].T / np.sqrt(len(people))) @ offsets
    piece = studio.assets.pieces["bust"]
    number = np.zeros(len(studio.assets.vertices), np.int32)
    number[bust] = np.arange(count)
    mean[:, 2] += _scanned_depth(mean, number[VERTICES], mirrored)
    average = studio.anatomy.vertices
    head, neck = (average[slice(*HELPERS[name])].mean(0) for name in ("joint-head", "joint-neck"))
    return ShapeSpace(
        mean=mean,
        components=np.ascontiguousarray(components.reshape(-1, count + 2 * n, 3), np.float32),
        faces=np.concatenate(
            [number[piece.source[piece.faces]], ball_faces + count, ball_faces[:, ::-1] + count + n]
        ).astype(np.int32),
        mirrored=mirrored,
        landmarks=number[VERTICES],
        weight=np.concatenate([studio.assets.head_weight[bust], np.ones(2 * n, np.float32)]),
        source=np.concatenate([bust, np.full(2 * n, -1)]).astype(np.int32),
        pivot=(0.45 * head + 0.55 * neck).astype(np.float32),
    )


def fit_points(space: ShapeSpace, rotation: Array, points: Array, known: Array) -> Fit:
    """Fit a head in a known pose to landmarks.

    Args:
        space: The heads.
        rotation: (3, 3) drawn head axes to camera axes.
        points: (68, 2) landmarks in pixels.
        known: (68,) weight of each point in [0, 1]; 0 where there is none.
    """
    noise = np.full(68, _POINT_NOISE)
    noise[_JAW] = _JAW_NOISE
    # On the side of the jaw that is turned away the outline lies on the cheek, in front of the jaw's landmarks.
    away = (space.mean[space.landmarks][_JAW] @ rotation[2].astype(np.float32)) < 0
    noise[_JAW][away] = _FAR_JAW_NOISE
    used = np.flatnonzero(known > 0)
    rows = np.repeat(used, 2)
    axes = np.tile(np.array([0, 1]), len(used))
    values = points[used].ravel()
    return _solve(space, rotation, rows, axes, values, noise[rows] / np.sqrt(known[rows]))


def fit_box(space: ShapeSpace, rotation: Array, box: Box) -> Fit:
    """Fit a head in a known pose to the tight box of its 68 landmarks.

    The landmarks that touch the box are those of the mean head.

    Args:
        space: The heads.
        rotation: (3, 3) drawn head axes to camera axes.
        box: Tight box in pixels.
    """
    turned = space.mean[space.landmarks] @ rotation.T
    left, right, top, low = turned[:, 0].argmin(), turned[:, 0].argmax(), turned[:, 1].argmax(), turned[:, 1].argmin()
    rows, axes = np.array([left, right, top, low]), np.array([0, 0, 1, 1])
    values = np.array([box.x1, box.x2, box.y1, box.y2])
    return _solve(space, rotation, rows, axes, values, np.full(4, _BOX_NOISE))


def _solve(space: ShapeSpace, rotation: Array, rows: _Numbers, axes: _Numbers, values: Array, noise: Array) -> Fit:
    """Solve for scale, origin and shape.

    Args:
        space: The heads.
        rotation: (3, 3) drawn head axes to camera axes.
        rows: (q,) landmark of each measured coordinate.
        axes: (q,) 0 for x, 1 for y.
        values: (q,) measured coordinates, pixels.
        noise: (q,) standard deviations, shares of the face's size.
    """
    towards = rotation[:2] * np.array([[1.0], [-1.0]])  # image axes: y points down
    shapes = np.concatenate([space.mean[None, space.landmarks], space.components[:, space.landmarks]]).astype(
        np.float64
    )
    moved = np.einsum("qc,kqc->qk", towards[axes], shapes[:, rows])
    place = np.stack([axes == 0, axes == 1], 1).astype(np.float64)
    # The prior's unit is the scale, so a first guess of it comes from the mean head alone.
    rough = np.linalg.lstsq(np.column_stack([moved[:, :1], place]) / noise[:, None], values / noise, rcond=None)[0]
    scale = max(float(rough[0]), 1e-6)
    size = scale * _size(space)
    system = np.column_stack([moved, place]) / (noise[:, None] * size)
    prior = np.zeros((len(space.components), system.shape[1]))
    prior[:, 1 : 1 + len(prior)] = np.eye(len(prior)) / scale
    normal = system.T @ system + prior.T @ prior  # well conditioned, and a tenth of the time of a QR
    solved = np.linalg.solve(normal, system.T @ (values / (noise * size)))
    scale = max(float(solved[0]), 1e-6)
    return Fit(solved[1:-2] / scale, rotation, scale, solved[-2:])


def _size(space: ShapeSpace) -> float:
    """Return the size of the mean face: the root of the area of its tight box, decimeters."""
    extent = np.ptp(space.mean[space.landmarks, :2], axis=0)
    return float(np.sqrt(extent.prod()))


def _scanned_depth(mean: F32, landmarks: I32, mirrored: I32) -> F32:
    """Return the depth that scanned faces have beyond the mean head, (n,) decimeters; 0 on jaw and skull.

    A radial basis function of the distance (linear, smoothed) between the landmarks.
    """
    inner = landmarks[list(_SCANNED)]
    behind = np.flatnonzero(mean[:, 2] < 0.1)[::40]
    places = np.concatenate([inner, mirrored[inner], landmarks[_JAW], behind])
    known = np.array([*_SCANNED.values(), *_SCANNED.values(), *np.zeros(len(places) - 2 * len(_SCANNED))])
    places, first = np.unique(places, return_index=True)
    known = known[first]
    at = mean[places].astype(np.float64)
    kernel = -np.linalg.norm(at[:, None] - at, axis=-1) + _SMOOTHING * np.eye(len(at))
    # A constant beside the kernel, as a linear basis needs.
    system = np.block([[kernel, np.ones((len(at), 1))], [np.ones((1, len(at))), np.zeros((1, 1))]])
    weights = np.linalg.solve(system, [*known, 0.0])
    field = -np.linalg.norm(mean[:, None] - at, axis=-1) @ weights[:-1] + weights[-1]
    return ((field + field[mirrored]) / 2).astype(np.float32)


def _mirror(raw: F32) -> I32:
    """Return for each vertex of the average head the one on the other side. The base mesh is symmetric."""
    order, reflected = (np.lexsort(np.round(side, 4).T) for side in (raw, raw * np.array([-1, 1, 1], np.float32)))
    result = np.empty(len(raw), np.int32)
    result[order] = reflected
    return result


def _person(studio: Studio, bust: I32, number: int) -> F32:
    """Return the vertices of a drawn person with an expression, as ``ShapeSpace.mean`` holds them."""
    draws = Draws(_SEED, number)
    components = studio.folder.components if studio.folder else None
    who = person.draw(draws.stream("person"), studio.assets.names, components is not None)
    neutral = anatomy.to_head_axes(studio.anatomy, person.shape(who, studio.assets, components))
    units = expression.targets(expression.draw(draws.stream("expression")))
    moved = studio.assets.morph(units, neutral)
    (left, left_radius), (right, right_radius) = (eyes.place(neutral, name) for name in ("left-eye", "right-eye"))
    unit = BALL[0]
    flipped = unit * np.array([-1, 1, 1], np.float32)  # so that the mirror image of each ball is the other
    return np.concatenate([moved[bust], unit * left_radius + left, flipped * right_radius + right])
