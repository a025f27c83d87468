import dataclasses
import itertools
import json
import signal
import subprocess
import sys
import time

import pytest
import torch

from headpose.compression import channels, surgery
from headpose.compression.distillation import Taps
from headpose.compression.finetune import FineTuner
from headpose.compression.pruning import Pruner
from headpose.compression.recipe import GuideRecipe, PruneRecipe, RunRecipe, StopRecipe
from headpose.compression.selection import Rule
from headpose.compression.steps import read_step
from headpose.errors import DataError, RecipeError
from headpose.losses import cosine_distance
from headpose.recipes import training as recipe
from headpose.recipes.training import OptimiserRecipe
from headpose.training import tasks
from headpose.training.loop import Trainer
from tests.training.digits import digits_recipe, write_digits
from tests.training.networks import recipe_values, write_drawn_heads

FINE = OptimiserRecipe(rate=1e-3, warmup=64)
SHORT = PruneRecipe(
    rule=Rule("share", 0.25),
    minimum=2,
    multiple=4,
    steps=3,
    images=64,
    last_images=960,
    recalibration_images=64,
    scan=(0.5,),
    scan_images=32,
    optimiser=FINE,
    last_optimiser=OptimiserRecipe(rate=5e-3, warmup=64),
    stop=StopRecipe(tolerance=1e6),
)


@pytest.fixture(scope="module")
def tuner(tmp_path_factory):
    values = digits_recipe(write_digits(tmp_path_factory.mktemp("digits"), 300))
    settings = recipe.from_dict(values)
    return FineTuner(tasks.of(settings), settings, RunRecipe(batch=32, ema=0.9, bf16="off"))


@pytest.fixture(scope="module")
def baseline(tuner, tmp_path_factory):
    trainer = Trainer(tuner.training, tmp_path_factory.mktemp("baseline") / "run")
    trainer.run()
    return trainer.average.network


@pytest.fixture(scope="module")
def pruned(tuner, baseline, tmp_path_factory):
    pruner = Pruner(tuner, baseline, SHORT, tmp_path_factory.mktemp("work") / "prune")
    return pruner, pruner.run()


def test_every_step_takes_a_quarter_and_the_last_widths_are_multiples(pruned, baseline):
    pruner, network = pruned
    steps = pruner.steps()
    full = channels.widths(baseline.spec)
    assert steps[0].widths == full
    for before, after in itertools.pairwise(steps):
        for name in pruner.names:
            assert after.widths[name] == max(2, before.widths[name] - before.widths[name] // 4)
            assert set(after.kept[name]) | set(after.removed[name]) == set(before.kept[name])
        assert after.parameters < before.parameters
        assert after.macs < before.macs
    for name, width in channels.widths(network.spec).items():
        if name in pruner.names:
            assert width % 4 == 0 or width == full[name]
            assert width >= steps[-1].widths[name]
        else:
            assert width == full[name]


def test_it_still_knows_most_of_its_digits(pruned, tuner, baseline):
    _, network = pruned
    assert tuner.task.evaluate(network).error < tuner.task.evaluate(baseline).error + 20


def test_the_least_important_channels_went(pruned, tuner, baseline):
    from headpose.compression.importance import apoz

    pruner, _ = pruned
    first = pruner.steps()[1]
    importance = apoz(baseline, pruner.names, (batch.images for batch in tuner.task.held_out(64)))
    for name, removed in first.removed.items():
        assert max(removed.values()) <= min(float(importance[name][i]) for i in first.kept[name])
        for i, value in removed.items():
            assert value == pytest.approx(float(importance[name][i]))


def test_channels_that_come_back_have_the_last_value_they_had(pruned, baseline):
    """Rounding up takes channels from the network of the step before they went."""
    pruner, _ = pruned
    steps = pruner.steps()
    keep, network = pruner._rounded(steps)
    name = next(n for n in pruner.names if len(keep[n]) > steps[-1].widths[n])
    back = next(i for i in keep[name].tolist() if i not in steps[-1].kept[name])
    went = next(step for step in steps if back in step.removed.get(name, {}))
    source = (
        baseline
        if went.number == 1
        else surgery.load(pruner.folder / f"step-{went.number - 1:02d}" / "network.safetensors")
    )
    norm = channels.maps(baseline.spec)[name][0]
    old = source.get_parameter(f"{norm}.weight")[steps[went.number - 1].kept[name].index(back)]
    assert network.get_parameter(f"{norm}.weight")[keep[name].tolist().index(back)] == old


def test_a_finished_folder_is_read_and_not_made_again(pruned, tuner, baseline, monkeypatch):
    pruner, network = pruned
    monkeypatch.setattr(Trainer, "run", lambda self: pytest.fail("trained again"))
    again = Pruner(tuner, baseline, SHORT, pruner.folder).run()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in network.state_dict().items())


def test_a_step_too_far_is_taken_back(tuner, baseline, tmp_path):
    harsh = dataclasses.replace(
        SHORT, last_images=32, rule=Rule("share", 0.9), images=32, stop=StopRecipe(tolerance=0.0), multiple=1
    )
    pruner = Pruner(tuner, baseline, harsh, tmp_path / "prune")
    steps = pruner.steps()
    assert [step.accepted for step in steps] == [True, False]
    network = pruner.run()
    assert channels.widths(network.spec) == channels.widths(baseline.spec)


def test_a_target_ends_it(tuner, baseline, tmp_path):
    size = sum(p.numel() for p in baseline.parameters()) * 4e-6
    stop = StopRecipe(tolerance=1e6, megabytes=size * 0.8)
    pruner = Pruner(tuner, baseline, dataclasses.replace(SHORT, steps=9, stop=stop), tmp_path / "prune")
    steps = pruner.steps()
    assert 1 < len(steps) < 9
    assert steps[-1].reached == "megabytes"
    assert steps[-1].bytes <= size * 0.8e6 < steps[-2].bytes


