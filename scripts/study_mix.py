"""Measure mixes of training data: photographs, further photographs, turned photographs, rendered far views.

python scripts/study_mix.py split --aflw AFLW --helen HELEN --more MORE --landmarks LANDMARKS --out STUDY
headpose synth turn --source STUDY/turn-train.csv --landmarks LANDMARKS --views 2 --out STUDY/turned
headpose synth turn --source STUDY/turn-held.csv --landmarks LANDMARKS --views 1 --out STUDY/turned-held
headpose synth --poses far --n 12000 --size 128 --out STUDY/far
headpose synth --poses far --n 1000 --size 128 --seed 1 --out STUDY/far-held
python scripts/study_mix.py train STUDY [--only photographs,turned-15] [--images N] [--seeds N] [--init compact]
python scripts/study_mix.py table STUDY [--only ...]

Every run trains the network of `compact` at 64 pixels on the same number of images, from random weights or from given
ones, and is measured with eval/heldout.py on the held-out sets of STUDY/sets.toml. No set has a face of AFLW2000-3D or
a photograph of a training set. Finished runs are skipped, and interrupted ones resumed. Several processes may share a
folder if their runs differ.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headpose.cli.arguments import named_path, positive
from headpose.cli.program import imports_from, run_program
from headpose.datasets import duplicates, manifest, points, splits
from headpose.errors import DataError
from headpose.files import write_text
from headpose.types import Sample

with imports_from("train", "study_mix"):
    from headpose.recipes import training as recipe
    from headpose.training import data

HELDOUT = Path(__file__).resolve().parents[1] / "eval" / "heldout.py"
SIZE = 64  # side of the network's input, pixels
HELD_OUT = {"lfw": 0.10, "utk": 0.05, "web": 0.15}  # share of the people or photographs of each further source
TURNED_WEB = 2000  # web photographs that are turned, on each side: they are sharper than AFLW's crops
LIMIT = 1000  # faces of a held-out set, chosen by hash
SETS = {
    "aflw": "aflw-held.csv",
    "lfw": "lfw-held.csv",
    "utk": "utk-held.csv",
    "web": "web-held.csv",
    "turned": "turned-held/manifest.csv",
    "rendered-far": "far-held/manifest.csv",
    "cut": "aflw-held.csv",
}
"""Held-out sets by name, for eval/heldout.py."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Training data of a run.

    Attributes:
        more: Whether LFW, UTKFace and the web photographs are added to AFLW and HELEN.
        more_share: Their share in the draws, a third of it each; 0 draws them as often as the photographs of AFLW.
        turned: Share of turned photographs in the draws.
        far: Share of rendered far views in the draws.
        repeats: Value of ``data.density.max_repeats``; 0 draws every photograph equally often.
        spread_floor: Value of ``data.spread_floor``.
        spread_until: Value of ``data.spread_until``.
        cut: Value of ``augment.cut``.
    """

    more: bool = False
    more_share: float = 0.0
    turned: float = 0.0
    far: float = 0.0
    repeats: float = 0.0
    spread_floor: float = 0.0
    spread_until: float = 180.0
    cut: float = 0.0

    def settings(self, study: Path, images: int, seed: int) -> dict[str, Any]:
        """Return the settings that differ from the recipe `compact`, by their path."""
        shares = dict.fromkeys(HELD_OUT if self.more else (), self.more_share / len(HELD_OUT))
        paths = {name: study / f"{name}-train.csv" for name in ("aflw", "helen", *shares)}
        for name, share in (("turned", self.turned), ("far", self.far)):
            if share:
                paths[name], shares[name] = study / name / "manifest.csv", share
        sources = [
            {"kind": "manifest", "path": str(path), "share": shares.get(name, 0.0)} for name, path in paths.items()
        ]
        return {
            "data.sources": sources,
            "data.density.max_repeats": self.repeats,
            "data.spread_floor": self.spread_floor,
            "data.spread_until": self.spread_until,
            "data.validation": 0.01,
            "data.cache_gib": 4.0,
            "augment.cut": self.cut,
            "crop.size": SIZE,
            "run.images": images,
            "run.seed": seed,
            "run.threads": 1,
            "run.workers": 0,
        }


FINE_TUNING = {"optimiser.rate": 0.001, "optimiser.warmup": 4000, "run.ema": 0.995}
"""Further settings of runs that start from trained weights."""

ALL = Mix(more=True, turned=0.15, far=0.10, repeats=2.0, cut=0.15)
MIXES = {
    "photographs": Mix(),
    "more": Mix(more=True),
    "more-by-pose-2": Mix(more=True, repeats=2.0),
    "more-by-pose-4": Mix(more=True, repeats=4.0),
    "turned-5": Mix(turned=0.05),
    "turned-15": Mix(turned=0.15),
    "turned-30": Mix(turned=0.30),
    "far-5": Mix(far=0.05),
    "far-15": Mix(far=0.15),
    "cut-15": Mix(cut=0.15),
    "all": ALL,
    "all-floor": dataclasses.replace(ALL, spread_floor=0.5),
    "all-until-45": dataclasses.replace(ALL, spread_until=45.0),
    "all-less": Mix(more=True, more_share=0.15, turned=0.10, far=0.05, cut=0.10),
    "light": Mix(more=True, turned=0.05, far=0.05, repeats=2.0, spread_until=45.0, cut=0.10),
    "all-less-by-pose": Mix(more=True, turned=0.10, far=0.07, repeats=2.0, spread_until=45.0, cut=0.10),
}
"""Runs by name."""


def main() -> int:
    return run_program("study_mix", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="study_mix", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    split = commands.add_parser("split", help="write the manifests of the training and the held-out faces")
    split.add_argument("--aflw", type=named_path, required=True, metavar="CSV", help="manifest of AFLW's crops")
    split.add_argument("--helen", type=named_path, required=True, metavar="DIR", help="HELEN in 300W-LP's layout")
    split.add_argument(
        "--more", type=named_path, required=True, metavar="DIR", help="folder of labels.csv, lfw, utk, web"
    )
    split.add_argument("--landmarks", type=named_path, required=True, metavar="FILE", help=".npz of AFLW's landmarks")
    split.add_argument("--out", type=named_path, required=True, metavar="STUDY", help="folder of the study")
    train = commands.add_parser("train", help="train and measure")
    train.add_argument("--images", type=positive, default=200_000, metavar="N", help="images per run (200000)")
    train.add_argument("--seeds", type=positive, default=1, metavar="N", help="seeds per run (1)")
    train.add_argument("--init", metavar="NAME", help="weights to start from (default: random weights)")
    table = commands.add_parser("table", help="print the results of the finished runs")
    for each in (train, table):
        each.add_argument("study", type=named_path, metavar="STUDY", help="folder of the study")
        each.add_argument("--only", metavar="A,B", help=f"names of runs (default: all): {', '.join(MIXES)}")
    arguments = parser.parse_args()
    if arguments.command == "split":
        write_splits(arguments.aflw, arguments.helen, arguments.more, arguments.landmarks, arguments.out)
        return 0
    names = _names(arguments.only)
    if arguments.command == "train":
        for seed in range(arguments.seeds):
            for name in names:
                run(arguments.study, name, seed, arguments.images, arguments.init)
    print(results_table(arguments.study, names))
    return 0


def _names(only: str | None) -> list[str]:
    names = only.split(",") if only else list(MIXES)
    if unknown := [name for name in names if name not in MIXES]:
        raise DataError(f"unknown run {unknown[0]}: the runs are {', '.join(MIXES)}")
    return names


def write_splits(aflw: Path, helen: Path, more: Path, landmarks: Path, out: Path) -> None:
    """Split all photographs, without a person of LFW or a near-duplicate on both sides, and write their manifests.

    AFLW and HELEN keep the split of the recipe `compact`, so that networks trained by it can be compared on the
    held-out faces. A further photograph that resembles one of theirs follows it into training, and is dropped if that
    one is held out.

    Args:
        aflw: Manifest of AFLW's crops.
        helen: HELEN in 300W-LP's layout.
        more: Folder of labels.csv with the folders lfw, utk and web.
        landmarks: Landmarks of AFLW's crops (``headpose.datasets.points``). Only crops with landmarks are turned.
        out: Folder for the manifests.
    """
    own = data.read(_compact(aflw, helen))
    sides = [(own.training, "train"), (own.validation, "held")]
    pool: list[tuple[str, str, Sample]] = []  # source, side ("" if still open), face
    for samples, side in sides:
        for sample in samples:
            source = "helen" if sample.image.is_relative_to(helen) else "aflw"
            pool.append((source, side, dataclasses.replace(sample, group=f"{source}/{sample.group}")))
    for sample in manifest.read(more / "labels.csv"):
        inside = sample.image.relative_to(more)
        group = inside.parent if inside.parts[0] == "lfw" else inside.with_suffix("")
        pool.append((inside.parts[0], "", dataclasses.replace(sample, group=group.as_posix())))
    grouped = duplicates.group_near_duplicates([sample for _, _, sample in pool])
    taken = defaultdict(set)
    for (_, side, _), sample in zip(pool, grouped, strict=True):
        if side:
            taken[sample.group].add(side)
    tables: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for (source, side, _), sample in zip(pool, grouped, strict=True):
        chosen = side or _side(source, sample, taken[sample.group])
        if chosen:
            tables[source, chosen].append(sample)
    out.mkdir(parents=True, exist_ok=True)
    for (source, side), samples in sorted(tables.items()):
        write_manifest(out / f"{source}-{side}.csv", samples)
        print(f"{source}-{side}.csv: {len(samples)} faces")
    known = points.read(landmarks)
    for side in ("train", "held"):
        turned = [each for each in tables["aflw", side] if each.image.stem in known] + tables["web", side][:TURNED_WEB]
        write_manifest(out / f"turn-{side}.csv", turned)
        print(f"turn-{side}.csv: {len(turned)} faces")
    lines = [f'{json.dumps(name)} = "{path}"' for name, path in SETS.items()]
    write_text(out / "sets.toml", "\n".join(["[sets]", *lines, ""]))


def _compact(aflw: Path, helen: Path) -> Any:
    whole = recipe.load("compact").data
    first, second = whole.sources
    moved = (dataclasses.replace(first, path=str(aflw)), dataclasses.replace(second, path=str(helen)))
    return dataclasses.replace(whole, sources=moved)


def _side(source: str, sample: Sample, taken: set[str]) -> str:
    """Return the side of a further photograph: "train", "held", or "" for neither."""
    if taken:
        return "train" if taken == {"train"} else ""
    held, _ = splits.split([sample], 1.0 - HELD_OUT[source], seed=0)
    return "held" if held else "train"


def write_manifest(file: Path, samples: Iterable[Sample]) -> None:
    """Write a manifest with absolute paths.

    Args:
        file: CSV file.
        samples: Labeled faces, all with a spread or all without.
    """
    samples = list(samples)
    spread = all(sample.spread is not None for sample in samples)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*manifest.COLUMNS, "spread" if spread else "weight", "group"])
    for sample in samples:
        doubt = sample.spread if spread else round(sample.weight, 4)
        values = (*sample.box.as_tuple(), *sample.euler)
        table.writerow([sample.image.resolve(), *(round(value, 4) for value in values), doubt, sample.group])
    write_text(file, text.getvalue())


def run(study: Path, name: str, seed: int, images: int, init: str | None) -> None:
    """Train a network, unless it is finished, and measure it on the held-out sets.

    Args:
        study: Folder of the study.
        name: Name of the mix.
        seed: Random seed.
        images: Number of training images.
        init: Network whose weights the run starts from; None for random weights.

    Raises:
        DataError: Training or measuring fails.
    """
    folder = study / "runs" / f"{name}-{seed}"
    result = folder / "heldout.json"
    if result.exists():
        return
    if not (folder / "compact.onnx").exists():
        _train(folder, {**MIXES[name].settings(study, images, seed), **(FINE_TUNING if init else {})}, init)
    measuring = [sys.executable, str(HELDOUT), str(folder), "--sets", str(study / "sets.toml"), "--limit", str(LIMIT)]
    _call([*measuring, "--cells", str(study / "cells"), "--threads", "1", "--json", str(result)])


def _train(folder: Path, settings: Mapping[str, Any], init: str | None) -> None:
    command = [sys.executable, "-m", "headpose", "train", "compact", "--out", str(folder)]
    if (folder / "last.pt").exists():
        command.append("--resume")
    else:
        command += ["--init", init] if init else []
        command += [part for key, value in settings.items() for part in ("--set", f"{key}={_toml(value)}")]
    _call(command)


def _call(command: Sequence[str]) -> None:
    if subprocess.run(command, check=False).returncode:
        raise DataError(f"{' '.join(command[:5])} ... failed, see above")


def _toml(value: Any) -> str:
    """Return a value in TOML."""
    if isinstance(value, list):
        return f"[{', '.join(_toml(each) for each in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


def results_table(study: Path, names: Sequence[str]) -> str:
    """Return a Markdown table of mean geodesic errors: one row per mix, with the mean of its ranks over the sets.

    Args:
        study: Folder of the study.
        names: Names of the mixes.
    """
    found: dict[str, Mapping[str, float]] = {}
    seeds: dict[str, int] = {}
    for name in names:
        files = sorted((study / "runs").glob(f"{name}-[0-9]/heldout.json"))
        if files:
            each = [_errors(file) for file in files]
            found[name] = {key: float(np.mean([errors[key] for errors in each])) for key in each[0]}
            seeds[name] = len(files)
    if not found:
        raise DataError(f"{study / 'runs'} has no finished run")
    sets = list(next(iter(found.values())))
    values = np.array([[found[name][key] for key in sets] for name in found])
    ranks = (values.argsort(0).argsort(0) + 1).mean(1)
    lines = [f"| trained on | seeds | mean rank | {' | '.join(sets)} |", "|" + "---|" * (3 + len(sets))]
    for name, row, rank in zip(found, values, ranks, strict=True):
        lines.append(f"| {name} | {seeds[name]} | {rank:.1f} | {' | '.join(f'{value:.2f}' for value in row)} |")
    return "\n".join(lines)


def _errors(file: Path) -> dict[str, float]:
    """Return the mean geodesic error of each part of the sets."""
    return {score["part"]: score["geodesic"] for score in json.loads(file.read_text("utf-8"))["scores"]}


if __name__ == "__main__":
    sys.exit(main())
