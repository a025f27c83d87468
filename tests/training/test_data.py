import dataclasses

import cv2
import numpy as np
import pytest
import torch

from headpose.recipes import training as recipe
from headpose.recipes.data import DataRecipe, DensityRecipe, SourceRecipe
from headpose.training import data
from headpose.training.sampling import Stream, generator
from headpose.training.tasks.head_pose import HeadPoseTask
from tests.training.networks import recipe_values, write_drawn_heads


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return recipe.from_dict(recipe_values(write_drawn_heads(tmp_path_factory.mktemp("heads"), 40)))


def test_a_stream_that_starts_late_is_the_same_stream():
    repeats = np.array([1.0, 2.0, 0.5, 1.0, 0.7])
    whole = list(Stream(repeats, 3, seed=1, first=0, last=20))
    assert list(Stream(repeats, 3, seed=1, first=7, last=20)) == whole[7:]
    assert list(Stream(repeats, 3, seed=2, first=0, last=20)) != whole


def test_repeats_say_how_often_a_sample_is_shown():
    repeats = np.array([1.0, 3.0, 0.5, 0.25, 1.0])
    draws = [index for batch in Stream(repeats, 5, seed=0, first=0, last=2000) for index, _, _ in batch]
    counts = np.bincount(draws, minlength=5) / len(draws)
    np.testing.assert_allclose(counts, repeats / repeats.sum(), atol=0.02)


def test_an_epoch_of_plain_samples_shows_each_once():
    batches = list(Stream(np.ones(12), 4, seed=0, first=3, last=6))
    assert sorted(index for batch in batches for index, _, _ in batch) == list(range(12))
    assert {epoch for batch in batches for _, epoch, _ in batch} == {1}


def test_every_draw_of_a_sample_is_another_view(settings):
    """Of another sample, epoch or run, too; and the same draw is the same view."""
    draws = [(3, 0, 0), (4, 0, 0), (3, 1, 0), (3, 0, 1)]
    numbers = [generator(draw).random() for draw in draws]
    assert len({*numbers}) == 4
    assert [generator(draw).random() for draw in draws] == numbers


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores
def test_workers_change_nothing(settings):
    with_two = dataclasses.replace(settings, run=dataclasses.replace(settings.run, workers=2))
    streams = (HeadPoseTask(used).batches(3, 6) for used in (settings, with_two))
    for one, two in zip(*streams, strict=True):
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.weights, two.weights)
        assert all(torch.equal(one.targets[name], two.targets[name]) for name in ("rotation", "euler"))


def test_both_forms_of_the_label_agree(settings):
    from headpose.networks.rotations import rotation_from_euler

    targets = next(HeadPoseTask(settings).batches(0, 1)).targets
    torch.testing.assert_close(rotation_from_euler(targets["euler"]), targets["rotation"], atol=1e-5, rtol=0)


def test_held_out_faces_come_in_order_and_plain(settings):
    task = HeadPoseTask(settings)
    batches = list(task.held_out(3))
    assert [len(batch.images) for batch in batches] == [3] * (len(batches) - 1) + [len(task.split.validation) % 3 or 3]
    rotations = np.concatenate([batch.targets["rotation"].numpy() for batch in batches])
    np.testing.assert_allclose(rotations, [sample.rotation for sample in task.split.validation], atol=1e-6)
    again = torch.cat([batch.images for batch in task.held_out(100)])
    assert torch.equal(again, torch.cat([batch.images for batch in batches]))


def test_no_photograph_is_on_both_sides(settings):
    split = data.read(settings.data)
    assert split.training and split.validation
    assert not {s.group for s in split.training} & {s.group for s in split.validation}
    assert len(split.training) + len(split.validation) == 40


def test_the_weights_of_faces_reach_the_batches(settings):
    source = dataclasses.replace(settings.data.sources[0], weight=0.25)
    task = HeadPoseTask(dataclasses.replace(settings, data=dataclasses.replace(settings.data, sources=(source,))))
    for batch in (next(task.batches(0, 1)), next(task.held_out(3))):
        assert batch.weights.tolist() == [0.25] * len(batch.images)


