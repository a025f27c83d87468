"""Knowledge distillation: the loss of Aghli & Ribeiro (CVPR Workshops 2021), and additional terms of our own."""

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
from headpose.compression.weights_recipe import GuideRecipe
from headpose.errors import RecipeError
from headpose.losses import cosine_distance, geodesic_distance
from headpose.networks.build import build
from headpose.networks.network import Network
from headpose.networks.outputs import decode
from headpose.networks.resnet import HeadPoseNet
from headpose.networks.spec import PlainSpec, ResNetSpec, Spec
from headpose.training import distributed
from headpose.training.precision import autocast, computes_bf16
from headpose.training.protocols import Batch, Task

_IN_CACHE = 16  # number of images whose feature maps fit into the CPU cache


def student_spec(teacher: Spec, recipe: StudentRecipe) -> ResNetSpec:
    """Return the specification of a student.

    Prunable layers keep the teacher's widths unless the recipe gives others; residual streams are divided by ``ratio``.

    Args:
        teacher: Specification of the teacher.
        recipe: Recipe of the student.

    Raises:
        RecipeError: ``inner`` does not have one width for each stage, or the teacher is a plain network.
    """
    if isinstance(teacher, PlainSpec):
        raise RecipeError("recipe: students: a plain network has no residual streams to divide: leave students out")
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
    """Feature maps after the ReLU, captured during the forward pass.

    Attributes:
        modules: Names of the modules whose outputs are captured; a residual stream has one for each block.
    """

    def __init__(self, network: Network, names: Sequence[str]) -> None:
        """Register forward hooks, until ``remove`` is called.

        Args:
            network: Network to observe.
            names: Names of groups, as in ``channels.groups``.
        """
        maps = channels.maps(network.spec)
        self.modules = [module for name in names for module in maps[name]]
        self._caught: dict[str, Tensor] = {}
        self._hooks = []
        for name in self.modules:

            def catch(_: Any, __: Any, values: Tensor, name: str = name) -> None:
                # The network's ReLU works in place: it has been applied before the map is taken.
                self._caught[name] = values

            self._hooks.append(network.get_submodule(name).register_forward_hook(catch))

    def take(self) -> list[Tensor]:
        """Return the maps of the last forward pass, (N, C, H, W) each, and release them."""
        caught, self._caught = self._caught, {}
        return [caught[name] for name in self.modules]

    def remove(self) -> None:
        """Remove the hooks from the network."""
        self._caught = {}
        for hook in self._hooks:
            hook.remove()


