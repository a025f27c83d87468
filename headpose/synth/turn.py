"""Turning a photographed head out of plane (Zhu et al., "Face Alignment Across Large Poses", CVPR 2016, section 4).

A head is fitted to the photograph in its labeled pose, the photograph becomes its texture, and it is drawn in another
pose. Unlike in the paper, surroundings stay where they are: the photograph without the head is the background.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from headpose import crop, geometry
from headpose.geometry import Array
from headpose.synth import background, camera, fit, hairline, light, raster, surroundings, texture
from headpose.synth import pose as poses
from headpose.synth.anatomy import LABEL
from headpose.synth.face_map import FaceMap
from headpose.synth.fit import Fit
from headpose.synth.scene import Studio
from headpose.synth.surface import F32, I32, MASK_SIDE, U8, smooth
from headpose.types import Box, CropSpec, EulerAngles, Image

FRAMING = (1.6, 1.95)
"""Least and largest side of a turned picture, in longer sides of the tight box."""

_FIELD = 2.6  # of the photograph, in longer sides of the tight box, that are looked at
_SHOULDERS = 0.5  # share of the head's yaw that shoulders have turned in the photograph
_NECK = 70.0  # degrees that a neck turns at most
_LEAST_SURROUNDINGS = 0.5  # share of the picture that the photograph must cover to be its background
_REACH = 0.9  # decimeters that hair may stand off the head
_PULL, _HAIR_PULL = 0.03, 0.3  # of unseen skin and hair towards the photograph's own colors of skin and hair
_SKIN_GRAIN, _HAIR_GRAIN = 0.02, 0.09  # deviation of the brightness of unseen places
_SWEEPS = 28


@dataclass(frozen=True, slots=True)
class View:
    """What is drawn of a turned head.

    Attributes:
        euler: label of the turned head.
        follow: share of the turn that the shoulders take part in, from 0 to 1.
        framing: side of the picture in longer sides of the tight box.
        shift: of the tight box's center from the picture's, right and down, as shares of the side.
        seed: of a background that is made up.
    """

    euler: EulerAngles
    follow: float = 0.7
    framing: float = 1.75
    shift: tuple[float, float] = (0.0, 0.0)
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Turned:
    """A turned head and its label.

    Attributes:
        image: (S, S, 3) uint8 BGR.
        rotation: (3, 3) float64, head axes (``anatomy.FRAME``) to camera axes.
        landmarks: (68, 3) pixels x right, y down, and z towards the camera in the same unit.
        box: tight box of the landmarks, pixels.
        origin: where the head's origin lies, pixels.
        scale: pixels a decimeter.
        unseen: share of the face's outline whose color neither the photograph nor its mirror image gives.
    """

    image: Image
    rotation: Array
    landmarks: Array
    box: Box
    origin: tuple[float, float]
    scale: float
    unseen: float


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A photograph that was fitted and can be turned.

    Attributes:
        fit: of the head, in pixels of ``photo``.
        vertices: (n, 3) float32 in drawn head axes.
        photo: (H, W, 3) float32 BGR, the part of the photograph around the head.
        behind: the same without the head.
        attributes: (n, ``texture.CHANNELS``) float32.
        shoulders: (3, 3) float64, shoulders to camera in the photograph.
    """

    fit: Fit
    vertices: F32
    photo: F32
    behind: F32
    attributes: F32
    shoulders: Array


