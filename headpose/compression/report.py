"""Report of a compression, as Markdown, HTML and JSON."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from headpose.compression import pictures
from headpose.compression.finetune import NETWORK
from headpose.compression.int8 import to_stock_int8
from headpose.compression.measure import latency, size_of
from headpose.compression.parity import Parity, compare, predict_anyhow, read
from headpose.compression.pipeline import BASELINE, Compression
from headpose.compression.recipe import StudentRecipe
from headpose.compression.steps import Step
from headpose.evaluation.latency import machine
from headpose.files import write_text
from headpose.inference import OnnxPoseModel
from headpose.reading import Calibration
from headpose.report import page
from headpose.report.document import Block, Row, Section, Table, Text
from headpose.training import log
from headpose.training.tasks.classification import ClassificationTask
from headpose.training.tasks.head_pose import HeadPoseTask

JSON = "report.json"


@dataclass(frozen=True, slots=True)
class Variant:
    """One network in the report.

    Attributes:
        name: Name of the network.
        precision: ``fp32``, ``fp16``, ``int8``, or ``product`` for weights stored as codewords and computed in float32.
        parameters: Number of trained values.
        macs: Number of multiply-accumulates of one forward pass.
        bytes: Size of its file, or of its stored weights if it has no file.
        figures: Held-out errors by name; the first one decides.
        latency_ms: Median time of one image in milliseconds, by number of threads; empty if not timed.
        test_error: Error on the test set of a classifier, NaN otherwise; no choice is based on it.
        parity: Distances from the float32 network; None for a float32 network.
    """

    name: str
    precision: str
    parameters: int
    macs: int
    bytes: int
    figures: dict[str, float]
    latency_ms: dict[str, float]
    test_error: float = math.nan
    parity: Parity | None = None

    @property
    def error(self) -> float:
        return next(iter(self.figures.values()))


def write(compression: Compression, files: dict[str, Path]) -> Path:
    """Measure every network of a compression and write the report into its folder.

    Args:
        compression: Completed compression.
        files: ONNX files by name, including the quantized ones.

    Returns:
        Path of the Markdown file.
    """
    folder, recipe = compression.folder, compression.recipe
    steps = compression.pruner.steps() if (folder / "prune" / "step-00").exists() else []
    variants = _variants(compression, files)
    scan_file = folder / "prune" / "scan.json"
    scan = json.loads(scan_file.read_text("utf-8")) if scan_file.exists() else {}
    students = {
        name: _student_rows(folder / "students" / name, student)
        for name, student in recipe.students.items()
        if any(variant.name == name for variant in variants)
    }
    record = {
        "name": recipe.name,
        "machine": machine(),
        "unit": compression.task.unit,
        "examples": compression.task.examples,
        "variants": [dataclasses.asdict(variant) for variant in variants],
        "steps": [dataclasses.asdict(step) for step in steps],
        "scan": scan,
        "students": students,
        "recipe": json.loads(recipe.to_json()),
    }
    write_text(folder / JSON, json.dumps(record, indent=1))
    title = f"Compression: {recipe.name}"
    page.write(folder, title, _sections(compression, variants, steps, scan, students))
    return folder / page.MARKDOWN


def _variants(compression: Compression, files: dict[str, Path]) -> list[Variant]:
    task, found = compression.task, []
    times: dict[str, dict[str, float]] = {name: {} for name in files}
    if compression.recipe.run.latency and files:
        for threads in (1, 2):
            for name, timing in latency(files, threads).items():
                times[name][str(threads)] = timing.median
    networks = compression.networks()
    for name, network in tqdm(networks.items(), "measuring", unit="network", leave=False):
        size = size_of(network, task.size, compression.recipe.prune.codec)
        test = task.test(network).error if isinstance(task, ClassificationTask) else math.nan
        stored = files[name].stat().st_size if name in files else size.bytes
        figures = task.evaluate(network).figures
        precision = "product" if name in compression.recipe.product else "fp32"
        found.append(
            Variant(name, precision, size.parameters, size.macs, stored, figures, times.get(name, {}), test_error=test)
        )
    whole = {variant.name: variant for variant in found}
    for name, file in files.items():
        source, _, precision = name.rpartition("-")
        if name not in networks and isinstance(task, HeadPoseTask):
            parent = whole[source]
            crops = task.validator.crops
            models = [OnnxPoseModel(path, device="cpu") for path in (files[source], file)]
            for model in models:
                model.calibration = Calibration()  # figures are those of the training
            before, after = (read(model, crops) for model in models)
            found.append(
                dataclasses.replace(
                    parent,
                    name=name,
                    precision=precision,
                    bytes=file.stat().st_size,
                    figures=task.score(after, functools.partial(read, models[1])).figures,
                    latency_ms=times[name],
                    parity=compare(before, after),
                )
            )
    for name in compression.recipe.quantize.students:
        found.append(_stock(compression, whole[name], files[name]))
    return found


def _stock(compression: Compression, student: Variant, file: Path) -> Variant:
    """Return the results of the default quantizer on a student, for comparison, as in the paper's Table 5."""
    task = compression.task
    assert isinstance(task, HeadPoseTask)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "stock.onnx"
        to_stock_int8(file, target, compression.calibration)
        rotations = predict_anyhow(target, task.validator.crops, task.crop)
        figures = dict.fromkeys(student.figures, math.nan) | task.validator.score(rotations).figures
        size = target.stat().st_size
    name = f"{student.name}, stock quantizer"
    return dataclasses.replace(student, name=name, precision="int8", bytes=size, figures=figures, latency_ms={})