class Distillation:
    """Weighted sum of distillation losses, an ``Objective`` (Aghli & Ribeiro, CVPR Workshops 2021, eq. 3).

    ``features`` is the cosine distance between the maps after the ReLU, flattened for each image, averaged over the
    layers. ``output`` is the cosine distance between the output vectors, with the values of optional outputs in them.
    The paper prints the cosine with a sign whose minimization would drive the two apart; this class minimizes the
    distance. The cosine ignores the length of a vector, so ``rotation``, the geodesic distance between the two
    rotations, and ``labels`` may be added (both ours).

    The teacher is frozen, in eval mode, and receives the student's input.
    """

    def __init__(
        self, teacher: Network, student: Network, task: Task, stage: StageRecipe, layers: Sequence[str], bf16: str
    ) -> None:
        """Register hooks on both networks, until ``close`` is called.

        Args:
            teacher: Teacher; a frozen copy of it is used.
            student: Network that is trained.
            task: Task that provides the output vectors and the loss on the labels.
            stage: Weights of the losses.
            layers: Names of the groups whose maps ``features`` compares.
            bf16: ``auto``, ``on`` or ``off``: autocast of the teacher to bfloat16.

        Raises:
            RecipeError: The maps of a layer have different widths, a classifier has a loss on rotations, or the head
                gets no gradient in distributed training.
        """
        self._student, self._task, self._stage, self._bf16 = student, task, stage, bf16
        if stage.features and not (stage.output or stage.rotation or stage.labels) and distributed.join().count > 1:
            raise RecipeError(
                "recipe: students: with several processes, each stage must train the head: set output, rotation or "
                "labels above 0"
            )
        if stage.rotation and not isinstance(student, HeadPoseNet):
            raise RecipeError("recipe: students: a classifier has no rotation: set rotation to 0 in all stages")
        if teacher.spec.values != student.spec.values:
            raise RecipeError("recipe: students: teacher and student must have the same network.output and outputs")
        names = layers if stage.features else ()
        widths = channels.widths(teacher.spec), channels.widths(student.spec)
        for name in names:
            if widths[0][name] != widths[1][name]:
                raise RecipeError(
                    f"recipe: students: {name} has {widths[1][name]} channels, the teacher's {widths[0][name]}: "
                    "features cannot be compared; leave inner empty, or set features to 0"
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
                theirs, ours = (decode(values, self._student.spec)["rotation"] for values in (wanted, raw))
                loss = loss + stage.rotation * geodesic_distance(theirs, ours)
        if stage.labels:
            loss = loss + stage.labels * self._task.errors(raw, batch)
        return loss

    @torch.no_grad()
    def _ask_teacher(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the teacher's raw outputs (N, V) for (N, 3, S, S) images, and each compared map (N, C, H, W).

        A CPU processes a few images at a time, so that their maps stay in its cache. This does not change the result:
        in eval mode, images do not affect each other.
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
        """Remove the hooks from both networks."""
        for taps in self._taps:
            taps.remove()


def guide(whole: Network, network: Network, task: Task, recipe: GuideRecipe, bf16: str) -> Distillation | None:
    """Return the objective of a fine-tuning: distillation from the network before its compression, or None for labels.

    The maps of the deeper half of the streams are compared, or in a network without streams, of the layers that kept
    their width. Those of the others are so large that they would double the time of a step.

    Args:
        whole: Network before its compression; not changed.
        network: Network that is trained.
        task: Task of the training.
        recipe: Weights of the losses.
        bf16: As in ``Distillation``.

    Raises:
        RecipeError: ``features`` has no maps to compare.
    """
    if not recipe.features and not recipe.output:
        return None
    found, before = channels.groups(network.spec), channels.widths(whole.spec)
    names = [group.name for group in found if group.kind == "stream"]
    names = names or [group.name for group in found if group.width == before[group.name]]
    if recipe.features and not names:
        raise RecipeError("recipe: guide: no layer kept its width, so features cannot be compared: set features to 0")
    stage = StageRecipe(1, features=recipe.features, output=recipe.output, labels=recipe.labels)
    return Distillation(whole, network, task, stage, names[len(names) // 2 :], bf16)


def compared_layers(teacher: Spec, count: int) -> tuple[str, ...]:
    """Return the names of the last ``count`` prunable layers.

    For ResNet-50 and 9 these are the six of conv5, both of conv4_6, and the second of conv4_5.
    """
    inner = [name for name in channels.prunable(teacher, "paper") if name != "conv1"]
    return tuple(inner[-count:])


def train_student(tuner: FineTuner, teacher: Network, recipe: StudentRecipe, name: str, folder: Path) -> Network:
    """Train a student through its stages, or resume from the state of the folder.

    Args:
        tuner: Task and settings of the training.
        teacher: Teacher, which also determines the student's default widths.
        recipe: Recipe of the student.
        name: Name of the student, for the progress display.
        folder: Folder of the student; each stage has a subfolder.

    Returns:
        The student in eval mode, on the CPU.
    """
    torch.manual_seed(recipe.seed)
    student: Network = build(student_spec(teacher.spec, recipe))
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
    """Return the settings of one stage of a student's training; ``number`` starts at 1."""
    stage = recipe.stages[number - 1]
    return FineTuning(
        f"{name}, stage {number} of {len(recipe.stages)}",
        stage.images,
        stage.optimiser,
        tuner.run.seed + recipe.seed + number,
        growing=stage.growing,
    )


def inherit(student: Network, teacher: Network, worth: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Initialize a student with the weights of its teacher, pruned to the student's streams.

    Only the streams between the blocks lose channels. Once they carry the teacher's information, the maps inside the
    blocks match the teacher's, too.

    Args:
        student: Network to initialize. Tensors of another shape, such as dense layers, keep their values.
        teacher: Network to copy from; not changed.
        worth: Importance of the channels of each of the teacher's streams: group -> (width,); the largest are kept.

    Returns:
        Names of the copied tensors.
    """
    widths = channels.widths(student.spec)
    keep = {name: values.argsort(descending=True)[: widths[name]].sort().values for name, values in worth.items()}
    own, given = student.state_dict(), surgery.prune(teacher, keep).state_dict()
    taken = tuple(name for name in own if name in given and own[name].shape == given[name].shape)
    for name in taken:
        own[name].copy_(given[name])  # the tensors of a state dict share memory with the network
    return taken


def _frozen(teacher: Network, bf16: str) -> Network:
    """Return a frozen copy in eval mode, with its weights already in the dtype to which autocast would convert them."""
    frozen = copy.deepcopy(teacher).eval().requires_grad_(False).to(distributed.join().device)
    if computes_bf16(bf16, distributed.join().device):
        for module in frozen.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to(torch.bfloat16)
    return frozen


def _of_one_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return both maps, the larger one average-pooled to the size of the smaller one; (N, C) as they are."""
    if a.ndim == 2:
        return a, b
    size = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
    return tuple(  # type: ignore[return-value]
        values if values.shape[2:] == size else functional.adaptive_avg_pool2d(values, size) for values in (a, b)
    )