def test_layerwise_prunes_one_layer_a_step(tuner, baseline, tmp_path):
    one = dataclasses.replace(SHORT, schedule="layerwise", steps=3)
    pruner = Pruner(tuner, baseline, one, tmp_path / "prune")
    steps = pruner.steps()
    assert [list(step.removed) for step in steps[1:]] == [[name] for name in pruner.names[:3]]


def test_a_control_has_the_same_widths_and_other_channels(pruned, tuner, baseline, tmp_path):
    leader, network = pruned
    random = dataclasses.replace(SHORT, importance="random", last_images=32)
    control = Pruner(tuner, baseline, random, tmp_path / "control", leader=leader.steps())
    other = control.run()
    assert channels.widths(other.spec) == channels.widths(network.spec)
    assert [step.widths for step in control.steps()] == [step.widths for step in leader.steps()]
    assert control.steps()[-1].kept != leader.steps()[-1].kept


def test_a_guided_network_keeps_the_unpruned_ones_streams(tuner, baseline, tmp_path):
    images = next(tuner.task.held_out(64)).images
    deepest = [group.name for group in channels.groups(baseline.spec) if group.kind == "stream"][-1:]

    def last_map(network):
        taps = Taps(network, deepest)
        with torch.no_grad():
            network.raw(images)
        (*_, last) = taps.take()
        taps.remove()
        return last

    def distance(guide, name):
        network = Pruner(tuner, baseline, dataclasses.replace(SHORT, steps=1, guide=guide), tmp_path / name).run()
        return float(cosine_distance(last_map(baseline), last_map(network)).mean())

    guided = distance(GuideRecipe(features=1.0, output=1.0, labels=0.0), "guided")
    assert guided < 0.7 * distance(GuideRecipe(), "by-labels")


def test_streams_and_protection(tuner, baseline, tmp_path):
    wide = dataclasses.replace(SHORT, groups="stream", protected=("layer1",), steps=1)
    pruner = Pruner(tuner, baseline, wide, tmp_path / "prune")
    assert "layer2" in pruner.names and "layer1" not in pruner.names
    step = pruner.steps()[1]
    assert step.widths["layer2"] == 12
    assert step.widths["layer1"] == 8
    with pytest.raises(RecipeError, match="no group layer9"):
        Pruner(tuner, baseline, dataclasses.replace(SHORT, protected=("layer9",)), tmp_path / "other")


def test_half_precision_weights_are_what_is_validated_and_counted(tuner, baseline, tmp_path):
    half = dataclasses.replace(SHORT, codec="half", steps=1)
    pruner = Pruner(tuner, baseline, half, tmp_path / "prune")
    first, step = pruner.steps()
    state = [v for k, v in baseline.state_dict().items() if not k.endswith("num_batches_tracked")]
    assert first.bytes == 2 * sum(v.numel() for v in state)
    assert step.bytes < first.bytes


def test_the_scan_says_what_a_layer_is_worth(pruned):
    pruner, _ = pruned
    scan = pruner.scan()
    assert list(scan) == pruner.names
    assert all(set(found) == {"0.5"} for found in scan.values())
    assert max(found["0.5"] for found in scan.values()) > 1.05
    assert pruner.scan() == scan == json.loads((pruner.folder / "scan.json").read_text())


def test_a_damaged_record_is_said(pruned, tmp_path):
    pruner, _ = pruned
    whole = (pruner.folder / "step-01" / "step.json").read_text()
    for damage in (whole[:-20], "[]", '{"number": 1}'):
        (tmp_path / "step.json").write_text(damage)
        with pytest.raises(DataError, match="damaged"):
            read_step(tmp_path / "step.json")


def test_killed_anywhere_it_resumes_to_the_same_bits(tmp_path):
    values = recipe_values(write_drawn_heads(tmp_path, 40))
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    program = (
        "import json, sys, pathlib, torch, dataclasses\n"
        "from headpose.compression.finetune import FineTuner\n"
        "from headpose.compression.pruning import Pruner\n"
        "from headpose.compression.recipe import PruneRecipe, RunRecipe, StopRecipe\n"
        "from headpose.compression.selection import Rule\n"
        "from headpose.recipes import training as recipe\n"
        "from headpose.training import tasks\n"
        "from headpose.networks.build import build\n"
        "settings = recipe.from_dict(json.loads(pathlib.Path(sys.argv[1]).read_text()))\n"
        "tuner = FineTuner(tasks.of(settings), settings, RunRecipe(batch=16, ema=0.9, bf16='off', threads=1))\n"
        "torch.set_num_threads(1)\n"
        "torch.manual_seed(0)\n"
        "short = PruneRecipe(rule=Rule('share', 0.25), minimum=2, multiple=4, steps=2, images=320, last_images=320,\n"
        "    recalibration_images=64, stop=StopRecipe(tolerance=1e6))\n"
        "Pruner(tuner, build(settings.spec).eval(), short, pathlib.Path(sys.argv[2])).run()\n"
    )

    def start(folder):
        command = [sys.executable, "-c", program, tmp_path / "recipe.json", folder]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0
    for wanted in ("step-01/last.pt", "step-02/last.pt"):
        process = start(killed)
        while not (killed / wanted).exists() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(killed).wait() == 0
    for file in ("step-01/step.json", "step-02/step.json", "rounded/network.safetensors"):
        assert (killed / file).read_bytes() == (whole / file).read_bytes()