class Turner:
    """Turns heads; holds what does not depend on the photograph.

    Args:
        studio: The base mesh and the average head.
        size: Side of turned pictures, pixels.
    """

    def __init__(self, studio: Studio, size: int) -> None:
        self.size = size
        self.space = fit.build(studio)
        space = self.space
        own = space.source >= 0
        at = np.zeros_like(space.mean)
        at[own] = studio.anatomy.vertices[space.source[own]]
        scalp = np.where(own, FaceMap(studio.anatomy.landmarks).scalp(at, 0.0, 0.0), 0).astype(np.float32)
        occlusion = np.ones(len(at), np.float32)
        occlusion[own] = studio.anatomy.occlusion[space.source[own]]
        self._scalp = scalp
        self._shade = np.where(space.weight > 0.98, np.clip(occlusion / 0.8, 0.45, 1.1), 1.0).astype(np.float32)
        self._head_faces = space.faces[(space.weight[space.faces] > 0.98).all(1)]
        self._start, self._neighbors = _adjacency(space.faces, len(at))
        self._hair = self._spread(scalp)
        self._clothed = smooth(0.35, 0.1, space.weight) * own
        self._pull = np.float32(_PULL) + np.float32(_HAIR_PULL) * smooth(0.5, 0.9, scalp) + 0.1 * self._clothed

    def fit(
        self, photo: Image, box: Box, rotation: Array, points: Array | None = None, known: Array | None = None
    ) -> Fitted:
        """Fit a head to a photograph and find the colors of its surface.

        Args:
            photo: (H, W, 3) uint8 BGR.
            box: Tight box of the 68 landmarks, pixels.
            rotation: (3, 3) label of the photograph, head axes to camera axes.
            points: (68, 2) landmarks in pixels, or None to fit the box.
            known: (68,) weight of each landmark in [0, 1].
        """
        space = self.space
        drawn = rotation @ LABEL.T
        if points is None:
            found = fit.fit_box(space, drawn, box)
        else:
            found = fit.fit_points(space, drawn, points, np.ones(68) if known is None else known)
        vertices = space.vertices(found.amounts)
        marks = found.project(vertices[space.landmarks] @ found.rotation.T)
        part, found = _look(photo, camera.tight_box(marks), found, self.size)
        shoulders = geometry.rotation_from_euler([_SHOULDERS * geometry.euler_from_rotation(drawn)[0], 0.0, 0.0])
        points3 = found.project(self._bent(vertices, drawn, shoulders)).astype(np.float32)
        face = _hull(points3[space.landmarks], part.shape[:2])
        head = _silhouette(points3, space.faces, part.shape[:2])
        mask = surroundings.head_mask(part, face, head, round(_REACH * found.scale))
        skull = _silhouette(points3, self._head_faces, part.shape[:2])
        vertices = hairline.grow(vertices, self._hair, found, mask, skull)
        points3 = found.project(self._bent(vertices, drawn, shoulders)).astype(np.float32)
        colors = part.astype(np.float32)
        attributes = self._colors(points3, found, colors, mask, skull)
        whole = np.maximum(mask, head)
        behind = surroundings.without_head(colors, whole, max(1, round(0.06 * found.scale)))
        return Fitted(found, vertices, colors, behind, attributes, shoulders)

    def turn(self, fitted: Fitted, view: View) -> Turned:
        """Draw a fitted head in another pose.

        Args:
            fitted: From ``fit``.
            view: The pose and the framing.
        """
        space, size = self.space, self.size
        label = geometry.rotation_from_euler(view.euler)
        drawn = label @ LABEL.T
        marks = fitted.vertices[space.landmarks].astype(np.float64) @ drawn.T
        low, high = marks[:, :2].min(0), marks[:, :2].max(0)
        scale = size / (view.framing * float((high - low).max()))
        middle = (low + high) / 2 * np.array([1, -1]) * scale
        origin = (0.5 + np.array(view.shift)) * size - middle
        seen = Fit(fitted.fit.amounts, drawn, scale, origin)
        shoulders = turned_shoulders(fitted.shoulders, fitted.fit.rotation, drawn, view.follow)
        points = seen.project(self._bent(fitted.vertices, drawn, shoulders)).astype(np.float32)
        triangle = _visible(points, space.faces, size)
        points[:, :2] *= raster.SAMPLES
        behind = self._behind(fitted, seen, view.seed)
        grain = _grain(np.random.default_rng([view.seed, 1]), size)
        picture, known = texture.paint(points, space.faces, triangle, fitted.attributes, fitted.photo, behind, grain)
        projected = seen.project(marks)
        inside = _hull(projected, (size, size)) > 0
        return Turned(
            image=np.clip(np.rint(picture), 0, 255).astype(np.uint8),
            rotation=label,
            landmarks=projected,
            box=camera.tight_box(projected),
            origin=(float(origin[0]), float(origin[1])),
            scale=scale,
            unseen=float(1 - known[inside].mean()) if inside.any() else 1.0,
        )

    def _spread(self, values: F32) -> F32:
        """Smooth (n,) values over the mesh, so that hair has no step at its edge."""
        result = np.repeat(values[:, None], 3, 1)
        pull = np.full(len(values), 0.7, np.float32)
        texture.diffuse(result, pull, result.copy(), self._start, self._neighbors, 6)
        return np.ascontiguousarray(result[:, 0])

    def _bent(self, vertices: F32, rotation: Array, shoulders: Array) -> F32:
        """Return (n, 3) float32 vertices in camera axes."""
        head, neck = (EulerAngles(*geometry.euler_from_rotation(r)) for r in (rotation, shoulders.T @ rotation))
        return poses.bend(poses.Pose(head, neck), self.space.pivot)(vertices, self.space.weight)

    def _colors(self, points: F32, found: Fit, photo: F32, mask: U8, skull: U8) -> F32:
        """Return the vertices' attributes for ``texture.paint``."""
        space = self.space
        mirrored = space.mirrored
        # Camera axes have y up.
        normals = raster.vertex_normals(
            points * np.array([1, -1, 1], np.float32), space.faces, np.arange(len(points), dtype=np.int32), len(points)
        )
        inside = cv2.GaussianBlur(cv2.erode(mask, np.ones((3, 3), np.uint8)).astype(np.float32), (0, 0), 1.0)
        own = texture.seen(points, normals, space.faces, inside, found.scale)
        soft = cv2.GaussianBlur(photo, (0, 0), 1.5)
        here = texture.sample_all(soft, points)
        own *= self._likeness(here, own, normals[:, 2])
        other = own[mirrored]
        there = here[mirrored]
        # Where both sides are seen they differ by the light; that difference fades into what only the mirror shows.
        both = np.minimum(own, other)
        offset = here - there
        pull = np.where(both > 0.6, np.inf, 0.004).astype(np.float32)
        offset[both <= 0.6] = 0
        zero = np.zeros_like(offset)
        texture.diffuse(offset, pull, zero, self._start, self._neighbors, _SWEEPS)
        share = (1 - own) * other
        certain = own + share
        color = own[:, None] * here + share[:, None] * (there + offset)
        color /= np.maximum(certain, np.float32(1e-3))[:, None]
        goal = self._goal(color, certain, _standing_hair(soft, found, mask, skull))
        shade = self._shade[:, None]
        color = np.where((certain > 0.5)[:, None], color / shade, goal)
        pull = np.where(certain > 0.5, np.inf, self._pull).astype(np.float32)
        texture.diffuse(color, pull, goal, self._start, self._neighbors, _SWEEPS)
        rough = _SKIN_GRAIN + (_HAIR_GRAIN - _SKIN_GRAIN) * self._hair
        return np.column_stack([points[:, :2], points[mirrored, :2], own, other, offset, color * shade, rough]).astype(
            np.float32
        )

    def _likeness(self, color: F32, seen: F32, facing: F32) -> F32:
        """Return a weight in [0, 1] that drops what is not skin at the edge of the face: background, hair, hands.

        Args:
            color: (n, 3) in the photograph.
            seen: (n,) how well a vertex is seen.
            facing: (n,) cosine to the camera.
        """
        skin = (self._scalp < 0.1) & (self.space.weight > 0.98)
        sure = skin & (seen > 0.5) & (facing > 0.6)
        if sure.sum() < 50:
            return np.ones(len(seen), np.float32)
        middle = np.median(color[sure], 0)
        spread = np.maximum(1.48 * np.median(abs(color[sure] - middle), 0), 8)
        off = np.sqrt((((color - middle) / spread) ** 2).mean(1))
        edge = smooth(0.75, 0.55, facing) * skin
        return 1 - edge * smooth(1.6, 2.8, off.astype(np.float32))

    def _goal(self, color: F32, certain: F32, standing: F32) -> F32:
        """Return the colors that unseen places tend to: those of hair, clothes or skin; (n, 3).

        Args:
            color: (n, 3) of the vertices that are seen.
            certain: (n,) how well they are seen.
            standing: (k, 3) colors of hair that stands off the head.
        """
        seen = certain > 0.5
        skin = _median(color[seen & (self._scalp < 0.1) & (self.space.weight > 0.98)], np.full(3, 128.0))
        own = color[seen & (self._scalp > 0.9)]
        hair = _median(own if len(own) > len(standing) / 8 else standing, skin * 0.45)
        clothes = _median(color[seen & (self._clothed > 0.9)], hair * 0.5 + 40)
        scalp, clothed = self._scalp[:, None], self._clothed[:, None]
        return (skin * (1 - scalp - clothed) + hair * scalp + clothes * clothed).astype(np.float32)

    def _behind(self, fitted: Fitted, seen: Fit, seed: int) -> F32:
        """Return the (S, S, 3) background: the photograph's, or a painted one if that covers too little."""
        size = self.size
        per = seen.scale / fitted.fit.scale
        offset = seen.origin - fitted.fit.origin * per
        height, width = fitted.behind.shape[:2]
        (x1, y1), (x2, y2) = np.clip([offset, offset + np.array([width, height]) * per], 0, size)
        if (x2 - x1) * (y2 - y1) < _LEAST_SURROUNDINGS * size * size:
            return _painted(np.random.default_rng(seed), size, float(fitted.photo.mean()))
        affine = np.array([[per, 0, offset[0] + 0.5 * per - 0.5], [0, per, offset[1] + 0.5 * per - 0.5]])
        return cv2.warpAffine(fitted.behind, affine, (size, size), borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)


