"""Hair geometry of dense beards. Stubble is painted on the skin (``headpose.synth.skin``)."""

from __future__ import annotations

import numpy as np

from headpose.synth.anatomy import Anatomy
from headpose.synth.assets import Assets
from headpose.synth.face_map import FaceMap
from headpose.synth.hair import Hair, locks, strand_material
from headpose.synth.raster import vertex_normals
from headpose.synth.skin import Skin
from headpose.synth.strands import scatter, to_ribbons
from headpose.synth.surface import F32, Part, part

_DENSE = 0.7  # minimum density of a beard with hair geometry
_STEPS = 4


def parts(skin: Skin, hair: Hair, vertices: F32, assets: Assets, anatomy: Anatomy) -> list[Part]:
    """Build the hair of a dense beard; return an empty list for other beards.

    Args:
        skin: Skin, which defines style and density of the beard.
        hair: Hair, which defines color and curl.
        vertices: (19158, 3) vertices of the person with the expression, in head axes.
        assets: Base mesh.
        anatomy: Average head.
    """
    if not skin.beard or skin.beard_share < _DENSE:
        return []
    rng = np.random.default_rng(hair.seed + 1)
    piece = assets.pieces["bust"]
    own = vertices[piece.source]
    grows = FaceMap(anatomy.landmarks).beard(anatomy.vertices[piece.source], skin.beard) > 0.55
    normals = vertex_normals(own, piece.faces, piece.source, len(vertices))
    roots, out = scatter(own, normals, piece.faces[grows[piece.faces].all(1)], 520, rng)
    length = (0.05 + 0.4 * (skin.beard_share - _DENSE)) * rng.uniform(0.7, 1.3, (len(roots), 1))
    # Hair is longer under the chin than at the ears and above the lip.
    length *= 1 + 1.2 * np.clip(-0.35 - roots[:, 1:2], 0, 0.4) / 0.4
    over_lip = (roots[:, 1] > anatomy.landmarks[62, 1]) & (abs(roots[:, 0]) < 0.3)
    length *= np.where(over_lip, 0.4, 1.0)[:, None]
    comb = np.array([0, -1.0, 0.25]) + rng.normal(0, 0.15 + 0.3 * hair.curl, (len(roots), 3))
    path = [roots - out * 0.01]
    for step in range(1, _STEPS):
        direction = comb + out * (1.0 - 0.25 * step)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        path.append((path[-1] + direction * length / (_STEPS - 1)).astype(np.float32))
    strands = np.stack(path, 1)
    shape = to_ribbons(strands, np.array([0, -0.2, -0.1], np.float32), 0.06, rng)
    share = np.repeat(np.tile(np.linspace(0, 1, _STEPS), len(strands)), 2)
    material = strand_material(hair, locks(), 60.0, beard=True)
    return [part(material, shape.vertices, shape.faces, shape.uv, 0.5 + 0.4 * share)]
