"""The whole chain: baseline -> pruned teacher -> students -> files, one folder, each part resumable."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from headpose import crop, weights
from headpose.compression import surgery
from headpose.compression.distillation import student_spec, train_student
from headpose.compression.finetune import NETWORK, FineTuner
from headpose.compression.pruning import ROUNDED, Pruner
from headpose.compression.quantization import LIMITS, quantize
from headpose.compression.recipe import CompressionRecipe, StudentRecipe
from headpose.compression.steps import Step, read_json
from headpose.errors import RecipeError, WeightsError
from headpose.files import write_text
from headpose.networks import checkpoint
from headpose.networks.export import ModelCard, export_onnx, state_from_onnx
from headpose.networks.resnet import HeadPoseNet, ResNet, build
from headpose.recipes import provenance
from headpose.recipes.training import Recipe
from headpose.training import data, distributed, tasks
from headpose.training.loop import SPLIT
from headpose.training.protocols import Task, check_data, write_data
from headpose.training.tasks.head_pose import HeadPoseTask
from headpose.types import Image

BASELINE, TEACHER, CONTROL = "baseline", "teacher", "teacher-random"
RECIPE = "recipe.json"


class Compression:
    """One compression in one folder.

    The folder holds ``prune/`` and ``control/`` (a folder for each step, and ``rounded``), ``students/NAME/``
    (a folder for each stage), the networks as ONNX files, and the report. Every part keeps the recipe that it
    was made by: a part that was made otherwise is refused, not mixed in.
    """

    def __init__(self, recipe: CompressionRecipe, folder: Path, changed_data: bool = False) -> None:
        """``changed_data``: goes on even if the data are others than those that the folder's parts were made with."""
        self.recipe, self.folder, self.changed_data = recipe, folder, changed_data
        training = recipe.baseline.training()
        self._data = training.statement
        # What learns from these networks is bound by what they state, too.
        self._origins = {BASELINE: provenance.of_network(recipe.baseline.weights)}
        if recipe.baseline.teacher:
            self._origins[TEACHER] = provenance.of_network(recipe.baseline.teacher)
        self._said = provenance.said(recipe.baseline.changes)
        whole = self._data
        for origin in self._origins.values():
            whole = provenance.combine(whole, origin, self._said)
        self.training = training.stating(whole)
        distributed.use_threads(recipe.run.threads)

    @cached_property
    def tuner(self) -> FineTuner:
        """Where everything is trained; its data are read on first use.

        Raises:
            DataError: they are others than those that the folder's parts were made with.
        """
        task = tasks.of(self.training)
        if not self.changed_data:
            check_data(self.folder / SPLIT, task)
        return FineTuner(task, self.training, self.recipe.run, self.changed_data)

    @property
    def task(self) -> Task:
        return self.tuner.task

    @cached_property
    def baseline(self) -> ResNet:
        """The network that is compressed, in eval mode."""
        return read_network(self.recipe.baseline.weights, self.training).eval()

    def prune(self) -> ResNet:
        """The teacher: the baseline pruned, rounded and fine-tuned, or the one that the recipe names."""
        if self.recipe.baseline.teacher:
            return self.teacher()
        pruner = self.pruner  # reads what it needs: a run that cannot start claims nothing
        self._claim(self.folder / "prune", self._part("prune"))
        if self.recipe.prune.scan and self.recipe.prune.scan_images:
            pruner.scan()
        return pruner.run()

    def control(self) -> None:
        """The teacher's control, if the recipe asks: the same widths, of channels drawn at random.

        Raises:
            WeightsError: the steps of the teacher's pruning have not been made yet.
        """
        if not self.recipe.prune.control or self.recipe.baseline.teacher:
            return
        if not (self.folder / "prune" / ROUNDED).is_dir():
            raise WeightsError(f"there are no widths to follow in {self.folder}: run the stage prune first")
        self._claim(self.folder / "control", self._part("prune"))
        chance = dataclasses.replace(self.recipe.prune, importance="random")
        Pruner(self.tuner, self.baseline, chance, self.folder / "control", self.steps()).run()

    @property
    def pruner(self) -> Pruner:
        return Pruner(self.tuner, self.baseline, self.recipe.prune, self.folder / "prune")

    def steps(self) -> list[Step]:
        """The accepted steps of pruning, the baseline first."""
        return [step for step in self.pruner.steps() if step.accepted]

    def distill(self, names: list[str] | None = None) -> None:
        """Trains the students, or those named, in the recipe's order.

        Raises:
            RecipeError: no such student.
            WeightsError: there is no teacher yet.
        """
        for name, student in self.students(names).items():
            folder, teacher = self.folder / "students" / name, self.teacher()
            student_spec(teacher.spec, student)  # for its errors, before anything is claimed
            self._claim(folder, {**self._part("prune"), "student": dataclasses.asdict(student)})
            train_student(self.tuner, teacher, student, name, folder)

    def students(self, names: list[str] | None = None) -> dict[str, StudentRecipe]:
        """The students, or those named, in the recipe's order; RecipeError if there is none of a name."""
        for name in names or []:
            if name not in self.recipe.students:
                raise RecipeError(f"the recipe has no student {name!r}; it has {', '.join(self.recipe.students)}")
        return {name: each for name, each in self.recipe.students.items() if names is None or name in names}

    def teacher(self) -> ResNet:
        """The teacher that was made or that the recipe names; WeightsError if there is none."""
        if self.recipe.baseline.teacher:
            return read_network(self.recipe.baseline.teacher, self.training).eval()
        file = self.folder / "prune" / ROUNDED / NETWORK
        if not file.is_file():
            raise WeightsError(f"there is no teacher in {self.folder}: run the stage prune first")
        return surgery.load(file)

    def networks(self) -> dict[str, ResNet]:
        """Every network that there is by now: the baseline, the teacher, its control, and finished students."""
        named = {TEACHER: self.teacher()} if self.recipe.baseline.teacher else {}
        files = {
            TEACHER: self.folder / "prune" / ROUNDED / NETWORK,
            CONTROL: self.folder / "control" / ROUNDED / NETWORK,
            **{
                name: self.folder / "students" / name / f"stage-{len(student.stages)}" / NETWORK
                for name, student in self.recipe.students.items()
            },
        }
        found = {name: surgery.load(file) for name, file in files.items() if file.is_file()}
        return {BASELINE: self.baseline, **named, **found}

    def export(self) -> dict[str, Path]:
        """Writes every head pose network there is as NAME.onnx; returns the files by name."""
        files = {}
        for name, network in self.networks().items():
            if isinstance(network, HeadPoseNet):
                files[name] = self.folder / f"{name}.onnx"
                export_onnx(network, self.training.crop, self._card(name), files[name])
        return files

    def quantize(self, sources: Mapping[str, Path]) -> dict[str, Path]:
        """Writes FP16 and INT8 variants of the students that the recipe names; returns the files by name.

        Args:
            sources: float32 files by name, of ``export``.

        Raises:
            RecipeError: the students are classifiers.
            WeightsError: a variant is too far from its student, or there is no such student yet.
        """
        names = self.recipe.quantize.students
        if not names:
            return {}
        if not isinstance(self.task, HeadPoseTask):
            raise RecipeError("recipe: quantize.students: only head pose networks are written as ONNX; leave it empty")
        files = {}
        for name in names:
            if name not in sources:
                raise WeightsError(f"there is no student {name} in {self.folder}: run the stage distill first")
            for precision in LIMITS:
                target = self.folder / f"{name}-{precision}.onnx"
                quantize(sources[name], target, precision, self.task.validator.crops, self.calibration)
                files[f"{name}-{precision}"] = target
        return files

    @cached_property
    def calibration(self) -> list[Image]:
        """Crops of training faces, from which INT8's ranges are taken."""
        assert isinstance(self.task, HeadPoseTask)
        samples, count = self.task.split.training, self.recipe.quantize.calibration_images
        chosen = np.random.default_rng(self.recipe.run.seed).permutation(len(samples))[:count]
        pictures = data.Pictures(0)
        return [crop.cut(pictures.read(samples[i]), samples[i].box, self.training.crop) for i in np.sort(chosen)]

    def _card(self, name: str) -> ModelCard:
        """What a network's file says of it: of one that was given, what it said before."""
        student, statement = self.recipe.students.get(name), self.training.statement
        parent = BASELINE if name in (TEACHER, CONTROL) else ""
        if origin := self._origins.get(name):
            statement = origin.statement if origin.statement.license != provenance.UNKNOWN else statement
            nameless = Path(self.recipe.baseline.weights if name == BASELINE else self.recipe.baseline.teacher).name
            parent = origin.parent if origin.name in (name, nameless) else origin.name
        elif student:
            parent, statement = (TEACHER, statement) if _has_teacher(student) else ("", self._data)
        recipe = self.training.name if name == BASELINE else self.recipe.name
        return ModelCard(
            name, "fp32", statement.license, statement.license_terms, statement.data_note, recipe=recipe, parent=parent
        )

    def _part(self, section: str) -> dict[str, Any]:
        """What decides a part: what it reads, and its own settings; not how many threads it has."""
        whole = dataclasses.asdict(self.recipe)
        run = {key: value for key, value in whole["run"].items() if key not in ("threads", "workers", "latency")}
        later = ("teacher", "data")  # keys that folders of old do not have
        baseline = {key: value for key, value in whole["baseline"].items() if key not in later or value}
        for source in baseline.get("data", ()):
            if not source["share"]:  # 0.1.0 had no shares, and its folders can still be continued
                del source["share"]
        return {"baseline": baseline, section: whole[section], "run": run}

    def _claim(self, folder: Path, part: dict[str, Any]) -> None:
        """Notes in a folder what it is made by, and from which data, or refuses one that was made otherwise."""
        file = folder / RECIPE
        wanted = json.loads(json.dumps(part))
        if file.exists():
            made = _flat(read_json(file))
            different = [key for key, value in _flat(wanted).items() if made.get(key) != value]
            if different:
                raise RecipeError(f"{folder} was made with another {different[0]}: give another --out, or that setting")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(wanted, indent=1))
        if self.changed_data or not (self.folder / SPLIT).exists():
            write_data(self.folder / SPLIT, self.task)


