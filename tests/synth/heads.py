"""Scenes that tests need: bare heads in a chosen pose, and the pose that a picture's landmarks give."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from headpose import geometry
from headpose.synth import occluders, person, scene
from headpose.synth.pose import Pose
from headpose.types import EulerAngles


def bare_scene(studio, euler, index=0):
    """The average person with nothing on, at rest, evenly lit, seen from far."""
    drawn = scene.draw(0, index, studio)
    sky = np.array([[0.5] * 3, [0] * 3, [0.1] * 3, [0] * 3], np.float32)
    lamp = np.array([[0.0, 0.3, 0.95]], np.float32)
    return dataclasses.replace(
        drawn,
        pose=Pose(EulerAngles(*euler), EulerAngles(0.0, 0.0, 0.0)),
        person=person.AVERAGE,
        expression={},
        eyes=dataclasses.replace(drawn.eyes, right=0.0, up=0.0),
        skin=dataclasses.replace(drawn.skin, beard="", tone=(0.5, 0.35, 0.25)),
        hair=dataclasses.replace(drawn.hair, style="bald", painted=0.0),
        clothes=dataclasses.replace(drawn.clothes, kind="bare", scarf=0.0),
        wear=dataclasses.replace(drawn.wear, glasses=None, hat="", mask=False),
        occluders=occluders.Occluders((), ()),
        light=dataclasses.replace(drawn.light, sky=sky, towards=lamp, colors=np.full((1, 3), 0.6, np.float32)),
        camera=dataclasses.replace(drawn.camera, distance=30.0, framing=1.8, shift=(0.0, 0.0)),
        post=dataclasses.replace(
            drawn.post, defocus=0.0, motion=0.0, noise=0.0, reduced=1.0, jpeg=0, grey=False, vignette=0.0
        ),
    )


def rotation_of_landmarks(rendered):
    """(3, 3) by perspective-n-point from the 2-D landmarks, those of the head and the camera's focal length."""
    view = rendered.view
    matrix = np.array([[view.focal, 0, view.center[0]], [0, view.focal, view.center[1]], [0, 0, 1]])
    model = rendered.head_landmarks * [1, -1, -1]
    found, vector, _ = cv2.solvePnP(model, rendered.landmarks[:, :2].copy(), matrix, None, flags=cv2.SOLVEPNP_SQPNP)
    assert found
    return geometry.from_opencv(cv2.Rodrigues(vector)[0])
