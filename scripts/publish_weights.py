"""Put networks into weights/: the file, its entry in models.toml, its card, the index and README's table.

python eval/aflw2000.py --data AFLW2000 --model runs/compact/compact.onnx --json runs/compact/aflw2000.json
python scripts/publish_weights.py runs/compact

python eval/aflw2000.py --data AFLW2000 --model runs/student/teacher.onnx --json runs/student/aflw2000/teacher.json
python scripts/publish_weights.py runs/student teacher student student-fp16

headpose quantize mine.onnx --precision int8 --recipe recipe.json --out mine-int8.onnx --json mine-int8.json
python scripts/publish_weights.py . mine mine-int8    # with aflw2000/mine.json and aflw2000/mine-int8.json

python scripts/publish_weights.py --cards

The folder is one that ``headpose train`` or, where networks are named, ``headpose compress`` has finished, or one of
``headpose train`` with variants of its network and the comparisons of ``headpose quantize``. Every figure of a card
comes from these records and from the evaluation, whose network must be the one that is published. Publishing again
replaces. ``--cards`` writes the cards again, without changing a network: their text is ``model_card.md``, their
figures and history are in ``weights/records.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shutil
import string
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headpose.cli.arguments import named_path
from headpose.cli.program import imports_from, run_program
from headpose.errors import WeightsError
from headpose.files import atomic_path, check_outputs, sha256_of, write_text
from headpose.inference import OnnxPoseModel
from headpose.weights import read_manifest

with imports_from("test", "publish_weights"):
    import tomlkit

    from headpose.networks.spec import ResNetSpec, macs, parameters
    from headpose.recipes import training as recipes
    from headpose.recipes.training import Recipe
    from headpose.synth.anatomy import FRAME
    from headpose.training import log

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS, MANIFEST, README = ROOT / "weights", ROOT / "headpose" / "models.toml", ROOT / "README.md"
_CARD, _TEXTS = ROOT / "scripts" / "model_card.md", ROOT / "scripts" / "model_card_texts.toml"
_RECORDS = "records.json"


def main() -> int:
    return run_program("publish_weights", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="publish_weights", description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", type=named_path, metavar="DIR", help="folder of the finished run")
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks of a compression")
    parser.add_argument("--cards", action="store_true", help="write the cards of all networks again")
    arguments = parser.parse_args()
    if (arguments.run is None) != arguments.cards:
        parser.error("give DIR, or --cards alone")
    if arguments.cards:
        for name in read_manifest(MANIFEST):
            write_text(WEIGHTS / f"{name}.md", card(name))
        return 0
    for origin in origins(arguments.run, arguments.names):
        publish(origin)
    return 0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a network comes from.

    Attributes:
        file: the network.
        result: what eval/aflw2000.py wrote of it.
        history: lines of its card: how it was made, and by what it was chosen.
    """

    file: Path
    result: Path
    history: list[str]


def origins(run: Path, names: list[str]) -> list[Origin]:
    """Return the networks of a folder to publish."""
    compressed = (run / "report.json").exists()
    if not names and compressed:
        raise WeightsError(f"{run} holds a compression: say which of its networks to publish")
    if not compressed:
        recipe = recipes.load_saved(run / "recipe.json")
        history = _trained(run, recipe)
        if not names:
            return [Origin(run / f"{recipe.name}.onnx", run / "aflw2000.json", history)]
        results = [run / "aflw2000" / f"{name}.json" for name in names]
        return [
            Origin(run / f"{name}.onnx", result, history if name == recipe.name else _variant(run, name, recipe.name))
            for name, result in zip(names, results, strict=True)
        ]
    report = _read_json(run / "report.json")
    made = {variant["name"]: variant for variant in report["variants"]}
    if missing := [name for name in names if name not in made]:
        raise WeightsError(f"{run / 'report.json'} has no network {missing[0]}; it has {', '.join(made)}")
    return [
        Origin(run / f"{name}.onnx", run / "aflw2000" / f"{name}.json", _compressed(report, made[name]))
        for name in names
    ]