def _look(photo: Image, box: Box, found: Fit, size: int) -> tuple[Image, Fit]:
    """Cut the surroundings of a head out of a photograph, in the turned pictures' scale, and move the fit there."""
    side = round(_FIELD * size / FRAMING[0])
    spec = CropSpec(size=side, scale=_FIELD, shift_y=0.0, square=True, border="black")
    affine = crop.source_from_crop(box, spec)
    per, offset = affine[0, 0], affine[:, 2]
    height, width = photo.shape[:2]
    first = np.clip(np.ceil(-offset / per), 0, side - 2).astype(int)
    last = np.clip(np.floor((np.array([width, height]) - offset) / per), first + 2, side).astype(int)
    part = crop.cut(photo, box, spec)[first[1] : last[1], first[0] : last[0]]
    origin = (found.origin - offset) / per - first
    return np.ascontiguousarray(part), Fit(found.amounts, found.rotation, found.scale / per, origin)


def turned_shoulders(shoulders: Array, before: Array, after: Array, follow: float) -> Array:
    """Return the (3, 3) rotation of shoulders that follow the head's turn by a share, as far as the neck allows."""
    turn = geometry.vector_from_rotation(after @ before.T)
    moved = geometry.rotation_from_vector(turn * follow) @ shoulders
    neck = geometry.vector_from_rotation(moved.T @ after)
    angle = float(np.linalg.norm(neck))
    return moved if angle <= _NECK else after @ geometry.rotation_from_vector(neck * (_NECK / angle)).T


