"""Measures networks with every evaluator and leaves the folder that `headpose report` reads.

python eval/all.py --data AFLW2000 --models student,opentrack,fsanet --peers NETWORKS --out DIR
headpose report DIR --out REPORT --data AFLW2000

A step is left out if its file is there and was made with the same networks, by their SHA-256. Stability is measured if
--sequences or --clips say on what. Measure latency on an idle machine: --only accuracy,robustness,stability
omits it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headpose import files
from headpose.cli.arguments import named_path
from headpose.cli.program import run_program
from headpose.errors import HeadPoseError
from headpose.evaluation import networks
from headpose.evaluation.cells import network_sha256
from headpose.evaluation.networks import NetworkFacts
from headpose.report import folder as layout

HERE = Path(__file__).resolve().parent
ADAPTERS = HERE / "adapters"
STEPS = ("accuracy", "robustness", "stability", "latency")


@dataclass(frozen=True, slots=True)
class Named:
    """A network by the name that its files in the folder have.

    Attributes:
        argument: what the user called it.
        stem: of its files.
        facts: what its files tell.
        identity: digest of its files and, for an adapter, of what that says.
    """

    argument: str
    stem: str
    facts: NetworkFacts
    identity: str


def main() -> int:
    return run_program("all", _main)


def _main() -> int:
    _run(_parser().parse_args())
    return 0


def _run(arguments: argparse.Namespace) -> None:
    named = [_named(name, arguments) for name in arguments.models]
    for key, values in (("name", [n.facts.name for n in named]), ("file name", [n.stem for n in named])):
        if len(set(values)) < len(values):
            raise HeadPoseError(f"two of the networks have one {key}: {', '.join(values)}")
    if arguments.compress and not arguments.compress.is_file():
        raise HeadPoseError(f"{arguments.compress} does not exist: headpose compress writes it")
    out: Path = arguments.out
    written = [layout.NETWORKS, layout.ROBUSTNESS, layout.STABILITY, layout.LATENCY, layout.COMPRESS]
    written += [f"{layout.ACCURACY}/{each.stem}.json" for each in named]
    written += [f"{layout.PREDICTIONS}/{each.stem}.csv" for each in named]
    inputs = [arguments.data, arguments.compress, *arguments.clips]
    files.check_outputs(inputs, data={"--out": [out / name for name in written]})
    if not arguments.dry_run:
        _make_folders(out)
    for each in named if "accuracy" in arguments.only else ():
        _accuracy(each, arguments)
        if not arguments.dry_run:
            _write_facts(out / layout.NETWORKS, each)
    if "robustness" in arguments.only:
        _robustness(named, arguments)
    if "stability" in arguments.only and (arguments.sequences or arguments.clips):
        _stability(named, arguments)
    if "latency" in arguments.only:
        _latency(named, arguments)
    if arguments.compress and not arguments.dry_run:
        files.write_bytes(out / layout.COMPRESS, arguments.compress.read_bytes())
    print(f"done: headpose report {out} --out REPORT --data {arguments.data}")


def _accuracy(each: Named, arguments: argparse.Namespace) -> None:
    result = arguments.out / layout.ACCURACY / f"{each.stem}.json"
    angles = arguments.out / layout.PREDICTIONS / f"{each.stem}.csv"
    made = _read(result)
    digests = set(made.get("sha256", {}).values()) or {made.get("model_sha256")}
    known = _read(arguments.out / layout.NETWORKS).get(each.stem, {}).get("identity", each.identity)
    if angles.exists() and digests == set(each.facts.sha256.values()) and known == each.identity:
        return _skipped(result)
    adapter = networks.adapter_file(each.argument, ADAPTERS)
    what = ["--adapter", adapter, "--peers", arguments.peers] if adapter else ["--model", each.argument]
    outputs = ["--json", result, "--predictions", angles]
    return _call("aflw2000.py", arguments, *what, "--data", arguments.data, *outputs, *_threads(arguments))


def _robustness(named: list[Named], arguments: argparse.Namespace) -> None:
    result = arguments.out / layout.ROBUSTNESS
    made = _read(result).get("networks_sha256", {})
    wanted = {each.facts.name: each.identity for each in named}
    if arguments.downsample:
        reduced = [each for each in named if each.facts.kind == "ours"]
        wanted |= {f"{each.facts.name}-DS{arguments.downsample}": each.identity for each in reduced}
    if all(made.get(name) == identity for name, identity in wanted.items()):
        return _skipped(result)
    models = ["--models", ",".join(each.argument for each in named), *_peers(arguments)]
    options = ["--data", arguments.data, *models, "--out", result.parent, *_threads(arguments)]
    options += ["--downsample", arguments.downsample] if arguments.downsample else []
    return _call("robustness.py", arguments, *options)


def _stability(named: list[Named], arguments: argparse.Namespace) -> None:
    result = arguments.out / layout.STABILITY
    made = _read(result)
    same = all(made.get("networks_sha256", {}).get(each.facts.name) == each.identity for each in named)
    clips = {each["clip"] for each in made.get("clips", [])} == {clip.stem for clip in arguments.clips}
    if same and clips and bool(made.get("rendered")) == bool(arguments.sequences):
        return _skipped(result)
    options = [each.argument for each in named] + _peers(arguments)
    options += ["--sequences", arguments.sequences] if arguments.sequences else []
    options += ["--clips", *arguments.clips] if arguments.clips else []
    return _call("stability.py", arguments, *options, "--json", result, "--threads", arguments.threads)


def _latency(named: list[Named], arguments: argparse.Namespace) -> None:
    result = arguments.out / layout.LATENCY
    made = {each["name"]: each["sha256"] for each in _read(result).get("networks", [])}
    if all(made.get(each.facts.name) == each.facts.sha256 for each in named):
        return _skipped(result)
    models = ["--models", ",".join(each.argument for each in named), *_peers(arguments)]
    return _call("latency.py", arguments, *models, "--threads", arguments.latency_threads, "--json", result)


def _call(program: str, arguments: argparse.Namespace, *options: object) -> None:
    command = [sys.executable, str(HERE / program), *map(str, options)]
    print(f"eval/{program} {' '.join(command[2:])}", flush=True)
    if arguments.dry_run:
        return
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        raise HeadPoseError(f"eval/{program} failed with the error above; finished steps are kept")


def _skipped(result: Path) -> None:
    print(f"{result}: there already, of the same networks")


def _named(name: str, arguments: argparse.Namespace) -> Named:
    model = networks.load(name, adapters=ADAPTERS, peers=arguments.peers, device="cpu", threads=1)
    stem = Path(name).stem if networks.adapter_file(name, ADAPTERS) else model.name
    return Named(name, stem, networks.facts(model), network_sha256(model))


def _write_facts(file: Path, each: Named) -> None:
    known = {each.stem: {**dataclasses.asdict(each.facts), "identity": each.identity}}
    files.write_text(file, json.dumps({**_read(file), **known}, indent=1) + "\n")


def _make_folders(out: Path) -> None:
    try:
        for part in (layout.ACCURACY, layout.PREDICTIONS, Path(layout.ROBUSTNESS).parent, Path(layout.COMPRESS).parent):
            (out / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HeadPoseError(f"cannot write into {out}: {error.strerror}") from None


def _read(file: Path) -> dict[str, Any]:
    return layout.read_json(file) if file.exists() else {}


def _peers(arguments: argparse.Namespace) -> list[Any]:
    return ["--peers", arguments.peers] if arguments.peers else []


def _threads(arguments: argparse.Namespace) -> list[Any]:
    return ["--device", "cpu", "--threads", arguments.threads]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="all", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of AFLW2000-3D, .jpg and .mat files")
    parser.add_argument(
        "--models",
        required=True,
        type=networks.listed,
        metavar="A,B",
        help="names of networks, .onnx files, or adapters (names or .toml files)",
    )
    parser.add_argument("--peers", metavar="DIR", help="folder of the third-party networks")
    parser.add_argument(
        "--out", required=True, type=named_path, metavar="DIR", help="folder of results; created if missing"
    )
    parser.add_argument(
        "--only", type=_steps, default=STEPS, metavar="STEPS", help=f"steps to run (default: {','.join(STEPS)})"
    )
    parser.add_argument(
        "--sequences", type=named_path, metavar="DIR", help="folder of rendered sequences for eval/stability.py"
    )
    parser.add_argument(
        "--clips", type=named_path, nargs="+", default=[], metavar="VIDEO", help="videos for eval/stability.py"
    )
    parser.add_argument("--downsample", type=int, default=0, metavar="SIDE", help="--downsample of eval/robustness.py")
    parser.add_argument(
        "--compress", type=named_path, metavar="FILE", help="report.json of headpose compress; copied to --out"
    )
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="number of CPU threads, except for latency (0: all)"
    )
    parser.add_argument(
        "--latency-threads", default="1,2", metavar="N,M", help="numbers of threads for latency (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands without running them")
    return parser


def _steps(text: str) -> list[str]:
    steps = networks.listed(text)
    if unknown := set(steps) - set(STEPS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is none of {', '.join(STEPS)}")
    return steps


if __name__ == "__main__":
    sys.exit(main())