def publish(origin: Origin) -> None:
    """Copy a network into weights/ and describe it."""
    model = OnnxPoseModel(origin.file, device="cpu")
    result = _read_json(origin.result)
    sha256 = sha256_of(model.path)
    if result.get("model_sha256") != sha256:
        raise WeightsError(f"{origin.result} was measured on another network than {model.path}: measure again")
    about = model.metadata
    if about["license"] not in ("permissive", "research-only"):
        raise WeightsError(
            f"{model.path} has the license {about['license']}: state what its data allow, with --set license=, "
            "license_terms= and data_note=, where it is trained"
        )
    entry = {
        "file": f"{model.name}.onnx",
        "sha256": sha256,
        "bytes": model.path.stat().st_size,
        **{key: about[key] for key in ("precision", "license", "license_terms", "data", "recipe", "parent")},
        "crop": model.crop.to_dict(),
        "metrics": {"aflw2000_geodesic": round(result["geodesic"], 2), "aflw2000_mae": round(result["mae"], 2)},
    }
    check_outputs([origin.file, origin.result], data={"weights/": [WEIGHTS / entry["file"], MANIFEST, README]})
    WEIGHTS.mkdir(exist_ok=True)
    with atomic_path(WEIGHTS / entry["file"]) as temporary:
        shutil.copyfile(model.path, temporary)
    _add_to_manifest(model.name, entry)
    records = _read_json(WEIGHTS / _RECORDS) if (WEIGHTS / _RECORDS).exists() else {}
    kept = ("geodesic", "mae", "yaw", "pitch", "roll", "ci", "bins", "bias", "protocol", "list_sha256")
    records[model.name] = {"history": origin.history, "result": {key: result[key] for key in kept}}
    write_text(WEIGHTS / _RECORDS, json.dumps(_rounded(records), indent=1, ensure_ascii=False) + "\n")
    write_text(WEIGHTS / f"{model.name}.md", card(model.name))
    write_text(WEIGHTS / "README.md", index())
    _update_readme()


def _trained(run: Path, recipe: Recipe) -> list[str]:
    """Describe the run in a folder of ``headpose train``."""
    faces, rows = _read_json(run / "split.json"), log.read(run / log.FILE)
    # Whoever looked at the test set before a decision says so here, and the card does.
    looked = run / "aflw2000-3d.txt"
    part = looked.read_text("utf-8").strip() if looked.exists() else "AFLW2000-3D was not used for any choice."
    started = _read_json(run / "init.json") if (run / "init.json").exists() else None
    grown = max((part.until for part in recipe.run.growing), default=0)  # from then on the input has its full size
    best = min((row for row in rows if row.images > grown), key=lambda row: row.error)
    held_out, alike = (
        ("held-out heads of other persons than the training heads", "They are rendered in the same way")
        if recipe.license == "permissive"
        else (
            "held-out faces of the training sets, split by photograph",
            "The held-out labels are pseudo-labels, like the training labels",
        )
    )
    return [
        f"- Recipe: `headpose train {recipe.name}`{_changes(recipe)}, seed {recipe.run.seed}, "
        f"{rows[-1].images:,} images shown in batches of {recipe.run.batch}, of {faces['training']:,} faces.",
        *(_started_from(started) if started else []),
        f"- Chosen by: the lowest geodesic error on {faces['validation']:,} {held_out}: {best.error:.2f} degrees "
        f"(Euler MAE {best.figures['mae']:.2f}) after {best.images:,} images. {alike}. {part}",
    ]


def _variant(run: Path, name: str, parent: str) -> list[str]:
    """Describe a variant that ``headpose quantize`` made of a trained network."""
    record = _read_json(run / f"{name}.json")
    hashes = sha256_of(run / f"{name}.onnx"), sha256_of(run / f"{parent}.onnx")
    if (record.get("model_sha256"), record.get("reference_sha256")) != hashes:
        raise WeightsError(f"{run / name}.json compares other networks: quantize again, with --json")
    parity, errors = record["parity"], record["geodesic"]
    if not errors:
        raise WeightsError(f"{run / name}.json compares on noise: quantize with --recipe")
    outputs = parity["outputs"]
    others = [f"IoU of the regions {1 - outputs['region']:.3f}"] if "region" in outputs else []
    others += [f"uncertainty {outputs['covariance']:.1%} apart"] if "covariance" in outputs else []
    others += [f"probability of a face {outputs['face']:.3f} apart"] if "face" in outputs else []
    lines = [
        f"- Made from: [{parent}]({parent}.md), by `headpose quantize`, compared on {parity['faces']:,} faces.",
        f"- Distance from {parent}: {parity['mean']:.3f} degrees (99th percentile {parity['p99']:.2f}); geodesic error "
        f"{errors['reference']:.2f} before, {errors['model']:.2f} after.",
    ]
    return [*lines, *([f"- Other outputs, means: {', '.join(others)}."] if others else [])]


