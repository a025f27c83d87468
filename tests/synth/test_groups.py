"""Groups of ingredients left out: what changes, and that nothing else does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from headpose.errors import DataError
from headpose.synth import groups, scene, writer
from headpose.synth.writer import Settings

CHANGED = {
    "people": {"person", "expression"},
    "cover": {"hair", "wear", "occluders"},
    "light": {"light"},
    "camera": {"camera", "post"},
}


@pytest.mark.parametrize("name", groups.GROUPS)
def test_a_group_changes_its_own_parts_alone(name, studio):
    for index in range(12):
        drawn = scene.draw(5, index, studio)
        before, after = drawn.to_dict(), groups.without(drawn, (name,)).to_dict()
        assert {key for key in before if before[key] != after[key]} <= CHANGED[name]
    assert before != after


def test_without_people_every_head_is_the_same(studio):
    marks = []
    for index in range(2):
        _, rendered = writer.make(Settings(seed=5, size=48, without=("people",)), index, studio)
        marks.append(rendered.head_landmarks)
    np.testing.assert_allclose(marks[0], marks[1], atol=0.05)  # decimeters; lids follow the eyes
    drawn = [writer.make(Settings(seed=5, size=48), index, studio)[1].head_landmarks for index in range(2)]
    assert abs(drawn[0] - drawn[1]).max() > 0.1


def test_without_cover_nothing_hides_a_face(studio):
    settings = Settings(seed=5, size=48)
    hidden = [writer.make(settings, index, studio)[1].hidden for index in range(20)]
    bare = [writer.make(dataclasses.replace(settings, without=("cover",)), i, studio)[1].hidden for i in range(20)]
    assert max(bare) < max(hidden)
    assert sum(bare) < 0.5 * sum(hidden)


def test_a_folder_keeps_what_was_left_out(tmp_path):
    settings = Settings(seed=5, size=48, without=("light",))
    writer.write(settings, 1, tmp_path / "heads")
    with pytest.raises(DataError, match="other settings"):
        writer.write(dataclasses.replace(settings, without=()), 1, tmp_path / "heads")
