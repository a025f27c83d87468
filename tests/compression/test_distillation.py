import dataclasses

import pytest
import torch
from torch.nn import functional

from headpose.compression import channels
from headpose.compression.distillation import (
    Distillation,
    Taps,
    compared_layers,
    inherit,
    student_spec,
    train_student,
)
from headpose.compression.finetune import FineTuner
from headpose.compression.recipe import RunRecipe, StageRecipe, StudentRecipe
from headpose.errors import RecipeError
from headpose.losses import geodesic_distance
from headpose.networks.build import build
from headpose.networks.spec import StemSpec, parameters, resnet
from headpose.recipes import training as recipe
from headpose.recipes.training import OptimiserRecipe
from headpose.training import log, tasks
from headpose.training.protocols import Batch
from tests.training.digits import digits_recipe, write_digits
from tests.training.networks import TINY_BOTTLENECK, network, recipe_values, write_drawn_heads

RESNET_50 = resnet(
    "bottleneck", (3, 4, 6, 3), (64, 128, 256, 512), (256, 512, 1024, 2048), StemSpec(64), head=(512, 128)
)
TEACHER = dataclasses.replace(TINY_BOTTLENECK, output="6d")
LABELS = StageRecipe(64, labels=1.0)


@pytest.fixture(scope="module")
def tuner(tmp_path_factory):
    settings = recipe.from_dict(recipe_values(write_drawn_heads(tmp_path_factory.mktemp("heads"), 40)))
    return FineTuner(tasks.of(settings), settings, RunRecipe(batch=16, ema=0.9, bf16="off"))


def batch_of(size=40, count=3):
    torch.manual_seed(1)
    rotation = torch.linalg.qr(torch.randn(count, 3, 3)).Q
    return Batch(torch.randn(count, 3, size, size), torch.ones(count), {"rotation": rotation, "euler": rotation[:, 0]})


def loss_of(tuner, stage, teacher, student, batch, layers=("layer2.1.conv1", "layer2.1.conv2")):
    objective = Distillation(teacher, student, tuner.task, stage, layers, "off")
    try:
        return objective(student.raw(batch.images), batch)
    finally:
        objective.close()


def test_the_papers_student_has_the_teachers_widths_and_a_thirty_second_of_its_streams():
    spec = student_spec(RESNET_50, StudentRecipe((LABELS,)))
    widths, before = channels.widths(spec), channels.widths(RESNET_50)
    assert [widths[f"layer{i}"] for i in (1, 2, 3, 4)] == [8, 16, 32, 64]
    assert all(widths[name] == before[name] for name in channels.prunable(RESNET_50, "paper"))
    assert spec.head == (512, 128)
    assert spec.stem.max_pool


def test_a_student_may_differ_in_widths_pool_stem_and_head():
    recipe_ = StudentRecipe((LABELS,), ratio=8, inner=(24, 48, 72, 104), stem=16, max_pool="no", head=())
    spec = student_spec(RESNET_50, recipe_)
    assert spec.stem == StemSpec(16, max_pool=False)
    assert spec.head == ()
    assert {block.inner for block in spec.stages[2]} == {(72, 72)}
    assert [stage[0].out for stage in spec.stages] == [32, 64, 128, 256]
    with pytest.raises(RecipeError, match="inner needs 4 widths"):
        student_spec(RESNET_50, dataclasses.replace(recipe_, inner=(1, 2)))


def test_the_last_nine_layers_of_resnet_50_are_the_papers():
    assert compared_layers(RESNET_50, 9) == (
        "layer3.4.conv2",
        *(f"layer3.5.conv{i}" for i in (1, 2)),
        *(f"layer4.{j}.conv{i}" for j in (0, 1, 2) for i in (1, 2)),
    )
    assert parameters(RESNET_50) == pytest.approx(24.6e6, rel=0.01)


def test_taps_catch_the_maps_after_the_relu():
    net, images = network(TEACHER), torch.randn(2, 3, 40, 40)
    taps = Taps(net, ["conv1", "layer1.0.conv2"])
    net.raw(images)
    stem, inner = taps.take()
    torch.testing.assert_close(stem, net.bn1(net.conv1(images)).relu())
    block, x = net.layer1[0], net.maxpool(stem)
    by_hand = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu())).relu()
    torch.testing.assert_close(inner, by_hand)
    taps.remove()
    net.raw(images)
    with pytest.raises(KeyError):
        taps.take()


