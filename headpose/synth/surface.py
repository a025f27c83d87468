"""Pieces of surface, what they are made of, noise to paint them with, and compiled functions with types for mypy."""

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
    """Compiles a function of arrays and numbers to machine code; the code is kept on disk for the next run."""
    return cast(_Function, numba.njit(cache=True, fastmath={"contract", "nsz", "arcp"})(function))


MASK_SIDE = 256
"""Coverage masks are (256, 256)."""

_TABLE = np.random.default_rng(7).random((32, 32, 32)).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Fragments:
    """Places of one part that are seen: n of them.

    Attributes:
        uv: (n, 2) float32.
        template: (n, 3) where the place lies on the average head, for the skin; else on the part at rest.
        normal: (n, 3) unit vectors, towards the camera's side.
        position: (n, 3) in camera axes.
        occlusion: (n,) share of the sky that is seen.
    """

    uv: F32
    template: F32
    normal: F32
    position: F32
    occlusion: F32

    def __len__(self) -> int:
        return len(self.uv)


Paint = Callable[[Fragments], F32]
"""Gives (n, 3) float32 linear reflectance, red, green, blue, of n fragments."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a part is made of.

    Attributes:
        colour: its reflectance.
        specular: strength of the mirrored light, 0 to 1.
        gloss: exponent of the highlight; 5 is matt, 500 is wet.
        wrap: how far light creeps past the edge of the shade, for each colour: skin lets red through.
        hides: whether it counts as hiding the face where it covers it.
        of_face: whether it belongs to a face, as eyes, a beard and clear glasses do: skin behind it counts as seen.
        mask: (256, 256) uint8 coverage by uv (row v, column u), or None where it is solid.
        two_sided: whether its back is seen.
        casts: whether it casts a shadow.
        reflects: share of the surroundings that it mirrors: lenses.
    """

    colour: Paint
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
    """A piece of surface in head axes, before the neck bends.

    Attributes:
        material: what it is made of.
        vertices: (n, 3) float32.
        faces: (m, 3) int32, counter-clockwise from outside.
        uv: (n, 2) float32.
        template: (n, 3) float32 (``Fragments``).
        occlusion: (n,) float32.
        weight: (n,) float32, share of the head's rotation that it follows; 0 stays with the shoulders.
        shared: (n,) int32, vertices of one number have one normal.
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
    """A part whose vertices are their own template and have a normal each."""
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


def plain(colour: tuple[float, float, float]) -> Paint:
    """One colour, linear, everywhere."""
    return lambda fragments: np.tile(np.array(colour, np.float32), (len(fragments), 1))


def linear(srgb: tuple[float, ...] | NDArray[np.floating]) -> F32:
    """Colours from sRGB values in [0, 1] (gamma 2.2)."""
    return (np.asarray(srgb, np.float32) ** 2.2).astype(np.float32)


def smooth(low: float, high: float, value: F32) -> F32:
    """0 up to ``low``, 1 from ``high`` on (or the other way round, if low > high), smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def noise(points: F32, frequency: float | tuple[float, float, float], shift: float = 0.0) -> F32:
    """Smooth noise in space: (n,) in [0, 1], about one wave for each 2 / ``frequency``."""
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
