"""Ablation of rendered scenes: groups of features that can be removed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from headpose.synth import light, person, post
from headpose.synth.camera import Camera
from headpose.synth.scene import Scene

_OVERCAST = light.Light(
    name="overcast",
    sky=np.array([[0.75] * 3, [0.0] * 3, [0.2] * 3, [0.0] * 3], np.float32),
    towards=np.array([[0.0, 0.8, 0.6]], np.float32),
    colors=np.full((1, 3), 0.4, np.float32),
    environment=-1,
    turn=0.0,
    exposure=0.34,
    white_balance=1.0,
)
_PORTRAIT = Camera(distance=20.0, framing=1.8, shift=(0.0, 0.02))


def _one_face(scene: Scene) -> Scene:
    return dataclasses.replace(scene, person=person.AVERAGE, expression={})


def _bare_head(scene: Scene) -> Scene:
    bare = scene.uncovered()
    return dataclasses.replace(bare, wear=dataclasses.replace(bare.wear, glasses=None))


def _one_light(scene: Scene) -> Scene:
    return dataclasses.replace(scene, light=_OVERCAST)


def _one_camera(scene: Scene) -> Scene:
    return dataclasses.replace(scene, camera=_PORTRAIT, post=post.FAULTLESS)


GROUPS: dict[str, Callable[[Scene], Scene]] = {
    "people": _one_face,
    "cover": _bare_head,
    "light": _one_light,
    "camera": _one_camera,
}
"""Groups that can be removed: identities and expressions; hair, hats, glasses, masks and occluders; light and
backgrounds; distance, framing, blur, noise and compression. Removing one leaves the others unchanged."""


def without(scene: Scene, names: tuple[str, ...]) -> Scene:
    """Return a scene without some groups: with the average face, a shaved head, an overcast sky or an ideal camera."""
    for name in names:
        scene = GROUPS[name](scene)
    return scene