def _student_rows(folder: Path, student: StudentRecipe) -> list[dict[str, Any]]:
    """Return the loss weights, the number of images and the final error of each completed stage of a student."""
    rows = []
    for number, stage in enumerate(student.stages, start=1):
        if (folder / f"stage-{number}" / NETWORK).exists():
            best = min(log.read(folder / f"stage-{number}" / log.FILE), key=lambda row: row.error)
            parts = {key: getattr(stage, key) for key in ("features", "output", "rotation", "labels")}
            rows.append({"stage": number, "images": stage.images, **parts, "error": best.error})
    return rows


def _sections(
    compression: Compression,
    variants: list[Variant],
    steps: list[Step],
    scan: dict[str, dict[str, float]],
    students: dict[str, list[dict[str, Any]]],
) -> list[Section]:
    task = compression.task
    intro = Text(
        f"`headpose compress {compression.recipe.name}`. Errors are {task.unit} on {task.examples['validation']:,} "
        "held-out examples of the training sets. All choices were made on these examples, none on a test set. Times "
        "are milliseconds for one picture, the network alone, medians of alternating calls in one run on "
        f"{machine()}: use them as ratios."
    )
    chosen = Text(f"Errors are {task.unit}; the first column decided between networks.")
    sections = [Section("Networks", (intro, _variant_table(variants), chosen))]
    if len(steps) > 1:
        blocks: list[Block] = [pictures.draw_layers(steps), _step_table(steps, task.unit), _layer_table(steps)]
        sections.append(Section("Pruning", tuple(blocks)))
    if scan:
        about = Text(
            "Loss after removing the least important share of one layer, without fine-tuning, relative to the unpruned "
            "network."
        )
        sections.append(Section("Sensitivity", (about, _scan_table(scan))))
    if students:
        sections.append(Section("Students", (_student_table(students, task.unit),)))
    points = [(v.name, v.bytes / 1e6, v.latency_ms.get("1", math.nan), v.error) for v in variants]
    return [*sections, Section("Size, time and error", (pictures.draw_pareto(points, task.unit),))]


def _variant_table(variants: list[Variant]) -> Table:
    first = next((v for v in variants if v.name == BASELINE), variants[0])
    figures = list(first.figures)
    tested = not math.isnan(first.test_error)
    head = ["network", "precision", "parameters", "M MACs", "MB", "of baseline", *figures, "ms, 1 thread", "2 threads"]
    rows = []
    for v in variants:
        times = [f"{v.latency_ms[t]:.2f}" if t in v.latency_ms else "-" for t in ("1", "2")]
        cells = [v.name, v.precision, f"{v.parameters:,}", f"{v.macs / 1e6:.0f}", f"{v.bytes / 1e6:.2f}"]
        cells += [f"{v.bytes / first.bytes:.3f}", *(f"{v.figures[name]:.2f}" for name in figures), *times]
        rows.append([*cells, *([f"{v.test_error:.2f}"] if tested else [])])
    return _table([*head, *(["test"] if tested else [])], rows)


def _step_table(steps: list[Step], unit: str) -> Table:
    rows = []
    for step in steps:
        note = "taken back" if not step.accepted else f"{step.reached} reached" if step.reached else ""
        cells = [str(step.number), f"{step.parameters:,}", f"{step.macs / 1e6:.0f}", f"{step.bytes / 1e6:.2f}"]
        rows.append([*cells, f"{step.cut_error:.2f}", f"{step.error:.2f}", note])
    head = ["step", "parameters", "M MACs", "MB", f"error after the cut, {unit}", "after fine-tuning", ""]
    return _table(head, rows)


def _layer_table(steps: list[Step]) -> Table:
    """List the number of channels removed from each layer in each step (the paper's Figure 2 as numbers)."""
    rows = []
    for name, width in steps[0].widths.items():
        if any(name in step.removed for step in steps):
            gone = [str(len(step.removed.get(name, {}))) for step in steps[1:]]
            rows.append([name, str(width), *gone, str(steps[-1].widths[name])])
    return _table(["channels removed", "of", *(str(step.number) for step in steps[1:]), "left"], rows)


def _scan_table(scan: dict[str, dict[str, float]]) -> Table:
    shares = list(next(iter(scan.values())))
    rows = [[name, *(f"{found[share]:.2f}" for share in shares)] for name, found in scan.items()]
    return _table(["layer", *(f"{float(share):.0%}" for share in shares)], rows)


def _student_table(students: dict[str, list[dict[str, Any]]], unit: str) -> Table:
    rows = []
    for name, stages in students.items():
        for stage in stages:
            weights = [f"{stage[key]:g}" for key in ("features", "output", "rotation", "labels")]
            rows.append([name, str(stage["stage"]), f"{stage['images']:,}", *weights, f"{stage['error']:.2f}"])
    head = ["student", "stage", "images", "features", "output", "rotation", "labels", f"error, {unit}"]
    return _table(head, rows)


def _table(head: list[str], rows: list[list[str]]) -> Table:
    return Table(tuple(head), tuple(Row(tuple(cells)) for cells in rows))
