"""Surfaces and materials, noise for procedural textures, and a typed decorator for compiled functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]

_Function = TypeVar("_Function", bound=Callable[..., object])


def kernel(function: _Function) -> _Function:
    """Compile a function of arrays and numbers to machine code, cached on disk."""
    return cast(_Function, numba.njit(cache=True, fastmath={"contract", "nsz", "arcp"})(function))


MASK_SIDE = 256
"""Side of coverage masks in texels."""

_TABLE = np.random.default_rng(7).random((32, 32, 32)).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Fragments:
    """Visible fragments of one part.

    Attributes:
        uv: (n, 2) float32 texture coordinates.
        template: (n, 3) positions on the average head for the skin, on the undeformed part otherwise.
        normal: (n, 3) unit normals on the side of the camera.
        position: (n, 3) positions in camera axes.
        occlusion: (n,) visible fraction of the sky.
    """

    uv: F32
    template: F32
    normal: F32
    position: F32
    occlusion: F32

    def __len__(self) -> int:
        return len(self.uv)


Paint = Callable[[Fragments], F32]
"""Function from n fragments to their (n, 3) float32 linear RGB reflectance."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Material of a part.

    Attributes:
        color: Reflectance.
        specular: Strength of the specular reflection in [0, 1].
        gloss: Exponent of the highlight; 5 is matte, 500 is wet.
        wrap: Wrap lighting of red, green and blue, which approximates the red subsurface scattering of skin.
        hides: True if the part counts as hiding the face.
        of_face: True for parts of a face (eyes, a beard, clear glasses); skin behind them counts as visible.
        mask: (256, 256) uint8 coverage by uv (row v, column u); None for an opaque part.
        two_sided: True if back faces are visible.
        casts: True if the part casts shadows.
        reflects: Fraction of the surroundings that is reflected, for lenses.
    """

    color: Paint
    specular: float = 0.02
    gloss: float = 8.0
    wrap: tuple[float, float, float] = (0.0, 0.0, 0.0)
    hides: bool = False
    of_face: bool = False
    mask: U8 | None = None
    two_sided: bool = True
    casts: bool = True
    reflects: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Surface in head axes, before the neck is bent.

    Attributes:
        material: Material.
        vertices: (n, 3) float32 positions.
        faces: (m, 3) int32 triangles, counterclockwise from outside.
        uv: (n, 2) float32 texture coordinates.
        template: (n, 3) float32 positions for textures, as in ``Fragments``.
        occlusion: (n,) float32 visible fraction of the sky.
        weight: (n,) float32 fraction of the head rotation that a vertex follows; 0 for the shoulders.
        shared: (n,) int32 numbers; vertices with equal numbers share a normal.
    """

    material: Material
    vertices: F32
    faces: I32
    uv: F32
    template: F32
    occlusion: F32
    weight: F32
    shared: I32


def part(
    material: Material,
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    uv: NDArray[np.floating] | None = None,
    occlusion: NDArray[np.floating] | float = 1.0,
    weight: NDArray[np.floating] | float = 1.0,
) -> Part:
    """Create a part whose vertices are their own template and do not share normals."""
    n = len(vertices)
    return Part(
        material,
        np.ascontiguousarray(vertices, np.float32),
        np.ascontiguousarray(faces, np.int32),
        np.zeros((n, 2), np.float32) if uv is None else np.ascontiguousarray(uv, np.float32),
        np.ascontiguousarray(vertices, np.float32),
        np.ascontiguousarray(np.broadcast_to(np.asarray(occlusion, np.float32), n)),
        np.ascontiguousarray(np.broadcast_to(np.asarray(weight, np.float32), n)),
        np.arange(n, dtype=np.int32),
    )


def plain(color: tuple[float, float, float]) -> Paint:
    """Return a uniform linear color."""
    return lambda fragments: np.tile(np.array(color, np.float32), (len(fragments), 1))


def linear(srgb: tuple[float, ...] | NDArray[np.floating]) -> F32:
    """Convert sRGB values in [0, 1] to linear colors (gamma 2.2)."""
    return (np.asarray(srgb, np.float32) ** 2.2).astype(np.float32)


def smooth(low: float, high: float, value: F32) -> F32:
    """Compute a smoothstep from 0 at ``low`` to 1 at ``high``; it decreases if low > high."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def noise(points: F32, frequency: float | tuple[float, float, float], shift: float = 0.0) -> F32:
    """Compute (n,) smooth noise in [0, 1] with a wavelength of about 2 / ``frequency``."""
    scaled = points * np.asarray(frequency, np.float32) + np.float32(shift)
    return _value_noise(np.ascontiguousarray(scaled, np.float32), _TABLE)


@kernel
def _value_noise(points: F32, table: F32) -> F32:
    result = np.empty(points.shape[0], np.float32)
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        xf, yf, zf = np.floor(x), np.floor(y), np.floor(z)
        fx, fy, fz = x - xf, y - yf, z - zf
        fx, fy, fz = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy), fz * fz * (3 - 2 * fz)
        a, b, c = int(xf) & 31, int(yf) & 31, int(zf) & 31
        a1, b1, c1 = (a + 1) & 31, (b + 1) & 31, (c + 1) & 31
        low = (table[a, b, c] * (1 - fx) + table[a1, b, c] * fx) * (1 - fy) + (
            table[a, b1, c] * (1 - fx) + table[a1, b1, c] * fx
        ) * fy
        high = (table[a, b, c1] * (1 - fx) + table[a1, b, c1] * fx) * (1 - fy) + (
            table[a, b1, c1] * (1 - fx) + table[a1, b1, c1] * fx
        ) * fy
        result[i] = low * (1 - fz) + high * fz
    return result
