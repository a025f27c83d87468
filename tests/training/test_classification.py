import numpy as np
import pytest
import torch

from headpose import cli
from headpose.errors import DataError, RecipeError
from headpose.networks.build import build
from headpose.recipes import training as recipe
from headpose.training import log, tasks
from headpose.training.loop import Trainer
from tests.training.digits import digits_recipe, write_digits


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    return digits_recipe(write_digits(tmp_path_factory.mktemp("digits")))


def changed(values, section, **changes):
    return recipe.from_dict({**values, section: {**values[section], **changes}})


def test_it_learns_the_digits(values, tmp_path):
    trainer = Trainer(recipe.from_dict(values), tmp_path / "run")
    before = trainer.task.evaluate(trainer.average.network).error
    after = trainer.run().error
    assert before > 70
    assert after < 25
    assert trainer.task.test(trainer.average.network).error < 30
    assert [row.figures.keys() for row in log.read(tmp_path / "run" / log.FILE)] == [{"error", "cross_entropy"}] * 2


def test_nothing_is_held_out_and_trained_on(values):
    task = tasks.of(recipe.from_dict(values))
    assert task.examples == {"training": 480, "validation": 120}
    plain = tasks.of(changed(values, "augment", shift=0.0, flip=0.0))
    shown = next(plain.batches(0, 15)).images
    held_out = torch.cat([batch.images for batch in task.held_out(50)])
    assert len(held_out) == 120
    distance = torch.cdist(shown.flatten(1), held_out.flatten(1))
    assert distance.min() > 0.1


def test_pictures_are_moved_and_mirrored(values):
    still = next(tasks.of(changed(values, "augment", shift=0.0, flip=0.0)).batches(0, 1)).images
    mirrored = next(tasks.of(changed(values, "augment", shift=0.0, flip=1.0)).batches(0, 1)).images
    moved = next(tasks.of(changed(values, "augment", shift=0.2, flip=0.0)).batches(0, 1)).images
    torch.testing.assert_close(mirrored, still.flip(3))
    assert not torch.equal(moved, still)
    assert moved.shape == still.shape


def test_its_output_is_probabilities_and_its_loss_cross_entropy(values):
    task = tasks.of(recipe.from_dict(values))
    batch = next(task.batches(0, 1))
    raw = build(recipe.from_dict(values).spec).eval()(batch.images)
    probabilities = task.output(raw)
    np.testing.assert_allclose(probabilities.sum(1).detach(), 1, atol=1e-5)
    by_hand = -probabilities[torch.arange(32), batch.targets["label"]].log()
    torch.testing.assert_close(task.errors(raw, batch), by_hand)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("network", {"classes": 7}, "network.classes is 7"),
        ("network", {"classes": 0, "output": "6d"}, "does not go with task"),
        ("crop", {"size": 64}, "crop.size = 32"),
        ("data", {"sources": [{"kind": "manifest", "path": "x.csv"}]}, "cifar-10"),
    ],
)
def test_a_recipe_that_does_not_fit_is_said(values, section, changes, message):
    with pytest.raises(RecipeError, match=message):
        tasks.of(changed(values, section, **changes))


def test_a_head_pose_recipe_takes_no_cifar(values):
    network = {**values["network"], "classes": 0, "output": "6d"}
    settings = recipe.from_dict({**values, "network": network, "task": "head-pose"})
    with pytest.raises(RecipeError, match="holds no head poses"):
        tasks.of(settings)


def test_too_few_pictures_are_said(values, tmp_path):
    settings = recipe.from_dict({**values, "data": {**values["data"], "validation": 0.0001}})
    with pytest.raises(DataError, match="too few"):
        tasks.of(settings)


def test_the_command_ends_with_the_test_error(values, tmp_path, capsys):
    import tomlkit

    values = {**values, "run": {**values["run"], "images": 640, "validate_images": 640}}
    (tmp_path / "digits.toml").write_text(tomlkit.dumps(values))
    assert cli.main(["train", str(tmp_path / "digits.toml"), "--out", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "480 to train on, 120 to validate on" in out
    assert "test: " in out and "% wrong" in out
    assert (tmp_path / "run" / "curves.png").exists()
