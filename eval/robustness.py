"""Errors on corrupted pictures: the three sets of the paper's Table 2, and severity curves of what pictures suffer.

python eval/robustness.py --data AFLW2000 --models student,fsanet --peers NETWORKS --out DIR [--downsample 64]
python eval/robustness.py --data AFLW2000 --models student,fsanet --peers NETWORKS --out DIR --severity
python eval/robustness.py --manifest labels.csv --models student --out DIR --conditions motion_blur-3 defocus-3
python eval/robustness.py --data AFLW2000 --export DIR --conditions MB LB OC

docs/robustness.md says what each corruption is. An interrupted run resumes when the same command is given again.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import cv2

from headpose import corruptions, files
from headpose.choices import DEVICES
from headpose.cli.arguments import positive
from headpose.cli.log import show_log
from headpose.cli.program import run_program
from headpose.corruptions import Corruption
from headpose.datasets import aflw2000, manifest, w300lp
from headpose.errors import HeadPoseError, install_advice
from headpose.evaluation import accuracy, corrupted_set, networks, protocols, robustness
from headpose.evaluation.adapters import Adapter
from headpose.evaluation.cells import Cells, collect, hashed_subset, network_sha256, samples_sha256
from headpose.evaluation.robustness import Result, Setup
from headpose.types import Sample

ADAPTERS = Path(__file__).resolve().parent / "adapters"
CURVE_FACES = 400


def main() -> int:
    return run_program("robustness", _main)


def _main() -> int:
    arguments = _parser().parse_args()
    arguments.seeds = arguments.seeds or (1 if arguments.severity else 5)
    show_log("robustness")
    _run(arguments)
    return 0


def _run(arguments: argparse.Namespace) -> None:
    if not arguments.out and not arguments.export:
        raise HeadPoseError("nothing to do: name a folder for the results (--out), or for the pictures (--export)")
    conditions = _conditions(arguments)
    setups = _setups(arguments) if arguments.out else []
    if arguments.severity and arguments.out:
        _pyplot()  # before the work, not after it
    samples = _samples(arguments)
    _check_outputs(arguments, conditions, samples)
    for condition in conditions if arguments.export else ():
        for seed in range(arguments.seeds if condition.is_random else 1):
            folder, digest = corrupted_set.export(arguments.export, samples, condition, seed)
            print(f"{folder}: {len(samples)} pictures, pixels sha256 {digest}")
    if not arguments.out:
        return
    cells = Cells(arguments.out, samples)
    measured = collect(cells, setups, conditions, samples, arguments.seeds)
    results = robustness.summarise(measured, [sample.weight for sample in samples])
    _report(arguments, results, setups, samples)
    if arguments.severity:
        names = dict.fromkeys(condition.name for condition in conditions if condition.level)
        _draw_curves(list(names), results, Path(arguments.out) / "severity.png")


def _check_outputs(arguments: argparse.Namespace, conditions: list[Corruption], samples: list[Sample]) -> None:
    """HeadPoseError if what is written is what is read."""
    results = [f"{name}.{kind}" for name in ("results", "severity") for kind in ("json", "md", "png")]
    exported = [
        file
        for condition in (conditions if arguments.export else ())
        for seed in range(arguments.seeds if condition.is_random else 1)
        for file in corrupted_set.targets(arguments.export, samples, condition, seed)
    ]
    labels = [file for sample in samples for file in (sample.image, sample.image.with_suffix(".mat"))]
    files.check_outputs(
        [arguments.manifest, *labels],
        data={"--out": arguments.out and [Path(arguments.out) / name for name in results], "--export": exported},
    )


def _report(arguments: argparse.Namespace, results: list[Result], setups: list[Setup], samples: list[Sample]) -> None:
    name = "severity" if arguments.severity else "results"
    out, protocol = Path(arguments.out), _protocol(arguments, len(samples))
    record = {
        "n": len(samples),
        "list_sha256": protocols.list_sha256(samples),
        "samples_sha256": samples_sha256(samples),
        "networks_sha256": {setup.name: network_sha256(setup.model) for setup in setups},
        "protocol": protocol,
        "results": [dataclasses.asdict(result) for result in results],
    }
    files.write_text(out / f"{name}.json", json.dumps(record, indent=2) + "\n")
    parts = [robustness.table(results), robustness.pivot(results), textwrap.fill(protocol, 120)]
    text = "\n\n".join(parts) + "\n"
    files.write_text(out / f"{name}.md", text)
    print(text, end="")


def _conditions(arguments: argparse.Namespace) -> list[Corruption]:
    on_test_set = arguments.data is not None
    default = [each.label for each in (corruptions.PAPER if on_test_set else corruptions.SELECTION)]
    if arguments.severity:
        default = list(corruptions.LEVELS)
    parsed = itertools.chain.from_iterable(map(corruptions.parse, arguments.conditions or default))
    conditions = list(dict.fromkeys(parsed))
    if arguments.severity and not any(each.level for each in conditions):
        raise HeadPoseError(f"curves need corruptions with levels: {', '.join(corruptions.LEVELS)}")
    if not on_test_set and (barred := [each.label for each in conditions if each in corruptions.PAPER]):
        raise HeadPoseError(
            f"{', '.join(barred)} are the settings of the test on AFLW2000-3D, whose pictures have 450 x 450 pixels: "
            "nothing is chosen by them; name levels, such as motion_blur-3"
        )
    return conditions


def _setups(arguments: argparse.Namespace) -> list[Setup]:
    if not arguments.models:
        raise HeadPoseError("name the networks to measure: --models A,B")
    setups = []
    for name in arguments.models:
        model = networks.load(
            name, adapters=ADAPTERS, peers=arguments.peers, device=arguments.device, threads=arguments.threads
        )
        setups.append(Setup(model, arguments.on))
        if arguments.downsample and not isinstance(model, Adapter):
            setups.append(Setup(model, arguments.on, arguments.downsample))
    return setups


def _samples(arguments: argparse.Namespace) -> list[Sample]:
    if arguments.data:
        samples = protocols.select(aflw2000.read(arguments.data))
        if len(samples) != protocols.COMPLETE["99"]:
            expected = protocols.COMPLETE["99"]
            print(f"robustness: warning: {len(samples)} pictures, a complete copy has {expected}", file=sys.stderr)
    else:
        samples = manifest.read(arguments.manifest) if arguments.manifest else w300lp.read(arguments.w300lp)
    limit = arguments.limit or (CURVE_FACES if arguments.severity else 0)
    return hashed_subset(samples, limit) if limit else samples


def _protocol(arguments: argparse.Namespace, count: int) -> str:
    source = "AFLW2000-3D, every |angle| at most 99 degrees" if arguments.data else "the faces of the list given"
    where = "on the whole picture, before the crop" if arguments.on == "picture" else "on each network's crop"
    return (
        f"{count} faces: {source}. Corruptions (docs/robustness.md) act {where}; what they draw depends on the seed "
        "and the picture's name. Each network cuts the tight box of the 68 landmarks by its own crop, once; "
        "DS: the crop is reduced to that many pixels, then enlarged to the network's input. Geodesic: angle of the "
        f"rotation from label to prediction. MAE: mean of yaw, pitch and roll, {accuracy.BRANCH} branch, the short way "
        "round 360 degrees, not folded at 180. To clean: over the same network's error on the pictures as they are. "
        f"Intervals: {accuracy.LEVEL:.0%}, percentile bootstrap over faces, {accuracy.RESAMPLES} resamples, seed 0."
    )


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise HeadPoseError(f"severity curves need matplotlib: {install_advice('train')}") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _draw_curves(names: list[str], results: list[Result], path: Path) -> None:
    """Geodesic error over severity, a panel for each corruption, a line with its interval for each network."""
    by_cell = {(each.network, each.condition): each for each in results}
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    pyplot = _pyplot()
    size = (2.8 * columns, 2.5 * rows + 0.3)
    figure, axes = pyplot.subplots(rows, columns, figsize=size, sharex=True, squeeze=False, layout="constrained")
    measured = list(dict.fromkeys(each.network for each in results))
    for panel in axes.flat[len(names) :]:
        panel.axis("off")
    for panel, name in zip(axes.flat, names, strict=False):
        levels = [each.label for each in corruptions.parse(name)]
        for number, network in enumerate(measured):
            points = [(0, by_cell[network, corruptions.CLEAN.label])]
            points += [(i, by_cell[network, level]) for i, level in enumerate(levels, 1) if (network, level) in by_cell]
            at = [i for i, _ in points]
            width = 1.2 + 0.8 * (len(measured) - 1 - number)  # of two lines in one place the lower one shows
            errors = [each.geodesic for _, each in points]
            (line,) = panel.plot(at, errors, "o-", markersize=width + 1.5, linewidth=width, label=network)
            low, high = zip(*(each.ci["geodesic"] for _, each in points), strict=True)
            panel.fill_between(at, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        panel.set_title(name, fontsize=9)
        panel.set_xticks(range(len(levels) + 1))
        panel.set_ylim(0, None)
    for panel in axes[:, 0]:
        panel.set_ylabel("geodesic error, degrees", fontsize=8)
    lines, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=min(5, len(labels)), fontsize=9, frameon=False)
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="robustness", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    faces = parser.add_mutually_exclusive_group(required=True)
    faces.add_argument("--data", metavar="DIR", help="folder of AFLW2000-3D, the 2000 .jpg and .mat files")
    faces.add_argument("--manifest", metavar="CSV", help="other faces: image,x1,y1,x2,y2,yaw,pitch,roll")
    faces.add_argument("--w300lp", metavar="DIR", help="other faces: a folder in 300W-LP's layout")
    parser.add_argument(
        "--models",
        type=networks.listed,
        metavar="A,B",
        help="names of networks, .onnx files, or adapters (names or .toml files)",
    )
    parser.add_argument("--peers", metavar="DIR", help="folder of the third-party networks")
    parser.add_argument("--out", metavar="DIR", help="folder of results; an interrupted run resumes from it")
    parser.add_argument(
        "--conditions",
        nargs="+",
        metavar="NAME",
        help=f"corruptions: {', '.join(corruptions.NAMES)}; NAME-3 is level 3",
    )
    parser.add_argument(
        "--seeds", type=positive, metavar="N", help="number of random seeds (default: 5, or 1 with --severity)"
    )
    parser.add_argument(
        "--downsample",
        type=_side,
        default=0,
        metavar="SIDE",
        help="also downsample the input of our networks to this size",
    )
    parser.add_argument("--severity", action="store_true", help="curves over five levels, on 400 faces; needs [train]")
    parser.add_argument(
        "--limit", type=positive, default=0, metavar="N", help="maximum number of faces, chosen by hash"
    )
    parser.add_argument(
        "--on", choices=("picture", "crop"), default="picture", help="apply corruptions to this (default: %(default)s)"
    )
    parser.add_argument("--export", metavar="DIR", help="write the corrupted pictures as files")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="number of CPU threads (default: all)")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    return parser


def _side(text: str) -> int:
    if not text.isdecimal() or not 8 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not a side of 8 to 1024 pixels")
    return int(text)


if __name__ == "__main__":
    cv2.setNumThreads(1)  # one picture at a time is too little work to share
    sys.exit(main())
