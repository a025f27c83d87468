"""A recipe's sources without faces: their split, their crops, and that nothing trains poses on them."""

from __future__ import annotations

import dataclasses
import shutil

import cv2
import numpy as np
import pytest

from headpose import crop
from headpose.errors import RecipeError
from headpose.recipes import training as recipe
from headpose.recipes.training import AugmentRecipe
from headpose.training import data, negatives
from headpose.training.augment import Augmenter
from headpose.types import Box, CropSpec
from tests.training.networks import recipe_values, write_drawn_heads

SPEC = CropSpec(32)
COUNT = 30


@pytest.fixture(scope="module")
def walls(tmp_path_factory):
    """Pictures of one color each, the number of the picture."""
    folder = tmp_path_factory.mktemp("walls")
    for number in range(COUNT):
        cv2.imwrite(str(folder / f"{number:02d}.png"), np.full((60, 80, 3), 5 * number, np.uint8))
    return folder


@pytest.fixture(scope="module")
def settings(walls, tmp_path_factory):
    values = recipe_values(write_drawn_heads(tmp_path_factory.mktemp("heads"), 20))
    values["data"]["sources"] = [
        *values["data"]["sources"],
        {"kind": "negatives", "path": str(walls), "repeat": 0.5},
    ]
    values["data"]["validation"] = 0.3
    values["network"]["outputs"] = ["face"]
    return recipe.from_dict(values).data


def test_negatives_are_split_by_picture_and_counted_by_their_repeat(settings):
    split = negatives.read(settings)
    names = [{each.image.name for each in side} for side in (split.training, split.validation)]
    assert len(names[0]) + len(names[1]) == len(names[0] | names[1]) == COUNT
    assert 3 <= len(names[1]) <= 15
    np.testing.assert_array_equal(split.repeats, np.full(len(split.training), 0.5))
    again = negatives.read(dataclasses.replace(settings, split_seed=settings.split_seed + 1))
    assert {each.image.name for each in again.validation} != names[1]


def test_the_hash_names_the_places_and_not_the_folder(settings, walls, tmp_path):
    def sha256(folder):
        source = dataclasses.replace(settings.sources[-1], path=str(folder))
        return negatives.read(dataclasses.replace(settings, sources=(source,))).sha256

    shutil.copytree(walls, tmp_path / "moved")
    assert sha256(tmp_path / "moved") == sha256(walls) == negatives.read(settings).sha256
    (tmp_path / "moved" / "00.png").rename(tmp_path / "moved" / "99.png")
    assert sha256(tmp_path / "moved") != sha256(walls)
    boxes = ["image,x1,y1,x2,y2", *(f"{number:02d}.png,5,5,40,40" for number in range(COUNT))]
    (tmp_path / "moved" / "a.csv").write_text("\n".join(boxes[:4]))
    (tmp_path / "moved" / "b.csv").write_text("\n".join([*boxes[:3], "02.png,5,5,40,41"]))
    digests = []
    for name in ("a", "b"):
        (tmp_path / "moved" / "00.png").write_bytes((walls / "00.png").read_bytes())
        digests.append(sha256(tmp_path / "moved" / f"{name}.csv"))
    assert digests[0] != digests[1]


def test_a_recipe_without_negatives_has_none(settings):
    split = negatives.read(dataclasses.replace(settings, sources=settings.sources[:1]))
    assert (split.training, split.validation, len(split.repeats), split.sha256) == ([], [], 0, "")


def test_only_a_network_that_tells_faces_takes_them(settings, walls):
    values = recipe_values(walls / "labels.csv")
    values["data"]["sources"] = [dataclasses.asdict(source) for source in settings.sources]
    with pytest.raises(RecipeError, match=r"data\.sources has negatives, which teach the output face alone") as caught:
        recipe.from_dict(values)
    assert "\n" not in str(caught.value)
    values["network"]["outputs"] = ["face"]
    assert recipe.from_dict(values).data.sources == settings.sources
    values["data"]["sources"] = values["data"]["sources"][-1:]
    with pytest.raises(RecipeError, match="negatives and no faces"):
        recipe.from_dict(values)


def test_faces_are_read_without_them(settings):
    assert data.read(settings).sha256 == data.read(dataclasses.replace(settings, sources=settings.sources[:1])).sha256


def test_a_share_is_one_of_all_draws(settings):
    half = dataclasses.replace(settings.sources[-1], share=0.5, repeat=1.0)
    split = negatives.read(dataclasses.replace(settings, sources=(settings.sources[0], half)), 30.0)
    assert split.repeats.sum() == pytest.approx(30.0)


def test_a_view_is_a_crop_of_its_picture_and_follows_from_the_draw(settings):
    places = negatives.read(settings).training
    still = AugmentRecipe(light=0.0, grey=0.0, blur=0.0, low_resolution=0.0, noise=0.0, jpeg=0.0, occlude=0.0)
    views = negatives.NegativeViews(places, Augmenter(still, SPEC), data.Pictures(1))
    assert len(views) == len(places)
    for index in range(len(views)):
        assert (views[index, 0, 0] == 5 * int(places[index].image.stem)).all()
        assert views[index, 0, 0].shape == (32, 32, 3)


def test_every_draw_is_another_place(walls, settings):
    rows, columns = np.mgrid[:60, :80]
    cv2.imwrite(str(walls.parent / "ramp.png"), np.stack([rows, columns, rows + columns], -1).astype(np.uint8))
    place = dataclasses.replace(negatives.read(settings).training[0], image=walls.parent / "ramp.png")
    off = dict.fromkeys(
        ("light", "grey", "blur", "low_resolution", "noise", "jpeg", "occlude", "flip", "wide_turn"), 0.0
    )
    still = AugmentRecipe(scale=(1.0, 1.0), shift=0.0, stretch=0.0, turn=0.0, **off)
    views = negatives.NegativeViews([place], Augmenter(still, SPEC), data.Pictures(1))
    np.testing.assert_array_equal(views[0, 3, 1], views[0, 3, 1])
    middles = np.array([views[0, epoch, 0].mean((0, 1)) for epoch in range(40)])
    assert middles[:, 0].std() > 5
    assert middles[:, 1].std() > 5
    given = dataclasses.replace(place, box=Box(20, 10, 50, 40))
    fixed = negatives.NegativeViews([given], Augmenter(still, SPEC), data.Pictures(1))
    np.testing.assert_array_equal(fixed[0, 3, 1], fixed[0, 4, 2])


def test_held_out_crops_are_the_same_every_time(settings):
    places = negatives.read(settings).validation
    crops = negatives.held_out_crops(places, SPEC)
    assert crops.shape == (len(places), 32, 32, 3)
    np.testing.assert_array_equal(crops, negatives.held_out_crops(places[::-1], SPEC)[::-1])
    assert [int(view[0, 0, 0]) for view in crops] == [5 * int(each.image.stem) for each in places]
    box = Box(10, 10, 40, 40)
    given = [dataclasses.replace(places[0], box=box)]
    picture = cv2.imread(str(places[0].image))
    np.testing.assert_array_equal(negatives.held_out_crops(given, SPEC)[0], crop.cut(picture, box, SPEC))
