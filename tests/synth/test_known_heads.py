"""The renderer makes the heads that the signs are bound to (``tests/known_heads.py``)."""

from __future__ import annotations

import dataclasses
import json
import os

import cv2
import numpy as np
import pytest

from headpose import geometry
from headpose.synth.render import render, stage
from tests import known_heads
from tests.synth.heads import bare_scene


@pytest.fixture(scope="module")
def rendered(studio):
    made = []
    for euler in known_heads.POSES:
        drawn = bare_scene(studio, euler)
        drawn = dataclasses.replace(drawn, camera=dataclasses.replace(drawn.camera, framing=2.2))
        made.append(render(stage(drawn, studio, known_heads.SIDE), studio))
    if os.environ.get("HEADPOSE_UPDATE_GOLDEN"):
        _write(made)
    return made


def _write(made):
    sheet = np.hstack([each.image for each in made])
    cv2.imwrite(str(known_heads.PICTURE), sheet, [cv2.IMWRITE_JPEG_QUALITY, 90])
    labels = []
    for place, each in enumerate(made):
        right = np.array([place * known_heads.SIDE, 0, 0])
        box = np.array(each.box.as_tuple()) + right[[0, 1, 0, 1]]
        labels.append(
            {
                "euler": np.round(geometry.euler_from_rotation(each.rotation), 3).tolist(),
                "box": np.round(box, 2).tolist(),
                "landmarks": np.round(each.landmarks + right, 1).tolist(),
            }
        )
    lines = ",\n".join(json.dumps(label, separators=(",", ":")) for label in labels)
    known_heads.LABELS.write_text(f"[\n{lines}\n]\n")


def test_they_are_rendered_as_they_were(rendered):
    sheet = np.hstack([each.image for each in rendered])
    difference = np.abs(sheet.astype(int) - known_heads.picture())
    assert difference.mean() < 3  # JPEG, and another processor's rounding
    for place, (each, known) in enumerate(zip(rendered, known_heads.heads(), strict=True)):
        np.testing.assert_allclose(geometry.euler_from_rotation(each.rotation), known.euler, atol=0.05)
        right = np.array([place * known_heads.SIDE, 0, 0])
        np.testing.assert_allclose(each.landmarks + right, known.landmarks, atol=0.1)


def test_the_labels_are_the_poses_that_were_asked_for(rendered):
    """But for the degree between the axes that heads are turned in and those that are labeled."""
    for asked, each in zip(known_heads.POSES, rendered, strict=True):
        assert geometry.geodesic_degrees(geometry.rotation_from_euler(asked), each.rotation) < 1.5
