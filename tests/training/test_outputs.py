"""Training of the optional outputs: their targets, losses, figures and calibration."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch

from headpose import cli, crop, geometry
from headpose.errors import RecipeError
from headpose.inference import load_model
from headpose.networks.build import build
from headpose.recipes import training as recipe
from headpose.training import forecast, log
from headpose.training.negatives import NegativeSplit
from headpose.training.tasks.head_pose import HeadPoseTask
from headpose.training.validation import movements
from tests.training.networks import recipe_values, write_drawn_heads

ALL = ["region", "covariance", "face"]


def write_stripes(folder, count):
    """Pictures without a head: stripes in the colors of the heads' axes, some with a disc."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    for number in range(count):
        picture = np.full((48, 48, 3), rng.integers(20, 110), np.uint8)
        for _ in range(rng.integers(1, 6)):
            start, end = rng.integers(0, 48, (2, 2)).tolist()
            cv2.line(picture, start, end, rng.permutation([255, 0, 0]).tolist(), int(rng.integers(1, 5)))
        cv2.imwrite(str(folder / f"{number:03d}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    found = recipe_values(write_drawn_heads(folder, 100))
    found["data"]["sources"].append(
        {"kind": "negatives", "path": str(write_stripes(folder / "stripes", 60)), "share": 0.25}
    )
    found["network"]["outputs"] = ALL
    found["augment"] |= {"scale": [1.1, 1.8], "shift": 0.1}
    return found


def changed(values, section, **changes):
    return {**values, section: {**values[section], **changes}}


@pytest.fixture(scope="module")
def task(values):
    return HeadPoseTask(recipe.from_dict(values))


def test_a_batch_has_the_targets_of_faces_and_negatives(task):
    batch = next(task.batches(0, 1))
    assert {name: tuple(value.shape) for name, value in batch.targets.items()} == {
        "rotation": (16, 3, 3),
        "euler": (16, 3),
        "region": (16, 4),
        "face": (16,),
    }
    assert set(batch.targets["face"].tolist()) == {0.0, 1.0}
    assert batch.progress == 1.0
    assert [part.progress for part in dataclasses.replace(batch, progress=0.25).to(torch.device("cpu")).split(2)] == [
        0.25
    ] * 2


def test_a_share_of_the_draws_are_negatives(task):
    faces, others = task.split.repeats.sum(), task.negatives.repeats.sum()
    assert others / (faces + others) == pytest.approx(0.25)
    drawn = torch.cat([batch.targets["face"] for batch in task.batches(0, 25)])
    assert 1 - drawn.mean() == pytest.approx(0.25, abs=0.03)
    assert "25.0% of all draws are negatives" in forecast.sampling(task)


def test_shares_of_faces_are_those_among_faces(values):
    sources = [
        {**values["data"]["sources"][0], "share": 0.3},
        values["data"]["sources"][0],
        values["data"]["sources"][1],
        {"kind": "negatives", "path": values["data"]["sources"][1]["path"], "repeat": 0.5},
    ]
    task = HeadPoseTask(recipe.from_dict(changed(values, "data", sources=sources)))
    repeats, of = task.split.repeats, task.split.sources
    count = len(task.negatives.training) // 2
    whole = repeats.sum() + task.negatives.repeats.sum()
    assert repeats[of == 0].sum() / repeats.sum() == pytest.approx(0.3 / 0.75)
    assert task.negatives.repeats[:count].sum() / whole == pytest.approx(0.25)
    np.testing.assert_array_equal(task.negatives.repeats[count:], 0.5)
    shared = [{**source, "share": 2.0, "repeat": 1.0} for source in sources[1:3]]
    task = HeadPoseTask(recipe.from_dict(changed(values, "data", sources=shared)))
    assert task.negatives.repeats.sum() == pytest.approx(task.split.repeats.sum())


def test_the_hash_of_the_data_knows_the_negatives(task):
    assert task.fingerprint != task.split.sha256
    without = HeadPoseTask(task.recipe, task.split, NegativeSplit([], np.zeros(0), []))
    assert without.fingerprint == task.split.sha256


def raw_of(task, count, seed=0):
    torch.manual_seed(seed)
    raw = 0.3 * torch.randn(count, task.recipe.spec.values)
    if task.recipe.spec.output == "6d":
        raw[:, [0, 4]] += 1.0
    return raw.requires_grad_()


def gradients(task, batch, **weights):
    """Gradient of the summed losses by output of the network."""
    settings = dataclasses.replace(task.recipe, loss=dataclasses.replace(task.recipe.loss, **weights))
    raw = raw_of(task, len(batch.images))
    task.during(settings).errors(raw, batch).sum().backward()
    return dict(zip(task.recipe.spec.parts, raw.grad.split(list(task.recipe.spec.parts.values()), 1), strict=True))


def test_negatives_train_the_face_alone(task):
    batch = next(task.batches(0, 1))
    found, other = gradients(task, batch), batch.targets["face"] == 0
    for name, gradient in found.items():
        assert bool((gradient[~other] != 0).any(1).all())
        assert bool((gradient[other] != 0).any()) == (name == "face")
    without = gradients(task, batch, face=0.0)
    assert not without["face"].any() and not without["rotation"][other].any()


def test_the_likelihood_does_not_move_the_rotation(task):
    batch = next(task.batches(0, 1))
    plain, strong = (gradients(task, batch, likelihood=weight) for weight in (0.0, 10.0))
    assert torch.equal(plain["rotation"], strong["rotation"])
    assert not plain["covariance"].any() and strong["covariance"].abs().max() > 1


def test_the_likelihood_starts_late(task):
    batch = next(task.batches(0, 1))
    early, late = (dataclasses.replace(batch, progress=progress) for progress in (0.29, 0.3))
    assert not gradients(task, early, likelihood_from=0.3)["covariance"].any()
    assert gradients(task, late, likelihood_from=0.3)["covariance"].any()


def test_losses_are_finite_under_bf16(task):
    batch = next(task.batches(0, 1))
    with torch.autocast("cpu", torch.bfloat16):
        raw = build(task.recipe.spec).raw(batch.images)
        assert raw.dtype == torch.bfloat16
        losses = task.errors(raw, batch)
    assert losses.dtype == torch.float32 and bool(losses.isfinite().all())
    for extreme in (-1e4, 0.0, 1e4):
        assert bool(task.errors(torch.full_like(raw, extreme), batch).isfinite().all())


def test_an_euler_head_has_them_too(values):
    settings = recipe.from_dict(changed(values, "network", output="euler", outputs=["covariance"]) | {
        "data": {**values["data"], "sources": values["data"]["sources"][:1]}
    })  # fmt: skip
    task = HeadPoseTask(settings)
    batch = next(task.batches(0, 1))
    found = gradients(task, batch)
    assert found.keys() == {"rotation", "covariance"} and all(bool(each.any()) for each in found.values())
    assert task.evaluate(build(settings.spec)).figures.keys() >= {"geodesic", "nll"}


def test_pixels_of_moved_crops_are_plain():
    moved = movements(recipe.AugmentRecipe(cut=0.5, flip=1.0))
    assert (moved.scale, moved.turn, moved.wide_turn) == ((1.1, 1.65), 12.0, 0.1)
    assert {moved.cut, moved.flip, moved.light, moved.blur, moved.noise, moved.occlude, moved.shade} == {0.0}


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("network", {"outputs": ["region"]}, "add it to network.outputs, or leave them out"),
        ("network", {"outputs": ["gaze"]}, "network.outputs.0 must be one of region, covariance, face; got 'gaze'"),
        ("network", {"outputs": ["face", "face"]}, "network: outputs has each name once|network.outputs has each name"),
        ("loss", {"likelihood_from": 1.0}, "loss.likelihood_from must be a number from 0 and below 1; got 1.0"),
        ("loss", {"regions": 1.0}, "unknown key loss.regions: did you mean loss.region?"),
    ],
)
def test_mistakes_in_a_recipe_are_named(values, section, change, message):
    with pytest.raises(RecipeError, match=message):
        recipe.from_dict({**values, section: {**values.get(section, {}), **change}})


