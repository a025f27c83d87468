"""Hair: strands as ribbons, frizzy hair as a shell, or a fitted hairstyle of the asset folder."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from headpose.synth.anatomy import Anatomy, radii
from headpose.synth.assets import Assets
from headpose.synth.folder import AssetFolder, Fitted
from headpose.synth.person import Person
from headpose.synth.shapes import ellipsoid, shell
from headpose.synth.skin import PaintedHair
from headpose.synth.strands import LOCKS, Combed, ribbons, tie_point
from headpose.synth.surface import F32, MASK_SIDE, U8, Fragments, Material, Part, linear, noise, part

_COLORS = {
    "black": ((0.06, 0.055, 0.055), 0.3),
    "dark brown": ((0.17, 0.11, 0.08), 0.24),
    "brown": ((0.31, 0.2, 0.13), 0.16),
    "light brown": ((0.44, 0.32, 0.21), 0.09),
    "blond": ((0.7, 0.56, 0.37), 0.1),
    "red": ((0.47, 0.2, 0.1), 0.04),
    "grey": ((0.5, 0.49, 0.48), 0.04),
    "white": ((0.74, 0.72, 0.7), 0.03),
}
_DARK = np.array([3.0, 1.0, 0.2, 0.08, 0.04, 0.03, 0.8, 0.8])
_OLD = np.array([0.3, 0.4, 0.5, 0.5, 0.5, 0.4, 8.0, 9.0])
# Probabilities of each style for men and women.
_STYLES = {
    "bald": (0.07, 0.005),
    "shaved": (0.09, 0.015),
    "crop": (0.2, 0.03),
    "side": (0.21, 0.08),
    "back": (0.11, 0.06),
    "fringe": (0.12, 0.11),
    "spikes": (0.06, 0.01),
    "curtain": (0.05, 0.26),
    "loose": (0.04, 0.22),
    "tail": (0.02, 0.12),
    "bun": (0.01, 0.06),
    "frizz": (0.02, 0.03),
}


@dataclass(frozen=True, slots=True)
class Hair:
    """Appearance of the hair.

    Attributes:
        style: Procedural style, or "fitted".
        fitted: Name of the hairstyle in the asset folder, if ``style`` is "fitted".
        color: Linear color.
        length: Length of the strands in decimeters.
        lift: Distance from the head in decimeters.
        parting: Position of the parting in decimeters, positive to the right in the image.
        curl: Lateral amplitude of the strands from 0 (straight) to 1.
        waves: Number of waves along a strand.
        hairline: As in ``FaceMap.scalp``.
        recession: As in ``FaceMap.scalp``.
        tucked: True if long hair is behind the ears.
        painted: Density of the hair painted on the scalp in [0, 1].
        gloss: Strength of the highlights.
        seed: Random seed of the strands.
    """

    style: str
    fitted: str
    color: tuple[float, float, float]
    length: float
    lift: float
    parting: float
    curl: float
    waves: float
    hairline: float
    recession: float
    tucked: bool
    painted: float
    gloss: float
    seed: int

    @property
    def paint(self) -> PaintedHair:
        """Return the part of the hair that is painted on the skin."""
        return PaintedHair(self.color, self.painted, self.hairline, self.recession)


# Minimum and maximum length of each style, decimeters.
_LENGTHS = {
    "crop": (0.15, 0.4),
    "side": (0.5, 1.3),
    "back": (0.5, 1.6),
    "fringe": (0.5, 1.1),
    "spikes": (0.2, 0.6),
    "curtain": (1.2, 4.0),
    "loose": (1.5, 4.5),
    "tail": (1.2, 1.5),
    "bun": (1.2, 1.5),
}


def draw(rng: np.random.Generator, person: Person, fitted: list[str]) -> Hair:
    """Draw the hair of a person; a quarter of the heads get a fitted hairstyle if there are any."""
    shares = np.array([_STYLES[name][0 if person.is_male else 1] for name in _STYLES])
    african = person.ancestry[0]
    names = list(_STYLES)
    shares[names.index("frizz")] += 0.35 * african
    if person.is_child:
        shares[:2] = 0
    if person.is_old and person.is_male:
        shares[0] *= 2.5
    style = names[rng.choice(len(names), p=shares / shares.sum())]
    shaped = style not in ("bald", "shaved") and fitted and rng.random() < 0.27
    shortest, longest = _LENGTHS.get(style, (0.2, 0.3))
    curl = rng.uniform(0, 0.25) if rng.random() < 0.6 else rng.uniform(0.25, 1.0)
    recession = rng.uniform(0, 0.3) if not person.is_male else rng.uniform(0, 0.4) + person.age * rng.uniform(0, 0.8)
    painted = {"bald": rng.uniform(0, 0.25), "shaved": rng.uniform(0.3, 0.9)}.get(style, 0.95)
    color = _draw_color(rng, person)
    return Hair(
        style="fitted" if shaped else style,
        fitted=str(rng.choice(fitted)) if shaped else "",
        color=(float(color[0]), float(color[1]), float(color[2])),
        length=float(rng.uniform(shortest, longest)),
        lift=float(rng.uniform(0.03, 0.16)),
        parting=float(rng.choice([rng.normal(0, 0.04), rng.uniform(0.15, 0.35), -rng.uniform(0.15, 0.35)])),
        curl=float(curl),
        waves=float(rng.uniform(1.0, 4.0)),
        hairline=float(rng.normal(0, 0.05)),
        recession=float(np.clip(recession, 0, 1)),
        tucked=bool(rng.random() < 0.6),
        painted=float(painted),
        gloss=float(rng.choice([10, 18, 30])),
        seed=int(rng.integers(1 << 31)),
    )


def _draw_color(rng: np.random.Generator, person: Person) -> F32:
    shares = np.array([share for _, share in _COLORS.values()])
    if person.ancestry[0] + person.ancestry[1] > rng.uniform(0.3, 0.8):
        shares = shares * _DARK
    if person.age > rng.uniform(0.65, 1.0):
        shares = shares * _OLD
    if person.is_male is False and rng.random() < 0.1:
        shares = np.full(len(shares), 0.1)  # dyed
    chosen = list(_COLORS.values())[rng.choice(len(shares), p=shares / shares.sum())][0]
    color = linear(np.array(chosen)) * np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.06, 3))
    return (rng.random(3) * 0.5 if rng.random() < 0.015 else color).astype(np.float32)


def parts(
    hair: Hair,
    vertices: F32,
    assets: Assets,
    anatomy: Anatomy,
    folder: AssetFolder | None,
    down: F32,
    under_hat: bool = False,
) -> list[Part]:
    """Build the surfaces of the hair; an empty list for a bald or shaved head.

    Args:
        hair: Appearance of the hair.
        vertices: (19158, 3) vertices of the neutral person in head axes.
        assets: Base mesh.
        anatomy: Average head.
        folder: Asset folder with fitted hairstyles; None without.
        down: (3,) direction of gravity in head axes.
        under_hat: Omit hair that would penetrate a hat.
    """
    if hair.style in ("bald", "shaved") or (under_hat and hair.style in ("frizz", "bun", "spikes", "fitted")):
        return []
    if hair.style == "fitted" and folder is not None:
        return [_fitted_part(hair, folder.hair[hair.fitted], vertices, assets)]
    rng = np.random.default_rng(hair.seed)
    table, middle = radii(anatomy, vertices)
    if hair.style == "frizz":
        return [_frizz(hair, table, middle, rng)]
    combed = Combed(
        hair.style,
        hair.length,
        hair.lift,
        hair.parting,
        hair.curl,
        hair.waves,
        hair.hairline,
        hair.recession,
        tucked=hair.tucked and hair.length > 1.1,
        flat=under_hat,
    )
    shape, share = ribbons(combed, vertices, assets, anatomy, table, middle, down, hair.seed)
    strands = part(strand_material(hair, locks(), 60.0), shape.vertices, shape.faces, shape.uv, 0.55 + 0.4 * share)
    result = [_falling(strands)]
    if hair.style == "bun":
        knot = ellipsoid(np.array([0.36, 0.32, 0.3]) * rng.uniform(0.7, 1.1), 10, 16).moved(
            np.eye(3), tie_point(combed, table, middle)
        )
        result.append(part(strand_material(hair, None, 9.0), knot.vertices, knot.faces, knot.uv, 0.8))
    return result


def _falling(hair_part: Part) -> Part:
    """Let hair below the ears rest on the shoulders: the lower it is, the less it follows the head."""
    y = hair_part.vertices[:, 1]
    weight = np.clip((y + 1.7) / 1.0, 0.15, 1).astype(np.float32)
    return Part(
        hair_part.material,
        hair_part.vertices,
        hair_part.faces,
        hair_part.uv,
        hair_part.template,
        hair_part.occlusion,
        weight,
        hair_part.shared,
    )


def strand_material(hair: Hair, mask: U8 | None, fineness: float, beard: bool = False) -> Material:
    """Return the material of hair.

    Args:
        hair: Color and gloss.
        mask: (T, T) coverage of locks; None for opaque hair.
        fineness: Number of strands across u.
        beard: True for a beard, which does not count as hiding the face.
    """
    base = np.array(hair.color, np.float32)

    def color(fragments: Fragments) -> F32:
        strand = noise(
            np.column_stack([fragments.uv * [fineness, 1.5], fragments.uv[:, :1] * 0]).astype(np.float32), 1.0, 3.0
        )
        place = noise(fragments.template, 7.0, hair.seed % 31)
        return (base * (0.35 + 0.75 * strand + 0.5 * place)[:, None]).astype(np.float32)

    return Material(color, 0.035, hair.gloss, (0.25, 0.25, 0.25), hides=not beard, of_face=beard, mask=mask)


@functools.cache
def locks() -> U8:
    """Return the (T, T) coverage of eight locks: hairs along v, denser in the center and thinner at the tip."""
    rng = np.random.default_rng(11)
    side = MASK_SIDE // LOCKS
    rows = np.linspace(0, 1, MASK_SIDE)[:, None]
    locks = []
    for _ in range(LOCKS):
        hairs = np.repeat(cv2.GaussianBlur(rng.random((1, side)), (0, 0), 0.8), MASK_SIDE, 0)
        hairs = (hairs - hairs.min()) / (hairs.max() - hairs.min())
        across = abs(np.linspace(-1, 1, side))[None]
        cover = 1.6 * (1 - across**3) + 0.9 * (hairs - 0.5) - 1.6 * np.clip(rows - 0.7, 0, 1) * (0.5 + 2 * hairs)
        locks.append(np.clip(cover, 0, 1))
    return np.ascontiguousarray(np.concatenate(locks, 1) * 255, np.uint8)


def _frizz(hair: Hair, table: F32, middle: F32, rng: np.random.Generator) -> Part:
    """Build frizzy hair: a bumpy shell from the crown to the hairline that thins out at its edge."""
    columns, rows = 56, 22
    turn = np.arange(columns) / columns * 2 * np.pi
    front = np.cos(turn) * 0.5 + 0.5  # 1 in front
    edge = np.deg2rad(112 - (58 - 40 * hair.recession * 0.2) * front**1.3 - 120 * hair.hairline * front)
    volume = rng.uniform(0.12, 0.75)
    away = np.linspace(0, 1, rows + 1)[:, None]
    bumps = rng.random((rows + 1, columns + 1))
    bumps[:, -1] = bumps[:, 0]
    thickness = volume * (1 - away**4) * (0.85 + 0.3 * bumps) + 0.03
    shape = shell(table, middle, (0, 1, -0.15), edge, thickness, rows)
    grain = rng.random((MASK_SIDE, MASK_SIDE))
    rim = np.linspace(0, 1, MASK_SIDE)[:, None]
    mask = (np.clip(1.6 - 1.6 * np.clip(rim - 0.75, 0, 1) * 4 * grain, 0, 1) * 255).astype(np.uint8)
    base = np.array(hair.color, np.float32)

    def color(fragments: Fragments) -> F32:
        curls = 0.6 * noise(fragments.template, 22.0, 1.0) + 0.4 * noise(fragments.template, 50.0, 2.0)
        return (base * (0.1 + 1.6 * curls)[:, None]).astype(np.float32)

    material = Material(color, 0.01, 8, (0.3, 0.3, 0.3), hides=True, mask=mask)
    return part(material, shape.vertices, shape.faces, shape.uv, 0.85)


def _fitted_part(hair: Hair, style: Fitted, vertices: F32, assets: Assets) -> Part:
    rng = np.random.default_rng(hair.seed)
    points = style.on(vertices)
    middle = np.array([0, 0.45, -0.35], np.float32)
    points = ((points - middle) * (1 + rng.normal(0, 0.025, 3)) + middle).astype(np.float32)
    faces = style.faces
    if rng.random() < 0.5:
        points, faces = points * np.array([-1, 1, 1], np.float32), faces[:, ::-1]
    shade, base = style.shade, np.array(hair.color, np.float32)

    def color(fragments: Fragments) -> F32:
        assert shade is not None
        at = (fragments.uv % 1.0 * MASK_SIDE).astype(np.int64) % MASK_SIDE
        light = np.clip(shade[at[:, 1], at[:, 0]], 0, 2.2)
        strands = noise(fragments.template, (60, 9, 60))
        return (base * ((0.35 + 0.65 * light) * (0.65 + 0.7 * strands))[:, None]).astype(np.float32)

    material = Material(color, 0.03, hair.gloss, (0.25, 0.25, 0.25), hides=True, mask=style.coverage)
    return _falling(part(material, points, faces, style.uv, 0.9))