def test_taps_catch_a_streams_map_after_each_block():
    net, images = network(TEACHER), torch.randn(2, 3, 40, 40)
    taps = Taps(net, ["layer2"])
    net.raw(images)
    x, wanted = net.layer1(net.maxpool(net.bn1(net.conv1(images)).relu())), []
    for block in net.layer2:
        x = block(x)
        wanted.append(x)
    assert len(wanted) > 1
    for found, expected in zip(taps.take(), wanted, strict=True):
        torch.testing.assert_close(found, expected)
    taps.remove()


def test_the_loss_is_the_weighted_sum_of_its_parts(tuner):
    teacher, student = network(TEACHER, 1), network(student_spec(TEACHER, StudentRecipe((LABELS,), ratio=2)), 2)
    batch = batch_of(count=20)  # more than the teacher is given at a time
    parts = {
        name: loss_of(tuner, StageRecipe(1, **{name: 1.0}), teacher, student, batch)
        for name in ("features", "output", "rotation", "labels")
    }
    wanted, raw = teacher.raw(batch.images), student.raw(batch.images)
    torch.testing.assert_close(parts["output"], 1 - functional.cosine_similarity(wanted, raw))
    torch.testing.assert_close(parts["rotation"], geodesic_distance(teacher(batch.images), student(batch.images)))
    torch.testing.assert_close(parts["labels"], geodesic_distance(student(batch.images), batch.targets["rotation"]))
    taps = Taps(teacher, ["layer2.1.conv1", "layer2.1.conv2"]), Taps(student, ["layer2.1.conv1", "layer2.1.conv2"])
    teacher.raw(batch.images), student.raw(batch.images)
    pairs = zip(taps[0].take(), taps[1].take(), strict=True)
    distances = [1 - functional.cosine_similarity(a.flatten(1), b.flatten(1)) for a, b in pairs]
    torch.testing.assert_close(parts["features"], sum(distances) / 2)
    for tap in taps:
        tap.remove()
    both = loss_of(tuner, StageRecipe(1, features=2.0, output=1.5, rotation=0.5, labels=3.0), teacher, student, batch)
    weighted = 2 * parts["features"] + 1.5 * parts["output"] + 0.5 * parts["rotation"] + 3 * parts["labels"]
    torch.testing.assert_close(both, weighted)


def test_a_student_that_is_its_teacher_has_nothing_to_learn(tuner):
    teacher = network(TEACHER, 1)
    twin = network(TEACHER, 1)
    loss = loss_of(tuner, StageRecipe(1, features=1.0, output=1.0, rotation=1.0), teacher, twin, batch_of())
    assert loss.max() < 1e-3


def test_only_the_student_learns(tuner):
    teacher, student = network(TEACHER, 1).train(), network(TEACHER, 2).train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    loss = loss_of(tuner, StageRecipe(1, features=1.0, output=1.0), teacher, student, batch_of())
    loss.mean().backward()
    assert teacher.training  # it is a copy that was asked, in eval mode
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert student.conv1.weight.grad.abs().sum() > 0


def test_maps_of_two_sizes_meet_at_the_smaller(tuner):
    teacher = network(TEACHER, 1)
    student = network(student_spec(TEACHER, StudentRecipe((LABELS,), ratio=2, max_pool="no")), 2)
    batch = batch_of()
    loss = loss_of(tuner, StageRecipe(1, features=1.0), teacher, student, batch, ("layer2.1.conv1",))
    taps = [Taps(net, ["layer2.1.conv1"]) for net in (teacher, student)]
    teacher.raw(batch.images), student.raw(batch.images)
    (wanted,), (found,) = (tap.take() for tap in taps)
    assert found.shape[2] == 2 * wanted.shape[2]
    averaged = functional.avg_pool2d(found, 2)
    torch.testing.assert_close(loss, 1 - functional.cosine_similarity(wanted.flatten(1), averaged.flatten(1)))


def test_a_teacher_is_asked_in_eval_mode_whatever_its_own(tuner):
    student, batch = network(student_spec(TEACHER, StudentRecipe((LABELS,), ratio=2)), 2), batch_of()
    stage = StageRecipe(1, output=1.0)
    losses = [loss_of(tuner, stage, network(TEACHER, 1).train(mode), student, batch) for mode in (False, True)]
    torch.testing.assert_close(losses[1], losses[0])


def test_the_students_seed_draws_its_weights(tuner, tmp_path):
    still = StageRecipe(16, labels=1.0, optimiser=dataclasses.replace(tuner.training.optimiser, rate=1e-12))
    teacher = network(TEACHER, 1)
    weights = [
        train_student(tuner, teacher, StudentRecipe((still,), ratio=2, seed=seed), "a", tmp_path / name).conv1.weight
        for seed, name in ((0, "first"), (0, "again"), (1, "other"))
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2], atol=1e-3)


