import copy
import json
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from headpose import cli
from headpose.errors import DataError, RecipeError
from headpose.images import read_image
from headpose.networks import checkpoint
from headpose.recipes import training as recipe
from headpose.training import log, schedule
from headpose.training.ema import WeightAverage
from headpose.training.loop import BEST, LAST, RECIPE, SPLIT, Trainer
from headpose.training.protocols import Batch
from tests.training.networks import TINY_BASIC, network, recipe_values, write_drawn_heads


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    return recipe_values(write_drawn_heads(tmp_path_factory.mktemp("heads"), 100))


def final_state(folder):
    return checkpoint.load(folder / LAST)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_it_learns_to_read_a_pose(values, tmp_path):
    settings = recipe.from_dict({**values, "run": {**values["run"], "images": 4800, "validate_images": 2400}})
    trainer = Trainer(settings, tmp_path / "run")
    before = trainer.task.evaluate(trainer.average.network)
    after = trainer.run()
    assert before.error > 30
    assert after.error < before.error / 3
    rows = log.read(tmp_path / "run" / log.FILE)
    assert [row.images for row in rows] == [2400, 4800]
    assert rows[-1].error == pytest.approx(after.error, rel=1e-6)
    sheet = read_image(tmp_path / "run" / "predictions.jpg")
    assert sheet.shape[1] == 2 * sheet.shape[0] * 2  # four rows of eight faces, each twice
    assert sheet.std() > 10


def test_an_euler_head_learns_too(values, tmp_path):
    network_values = {**values["network"], "output": "euler", "head": [24]}
    run = {**values["run"], "images": 4800, "validate_images": 4800}
    trainer = Trainer(recipe.from_dict({**values, "network": network_values, "run": run}), tmp_path / "run")
    before = trainer.task.evaluate(trainer.average.network).error
    assert trainer.run().error < before / 2


def test_the_input_grows(values, tmp_path):
    run = {**values["run"], "growing": [{"size": 16, "until": 160}, {"size": 24, "until": 320}]}
    settings = recipe.from_dict({**values, "run": {**run, "images": 480, "validate_images": 160}})
    trainer = Trainer(settings, tmp_path / "run")
    assert trainer.task.size == 16
    trainer.run()
    assert trainer.task.size == 32
    assert [row.images for row in log.read(tmp_path / "run" / log.FILE)] == [160, 320, 480]
    # The best of a smaller input must not stand for the network that ships.
    assert trainer.progress.best_step == 30


def test_killed_without_warning_it_resumes_to_the_same_bits(values, tmp_path):
    values = {**values, "run": {**values["run"], "growing": [{"size": 24, "until": 320}]}}
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    program = (
        "import json, sys, pathlib, headpose.recipes.training as r\n"
        "from headpose.training.loop import Trainer\n"
        "values = json.loads(pathlib.Path(sys.argv[1]).read_text())\n"
        "Trainer(r.from_dict(values), pathlib.Path(sys.argv[2]), resume='--resume' in sys.argv).run()\n"
    )

    def start(folder, *more):
        command = [sys.executable, "-c", program, tmp_path / "recipe.json", folder, *more]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0
    process = start(killed)
    while not (killed / LAST).exists() and process.poll() is None:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert final_state(killed)["progress"]["step"] < final_state(whole)["progress"]["step"]
    assert start(killed, "--resume").wait() == 0
    assert same(final_state(killed), final_state(whole))
    assert (killed / log.FILE).read_text() == (whole / log.FILE).read_text()
    assert (killed / BEST).read_bytes() == (whole / BEST).read_bytes()


def test_a_run_does_not_go_on_without_what_says_how_it_began(values, tmp_path, capsys):
    folder = tmp_path / "run"
    Trainer(short(values), folder).run()
    (tmp_path / "tiny.json").write_text((folder / RECIPE).read_text())
    for name in (SPLIT, RECIPE):
        content = (folder / name).read_text()
        (folder / name).unlink()
        assert cli.main(["train", str(tmp_path / "tiny.json"), "--resume", "--out", str(folder)]) == 1
        assert str(folder / name) in capsys.readouterr().err
        (folder / name).write_text(content)


def gradients(net):
    return torch.cat([p.grad.flatten() for p in net.parameters()])


