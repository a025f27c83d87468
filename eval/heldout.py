"""Compares networks on held-out faces: what a choice between networks may look at.

python eval/heldout.py student compact opentrack runs/a --peers NETWORKS --sets sets.toml [--json FILE]
python eval/heldout.py runs/a runs/b --set aflw=aflw-held.csv --set web/cut=web-held.csv --set own=runs/a
python eval/heldout.py runs/a runs/b [--json FILE]

A network is a name, an .onnx file, an adapter, or the folder of a run that `headpose train` has finished. A set is a
manifest, a folder in 300W-LP's layout, or the folder of a run: the faces that it held out. Without sets the networks
are runs on the same data with the same split, and are compared on the faces that all of them held out: clean, blurred,
defocused, in low light, covered. docs/protocols.md says what each set is.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from headpose import corruptions, crop
from headpose.cli.arguments import named_path, non_empty, positive
from headpose.cli.log import show_log
from headpose.cli.program import imports_from, run_program
from headpose.datasets import manifest, negatives, w300lp
from headpose.errors import DataError, HeadPoseError
from headpose.evaluation import doubt, heldout, networks, robustness
from headpose.evaluation.cells import Cells, hashed_subset, network_sha256, samples_sha256
from headpose.evaluation.heldout import HeldOutSet
from headpose.evaluation.robustness import Cell, Result, Setup
from headpose.files import check_outputs, write_bytes, write_text
from headpose.geometry import Array
from headpose.inference import OnnxPoseModel, read
from headpose.reading import Reading
from headpose.types import Sample

with imports_from("train", "heldout"):
    from headpose.networks.spec import macs, parameters
    from headpose.recipes import training as recipe
    from headpose.report import plots
    from headpose.training import data
    from headpose.training.loop import RECIPE
    from headpose.training.negatives import held_out_crops

ADAPTERS = Path(__file__).resolve().parent / "adapters"


def main() -> int:
    return run_program("heldout", _main)


def _main() -> int:
    arguments = _parser().parse_args()
    show_log("heldout")
    paths = _paths(arguments)
    inputs = [*arguments.networks, *paths.values(), arguments.sets, arguments.negatives]
    check_outputs(inputs, text={"--json": arguments.json}, data={"--reliability": arguments.reliability})
    if not paths and (arguments.negatives or arguments.reliability):
        raise HeadPoseError("--negatives and --reliability need sets to measure on (--set, --sets)")
    if paths:
        compare_on_sets(arguments, paths)
    else:
        compare_runs([Path(name) for name in arguments.networks], arguments.seed, arguments.json)
    return 0


def compare_on_sets(arguments: argparse.Namespace, paths: dict[str, Path]) -> None:
    """Measures every network on every set; prints the tables, and writes the figures."""
    setups = [_setup(name, arguments) for name in arguments.networks]
    names = [setup.name for setup in setups]
    if len(set(names)) < len(names):
        raise HeadPoseError(f"two of the networks have one name: {', '.join(names)}")
    sets = []
    for name, path in paths.items():
        samples = _samples(path)
        sets.append(HeldOutSet.of(name, hashed_subset(samples, arguments.limit) if arguments.limit else samples))
    scores = []
    found: list[tuple[dict[Cell, Array], dict[Cell, Reading]]] = []
    for each in sets:
        cells = Cells(arguments.cells, each.samples) if arguments.cells else None
        readings: dict[Cell, Reading] = {}
        found.append((heldout.measure(setups, each, cells, readings), readings))
        scores += heldout.score(each, found[-1][0])
    judged = heldout.judge(found)
    false = _false_faces(setups, [read for _, read in found], arguments.negatives)
    protocol = heldout.in_words(sets)
    sure = [doubt.table(judged)] if judged else []
    sure += [f"{name}: {text}" for name, text in _in_words(false).items()]
    print("\n\n".join([heldout.pivot(scores), heldout.table(scores), *sure, textwrap.fill(protocol, 120)]))
    if arguments.reliability:
        if not judged:
            raise HeadPoseError("--reliability needs a network with the output covariance")
        write_bytes(arguments.reliability, plots.reliability(judged).data)
    if arguments.json:
        record = {
            "protocol": protocol,
            "networks_sha256": {setup.name: network_sha256(setup.model) for setup in setups},
            "samples_sha256": {each.name: samples_sha256(each.samples) for each in sets},
            "scores": [dataclasses.asdict(each) for each in scores],
            "doubt": {name: dataclasses.asdict(each) for name, each in judged},
            "negatives_read_as_faces": false,
        }
        write_text(arguments.json, json.dumps(record, indent=1) + "\n")


def _false_faces(
    setups: Sequence[Setup], readings: Sequence[dict[Cell, Reading]], path: Path | None
) -> dict[str, float]:
    """Return the share of negatives that each network with the output face reads as faces where 99 % of faces are."""
    shares = {}
    places = negatives.read(path) if path else []
    for setup in setups:
        faces = heldout.face_logits(readings, setup.name)
        if len(faces) and places:
            inputs = crop.normalize(held_out_crops(places, setup.model.crop), setup.model.crop)
            others = [read(setup.model, inputs[i : i + 64]).face for i in range(0, len(inputs), 64)]
            logits = np.concatenate([each for each in others if each is not None])
            shares[setup.name] = doubt.read_as_faces(faces, logits)
    return shares


def _in_words(shares: dict[str, float]) -> dict[str, str]:
    kept = f"where {doubt.READ_SHARE:.0%} of the faces are"
    return {name: f"{share:.1%} of the negatives are read as faces {kept}" for name, share in shares.items()}


def compare_runs(runs: Sequence[Path], seed: int, target: Path | None) -> None:
    """Compare runs on the faces that all of them held out: print the table and write the figures."""
    if unfinished := [run for run in runs if not _is_run(run)]:
        raise HeadPoseError(f"{unfinished[0]} is no folder of a run: name the sets to measure on (--set, --sets)")
    recipes = [recipe.load_saved(run / RECIPE) for run in runs]
    if different := [run for run, each in zip(runs, recipes, strict=True) if each.data != recipes[0].data]:
        raise DataError(f"{different[0]} was trained on other data than {runs[0]}, or split otherwise")
    samples = data.read(recipes[0].data).validation
    print("| run | px | parameters, M | M MACs | geodesic error, degrees: clean | " + " | ".join(_conditions()) + " |")
    print("|" + "---|" * (5 + len(_conditions())))
    record = {}
    for run, each in zip(runs, recipes, strict=True):
        model = OnnxPoseModel(run / f"{each.name}.onnx", device="cpu")
        results = robustness.measure(model, samples, corruptions.SELECTION, seed=seed)
        size = each.crop.size
        cost = f"{parameters(each.spec) / 1e6:.2f} | {macs(each.spec, size) / 1e6:.0f}"
        print(f"| {run.name} | {size} | {cost} | " + " | ".join(f"{result.geodesic:.2f}" for result in results) + " |")
        record[run.name] = [_as_object(result) for result in results]
    print(f"\n{len(samples)} held-out faces, means weighted as in training; seed {seed}.")
    if target:
        write_text(target, json.dumps(record, indent=1))


def _paths(arguments: argparse.Namespace) -> dict[str, Path]:
    """Return the sets by name: those of the file, then those of the command line, restricted by --only."""
    given = list(heldout.read_config(arguments.sets).items()) if arguments.sets else []
    given += arguments.set or []
    paths = dict(given)
    if len(paths) < len(given):
        raise HeadPoseError(f"two of the sets have one name: {', '.join(name for name, _ in given)}")
    if arguments.only:
        if unknown := [name for name in arguments.only if name not in paths]:
            raise HeadPoseError(f"there is no set {unknown[0]}: there are {', '.join(paths) or 'none'}")
        paths = {name: paths[name] for name in arguments.only}
    return paths


def _setup(name: str, arguments: argparse.Namespace) -> Setup:
    """Load a network; the network of a run gets the name of the folder."""
    run = Path(name)
    if _is_run(run):
        file = run / f"{recipe.load_saved(run / RECIPE).name}.onnx"
        return Setup(OnnxPoseModel(file, device="cpu", threads=arguments.threads), label=run.name)
    model = networks.load(name, adapters=ADAPTERS, peers=arguments.peers, threads=arguments.threads)
    return Setup(model)


def _samples(path: Path) -> list[Sample]:
    if _is_run(path):
        return data.read(recipe.load_saved(path / RECIPE).data).validation
    return w300lp.read(path) if path.is_dir() else manifest.read(path)


def _is_run(path: Path) -> bool:
    return (path / RECIPE).is_file()


def _conditions() -> list[str]:
    return [condition.label for condition in corruptions.SELECTION]


def _as_object(result: Result) -> dict[str, object]:
    return {"condition": result.condition, "n": result.n, "geodesic": result.geodesic, "mae": result.mae}


def _named_set(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    try:
        heldout.check_name(name)
    except DataError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not equals or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="heldout", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "networks", type=non_empty, nargs="+", metavar="NETWORK", help="names, .onnx files, adapters, folders of runs"
    )
    parser.add_argument("--sets", type=named_path, metavar="TOML", help='a table [sets] with lines NAME = "PATH"')
    parser.add_argument(
        "--set", type=_named_set, action="append", metavar="NAME=PATH",
        help=f"a held-out set; a name that is or ends in /{', /'.join(heldout.CHANGES)} changes its pictures",
    )  # fmt: skip
    parser.add_argument("--only", type=networks.listed, metavar="A,B", help="use only these sets")
    parser.add_argument(
        "--limit", type=positive, default=0, metavar="N", help="maximum number of faces per set, chosen by hash"
    )
    parser.add_argument(
        "--negatives", type=named_path, metavar="PATH",
        help="folder or CSV file of pictures without a face: prints the share that is read as faces",
    )  # fmt: skip
    parser.add_argument("--reliability", type=named_path, metavar="FILE", help="plot true over predicted errors (.svg)")
    parser.add_argument("--cells", type=named_path, metavar="DIR", help="folder that caches measurements")
    parser.add_argument("--peers", metavar="DIR", help="folder of the third-party networks")
    parser.add_argument("--json", type=named_path, metavar="FILE", help="write the result to a file")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="number of CPU threads (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the corruptions (default: %(default)s)")
    return parser


if __name__ == "__main__":
    cv2.setNumThreads(1)  # one picture at a time is too little work to share
    sys.exit(main())