def _changes(recipe: Recipe) -> str:
    """How a run's recipe differs from the package's of that name, but for where its data lie and what it ran on."""
    named, used = (
        {
            f"{section}.{key}": value
            for section, values in dataclasses.asdict(each).items()
            if isinstance(values, dict) and section != "data"
            for key, value in values.items()
        }
        for each in (recipes.load(recipe.name), recipe)
    )
    ignored = {"run.seed", "run.threads", "run.workers", "run.checkpoint_images", "run.validate_images"}
    changes = [f"{key}={json.dumps(used[key])}" for key in used if used[key] != named[key] and key not in ignored]
    return f" with {', '.join(changes)}" if changes else ""


def _started_from(origin: dict[str, str]) -> list[str]:
    """Return what is known of the initial weights of a run."""
    file = Path(origin["file"])
    lines = [f"- Started from: `{file.name}`, SHA-256 `{origin['sha256']}`."]
    if (file.parent / "recipe.json").exists():
        before = _trained(file.parent, recipes.load_saved(file.parent / "recipe.json"))
        lines += [f"  {line}" for line in before]
    return lines


def _compressed(report: dict[str, Any], variant: dict[str, Any]) -> list[str]:
    """Describe one network from the report of ``headpose compress``."""
    name, made = variant["name"], report["recipe"]
    lines = [f"- Recipe: `headpose compress {report['name']}`, seed {made['run']['seed']}."]
    prune = made["prune"]
    steps = [step for step in report["steps"] if step["accepted"]]
    pruned = (
        f"{len(steps) - 1} steps of pruning by {prune['importance']} ({prune['rule']['kind']}), "
        f"{prune['images']:,} images of fine-tuning after each; widths rounded to multiples of {prune['multiple']}; "
        f"{prune['last_images']:,} images at the end, loss: {_parts(prune['guide'])}"
    )
    student = name.removesuffix("-fp16").removesuffix("-int8")
    if name == "teacher":
        lines.append(f"- Pruned: {pruned}.")
    elif student in report["students"]:
        ratio = made["students"][student]["ratio"]
        lines.append(f"- Network: the teacher's widths inside the blocks, its residual streams divided by {ratio:g}.")
        layers, start = made["students"][student]["layers"], made["students"][student]["start"]
        before = "random weights" if start == "random" else f"the teacher's weights, its streams pruned by {start}"
        lines.append(f"- Start: {before}.")
        for stage in report["students"][student]:
            maps = f" (features: maps of the last {layers} prunable layers)" if stage["features"] else ""
            lines.append(f"- Stage {stage['stage']}: {stage['images']:,} images; loss: {_parts(stage)}{maps}.")
    if variant["parity"]:
        mean, p99 = variant["parity"]["mean"], variant["parity"]["p99"]
        lines.append(f"- Distance from {student} on held-out faces: {mean:.3f} degrees (99th percentile {p99:.2f}).")
    error, mae = variant["figures"]["geodesic"], variant["figures"]["mae"]
    return [
        *lines,
        f"- Chosen by: {report['examples']['validation']:,} held-out faces of the training sets, split by photograph, "
        f"on which its geodesic error is {error:.2f} degrees (Euler MAE {mae:.2f}). The held-out labels are "
        "pseudo-labels, like the training labels. AFLW2000-3D was not used for any choice here; the card of "
        "[baseline](baseline.md), from which this network derives, describes its role there.",
    ]


def _parts(loss: dict[str, Any]) -> str:
    """Which parts a loss has, and their weights."""
    return ", ".join(f"{key} {loss[key]:g}" for key in ("features", "output", "rotation", "labels") if loss.get(key))


def _rounded(values: Any) -> Any:
    """Round values to the two decimals that a card shows."""
    if isinstance(values, float):
        return round(values, 2)
    if isinstance(values, dict):
        return {key: _rounded(value) for key, value in values.items()}
    return [_rounded(value) for value in values] if isinstance(values, list) else values