@pytest.mark.slow
def test_a_network_learns_its_outputs(values, tmp_path, capsys):
    run = {**values["run"], "images": 4800, "validate_images": 1600}
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({**values, "run": run}))
    assert cli.main(["train", str(file), "--out", str(tmp_path / "run")]) == 0
    first, *_, last = (row.figures for row in log.read(tmp_path / "run" / log.FILE))
    assert {"region_iou", "nll", "face_accuracy", "face_auc"} < first.keys()
    assert last["nll"] < first["nll"] - 0.3
    assert last["region_iou"] > max(0.8, first["region_iou"])
    assert last["face_auc"] > 0.9 and last["face_accuracy"] > 0.6  # before the calibration
    model = load_model(tmp_path / "run" / "tiny.onnx")
    assert model.outputs == tuple(ALL)
    assert model.calibration.temperature != 1 and model.calibration.face_temperature != 1
    # Calibrated on these faces: on average the errors are as large as predicted.
    task = HeadPoseTask(recipe.load_saved(tmp_path / "run" / "recipe.json"))
    reading = model.read(crop.normalize(np.stack(task.validator.crops), model.crop))
    errors = geometry.geodesic_degrees(reading.rotation, task.validator.labels)
    assert geometry.expected_angle(reading.covariance).mean() == pytest.approx(errors.mean(), rel=0.3)