def test_features_need_equal_widths(tuner):
    teacher = network(TEACHER, 1)
    student = network(student_spec(TEACHER, StudentRecipe((LABELS,), ratio=2, inner=(3, 5))), 2)
    with pytest.raises(RecipeError, match=r"layer2.1.conv1 has 5 channels, the teacher's 6"):
        loss_of(tuner, StageRecipe(1, features=1.0), teacher, student, batch_of())


def test_a_student_goes_through_its_stages_and_resumes(tuner, tmp_path):
    teacher = build(TEACHER).eval()
    labels = StageRecipe(320, labels=1.0, optimiser=OptimiserRecipe(rate=2e-4, warmup=0))
    stages = (StageRecipe(160, features=1.0, output=1.0, rotation=1.0), labels)
    plan = StudentRecipe(stages, ratio=4, layers=2)
    student = train_student(tuner, teacher, plan, "small", tmp_path / "small")
    assert student.spec == student_spec(TEACHER, plan)
    rows = [log.read(tmp_path / "small" / f"stage-{i}" / "log.csv")[-1] for i in (1, 2)]
    assert [row.images for row in rows] == [160, 320]
    assert rows[1].error < rows[0].error  # the labels repair what the teacher, which knows nothing, trained
    again = train_student(tuner, teacher, plan, "small", tmp_path / "small")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in student.state_dict().items())
    assert tuner.task.evaluate(again).error == pytest.approx(rows[1].error, abs=1e-3)
    assert not list(tmp_path.rglob("last.pt"))


def test_a_classifier_learns_from_probabilities(tmp_path):
    settings = recipe.from_dict(digits_recipe(write_digits(tmp_path, 100)))
    task = tasks.of(settings)
    teacher, student = network(settings.spec, 1), network(settings.spec, 2)
    batch = next(task.batches(0, 1))
    objective = Distillation(teacher, student, task, StageRecipe(1, output=1.0), (), "off")
    raw = student.raw(batch.images)
    probabilities = teacher.raw(batch.images).softmax(1), raw.softmax(1)
    torch.testing.assert_close(objective(raw, batch), 1 - functional.cosine_similarity(*probabilities))
    with pytest.raises(RecipeError, match="no rotation"):
        Distillation(teacher, student, task, StageRecipe(1, rotation=1.0), (), "off")


def test_a_student_may_start_as_its_teacher_with_pruned_streams():
    teacher, recipe_ = network(TEACHER, 1), StudentRecipe((LABELS,), ratio=2, head=())
    student, drawn = network(student_spec(TEACHER, recipe_), 2), network(student_spec(TEACHER, recipe_), 2)
    streams = [group for group in channels.groups(TEACHER) if group.kind == "stream"]
    worth = {group.name: torch.arange(group.width, dtype=torch.float64) for group in streams}
    taken = inherit(student, teacher, worth)
    own, given, before = student.state_dict(), teacher.state_dict(), drawn.state_dict()
    assert torch.equal(own["conv1.weight"], given["conv1.weight"])
    assert torch.equal(own["layer2.1.conv2.weight"], given["layer2.1.conv2.weight"])
    width = own["layer2.1.conv3.weight"].shape[0]
    assert torch.equal(own["layer2.1.conv3.weight"], given["layer2.1.conv3.weight"][-width:])
    assert torch.equal(own["layer2.1.conv1.weight"], given["layer2.1.conv1.weight"][:, -width:])
    others = {name for name in own if name not in taken}
    assert others == {"head.0.weight", "head.0.bias"}
    assert torch.equal(own["head.0.weight"], before["head.0.weight"])


@pytest.mark.parametrize("start", ["l1", "apoz", "taylor"])
def test_the_start_is_the_recipes(tuner, tmp_path, start):
    teacher = network(TEACHER, 1)
    still = StageRecipe(16, labels=1.0, optimiser=dataclasses.replace(tuner.training.optimiser, rate=1e-12))
    weights = {}
    for each in (start, "random"):
        student = train_student(tuner, teacher, StudentRecipe((still,), ratio=2, start=each), each, tmp_path / each)
        weights[each] = student.layer2[1].conv2.weight
    assert torch.allclose(weights[start], teacher.layer2[1].conv2.weight, atol=1e-6)
    assert not torch.allclose(weights["random"], teacher.layer2[1].conv2.weight, atol=1e-2)
