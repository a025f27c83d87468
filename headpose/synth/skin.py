"""Skin: tone, blotches, lips, makeup, freckles, wrinkles, eyebrows, beard shadow and painted hair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headpose.synth.anatomy import Anatomy
from headpose.synth.assets import Assets
from headpose.synth.face_map import FaceMap
from headpose.synth.folder import AssetFolder
from headpose.synth.person import Person
from headpose.synth.surface import F32, Fragments, Material, Part, linear, noise, smooth

# Skin tones from light to dark in sRGB, roughly the types of Fitzpatrick's scale.
_TONES = linear(
    np.array(
        [
            [243, 212, 192],
            [234, 196, 170],
            [217, 174, 143],
            [195, 147, 114],
            [163, 114, 84],
            [126, 84, 61],
            [92, 62, 47],
            [66, 45, 36],
        ]
    )
    / 255
)
_LIPSTICKS = linear(
    np.array([[0.65, 0.15, 0.2], [0.72, 0.35, 0.36], [0.5, 0.12, 0.16], [0.78, 0.42, 0.45], [0.42, 0.14, 0.2]])
)


@dataclass(frozen=True, slots=True)
class Skin:
    """Appearance of the skin.

    Attributes:
        tone: Linear RGB color.
        blotches: Strength of blotches in [0, 1].
        grain: Strength of the fine structure in [0, 1].
        redness: Redness of cheeks and nose in [0, 1].
        freckles: Strength of freckles in [0, 1].
        circles: Dark circles under the eyes in [0, 1].
        wrinkles: Strength of wrinkles in [0, 1].
        lipstick: Linear RGB color of the lipstick.
        lipstick_share: Opacity of the lipstick in [0, 1]; 0 for none.
        shadow: Strength of the eye makeup in [0, 1].
        specular: Intensity of the highlights.
        gloss: Sharpness of the highlights.
        brow_thickness: Relative thickness of the eyebrows.
        brow_raise: Vertical offset of the eyebrows in decimeters.
        brow_share: Opacity of the eyebrows in [0, 1].
        beard: Style as in ``FaceMap.beard``; "" for none.
        beard_share: Density of the beard in [0, 1]; stubble is 0.2.
        seed: Offset of the noise.
        texture: Index of the skin texture in the asset folder; -1 for a painted skin.
    """

    tone: tuple[float, float, float]
    blotches: float
    grain: float
    redness: float
    freckles: float
    circles: float
    wrinkles: float
    lipstick: tuple[float, float, float]
    lipstick_share: float
    shadow: float
    specular: float
    gloss: float
    brow_thickness: float
    brow_raise: float
    brow_share: float
    beard: str
    beard_share: float
    seed: float
    texture: int


def draw(rng: np.random.Generator, person: Person, textures: int = 0) -> Skin:
    """Draw the skin of a person. Tones depend on ancestry with wide overlap, so light and dark are equally frequent."""
    african, asian, _ = person.ancestry
    depth = african * rng.uniform(0.6, 1.0) + asian * rng.uniform(0.1, 0.5) + (1 - african - asian) * rng.beta(1.2, 3)
    at = np.clip(depth, 0, 1) * (len(_TONES) - 1)
    tone = np.array([np.interp(at, range(len(_TONES)), _TONES[:, c]) for c in range(3)])
    tone *= np.exp(rng.normal(0, 0.1) + np.array([1.0, 0.0, -1.2]) * rng.normal(0, 0.06))
    woman = not person.is_male and not person.is_child
    bearded = person.is_male and not person.is_child and rng.random() < 0.6
    lipstick = _LIPSTICKS[rng.integers(len(_LIPSTICKS))]
    return Skin(
        tone=(float(tone[0]), float(tone[1]), float(tone[2])),
        blotches=float(rng.uniform(0.05, 0.3)),
        grain=float(rng.uniform(0.03, 0.14)),
        redness=float(rng.uniform(0.1, 0.8)),
        freckles=float(rng.uniform(0.2, 0.8) if rng.random() < 0.1 else 0),
        circles=float(rng.uniform(0, 0.5)),
        wrinkles=float(np.clip((person.age - 0.45) * 1.6, 0, 1) * rng.uniform(0.3, 1.0)),
        lipstick=(float(lipstick[0]), float(lipstick[1]), float(lipstick[2])),
        lipstick_share=float(rng.uniform(0.3, 0.9) if woman and rng.random() < 0.5 else 0),
        shadow=float(rng.uniform(0.1, 0.8) if woman and rng.random() < 0.4 else 0),
        specular=float(rng.uniform(0.012, 0.05)),
        gloss=float(rng.choice([10, 16, 28])),
        brow_thickness=float(rng.uniform(0.8, 1.5) if person.is_male else rng.uniform(0.55, 1.1)),
        brow_raise=float(rng.normal(0.0, 0.012)),
        brow_share=float(rng.uniform(0.55, 1.0)),
        beard=str(rng.choice(["full", "goatee", "moustache", "sideburns"], p=[0.6, 0.2, 0.12, 0.08]))
        if bearded
        else "",
        beard_share=float(rng.uniform(0.1, 0.4) if rng.random() < 0.5 else rng.uniform(0.5, 1.1)),
        seed=float(rng.uniform(0, 32)),
        texture=int(rng.integers(textures)) if textures and rng.random() < 0.7 else -1,
    )


@dataclass(frozen=True, slots=True)
class PaintedHair:
    """Hair painted on the skin, for shaved heads and under hair geometry.

    Attributes:
        color: Linear RGB color.
        share: Density on the scalp in [0, 1].
        hairline: As in ``FaceMap.scalp``.
        recession: As in ``FaceMap.scalp``.
    """

    color: tuple[float, float, float]
    share: float
    hairline: float
    recession: float


def part(
    skin: Skin, hair: PaintedHair, vertices: F32, assets: Assets, anatomy: Anatomy, folder: AssetFolder | None
) -> Part:
    """Build the surface of the bust.

    Args:
        skin: Appearance of the skin.
        hair: Painted hair.
        vertices: (19158, 3) float32 vertices of the person in head axes.
        assets: Base mesh.
        anatomy: Average head.
        folder: Asset folder with skin textures; None for painted skin.
    """
    piece = assets.pieces["bust"]
    face = FaceMap(anatomy.landmarks)
    texture = folder.skins[skin.texture] if folder is not None and skin.texture >= 0 else None

    def color(fragments: Fragments) -> F32:
        painted = _complexion(skin, face, fragments, texture)
        return _painted_hair(skin, hair, face, fragments.template, painted)

    return Part(
        Material(color, skin.specular, skin.gloss, wrap=(0.32, 0.14, 0.1), two_sided=False),
        vertices[piece.source],
        piece.faces,
        piece.uv,
        anatomy.vertices[piece.source],
        anatomy.occlusion[piece.source],
        assets.head_weight[piece.source],
        piece.source,
    )


def _complexion(skin: Skin, face: FaceMap, fragments: Fragments, texture: F32 | None) -> F32:
    at = fragments.template
    color = np.tile(np.array(skin.tone, np.float32), (len(at), 1))
    darkness = np.float32(1 - np.clip(np.mean(skin.tone) / 0.5, 0, 1))  # dark skin blushes less
    if texture is not None:
        color *= _look_up(texture, fragments.uv)
    low, high = noise(at, 3.0, skin.seed) - 0.5, noise(at, 14.0, skin.seed) - 0.5
    fine = noise(at, 60.0, skin.seed) - 0.5
    color *= (1 + skin.blotches * low + 0.5 * skin.blotches * high + skin.grain * fine)[:, None]
    red = np.maximum(face.cheeks(at), face.nose_tip(at)) * skin.redness * (1 - 0.6 * darkness)
    red = np.maximum(red, smooth(0.6, 0.75, abs(at[:, 0])) * (at[:, 1] > -0.3) * (at[:, 1] < 0.7) * 0.5 * skin.redness)
    color *= 1 - red[:, None] * np.array([0.0, 0.3, 0.26], np.float32)
    sockets = face.eye_sockets(at)
    color *= 1 - sockets[:, None] * np.array([0.18, 0.28, 0.26], np.float32) * np.float32(0.4 + skin.circles)
    color *= 1 - sockets[:, None] * (at[:, 1:2] > face.landmarks[37, 1] + 0.01) * np.float32(0.6 * skin.shadow)
    if skin.freckles:
        spots = smooth(0.66, 0.8, noise(at, 26.0, skin.seed + 5)) * smooth(0.75, 0.4, abs(at[:, 0])) * skin.freckles
        color *= 1 - spots[:, None] * np.array([0.3, 0.45, 0.5], np.float32)
    if skin.wrinkles:
        color *= 1 - (face.lines(at) * 0.22 * skin.wrinkles)[:, None] * np.array([0.8, 1.0, 1.0], np.float32)
    lips = face.lips(at)[:, None]
    natural = color * np.array([0.86, 0.56, 0.56], np.float32)
    if texture is None:
        color = color * (1 - lips * 0.8) + natural * lips * 0.8
    worn = np.array(skin.lipstick, np.float32) * (0.35 + 0.65 * float(np.mean(skin.tone)) / 0.4)
    return color * (1 - lips * skin.lipstick_share) + worn * lips * np.float32(skin.lipstick_share)


def _painted_hair(skin: Skin, hair: PaintedHair, face: FaceMap, at: F32, color: F32) -> F32:
    strands = 0.5 * noise(at, (45, 20, 45), skin.seed) + 0.5 * noise(at, (110, 50, 110), skin.seed)
    hue = np.array(hair.color, np.float32)
    cover = face.scalp(at, hair.hairline, hair.recession) * hair.share if hair.share else np.zeros(len(at), np.float32)
    if skin.beard:
        cover = np.maximum(cover, face.beard(at, skin.beard) * skin.beard_share)
    cover = np.clip(cover * (0.4 + 1.2 * strands), 0, 0.95)
    brows = np.clip(face.brows(at, skin.brow_thickness, skin.brow_raise, skin.seed) * skin.brow_share, 0, 0.93)
    cover = np.maximum(cover, brows)[:, None]
    return color * (1 - cover) + hue * cover * (0.5 + strands)[:, None]


def _look_up(texture: F32, uv: F32) -> F32:
    """Look up (n, 3) values in a (side, side, 3) texture, whose first row is the top (v = 1)."""
    side = texture.shape[0]
    x = np.clip(uv[:, 0] * side - 0.5, 0, side - 1.001)
    y = np.clip((1 - uv[:, 1]) * side - 0.5, 0, side - 1.001)
    x0, y0 = x.astype(np.int64), y.astype(np.int64)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    top = texture[y0, x0] * (1 - fx) + texture[y0, x0 + 1] * fx
    low = texture[y0 + 1, x0] * (1 - fx) + texture[y0 + 1, x0 + 1] * fx
    return (top * (1 - fy) + low * fy).astype(np.float32)
