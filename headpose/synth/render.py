"""Render a scene to an image with its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.geometry import Array
from headpose.synth import background, camera, light, post, raster
from headpose.synth.anatomy import LABEL
from headpose.synth.camera import View
from headpose.synth.light import Light
from headpose.synth.pose import bend
from headpose.synth.scene import Built, Scene, Studio
from headpose.synth.surface import F32, I32, MASK_SIDE, U8, Fragments, Material, Part
from headpose.types import Box, Image

_SKIN_DEPTH = 0.08  # decimeters; depth tolerance within which a triangle counts as the visible surface


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """Rendered image with its labels.

    Attributes:
        image: (S, S, 3) uint8 BGR.
        rotation: (3, 3) float64 rotation from head axes (``anatomy.FRAME``) to camera axes.
        landmarks: (68, 3) landmarks in pixels: x right, y down, z to the camera.
        box: Tight box of the landmarks in pixels.
        head_landmarks: (68, 3) landmarks in head axes with the expression, decimeters.
        view: Camera.
        hidden: Fraction of the facial outline that hair, a hat or an object covers.
        face_seen: Visible fraction of the face's surface: 0.9 from the front, 0.5 in profile, 0 from behind.
    """

    image: Image
    rotation: Array
    landmarks: Array
    box: Box
    head_landmarks: Array
    view: View
    hidden: float
    face_seen: float


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """Merged geometry of all parts of a scene.

    Attributes:
        points: (n, 3) float32 positions in camera axes.
        attributes: (n, 12) vertex attributes: u, v, template (3), normal (3), position (3), occlusion; see
            ``Fragments``.
        faces: (m, 3) int32 triangles.
        part: (m,) part of each triangle.
        shadow_faces: Triangles that cast shadows.
    """

    points: F32
    attributes: F32
    faces: I32
    part: I32
    shadow_faces: I32


@dataclass(frozen=True, slots=True, eq=False)
class Staged:
    """Scene after the visibility test and before shading.

    Attributes:
        hidden: Fraction of the facial outline that hair, a hat or an object covers.
        face_seen: Visible fraction of the face's surface.
        triangle: (2 S, 2 S) int32 nearest triangle of each sample; -1 for none.
        geometry: Merged geometry.
    """

    scene: Scene
    hidden: float
    face_seen: float
    triangle: I32
    geometry: Geometry
    materials: Sequence[Material]
    view: View
    projected: Array
    points: F32
    hull: U8
    built: Built


def stage(scene: Scene, studio: Studio, size: int) -> Staged:
    """Build a scene, set up the camera and test visibility. The result shows whether the face is hidden.

    Args:
        scene: Scene from ``scene.draw``.
        studio: Assets of the scene.
        size: Side of the image in pixels.
    """
    built = scene.build(studio)
    marks = built.landmarks @ scene.pose.rotation.T
    view = camera.frame(scene.camera, marks, size)
    geometry = _assemble(built.parts, scene, built.pivot)
    materials = [each.material for each in built.parts]
    samples = view.project(geometry.points)
    samples[:, :2] *= raster.SAMPLES
    points = samples.astype(np.float32)
    masks, mask = _masks(materials)
    two_sided = np.array([material.two_sided for material in materials], np.int32)
    depth = np.zeros((size * raster.SAMPLES,) * 2, np.float32)
    triangle = np.full(depth.shape, -1, np.int32)
    uv = np.ascontiguousarray(geometry.attributes[:, :2])
    raster.visibility(points, geometry.faces, geometry.part, uv, mask, two_sided, masks, depth, triangle)
    projected = view.project(marks)
    hull = _hull(projected, size)
    inside = triangle[::2, ::2][hull > 0]
    hides = np.array([material.hides for material in materials])
    hidden = hides[geometry.part[inside]] & (inside >= 0)
    share = float(hidden.mean()) if len(hidden) else 1.0
    of_face = np.array([material.of_face for material in materials])
    seen = _face_seen(geometry, of_face, studio.anatomy.face, points, depth, triangle)
    return Staged(scene, share, seen, triangle, geometry, materials, view, projected, points, hull, built)


def render(staged: Staged, studio: Studio) -> Rendered:
    """Shade a staged scene and convert it to an 8-bit image. ``studio`` must be the one of ``stage``."""
    scene, view, size = staged.scene, staged.view, staged.view.size
    rng = scene.draws.stream("light")
    lit = scene.light
    environment = None
    if lit.environment >= 0 and studio.folder is not None:
        environment = studio.folder.environments[lit.environment]
        lit = light.from_environment(lit, cv2.resize(environment, (128, 64), interpolation=cv2.INTER_AREA), rng)
    tilt = None
    if scene.pose.down is not None:
        tilt = scene.pose.tilt
        lit = light.turned(lit, tilt)
    color, cover, skin = _shade(staged, lit)
    behind = background.paint(scene.background, scene.draws.stream("background-noise"), size, environment, lit, tilt)
    picture = post.develop(color, cover, behind, skin, lit, scene.post, scene.draws.stream("grain"))
    depth = (staged.built.landmarks @ scene.pose.rotation.T)[:, 2] * view.focal / view.distance
    return Rendered(
        image=picture,
        rotation=scene.pose.rotation @ LABEL,
        landmarks=np.column_stack([staged.projected[:, :2], depth]),
        box=camera.tight_box(staged.projected),
        head_landmarks=staged.built.landmarks @ LABEL,
        view=view,
        hidden=staged.hidden,
        face_seen=staged.face_seen,
    )


def _face_seen(
    geometry: Geometry, of_face: NDArray[np.bool_], areas: Array, points: F32, depth: F32, triangle: I32
) -> float:
    """Return the visible fraction of the face's area.

    A triangle of the face is visible if it faces the camera and only parts of a face (eyes, glasses, a beard) are
    nearer. Visibility is tested at the sample of its center.

    Args:
        geometry: Merged geometry, starting with the triangles of the bust.
        of_face: (parts,) bool, True for parts of a face (see ``Material``).
        areas: (m,) areas of the triangles of the bust; 0 outside of the face (``Anatomy.face``).
        points: (n, 3) x and y in samples, and inverse distance.
        depth: (2 S, 2 S) inverse distance of the nearest triangle of each sample.
        triangle: (2 S, 2 S) index of this triangle.
    """
    face = np.flatnonzero(areas)
    a, b, c = (points[geometry.faces[face, k]] for k in range(3))
    middle = (a + b + c) / 3
    across, down = b - a, c - a
    towards = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0] < 0  # front faces, as in ``raster.visibility``
    side = len(depth)
    column, row = np.floor(middle[:, :2]).astype(np.int64).T
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    column, row = np.clip(column, 0, side - 1), np.clip(row, 0, side - 1)
    first = triangle[row, column]
    owner = geometry.part[first]
    at = 1 / np.maximum(middle[:, 2], 1e-6) - 1 / np.maximum(depth[row, column], 1e-6)  # decimeters behind the nearest
    clear = (first < 0) | ((owner == 0) & (at < _SKIN_DEPTH)) | of_face[owner]
    return float(areas[face][towards & inside & clear].sum())


def _assemble(parts: Sequence[Part], scene: Scene, pivot: F32) -> Geometry:
    points, attributes, faces, owner, shadow = [], [], [], [], []
    first = 0
    follow = bend(scene.pose, pivot)
    for number, each in enumerate(parts):
        bent = follow(each.vertices, each.weight)
        normals = raster.vertex_normals(bent, each.faces, each.shared, int(each.shared.max()) + 1)
        points.append(bent)
        attributes.append(np.column_stack([each.uv, each.template, normals, bent, each.occlusion]))
        faces.append(each.faces + first)
        owner.append(np.full(len(each.faces), number, np.int32))
        if each.material.casts:
            shadow.append(faces[-1])
        first += len(bent)
    return Geometry(
        np.concatenate(points),
        np.ascontiguousarray(np.concatenate(attributes), np.float32),
        np.concatenate(faces).astype(np.int32),
        np.concatenate(owner),
        np.concatenate(shadow).astype(np.int32),
    )


def _shade(staged: Staged, lit: Light) -> tuple[F32, F32, F32]:
    """Return (S, S, 3) radiance, (S, S) coverage in [0, 1], and (n, 3) radiance of the fragments of the face."""
    geometry, materials, view = staged.geometry, staged.materials, staged.view
    size = view.size
    room = size * size * 4
    pixel, owner = np.empty(room, np.int32), np.empty(room, np.int32)
    values = np.empty((room, 1 + geometry.attributes.shape[1]), np.float32)
    count = raster.resolve(
        staged.points, geometry.faces, geometry.part, geometry.attributes, staged.triangle, pixel, owner, values
    )
    pixel, owner, values = pixel[:count], owner[:count], values[:count]
    eye = np.array([0, 0, view.distance], np.float32)
    fragments = _fragments(values, eye)
    albedo, finish = _materials(fragments, owner, materials)
    maps, affines = light.shadow_maps(lit, geometry.points, geometry.shadow_faces, np.zeros(3, np.float32))
    sent = light.radiance(
        albedo,
        finish,
        fragments.normal,
        fragments.position,
        fragments.occlusion,
        eye,
        lit.sky,
        lit.towards,
        lit.colors,
        maps,
        affines,
    )
    share = values[:, 0]
    color = np.stack([np.bincount(pixel, sent[:, c] * share, size * size) for c in range(3)], 1)
    cover = np.bincount(pixel, share, size * size)
    skin = sent[(owner == 0) & (staged.hull.ravel()[pixel] > 0)]
    skin = skin if len(skin) else sent
    return color.reshape(size, size, 3).astype(np.float32), cover.reshape(size, size).astype(np.float32), skin


def _masks(materials: Sequence[Material]) -> tuple[U8, I32]:
    """Stack the coverage masks; return them and the row of each material."""
    stack = [material.mask for material in materials if material.mask is not None]
    rows = np.cumsum([material.mask is not None for material in materials]) - 1
    mask = np.where([material.mask is not None for material in materials], rows, -1).astype(np.int32)
    return (np.stack(stack) if stack else np.zeros((1, MASK_SIDE, MASK_SIDE), np.uint8)), mask


def _fragments(values: F32, eye: F32) -> Fragments:
    normal, position = values[:, 6:9], np.ascontiguousarray(values[:, 9:12])
    normal = normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9)
    away = (normal * (eye - position)).sum(1, keepdims=True) < 0
    normal = np.where(away, -normal, normal)
    return Fragments(
        np.ascontiguousarray(values[:, 1:3]),
        np.ascontiguousarray(values[:, 3:6]),
        np.ascontiguousarray(normal, np.float32),
        position,
        np.ascontiguousarray(values[:, 12]),
    )


def _materials(fragments: Fragments, owner: I32, materials: Sequence[Material]) -> tuple[F32, F32]:
    """Return the (n, 3) reflectance and (n, 6) finish of all fragments."""
    albedo = np.zeros((len(fragments), 3), np.float32)
    finish = np.array([[m.specular, m.gloss, *m.wrap, m.reflects] for m in materials], np.float32)[owner]
    order = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(len(materials) + 1))
    for number, material in enumerate(materials):
        rows = order[bounds[number] : bounds[number + 1]]
        if len(rows):
            own = Fragments(
                fragments.uv[rows],
                fragments.template[rows],
                fragments.normal[rows],
                fragments.position[rows],
                fragments.occlusion[rows],
            )
            albedo[rows] = np.clip(material.color(own), 0.0, 0.95)
    return albedo, finish


def _hull(projected: Array, size: int) -> U8:
    """Return (S, S) uint8, 1 inside the convex hull of the landmarks."""
    mask = np.zeros((size, size), np.uint8)
    outline = cv2.convexHull(projected[:, :2].astype(np.float32)).astype(np.int32)
    cv2.fillConvexPoly(mask, outline, (1,))
    return mask
