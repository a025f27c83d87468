"""A student that learns from a teacher: the paper's loss, and ours beside it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from headpose.compression import channels, surgery
from headpose.compression.finetune import NETWORK, FineTuner, FineTuning
from headpose.compression.importance import CRITERIA
from headpose.compression.recipe import StageRecipe, StudentRecipe
from headpose.errors import RecipeError
from headpose.losses import cosine_distance, geodesic_distance
from headpose.networks.resnet import ResNet, build, rotations
from headpose.networks.spec import ResNetSpec
from headpose.training import distributed
from headpose.training.precision import autocast, computes_bf16
from headpose.training.protocols import Batch, Task

_IN_CACHE = 16  # images whose maps a processor's cache holds


def student_spec(teacher: ResNetSpec, recipe: StudentRecipe) -> ResNetSpec:
    """The student's widths: the teacher's in prunable layers, the residual streams divided by ``ratio``.

    Raises:
        RecipeError: ``inner`` has not one width for each stage.
    """
    widths = {}
    for group in channels.groups(teacher):
        if group.kind == "stream":
            widths[group.name] = max(1, round(group.width / recipe.ratio))
        elif group.kind == "inner" and recipe.inner:
            stage = int(group.name.removeprefix("layer").partition(".")[0])
            if len(recipe.inner) != len(teacher.stages):
                raise RecipeError(f"recipe: students: inner needs {len(teacher.stages)} widths, one for each stage")
            widths[group.name] = recipe.inner[stage - 1]
        elif group.kind == "stem" and recipe.stem:
            widths[group.name] = recipe.stem
    spec = channels.resize(teacher, widths)
    pool = {"teacher": spec.stem.max_pool, "yes": True, "no": False}[recipe.max_pool]
    head = spec.head if recipe.head == "teacher" else recipe.head
    return dataclasses.replace(spec, stem=dataclasses.replace(spec.stem, max_pool=pool), head=head)


class Taps:
    """Maps after the ReLU, caught while a network works.

    Attributes:
        modules: whose outputs become the maps; a residual stream has one for each block.
    """

    def __init__(self, network: ResNet, names: Sequence[str]) -> None:
        """Names are of groups, as in ``channels.groups``."""
        maps = channels.maps(network.spec)
        self.modules = [module for name in names for module in maps[name]]
        self._caught: dict[str, Tensor] = {}
        self._hooks = []
        for name in self.modules:

            def catch(_: Any, __: Any, values: Tensor, name: str = name) -> None:
                # The network's own ReLU, which works in place, has passed over it by the time it is taken.
                self._caught[name] = values

            self._hooks.append(network.get_submodule(name).register_forward_hook(catch))

    def take(self) -> list[Tensor]:
        """The maps of the last forward pass, (N, C, H, W) each; they are then forgotten."""
        caught, self._caught = self._caught, {}
        return [caught[name] for name in self.modules]

    def remove(self) -> None:
        """Lets go of the network."""
        self._caught = {}
        for hook in self._hooks:
            hook.remove()


class Distillation:
    """An ``Objective`` of weighted parts (Aghli & Ribeiro, CVPR Workshops 2021, eq. 3).

    ``features`` is the mean over the layers of the cosine distance between the maps after the ReLU, flattened
    for each image; ``output``, that between the output vectors. The paper prints the cosine's sign so that
    minimising it would drive the two apart; the distance is meant. A cosine cannot see a vector's length, so
    ``rotation``, the geodesic distance between the two rotations, and ``labels`` may be added: both are ours.

    The teacher is frozen and in eval mode, and sees the student's own input.
    """

    def __init__(
        self, teacher: ResNet, student: ResNet, task: Task, stage: StageRecipe, layers: Sequence[str], bf16: str
    ) -> None:
        """Watches both networks from now on, until ``close``.

        Raises:
            RecipeError: the maps of a layer cannot be compared, there is no rotation to compare, or several processes
                have nothing to learn for the head.
        """
        self._student, self._task, self._stage, self._bf16 = student, task, stage, bf16
        if stage.features and not (stage.output or stage.rotation or stage.labels) and distributed.join().count > 1:
            raise RecipeError("recipe: students: in several processes a stage of features alone leaves the head out")
        if stage.rotation and student.spec.output == "classes":
            raise RecipeError("recipe: students: a classifier has no rotation; give stages without it")
        names = layers if stage.features else ()
        widths = channels.widths(teacher.spec), channels.widths(student.spec)
        for name in names:
            if widths[0][name] != widths[1][name]:
                raise RecipeError(
                    f"recipe: students: {name} has {widths[1][name]} channels, the teacher's {widths[0][name]}: "
                    "features cannot be compared; leave inner empty, or features at 0"
                )
        self._teacher = _frozen(teacher, bf16)
        self._taps = Taps(self._teacher, names), Taps(student, names)

    def __call__(self, raw: Tensor, batch: Batch) -> Tensor:
        stage, device = self._stage, raw.device
        loss = torch.zeros(len(raw), device=device)
        if stage.features or stage.output or stage.rotation:
            wanted, maps = self._ask_teacher(batch.images)
            if stage.features:
                pairs = zip(maps, self._taps[1].take(), strict=True)
                distances = [cosine_distance(*_of_one_size(a, b)) for a, b in pairs]
                loss = loss + stage.features * torch.stack(distances).mean(0)
            if stage.output:
                loss = loss + stage.output * cosine_distance(self._task.output(wanted), self._task.output(raw))
            if stage.rotation:
                form = self._student.spec.output
                loss = loss + stage.rotation * geodesic_distance(rotations(wanted, form), rotations(raw, form))
        if stage.labels:
            loss = loss + stage.labels * self._task.errors(raw, batch)
        return loss

    @torch.no_grad()
    def _ask_teacher(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the teacher makes of (N, 3, S, S): its output vectors (N, V), and each compared map (N, C, H, W).

        A processor is given a few images at a time, whose maps stay in its cache; in eval mode each image is its own.
        """
        device = images.device
        images = images.contiguous(memory_format=torch.channels_last)
        outputs, maps = [], []
        with autocast(self._bf16, device):
            for part in torch.split(images, _IN_CACHE if device.type == "cpu" else len(images)):
                outputs.append(self._teacher.raw(part))
                maps.append(self._taps[0].take())
        return torch.cat(outputs), [torch.cat(parts) for parts in zip(*maps, strict=True)]

    def close(self) -> None:
        """Lets go of both networks."""
        for taps in self._taps:
            taps.remove()