def weighed(trainer, weights):
    """The first batch of a run with other weights of its faces."""
    batch = next(iter(trainer.task.batches(0, 1)))
    return Batch(batch.images, torch.tensor(weights, dtype=torch.float32), batch.targets)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_loss_is_the_mean_by_the_weights_of_the_faces(values, tmp_path, accumulate):
    run = {**values["run"], "accumulate": accumulate, "frozen_norms": True}  # a face's loss is then its own
    plain = {**values, "run": run, "optimiser": {**values["optimiser"], "clip": 0.0}}
    trainer = Trainer(recipe.from_dict(plain), tmp_path / "run")
    batch = weighed(trainer, [4.0] * 4 + [0.25] * 8 + [0.0] * 4)
    expected = copy.deepcopy(trainer.network).eval()
    errors = trainer.task.errors(expected.raw(batch.images), batch)
    loss = (errors * batch.weights).sum() / batch.weights.sum()
    loss.backward()
    trainer.step(batch)
    assert trainer.progress.loss_sum == pytest.approx(loss.item(), rel=1e-5)
    assert loss.item() != pytest.approx(errors.mean().item(), rel=0.05)
    torch.testing.assert_close(gradients(trainer.network), gradients(expected), rtol=1e-3, atol=1e-5)


def test_a_gradient_is_cut_to_the_recipes_length(values, tmp_path):
    lengths = {}
    for clip in (0.0, 0.05):
        settings = recipe.from_dict({**values, "optimiser": {**values["optimiser"], "clip": clip}})
        trainer = Trainer(settings, tmp_path / str(clip))
        trainer.step(weighed(trainer, [1.0] * 16))
        lengths[clip] = float(gradients(trainer.network).norm())
    assert lengths[0.0] > 0.1
    assert lengths[0.05] == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run(values, tmp_path, value):
    trainer = Trainer(recipe.from_dict(values), tmp_path / "run")
    batch = weighed(trainer, [1.0] * 16)
    batch.images[3, 0, 5, 5] = value
    with pytest.raises(RecipeError, match=r"the loss is nan at step 0: lower optimiser\.rate"):
        trainer.step(batch)
    assert trainer.progress.step == 0


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_weights_decay_and_norms_and_biases_do_not(values, tmp_path, kind):
    """A step without a gradient: the only force is the decay."""
    optimiser = {"kind": kind, "rate": 0.1, "warmup": 0, "weight_decay": 0.5}
    trainer = Trainer(recipe.from_dict({**values, "optimiser": optimiser}), tmp_path / "run")
    before = {name: value.clone() for name, value in trainer.network.named_parameters()}
    trainer.step(weighed(trainer, [0.0] * 16))
    for name, value in trainer.network.named_parameters():
        left = 1 - 0.1 * 0.5 if value.ndim > 1 else 1.0
        torch.testing.assert_close(value, left * before[name], msg=name)
    assert any(value.ndim == 1 and value.abs().max() > 0 for value in before.values())


def test_sgd_goes_on_by_its_momentum(values, tmp_path):
    """A step without a gradient is a share of the one before."""
    steady = {"kind": "sgd", "rate": 0.1, "momentum": 0.6, "weight_decay": 0.0, "warmup": 0, "schedule": "steps"}
    trainer = Trainer(recipe.from_dict({**values, "optimiser": steady}), tmp_path / "run")
    seen = []
    for weight in (1.0, 0.0):
        before = trainer.network.conv1.weight.detach().clone()
        trainer.step(weighed(trainer, [weight] * 16))
        seen.append(trainer.network.conv1.weight.detach() - before)
    assert seen[0].abs().max() > 0
    torch.testing.assert_close(seen[1], 0.6 * seen[0], rtol=1e-3, atol=1e-6)


def short(values, **run):
    """A recipe of 8 steps that is validated at the fourth and at the last."""
    return recipe.from_dict({**values, "run": {**values["run"], "images": 128, "validate_images": 64, **run}})


def test_what_is_validated_and_kept_is_the_average(values, tmp_path):
    trainer = Trainer(short(values, ema=0.999), tmp_path / "run")
    trainer.progress.best_error = 0.0
    trainer.progress.size = 32
    result = trainer.run()
    errors = [trainer.task.evaluate(each).error for each in (trainer.average.network, trainer.network)]
    assert result.error == errors[0] != errors[1]
    assert not (trainer.folder / BEST).exists()  # nothing is better than no error
    trainer.progress.best_error = 1000.0
    trainer.progress.step -= 1
    trainer.run()
    kept, average = load_file(trainer.folder / BEST), trainer.average.network.state_dict()
    assert all(torch.equal(value, average[name]) for name, value in kept.items())


def test_what_was_best_at_a_smaller_input_is_beaten_by_whatever_comes(values, tmp_path):
    trainer = Trainer(short(values, growing=[{"size": 16, "until": 64}]), tmp_path / "run")
    trainer.folder.mkdir()
    trainer.progress.step, trainer.progress.size, trainer.progress.best_error = 4, 16, 0.0
    trainer.run()
    assert trainer.progress.best_step == 8
    assert 0 < trainer.progress.best_error < 180