def read_network(name_or_path: str, training: Recipe) -> ResNet:
    """The network to compress: a name of the manifest, an .onnx file, or a .safetensors file.

    Raises:
        WeightsError: no such file, or not a network of this package.
        RecipeError: its input is cut otherwise than the recipe says.
    """
    path = Path(name_or_path)
    if path.suffix != ".safetensors":
        spec, cut, state = state_from_onnx(weights.find(name_or_path))
        if cut != training.crop:
            raise RecipeError(f"{name_or_path} and the training recipe {training.name} have different crops")
        network = build(spec)
        network.load_state_dict(state, strict=False)
        return network
    if not os.path.isfile(path):  # noqa: PTH113  # Path's own raises where a folder cannot be read
        raise WeightsError(f"model file {path} does not exist, or its folder cannot be read")
    if "spec" in surgery.read_metadata(path):
        return surgery.load(path)
    network = build(training.spec)  # as ``headpose train`` leaves its best weights
    try:
        checkpoint.load_weights(network, path)
    except WeightsError as error:
        raise WeightsError(f"{error}; the recipe is {training.name}") from error
    return network


def _has_teacher(student: StudentRecipe) -> bool:
    """Whether anything of a teacher is in its weights: their start, or what they have learnt from."""
    trained = any(stage.features or stage.output or stage.rotation for stage in student.stages)
    return trained or student.start != "random"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return found
