import dataclasses

import numpy as np
import pytest
import torch

from headpose.training import data, recipe
from tests.training.networks import recipe_values, write_drawn_heads


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return recipe.from_dict(recipe_values(write_drawn_heads(tmp_path_factory.mktemp("heads"), 40)))


def test_a_stream_that_starts_late_is_the_same_stream():
    repeats = np.array([1.0, 2.0, 0.5, 1.0, 0.7])
    whole = list(data.Stream(repeats, 3, seed=1, first=0, last=20))
    assert list(data.Stream(repeats, 3, seed=1, first=7, last=20)) == whole[7:]
    assert list(data.Stream(repeats, 3, seed=2, first=0, last=20)) != whole


def test_repeats_say_how_often_a_sample_is_shown():
    repeats = np.array([1.0, 3.0, 0.5, 0.25, 1.0])
    draws = [index for batch in data.Stream(repeats, 5, seed=0, first=0, last=2000) for index, _, _ in batch]
    counts = np.bincount(draws, minlength=5) / len(draws)
    np.testing.assert_allclose(counts, repeats / repeats.sum(), atol=0.02)


def test_an_epoch_of_plain_samples_shows_each_once():
    batches = list(data.Stream(np.ones(12), 4, seed=0, first=3, last=6))
    assert sorted(index for batch in batches for index, _, _ in batch) == list(range(12))
    assert {epoch for batch in batches for _, epoch, _ in batch} == {1}


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores
def test_workers_change_nothing(settings):
    split = data.read(settings.data)
    with_two = dataclasses.replace(settings, run=dataclasses.replace(settings.run, workers=2))
    streams = (data.batches(used, split, settings.crop, 3, 6) for used in (settings, with_two))
    for one, two in zip(*streams, strict=True):
        for name in ("images", "rotations", "eulers", "weights"):
            assert torch.equal(getattr(one, name), getattr(two, name))


def test_both_forms_of_the_label_agree(settings):
    from headpose.training.rotations import rotation_from_euler

    batch = next(data.batches(settings, data.read(settings.data), settings.crop, 0, 1))
    torch.testing.assert_close(rotation_from_euler(batch.eulers), batch.rotations, atol=1e-5, rtol=0)


def test_no_photograph_is_on_both_sides(settings):
    split = data.read(settings.data)
    assert split.training and split.validation
    assert not {s.group for s in split.training} & {s.group for s in split.validation}
    assert len(split.training) + len(split.validation) == 40


def test_a_sources_weight_multiplies_its_samples(settings):
    source = dataclasses.replace(settings.data.sources[0], weight=0.25)
    split = data.read(dataclasses.replace(settings.data, sources=(source, settings.data.sources[0])))
    assert {s.weight for s in split.training} == {0.25, 1.0}