def test_a_sources_repeat_is_that_of_its_samples(settings):
    once, thrice = (dataclasses.replace(settings.data.sources[0], repeat=repeat) for repeat in (1.0, 3.0))
    split = data.read(dataclasses.replace(settings.data, sources=(once, thrice)))
    half = len(split.training) // 2
    assert split.repeats.tolist() == [1.0] * half + [3.0] * half


def test_a_sources_weight_multiplies_its_samples(settings):
    source = dataclasses.replace(settings.data.sources[0], weight=0.25)
    split = data.read(dataclasses.replace(settings.data, sources=(source, settings.data.sources[0])))
    assert {s.weight for s in split.training} == {0.25, 1.0}


@pytest.fixture
def spreads(tmp_path):
    """Changes of the data section -> (training weights by yaw and spread, held-out weights, hash)."""
    poses = [(yaw, spread) for yaw in (0, -44, 46, -80, 170, -340) for spread in (0, 5, 30)] * 8
    lines = ["image,x1,y1,x2,y2,yaw,pitch,roll,spread"]
    for number, (yaw, spread) in enumerate(poses):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((8, 8, 3), np.uint8))
        lines.append(f"{number}.png,1,1,7,7,{yaw},0,0,{spread}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")

    def read(**changes):
        source = SourceRecipe("manifest", str(tmp_path / "labels.csv"), weight=2.0)
        split = data.read(DataRecipe((source,), validation=0.3, **changes))
        weights = {(sample.euler.yaw, sample.spread): sample.weight / 2 for sample in split.training}
        assert len(weights) == 18
        return weights, [sample.weight for sample in split.validation], split.sha256

    return read


def test_weights_by_spread_have_a_floor_or_end_at_a_yaw(spreads):
    plain, held_out, sha256 = spreads()
    assert {plain[yaw, 30] for yaw in (0, -44, 46, -80, 170, -340)} == {0.1}
    floored, *rest = spreads(spread_floor=0.5)
    assert rest[0] == held_out
    assert rest[1] != sha256
    assert floored == {key: max(weight, 0.5) for key, weight in plain.items()}
    assert floored[0, 5] == plain[0, 5] == pytest.approx(0.8)
    ended, *rest = spreads(spread_until=45.0, spread_floor=0.3)
    assert rest[0] == held_out
    for (yaw, spread), weight in ended.items():
        # -340 is 20.
        assert weight == (1.0 if yaw in (46, -80, 170) else max(0.3, plain[yaw, spread])), (yaw, spread)
    assert set(spreads(spread_floor=1.0)[0].values()) == {1.0}


def test_a_column_of_weights_is_not_touched_by_the_settings_of_spread(settings, tmp_path):
    path = write_drawn_heads(tmp_path, 40)
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([f"{head},weight", *(f"{line},0.25" for line in lines)]) + "\n")
    split = data.read(DataRecipe((SourceRecipe("manifest", str(path)),), spread_floor=0.5, spread_until=0.0))
    assert {sample.weight for sample in split.training} == {0.25}


def test_a_density_keeps_the_order_its_resumption_and_its_processes(settings):
    source = dataclasses.replace(settings.data.sources[0], share=0.75)
    sampled = dataclasses.replace(
        settings.data,
        sources=(source, dataclasses.replace(source, share=0.25)),
        density=DensityRecipe(max_repeats=3.0, bin_degrees=30.0),
    )
    task = HeadPoseTask(dataclasses.replace(settings, data=sampled))
    half = len(task.split.training) // 2
    assert task.split.sources.tolist() == [0] * half + [1] * half
    assert task.split.repeats[:half].sum() == pytest.approx(1.5 * half, rel=1e-4)
    assert len({*task.split.repeats.tolist()}) > 3
    assert not np.array_equal(task.split.repeats, HeadPoseTask(settings).split.repeats)
    whole = list(task.batches(0, 4))
    again = HeadPoseTask(dataclasses.replace(settings, data=sampled))
    for late, batch in zip(again.batches(2, 4), whole[2:], strict=True):
        assert torch.equal(late.images, batch.images)
    ranks = zip(again.batches(2, 4, 0, 2), again.batches(2, 4, 1, 2), strict=True)
    for (first, second), batch in zip(ranks, whole[2:], strict=True):
        assert torch.equal(first.images, batch.images[::2])
        assert torch.equal(second.images, batch.images[1::2])
