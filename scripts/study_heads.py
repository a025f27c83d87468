"""Measure the value of rendered heads: their number, each group of ingredients, and together with photographs.

headpose synth --n 100000 --size 128 --assets ASSETS --out HEADS/all
for group in people cover light camera; do
    headpose synth --n 12000 --size 128 --assets ASSETS --without $group --out HEADS/without-$group
done
python scripts/study_heads.py HEADS --out runs/study [--only 12000,without-light] [--seeds 2] [--table]
python scripts/study_heads.py HEADS --out runs/study --table --test AFLW2000       # at the end, once

Every run trains the network of `compact` at 64 pixels on the same number of images. All runs are compared on the
held-out photographs of the recipe `compact`, which have pseudo-labels and include no rendered heads and no faces of
AFLW2000-3D. Finished runs are skipped. Several processes may share a folder if their runs differ.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headpose import geometry, metrics
from headpose.cli.arguments import named_path
from headpose.cli.program import imports_from, run_program
from headpose.errors import DataError
from headpose.evaluation import accuracy, testsets
from headpose.files import write_text
from headpose.inference import OnnxPoseModel
from headpose.types import Sample

with imports_from("train", "study_heads"):
    from headpose.recipes import training as recipe
    from headpose.training import data
    from headpose.training.loop import RECIPE

SIZES = (12_000, 50_000, 100_000)
GROUPS = ("people", "cover", "light", "camera")
SIZE = 64  # side of the input in pixels; short runs that grew to 96 at the end did not recover in time
RESULT = "photographs.json"
TEST_RESULT = "aflw2000.json"


@dataclass(frozen=True, slots=True)
class Study:
    """Training set of a run.

    Attributes:
        name: Name of the run.
        heads: Folder of the rendered heads; None for photographs only.
        size: Number of heads to use; the first ones are taken.
        repeat: Number of passes over the heads in an epoch, besides photographs; 0 for heads only.
    """

    name: str
    heads: Path | None = None
    size: int = SIZES[0]
    repeat: float = 0.0

    @property
    def recipe(self) -> str:
        """Name of the recipe. Its augmentation is stronger with photographs: heads are rendered with variation."""
        return "compact" if self.heads is None or self.repeat else "compact-clean"

    def network(self, folder: Path) -> Path:
        """Return the path of the trained network in the folder of a run."""
        return folder / f"{self.recipe}.onnx"

    @property
    def sources(self) -> list[str]:
        """Data sources of the run as inline TOML tables."""
        found = []
        if self.recipe == "compact":
            for each in recipe.load("compact").data.sources:
                grouped = str(each.near_duplicates).lower()
                found.append(f'{{kind="{each.kind}", path="{each.path}", near_duplicates={grouped}}}')
        if self.heads is not None:
            file = self.heads / f"first-{self.size}.csv"
            found.append(f'{{kind="manifest", path="{file}", repeat={self.repeat or 1.0:g}}}')
        return found


def main() -> int:
    return run_program("study_heads", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="study_heads", description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=named_path, metavar="HEADS", help="folder with all/ and without-GROUP/")
    parser.add_argument("--out", type=named_path, required=True, metavar="DIR", help="folder for the runs' folders")
    parser.add_argument("--only", metavar="A,B", help="names of the runs to do (default: all)")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="number of seeds per run (2)")
    parser.add_argument("--images", type=int, default=160_000, metavar="N", help="training images per run (160000)")
    parser.add_argument("--table", action="store_true", help="only print the results of finished runs")
    parser.add_argument(
        "--test", type=named_path, metavar="DIR", help="folder of AFLW2000-3D: evaluate finished runs on it as well"
    )
    arguments = parser.parse_args()
    chosen = studies(arguments.heads, arguments.only)
    for seed in range(0 if arguments.table else arguments.seeds):
        for study in chosen:
            run(study, seed, arguments.images, arguments.out)
    print(table(chosen, arguments.out, RESULT))
    if arguments.test:
        read_test_set(chosen, arguments.out, arguments.test)
        print(f"\nAFLW2000-3D\n\n{table(chosen, arguments.out, TEST_RESULT)}")
    return 0


def studies(heads: Path, only: str | None) -> list[Study]:
    """Return the studies.

    Args:
        heads: Folder with all/ and without-GROUP/.
        only: Comma-separated names of the studies to return; None for all.

    Raises:
        DataError: A name is unknown.
    """
    known = [Study(str(size), heads / "all", size) for size in SIZES]
    known += [Study(f"without-{group}", heads / f"without-{group}") for group in GROUPS]
    known.append(Study("photographs"))
    # An epoch has about 18,000 photographs; the heads are repeated to reach the share s of all images.
    known += [Study(f"mix-{s:g}", heads / "all", SIZES[-1], 18_000 * s / (1 - s) / SIZES[-1]) for s in (0.25, 0.5)]
    names = only.split(",") if only else [study.name for study in known]
    if unknown := set(names) - {study.name for study in known}:
        raise DataError(f"unknown run {unknown.pop()}: the runs are {', '.join(study.name for study in known)}")
    return [study for study in known if study.name in names]


def run(study: Study, seed: int, images: int, out: Path) -> None:
    """Train a network, unless it is finished, and measure it on the held-out photographs.

    Args:
        study: Training set of the run.
        seed: Random seed.
        images: Number of training images.
        out: Folder for the runs' folders. An interrupted run in it is resumed.

    Raises:
        DataError: Training fails, or the folder has a run with another number of images.
    """
    folder = out / f"{study.name}-{seed}"
    if (folder / RECIPE).exists() and (begun := recipe.load_saved(folder / RECIPE).run.images) != images:
        raise DataError(f"{folder} was started with {begun} images, not {images}: use another --out or that --images")
    if (folder / RESULT).exists():
        return
    network = study.network(folder)
    if not network.exists():
        if study.heads is not None:
            _write_first(study.heads, study.size)
        settings = [f"crop.size={SIZE}", "run.growing=[]", f"run.images={images}", f"run.seed={seed}", "run.threads=1"]
        settings.append(f"data.sources=[{', '.join(study.sources)}]")
        command = [sys.executable, "-m", "headpose", "train", study.recipe, "--out", str(folder)]
        if (folder / RECIPE).exists():
            command.append("--resume")
        else:
            command += [part for setting in settings for part in ("--set", setting)]
        if subprocess.run(command, check=False).returncode:
            raise DataError(f"{study.name}: training failed, see above")
    write_text(folder / RESULT, json.dumps(measure(network, _photographs()), indent=1))


@functools.cache
def _photographs() -> list[Sample]:
    """Return the held-out photographs. Cached, because finding near-duplicates is slow."""
    return data.read(recipe.load("compact").data).validation


def _write_first(folder: Path, size: int) -> None:
    """Write a manifest of the first ``size`` heads of a folder."""
    file = folder / "manifest.csv"
    if not file.is_file():
        raise DataError(f"{file} does not exist: render the heads first")
    lines = file.read_text("utf-8").splitlines(keepends=True)
    if len(lines) <= size:
        raise DataError(f"{file} has {len(lines) - 1} heads, but {size} are needed: render more")
    write_text(folder / f"first-{size}.csv", "".join(lines[: size + 1]))


def read_test_set(chosen: list[Study], out: Path, folder: Path) -> None:
    """Evaluate every finished run once on AFLW2000-3D: the 1969 faces with all angles up to 99 degrees."""
    faces = testsets.read(folder).select("99")
    for study in chosen:
        for result in _finished(study, out, RESULT):
            if not (target := result.with_name(TEST_RESULT)).exists():
                found = measure(study.network(result.parent), faces.samples)
                write_text(target, json.dumps(found, indent=1))


def _finished(study: Study, out: Path, result: str) -> list[Path]:
    """Return the result files of the finished seeds."""
    return sorted(out.glob(f"{study.name}-[0-9]/{result}"))


def measure(network: Path, samples: list[Sample]) -> dict[str, dict[str, float]]:
    """Return the geodesic error, MAE and pitch bias in degrees, over all faces and by |yaw|.

    Means are weighted as in training.

    Args:
        network: Path of the .onnx file.
        samples: Labeled faces.
    """
    predicted = accuracy.predict(OnnxPoseModel(network, device="cpu"), samples)
    labels = np.array([sample.euler for sample in samples])
    weights = np.array([sample.weight for sample in samples])
    angles = geometry.euler_from_rotation(predicted, accuracy.BRANCH)
    errors = accuracy.errors(angles, predicted, samples)
    named = dict(zip(accuracy.MEASURES, errors.T, strict=True))
    bias = metrics.euler_errors(angles, labels)[:, 1]
    found = {}
    for name, mask in {"all": np.ones(len(samples), bool), **metrics.yaw_bins(labels[:, 0])}.items():
        found[name] = {key: float(np.average(values[mask], weights=weights[mask])) for key, values in named.items()}
        found[name]["pitch bias"] = float(np.average(bias[mask], weights=weights[mask]))
    return found


def table(chosen: list[Study], out: Path, result: str) -> str:
    """Return a Markdown table: one row per study, with means over seeds and each seed's error over all faces."""
    lines = [
        "| trained on | geodesic (each seed) | MAE | by yaw: 0-30 | 30-60 | 60-99 | pitch's bias |",
        "|" + "---|" * 7,
    ]
    for study in chosen:
        seeds = [json.loads(file.read_text("utf-8")) for file in _finished(study, out, result)]
        if not seeds:
            continue
        mean = {part: {key: np.mean([s[part][key] for s in seeds]) for key in seeds[0][part]} for part in seeds[0]}
        each = ", ".join(f"{s['all']['geodesic']:.2f}" for s in seeds)
        bins = " | ".join(f"{mean[part]['geodesic']:.2f}" for part in mean if part != "all")
        whole, bias = mean["all"], f"{mean['all']['pitch bias']:+.2f}"
        lines.append(f"| {study.name} | {whole['geodesic']:.2f} ({each}) | {whole['mae']:.2f} | {bins} | {bias} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