def compared_layers(teacher: ResNetSpec, count: int) -> tuple[str, ...]:
    """The last ``count`` prunable layers; for ResNet-50 and 9, conv5's six, both of conv4_6, the second of conv4_5."""
    inner = [name for name in channels.prunable(teacher, "paper") if name != "conv1"]
    return tuple(inner[-count:])


def train_student(tuner: FineTuner, teacher: ResNet, recipe: StudentRecipe, name: str, folder: Path) -> ResNet:
    """Trains a student through its stages, or goes on where the folder stands.

    Args:
        tuner: task and settings.
        teacher: gives the widths and the example.
        recipe: the student.
        name: of the student.
        folder: one folder within for each stage.

    Returns:
        The student, in eval mode, on the CPU.
    """
    torch.manual_seed(recipe.seed)
    student = build(student_spec(teacher.spec, recipe))
    if recipe.start != "random" and not (folder / "stage-1" / NETWORK).exists():
        streams = [group.name for group in channels.groups(teacher.spec) if group.kind == "stream"]
        evidence = tuner.evidence(tuner.task, tuner.run.seed + recipe.seed)
        inherit(student, teacher, CRITERIA[recipe.start](teacher, streams, evidence))
    layers = compared_layers(teacher.spec, recipe.layers)
    for number, stage in enumerate(recipe.stages, start=1):
        tuning = stage_tuning(tuner, recipe, name, number)
        objective = Distillation(teacher, student, tuner.task, stage, layers, tuner.run.bf16)
        trained = tuner.train(student, tuning, folder / f"stage-{number}", objective)
        objective.close()
        student = trained
    return student


def stage_tuning(tuner: FineTuner, recipe: StudentRecipe, name: str, number: int) -> FineTuning:
    """A stage of a student's training, counted from 1."""
    stage = recipe.stages[number - 1]
    return FineTuning(
        f"{name}, stage {number} of {len(recipe.stages)}",
        stage.images,
        stage.optimiser,
        tuner.run.seed + recipe.seed + number,
        growing=stage.growing,
    )


def inherit(student: ResNet, teacher: ResNet, worth: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Starts a student as its teacher whose streams have lost their least important channels.

    Between the blocks nearly everything is gone, within them nothing: where the streams come to say what the
    teacher's said, the maps inside are the teacher's, too.

    Args:
        student: its weights are written over, but for tensors that have another shape even so (dense layers).
        teacher: is left as it is.
        worth: of the channels of each of the teacher's streams, larger for what is kept.

    Returns:
        Names of the tensors that were taken over.
    """
    widths = channels.widths(student.spec)
    keep = {name: values.argsort(descending=True)[: widths[name]].sort().values for name, values in worth.items()}
    own, given = student.state_dict(), surgery.prune(teacher, keep).state_dict()
    taken = tuple(name for name in own if name in given and own[name].shape == given[name].shape)
    for name in taken:
        own[name].copy_(given[name])  # a state dict's tensors are the network's own
    return taken


def _frozen(teacher: ResNet, bf16: str) -> ResNet:
    """A copy in eval mode whose weights are once and for all in the type that autocast gives them at every step."""
    frozen = copy.deepcopy(teacher).eval().requires_grad_(False).to(distributed.join().device)
    if computes_bf16(bf16, distributed.join().device):
        for module in frozen.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to(torch.bfloat16)
    return frozen


def _of_one_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps, the larger one averaged to the smaller one's height and width."""
    size = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
    return tuple(  # type: ignore[return-value]
        values if values.shape[2:] == size else functional.adaptive_avg_pool2d(values, size) for values in (a, b)
    )