def _silhouette(points: F32, faces: I32, shape: tuple[int, ...]) -> U8:
    depth = np.full(shape, -np.inf, np.float32)
    raster.depth_map(points, faces, depth)
    return (depth > -np.inf).astype(np.uint8)


def _hull(points: Array | F32, shape: tuple[int, ...]) -> U8:
    mask = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points[:, :2].astype(np.float32)).astype(np.int32), (1,))
    return mask


def _visible(points: F32, faces: I32, size: int) -> I32:
    """Return the (2 S, 2 S) nearest triangle of each sample, or -1."""
    samples = points.copy()
    samples[:, :2] *= raster.SAMPLES
    samples[:, 2] += 1 - samples[:, 2].min()  # depths above 0 are in front of the camera
    triangle = np.full((size * raster.SAMPLES,) * 2, -1, np.int32)
    nothing = np.zeros(1, np.int32)
    raster.visibility(
        samples, faces, np.zeros(len(faces), np.int32), np.zeros((len(points), 2), np.float32), nothing - 1, nothing,
        np.zeros((1, MASK_SIDE, MASK_SIDE), np.uint8), np.zeros(triangle.shape, np.float32), triangle,
    )  # fmt: skip
    return triangle


def _painted(rng: np.random.Generator, size: int, brightness: float) -> F32:
    """Return a (S, S, 3) float32 BGR background that is made up, in [0, 255]."""
    colors = background.paint(background.draw(rng), rng, size, None, light.draw(rng))
    shown = 255 * np.clip(colors[:, :, ::-1], 0, 1) ** (1 / 2.2)
    gain = brightness * rng.uniform(0.6, 1.3) / max(1.0, float(shown.mean()))
    return np.clip(shown * gain, 0, 255).astype(np.float32)


def _adjacency(faces: I32, count: int) -> tuple[I32, I32]:
    """Return where each vertex's neighbors start, (n + 1,), and the neighbors."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    start = np.searchsorted(edges[:, 0], np.arange(count + 1))
    return start.astype(np.int32), np.ascontiguousarray(edges[:, 1], np.int32)


def _standing_hair(photo: F32, found: Fit, mask: U8, skull: U8) -> F32:
    """Return the (k, 3) colors of the head's pixels beside and above the skull; none if there are few."""
    rows, columns = np.nonzero(cv2.erode(mask, np.ones((3, 3), np.uint8)) & (1 - skull))
    middle = found.project((found.rotation @ hairline.SKULL)[None])[0, :2]
    up = found.rotation[:2, 1] * [1, -1]
    above = (columns - middle[0]) * up[0] + (rows - middle[1]) * up[1] > 0
    return photo[rows[above], columns[above]] if above.sum() > 20 else np.zeros((0, 3), np.float32)


def _median(colors: F32, otherwise: Array) -> Array:
    """Return the (3,) median, or ``otherwise`` where there are few colors."""
    return np.median(colors, 0) if len(colors) > 12 else otherwise


def _grain(rng: np.random.Generator, size: int) -> F32:
    """Return (S, S) noise with deviation 1, as coarse as strands."""
    noise = cv2.GaussianBlur(rng.standard_normal((size, size), np.float32), (0, 0), 0.9)
    return noise / max(float(noise.std()), 1e-6)