def test_the_log_has_the_rate_of_its_step_and_the_loss_since_the_last_row(values, tmp_path):
    settings = short(values)
    trainer = Trainer(settings, tmp_path / "run")
    losses, step = [], trainer.step

    def watched(batch):
        before = trainer.progress.loss_sum
        step(batch)
        losses.append(trainer.progress.loss_sum - before)

    trainer.step = watched
    trainer.run()
    rows = log.read(tmp_path / "run" / log.FILE)
    assert [row.step for row in rows] == [4, 8]
    for row in rows:
        assert row.rate == pytest.approx(schedule.rate(settings.optimiser, (row.step - 1) * 16, 128))
        assert row.loss == pytest.approx(np.mean(losses[row.step - 4 : row.step]))
    assert rows[0].rate > 1.2 * rows[1].rate


def test_a_run_that_goes_on_forgets_the_rows_after_its_checkpoint(values, tmp_path):
    settings = short(values)
    Trainer(settings, tmp_path / "run").run()
    state = final_state(tmp_path / "run")
    state.pop("format")
    checkpoint.save(tmp_path / "run" / LAST, {**state, "progress": {**state["progress"], "step": 6}})
    Trainer(settings, tmp_path / "run", resume=True).run()
    assert [row.step for row in log.read(tmp_path / "run" / log.FILE)] == [4, 8]


def test_a_folder_in_use_and_nothing_to_resume_are_said(values, tmp_path):
    settings = recipe.from_dict(values)
    with pytest.raises(DataError, match="nothing to resume"):
        Trainer(settings, tmp_path / "run", resume=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LAST).write_bytes(b"")
    with pytest.raises(DataError, match="--resume"):
        Trainer(settings, tmp_path / "run")
    with pytest.raises(DataError, match="checkpoint"):
        Trainer(settings, tmp_path / "run", resume=True)


def test_a_checkpoint_of_another_network_is_refused(values, tmp_path):
    state = {"network": network(TINY_BASIC).state_dict()}
    (tmp_path / "run").mkdir()
    checkpoint.save(tmp_path / "run" / LAST, state)
    with pytest.raises(DataError, match="does not fit"):
        Trainer(recipe.from_dict(values), tmp_path / "run", resume=True)


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    for state in ({"format": checkpoint.FORMAT + 1}, {"network": {}}, [1]):
        torch.save(state, tmp_path / "other.pt")
        with pytest.raises(DataError, match="checkpoint of this version"):
            checkpoint.load(tmp_path / "other.pt")


class Exploit:
    def __reduce__(self):
        return os.system, ("echo unpickled > /dev/null",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_checkpoint_never_runs_code(tmp_path):
    torch.save({"format": checkpoint.FORMAT, "network": Exploit()}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Exploit()))
    for name in ("evil.pt", "plain.pt", "missing.pt"):
        with pytest.raises(DataError, match="cannot read the checkpoint"):
            checkpoint.load(tmp_path / name)


def test_the_average_follows_the_weights():
    net = network(TINY_BASIC)
    average = WeightAverage(net, 0.9)
    start = average.network.conv1.weight.clone()
    with torch.no_grad():
        net.conv1.weight += 1.0
        net.bn1.running_mean += 1.0
    steps = [0, 1, 1000]
    for step in steps:
        average.update(net, step)
    left = np.prod([min(0.9, (1 + step) / (10 + step)) for step in steps])
    torch.testing.assert_close(average.network.conv1.weight, start + (1 - left))
    assert not average.network.training


def test_the_curves_are_drawn(tmp_path):
    import cv2

    rows = [log.Row(i, 64 * i, 0.001, 1 / i, {"geodesic": 10 / i, "mae": 6 / i}) for i in (1, 2, 3)]
    log.draw_curves(rows, tmp_path / "curves.png", "tiny", "degrees")
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture.shape[0] > 500
    assert picture.std() > 5


def test_a_new_size_begins_its_average_anew(values, tmp_path):
    """What the smaller input taught does not linger: three steps later most of it is gone."""
    run = {
        **values["run"],
        "growing": [{"size": 16, "until": 480}],
        "images": 528,
        "validate_images": 480,
        "ema": 0.999,
    }
    trainer = Trainer(recipe.from_dict({**values, "run": run}), tmp_path / "run")
    trainer.progress.step = 30  # where the larger input begins
    trainer.average.network.head[-1].bias.data.fill_(1000.0)
    trainer.folder.mkdir()
    trainer.run()
    # (1 + step) / (10 + step) of the old value is left at each step: 0.1, 0.18, 0.25.
    assert trainer.average.network.head[-1].bias.abs().max() < 1000 * 0.1 * 0.2 * 0.3