def card(name: str) -> str:
    """Return the model card of a network of weights/, in Markdown with the header of the Hugging Face hub."""
    info, record = read_manifest(MANIFEST)[name], _read_json(WEIGHTS / _RECORDS)[name]
    model, result = OnnxPoseModel(WEIGHTS / info.file, device="cpu"), record["result"]
    spec, side = ResNetSpec.from_dict(model.metadata["architecture"]), model.crop.size
    axes = ", ".join(f"{axis} {angle:g}" for axis, angle in FRAME._asdict().items())
    texts = {key: text.strip().replace("$axes", axes) for key, text in _read_toml(_TEXTS)[info.license].items()}
    rows = {"geodesic": "geodesic", "mae": "Euler MAE", "yaw": "yaw", "pitch": "pitch", "roll": "roll"}
    errors = [
        "| degrees | error | 95 % interval |",
        "|---|---|---|",
        *(
            f"| {title} | {result[key]:.2f} | {result['ci'][key][0]:.2f} to {result['ci'][key][1]:.2f} |"
            for key, title in rows.items()
        ),
    ]
    bins = [
        "| by \\|yaw\\| of the label | faces | geodesic | Euler MAE |",
        "|---|---|---|---|",
        *(f"| {name} | {b['n']} | {b['geodesic']:.2f} | {b['mae']:.2f} |" for name, b in result["bins"].items()),
    ]
    wheel = _read_toml(ROOT / "pyproject.toml")["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    fetched = info.bytes > wheel["largest_bytes"] or name in wheel["left_out"]
    values = {
        "name": name,
        "precision": info.precision,
        "geodesic": info.metrics["aflw2000_geodesic"],
        "mae": info.metrics["aflw2000_mae"],
        "size": f"{parameters(spec) / 1e6:.2f} M parameters, {macs(spec, side) / 1e6:.0f} M multiply-accumulates, "
        f"{info.bytes / 1e6:.2f} MB, {info.precision}.",
        "license": info.license,
        "terms": info.license_terms,
        "parent": f" Parent: [{info.parent}]({info.parent}.md)." if info.parent else "",
        "fetch": f"    # first: headpose fetch {name}" if fetched else "",
        "file": info.file,
        "sha256": info.sha256,
        "short": info.sha256[:12],
        "side": side,
        "crop": "square" if model.crop.square else "stretched",
        "scale": f"{model.crop.scale:g}",
        "block": spec.block,
        "blocks": len(spec.blocks),
        "output": spec.output,
        "data": info.data,
        "history": "\n".join(record["history"]),
        "errors": "\n".join(errors),
        "bins": "\n".join(bins),
        "bias": f"Mean of predicted minus label, degrees: yaw {result['bias']['yaw']:+.2f}, "
        f"pitch {result['bias']['pitch']:+.2f}, roll {result['bias']['roll']:+.2f}.",
        "protocol": result["protocol"],
        "list_sha256": result["list_sha256"],
        "method": 'The method of compression is that of Aghli and Ribeiro, "Combining Weight Pruning and Knowledge '
        'Distillation for CNN Compression", CVPR Workshops 2021.'
        if info.recipe == "student"
        else "",
        **texts,
    }
    return string.Template(_CARD.read_text("utf-8")).substitute(values).rstrip() + "\n"


def _read_toml(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = tomlkit.parse(path.read_text("utf-8")).unwrap()
    return values


def index() -> str:
    """weights/README.md: one line for each network of the manifest."""
    lines = [
        "# Weights",
        "",
        "One ONNX file and one card for each network of `headpose/models.toml`. Errors are degrees on AFLW2000-3D;",
        "the card has intervals, the protocol and the command.",
        "",
        "| network | MB | precision | license | geodesic error | Euler MAE |",
        "|---|---|---|---|---|---|",
    ]
    for info in read_manifest(MANIFEST).values():
        measured = [info.metrics.get(f"aflw2000_{name}") for name in ("geodesic", "mae")]
        cells = ["-" if value is None else f"{value:.2f}" for value in measured]
        lines.append(
            f"| [{info.name}]({info.name}.md) | {info.bytes / 1e6:.2f} | {info.precision} | {info.license} | "
            f"{cells[0]} | {cells[1]} |"
        )
    return "\n".join([*lines, ""])


def _update_readme() -> None:
    """Insert the rows of the index into the table of README.md."""
    lines = README.read_text("utf-8").splitlines()
    old = [i for i, line in enumerate(lines) if re.match(r"\| \[(.+)\]\(weights/\1\.md\) \|", line)]
    rows = [row.replace("](", "](weights/") for row in index().splitlines() if row.startswith("| [")]
    write_text(README, "\n".join([*lines[: old[0]], *rows, *lines[old[-1] + 1 :], ""]))


def _add_to_manifest(name: str, entry: dict[str, Any]) -> None:
    document = tomlkit.parse(MANIFEST.read_text("utf-8"))
    table = tomlkit.table()
    for key, value in entry.items():
        if isinstance(value, dict):
            inline = tomlkit.inline_table()
            inline.update(value)
            table[key] = inline
        else:
            table[key] = value
    document[name] = table
    write_text(MANIFEST, tomlkit.dumps(document))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {path}: {error}") from error
    return values


if __name__ == "__main__":
    sys.exit(main())
