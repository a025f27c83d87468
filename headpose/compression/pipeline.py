"""Pipeline of a compression: baseline -> pruned teacher -> students -> codewords -> files; each part is resumable."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from headpose import crop
from headpose.coded import SUFFIX, Codes
from headpose.compression import product_file, surgery
from headpose.compression.coding import CODES, quantize_network, quantized_layers
from headpose.compression.distillation import student_spec, train_student
from headpose.compression.finetune import NETWORK, FineTuner, FineTuning
from headpose.compression.pruning import ROUNDED, Pruner
from headpose.compression.quantization import LIMITS, quantize
from headpose.compression.read import read_network
from headpose.compression.recipe import CompressionRecipe, StudentRecipe
from headpose.compression.sparsify import prune_connections
from headpose.compression.sparsify import tunings as connection_tunings
from headpose.compression.steps import Step, read_json
from headpose.compression.weights_recipe import ConnectionsRecipe, ProductRecipe
from headpose.errors import RecipeError, WeightsError
from headpose.files import write_text
from headpose.networks.export import ModelCard, export_onnx
from headpose.networks.network import Network
from headpose.networks.plain import PlainNet
from headpose.networks.resnet import HeadPoseNet
from headpose.recipes import provenance
from headpose.training import data, distributed, tasks
from headpose.training.loop import SPLIT
from headpose.training.protocols import Task, check_data, write_data
from headpose.training.tasks.head_pose import HeadPoseTask
from headpose.types import Image

BASELINE, STRIDED, TEACHER, CONTROL = "baseline", "strided", "teacher", "teacher-random"
RECIPE = "recipe.json"


class Compression:
    """One compression in one folder.

    The folder contains ``strided/``, ``prune/`` and ``control/`` (a folder for each step, and ``rounded``),
    ``students/NAME/`` (a folder for each stage), ``connections/NAME/`` and ``product/NAME/`` (a folder for each step),
    the networks as ONNX or, after product quantization, .safetensors files, and the report. Each part stores the recipe
    that it was made with. A part that was made with other settings is rejected.
    """

    def __init__(self, recipe: CompressionRecipe, folder: Path, changed_data: bool = False) -> None:
        """Create a compression without reading its data.

        Args:
            recipe: Recipe of the compression.
            folder: Folder of the run, new or to be resumed.
            changed_data: Whether the run may continue on other data than the parts in the folder were made with.

        Raises:
            HeadPoseError: The training recipe or a file of weights cannot be read.
        """
        self.recipe, self.folder, self.changed_data = recipe, folder, changed_data
        training = recipe.baseline.training()
        self._data = training.statement
        # Networks that learn from these are bound by their license statements, too.
        self._origins = {BASELINE: provenance.of_network(recipe.baseline.weights)}
        if recipe.baseline.teacher:
            self._origins[TEACHER] = provenance.of_network(recipe.baseline.teacher)
        self._said = provenance.said(recipe.baseline.changes)
        whole = self._data
        for origin in self._origins.values():
            whole = provenance.combine(whole, origin, self._said)
        self.training = training.stating(whole)
        distributed.prepare_process(recipe.run.threads)

    @cached_property
    def tuner(self) -> FineTuner:
        """Fine-tuner of all trainings; it reads the data on first use.

        Raises:
            DataError: The data differ from those that the parts in the folder were made with.
        """
        task = tasks.of(self.training)
        if not self.changed_data:
            check_data(self.folder / SPLIT, task)
        return FineTuner(task, self.training, self.recipe.run, self.changed_data)

    @property
    def task(self) -> Task:
        return self.tuner.task

    @cached_property
    def baseline(self) -> Network:
        """Network that is compressed, in eval mode."""
        return read_network(self.recipe.baseline.weights, self.training).eval()

    def prune(self) -> Network:
        """Make and return the teacher: the pruned and fine-tuned baseline, or the network named in the recipe."""
        if self.recipe.baseline.teacher:
            return self.teacher()
        if self.recipe.prune.pooling == "stride":
            self.stride()
        pruner = self.pruner  # reads its input first: a run that cannot start must not claim the folder
        self._claim(self.folder / "prune", self._part("prune"))
        if self.recipe.prune.scan and self.recipe.prune.scan_images:
            pruner.scan()
        return pruner.run()

    def control(self) -> None:
        """Make the control of the teacher, if the recipe requests it: the same widths, with channels chosen at random.

        Raises:
            WeightsError: The teacher has not been pruned yet.
        """
        if not self.recipe.prune.control or self.recipe.baseline.teacher:
            return
        if not (self.folder / "prune" / ROUNDED).is_dir():
            raise WeightsError(f"there is no pruned teacher in {self.folder}: run the stage prune first")
        self._claim(self.folder / "control", self._part("prune"))
        chance = dataclasses.replace(self.recipe.prune, importance="random")
        Pruner(self.tuner, self.unpruned, chance, self.folder / "control", self.steps()).run()

    @property
    def pruner(self) -> Pruner:
        return Pruner(self.tuner, self.unpruned, self.recipe.prune, self.folder / "prune")

    @property
    def unpruned(self) -> Network:
        """Network that is pruned: the baseline, or the one with strides in place of its max-pools if it was made."""
        file = self.folder / STRIDED / NETWORK
        return surgery.load(file) if self.recipe.prune.pooling == "stride" and file.is_file() else self.baseline

    def stride(self) -> Network:
        """Replace the max-pools of the baseline by strides, and train the result; see ``prune.pooling``.

        Raises:
            RecipeError: The baseline has no max-pool.
        """
        network, prune = surgery.stride_for_pooling(self.baseline), self.recipe.prune
        if network.spec == self.baseline.spec:
            raise RecipeError("recipe: prune.pooling: the baseline has no max-pool: leave it out")
        tuner, folder = self.tuner, self.folder / STRIDED
        self._claim(folder, self._part("prune"))
        tuning = FineTuning(STRIDED, prune.pooling_images, prune.last_optimiser, tuner.run.seed + 3000)
        return tuner.train(network, tuning, folder)

    def steps(self) -> list[Step]:
        """Return the accepted pruning steps, the baseline first. Missing steps are made."""
        return [step for step in self.pruner.steps() if step.accepted]

    def distill(self, names: list[str] | None = None) -> None:
        """Train students, in the order of the recipe.

        Args:
            names: Names of the students; None for all.

        Raises:
            RecipeError: A name is unknown.
            WeightsError: There is no teacher yet.
        """
        for name, student in self.students(names).items():
            folder, teacher = self.folder / "students" / name, self.teacher()
            student_spec(teacher.spec, student)  # raises before the folder is claimed
            self._claim(folder, {**self._part("prune"), "student": dataclasses.asdict(student)})
            train_student(self.tuner, teacher, student, name, folder)

    def students(self, names: list[str] | None = None) -> dict[str, StudentRecipe]:
        """Return the recipes of students by name, in the order of the recipe.

        Args:
            names: Names of the students; None for all.

        Raises:
            RecipeError: A name is unknown.
        """
        for name in names or []:
            if name not in self.recipe.students:
                raise RecipeError(f"the recipe has no student {name!r}; it has {', '.join(self.recipe.students)}")
        return {name: each for name, each in self.recipe.students.items() if names is None or name in names}

    def encode(self) -> None:
        """Quantize the networks of ``product`` and train their codewords, in the order of the recipe.

        Raises:
            RecipeError: The network is a classifier, or ``exempt`` does not fit it.
            WeightsError: The network to quantize has not been made yet.
        """
        for name, recipe in self.recipe.product.items():
            self.coded(name, recipe)

    def coded(self, name: str, recipe: ProductRecipe) -> tuple[Network, dict[str, Codes]]:
        """Return a network of ``product`` and its codes; they are made if they are missing. See ``encode``."""
        network = self.source(recipe.network)
        if not isinstance(network, HeadPoseNet | PlainNet):
            raise RecipeError("recipe: product: no file can be written of a classifier; leave it empty")
        quantized_layers(network, recipe)  # raises before the folder is claimed
        folder = self.folder / "product" / name
        self._claim(folder, {**self._origin_of(recipe.network), "product": dataclasses.asdict(recipe)})
        return quantize_network(self.tuner, network, recipe, name, folder)

    def sparsify(self) -> None:
        """Prune the connections of the networks of ``connections``, in the order of the recipe.

        Raises:
            RecipeError: ``exempt`` does not fit the network.
            WeightsError: The network to prune has not been made yet.
        """
        for name, recipe in self.recipe.connections.items():
            network = self.source(recipe.network)
            connection_tunings(network, recipe, name, 0)  # raises before the folder is claimed
            folder = self.folder / "connections" / name
            self._claim(folder, {**self._origin_of(recipe.network), "connections": dataclasses.asdict(recipe)})
            prune_connections(self.tuner, network, recipe, name, folder)

    def _origin_of(self, name: str) -> dict[str, Any]:
        """Return the settings that determine a network that ``source`` returns."""
        part = self._part("prune")
        if name in self.recipe.students:
            part["student"] = dataclasses.asdict(self.recipe.students[name])
        if name in self.recipe.connections:
            each = self.recipe.connections[name]
            part = {**self._origin_of(each.network), "connections": dataclasses.asdict(each)}
        return part

    def source(self, name: str) -> Network:
        """Return the network that a later stage names: ``baseline``, ``teacher``, a student or one of ``connections``.

        Raises:
            WeightsError: It has not been made yet.
        """
        if name in (BASELINE, TEACHER):
            return self.baseline if name == BASELINE else self.teacher()
        sparse = name in self.recipe.connections
        file = self.folder / "connections" / name / NETWORK if sparse else self._student_file(name)
        if not file.is_file():
            stage = "connections" if sparse else "distill"
            raise WeightsError(f"there is no network {name} in {self.folder}: run the stage {stage} first")
        return surgery.load(file)

    def teacher(self) -> Network:
        """Return the teacher that was made, or the one named in the recipe.

        Raises:
            WeightsError: There is no teacher yet.
        """
        if self.recipe.baseline.teacher:
            return read_network(self.recipe.baseline.teacher, self.training).eval()
        file = self.folder / "prune" / ROUNDED / NETWORK
        if not file.is_file():
            raise WeightsError(f"there is no teacher in {self.folder}: run the stage prune first")
        return surgery.load(file)

    def networks(self) -> dict[str, Network]:
        """Return all networks that exist, by name, in the order in which they are made."""
        named = {TEACHER: self.teacher()} if self.recipe.baseline.teacher else {}
        files = {
            STRIDED: self.folder / STRIDED / NETWORK,
            TEACHER: self.folder / "prune" / ROUNDED / NETWORK,
            CONTROL: self.folder / "control" / ROUNDED / NETWORK,
            **{name: self._student_file(name) for name in self.recipe.students},
            **{name: self.folder / "connections" / name / NETWORK for name in self.recipe.connections},
            **{name: self.folder / "product" / name / NETWORK for name in self.recipe.product},
        }
        found = {name: surgery.load(file) for name, file in files.items() if file.is_file()}
        return {BASELINE: self.baseline, **named, **found}

    def export(self) -> dict[str, Path]:
        """Write each existing head pose network, and return the files by name.

        The files are NAME.onnx, or NAME.safetensors for a network of ``product``.
        """
        files = {}
        for name, network in self.networks().items():
            if isinstance(network, HeadPoseNet | PlainNet):
                calibration = None
                if isinstance(network, HeadPoseNet) and network.spec.outputs and isinstance(self.task, HeadPoseTask):
                    calibration = self.task.calibration(network)
                files[name] = self.folder / f"{name}.onnx"
                with tempfile.TemporaryDirectory() as folder:
                    coded = name in self.recipe.product
                    target = Path(folder) / "decoded.onnx" if coded else files[name]
                    export_onnx(network, self.training.crop, self._card(name), target, calibration)
                    if coded:
                        files[name] = files[name].with_suffix(SUFFIX)
                        codes = product_file.load_codes(self.folder / "product" / name / CODES)
                        product_file.write(files[name], target, codes)
        return files

    def _student_file(self, name: str) -> Path:
        return self.folder / "students" / name / f"stage-{len(self.recipe.students[name].stages)}" / NETWORK

    def quantize(self, sources: Mapping[str, Path]) -> dict[str, Path]:
        """Write FP16 and INT8 variants of the students in ``quantize.students``, and return the files by name.

        Args:
            sources: Float32 files by name, from ``export``.

        Raises:
            RecipeError: The students are classifiers.
            WeightsError: A variant differs too much from its student, or a student has not been trained yet.
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
        """Crops of training faces that calibrate the INT8 ranges."""
        assert isinstance(self.task, HeadPoseTask)
        samples, count = self.task.split.training, self.recipe.quantize.calibration_images
        chosen = np.random.default_rng(self.recipe.run.seed).permutation(len(samples))[:count]
        pictures = data.Pictures(0)
        return [crop.cut(pictures.read(samples[i]), samples[i].box, self.training.crop) for i in np.sort(chosen)]

    def _card(self, name: str) -> ModelCard:
        """Return the model card of a network. Networks named in the recipe keep the license statement of their file."""
        student, statement = self.recipe.students.get(name), self.training.statement
        later: ConnectionsRecipe | ProductRecipe | None = self.recipe.product.get(name) or self.recipe.connections.get(
            name
        )
        parent = BASELINE if name in (STRIDED, TEACHER, CONTROL) else ""
        if origin := self._origins.get(name):
            statement = origin.statement if origin.statement.license != provenance.UNKNOWN else statement
            nameless = Path(self.recipe.baseline.weights if name == BASELINE else self.recipe.baseline.teacher).name
            parent = origin.parent if origin.name in (name, nameless) else origin.name
        elif later:
            parent = later.network
        elif student:
            parent, statement = (TEACHER, statement) if _has_teacher(student) else ("", self._data)
        recipe = self.training.name if name == BASELINE else self.recipe.name
        return ModelCard(
            name, "fp32", statement.license, statement.license_terms, statement.data_note, recipe=recipe, parent=parent
        )

    def _part(self, section: str) -> dict[str, Any]:
        """Return the settings that determine a part: its input and its section, without threads and workers."""
        whole = dataclasses.asdict(self.recipe)
        run = {key: value for key, value in whole["run"].items() if key not in ("threads", "workers", "latency")}
        later = ("teacher", "data")  # keys that folders from earlier versions do not have
        baseline = {key: value for key, value in whole["baseline"].items() if key not in later or value}
        for source in baseline.get("data", ()):
            if not source["share"]:  # missing in folders from 0.1.0, which can still be resumed
                del source["share"]
        return {"baseline": baseline, section: whole[section], "run": run}

    def _claim(self, folder: Path, part: dict[str, Any]) -> None:
        """Write the settings and the data of a part into its folder, or check those that are there.

        Args:
            folder: Folder of the part.
            part: Settings of the part (``_part``).

        Raises:
            RecipeError: The folder was made with other settings.
        """
        file = folder / RECIPE
        wanted = json.loads(json.dumps(part))
        if file.exists():
            made = _flat(read_json(file))
            different = [key for key, value in _flat(wanted).items() if made.get(key) != value]
            if different:
                raise RecipeError(
                    f"{folder} was made with another {different[0]}: give another --out, or restore that setting"
                )
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(wanted, indent=1))
        if self.changed_data or not (self.folder / SPLIT).exists():
            write_data(self.folder / SPLIT, self.task)


def _has_teacher(student: StudentRecipe) -> bool:
    """Return whether the weights of a student depend on a teacher, by initialization or distillation."""
    trained = any(stage.features or stage.output or stage.rotation for stage in student.stages)
    return trained or student.start != "random"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one dictionary with dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return found
