"""Put networks into weights/: the file, its entry in models.toml, its card, the index and README's table.

python eval/aflw2000.py --data AFLW2000 --model runs/compact/compact.onnx --json runs/compact/aflw2000.json
python scripts/publish_weights.py runs/compact

python eval/aflw2000.py --data AFLW2000 --model runs/student/teacher.onnx --json runs/student/aflw2000/teacher.json
python scripts/publish_weights.py runs/student teacher student student-fp16

headpose quantize mine.onnx --precision int8 --recipe recipe.json --out mine-int8.onnx --json mine-int8.json
python scripts/publish_weights.py . mine mine-int8    # with aflw2000/mine.json and aflw2000/mine-int8.json

python eval/landmarks.py runs/landmarks-vgg runs/landmarks/landmarks.safetensors --json runs/landmarks/landmarks.json
python scripts/publish_weights.py runs/landmarks landmarks

python scripts/publish_weights.py --cards

The folder is one that ``headpose train`` or, where networks are named, ``headpose compress`` has finished, or one of
``headpose train`` with variants of its network and the comparisons of ``headpose quantize``. Every figure of a card
comes from these records and from the evaluation, whose network must be the one that is published; a network that says
how sure it is needs heldout/NAME.json, too, from eval/heldout.py. Publishing again replaces. ``--cards`` writes the
cards again, without changing a network: their text is ``model_card_pose.md`` or ``model_card_landmarks.md``, their
figures and history are in ``weights/records.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headpose.cli.arguments import named_path
from headpose.cli.program import imports_from, run_program
from headpose.coded import SUFFIX
from headpose.errors import WeightsError
from headpose.files import atomic_path, check_outputs, sha256_of, write_text
from headpose.inference import OnnxModel, OnnxPoseModel
from headpose.landmarks import OnnxLandmarkModel
from headpose.weights import read_manifest

with imports_from("test", "publish_weights"):
    import tomlkit

    from headpose.recipes import training as recipes
    from headpose.recipes.training import Recipe
    from headpose.report import model_cards
    from headpose.synth.anatomy import FRAME
    from headpose.training import log

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS, MANIFEST, README = ROOT / "weights", ROOT / "headpose" / "models.toml", ROOT / "README.md"
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
        file: Network file.
        result: What eval/aflw2000.py wrote about it; for landmarks, what eval/landmarks.py wrote.
        history: Lines of its card: how it was made, and by what it was chosen.
        doubt: What eval/heldout.py wrote about it; read if the network has the output ``covariance``.
    """

    file: Path
    result: Path
    history: list[str]
    doubt: Path | None = None


def origins(run: Path, names: list[str]) -> list[Origin]:
    """Return the networks of a folder to publish."""
    compressed = (run / "report.json").exists()
    if not names and compressed:
        raise WeightsError(f"{run} holds a compression: say which of its networks to publish")
    if compressed:
        report = _read_json(run / "report.json")
        made = {variant["name"]: variant for variant in report["variants"]}
        if missing := [name for name in names if name not in made]:
            raise WeightsError(f"{run / 'report.json'} has no network {missing[0]}; it has {', '.join(made)}")
        return [_origin(run, name, _compressed(report, made[name])) for name in names]
    recipe = recipes.load_saved(run / "recipe.json")
    history = _trained(run, recipe)
    if not names:
        alone = run / "aflw2000.json"
        origin = _origin(run, recipe.name, history)
        return [dataclasses.replace(origin, result=alone) if recipe.task == "head-pose" else origin]
    return [_origin(run, name, history if name == recipe.name else _variant(run, name, recipe.name)) for name in names]


def _origin(run: Path, name: str, history: list[str]) -> Origin:
    """Return a network of a folder, with the places of its figures."""
    coded = run / f"{name}{SUFFIX}"
    file = coded if coded.exists() else run / f"{name}.onnx"
    points = run / "landmarks.json"
    result = points if points.exists() else run / "aflw2000" / f"{name}.json"
    return Origin(file, result, history, run / "heldout" / f"{name}.json")


def publish(origin: Origin) -> None:
    """Copy a network into weights/ and describe it."""
    found = _read_json(origin.result)
    measured, figures = (OnnxLandmarkModel, _landmarks) if "networks" in found else (OnnxPoseModel, _pose)
    model: OnnxModel = measured(origin.file, device="cpu")
    about, sha256 = model.metadata, sha256_of(origin.file)
    if about["license"] not in ("permissive", "research-only"):
        raise WeightsError(
            f"{model.path} has the license {about['license']}: state what its data allow, with --set license=, "
            "license_terms= and data_note=, where it is trained"
        )
    if (about_file := figures(found, sha256)) is None:
        raise WeightsError(f"{origin.result} was measured on another network than {model.path}: measure again")
    result, metrics = about_file
    record = {"history": origin.history, "result": result}
    if "covariance" in about.get("outputs", []):
        record["doubt"] = _doubt(origin, model.name, sha256)
    entry = {
        "file": f"{model.name}{origin.file.suffix}",
        "sha256": sha256,
        "bytes": origin.file.stat().st_size,
        **{key: about[key] for key in ("precision", "license", "license_terms", "data", "recipe", "parent")},
        "crop": model.crop.to_dict(),
        "metrics": metrics,
        **({"kind": model.kind} if model.kind != "pose" else {}),
    }
    read_files = [origin.file, origin.result, origin.doubt]
    check_outputs(read_files, data={"weights/": [WEIGHTS / entry["file"], MANIFEST, README]})
    WEIGHTS.mkdir(exist_ok=True)
    with atomic_path(WEIGHTS / entry["file"]) as temporary:
        shutil.copyfile(origin.file, temporary)
    _add_to_manifest(model.name, entry)
    records = _read_json(WEIGHTS / _RECORDS) if (WEIGHTS / _RECORDS).exists() else {}
    records[model.name] = record
    write_text(WEIGHTS / _RECORDS, json.dumps(_rounded(records), indent=1, ensure_ascii=False) + "\n")
    write_text(WEIGHTS / f"{model.name}.md", card(model.name))
    write_text(WEIGHTS / "README.md", index())
    _update_readme()


def _pose(found: dict[str, Any], sha256: str) -> tuple[dict[str, Any], dict[str, float]] | None:
    """Return what the card repeats of a measurement, and the metrics of the manifest; None if it is of another file."""
    if found.get("model_sha256") != sha256:
        return None
    kept = ("geodesic", "mae", "yaw", "pitch", "roll", "ci", "bins", "bias", "protocol", "list_sha256")
    metrics = {"aflw2000_geodesic": round(found["geodesic"], 2), "aflw2000_mae": round(found["mae"], 2)}
    return {key: found[key] for key in kept}, metrics


def _landmarks(found: dict[str, Any], sha256: str) -> tuple[dict[str, Any], dict[str, float]] | None:
    """Return the same of a landmark network."""
    of_file = next((each for each in found["networks"] if each["model_sha256"] == sha256), None)
    return of_file and (of_file, {"heldout_nme": round(of_file["nme"], 2)})


def _doubt(origin: Origin, name: str, sha256: str) -> dict[str, Any]:
    found = _read_json(origin.doubt) if origin.doubt else {}
    if found.get("networks_sha256", {}).get(name) != sha256:
        raise WeightsError(
            f"{origin.doubt} was measured on another network: measure again, with eval/heldout.py --json"
        )
    negatives = found["negatives_read_as_faces"].get(name)
    return {**found["doubt"][name], "negatives": negatives, "sets": list(found["samples_sha256"])}


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
    if name == "teacher" or name in made["product"]:
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
    lines += _coded(made, name)
    faces, figures = report["examples"]["validation"], variant["figures"]
    if "nme" in figures:
        return [*lines, f"- Chosen by: {faces:,} held-out faces, on which its NME is {figures['nme']:.2f} %."]
    return [
        *lines,
        f"- Chosen by: {faces:,} held-out faces of the training sets, split by photograph, on which its geodesic error "
        f"is {figures['geodesic']:.2f} degrees (Euler MAE {figures['mae']:.2f}). The held-out labels are "
        "pseudo-labels, like the training labels. AFLW2000-3D was not used for any choice here; the card of "
        "[baseline](baseline.md), from which this network derives, describes its role there.",
    ]


def _coded(made: dict[str, Any], name: str) -> list[str]:
    """Describe what made a network of codewords: the pruning of connections before it, and the codes."""
    if not (codes := made["product"].get(name)):
        return []
    lines = []
    if sparse := made["connections"].get(codes["network"]):
        lines.append(
            f"- Connections: {sparse['rule']['value']:.0%} of those of {sparse['network']} removed by "
            f"{sparse['importance']}, in {sparse['steps']} steps; {sparse['last_images']:,} images at the end."
        )
    lines.append(
        f"- Codes: {codes['codewords']} codewords for each layer, vectors of {codes['kernel_length']} weights of a 3x3 "
        f"kernel and of {codes['length']} otherwise, {'signed' if codes['signed'] else 'signs apart'}; "
        f"{codes['last_images']:,} images at the end."
    )
    return lines


def _parts(loss: dict[str, Any]) -> str:
    """Which parts a loss has, and their weights."""
    return ", ".join(f"{key} {loss[key]:g}" for key in ("features", "output", "rotation", "labels") if loss.get(key))


def _rounded(values: Any) -> Any:
    """Round values to three decimals; a card shows at most so many."""
    if isinstance(values, float):
        return round(values, 3)
    if isinstance(values, dict):
        return {key: _rounded(value) for key, value in values.items()}
    return [_rounded(value) for value in values] if isinstance(values, list) else values


def card(name: str) -> str:
    """Return the model card of a network of weights/."""
    info = read_manifest(MANIFEST)[name]
    wheel = _read_toml(ROOT / "pyproject.toml")["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    fetched = info.bytes > wheel["largest_bytes"] or name in wheel["left_out"]
    record = _read_json(WEIGHTS / _RECORDS)[name]
    return model_cards.card(info, WEIGHTS / info.file, record, _texts(), fetched=fetched)


def _texts() -> model_cards.Texts:
    folder = ROOT / "scripts"
    templates = {kind: (folder / f"model_card_{kind}.md").read_text("utf-8") for kind in ("pose", "landmarks")}
    found = _read_toml(folder / "model_card_texts.toml")
    axes = ", ".join(f"{axis} {angle:g}" for axis, angle in FRAME._asdict().items())
    for texts in found["license"].values():
        texts["data_terms"] = texts["data_terms"].replace("$axes", axes)
    return model_cards.Texts(templates, found["license"], found["outputs"], found["recipe"])


def _read_toml(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = tomlkit.parse(path.read_text("utf-8")).unwrap()
    return values


def index() -> str:
    """Return the content of weights/README.md."""
    return model_cards.index(read_manifest(MANIFEST).values())


def _update_readme() -> None:
    """Insert the rows of the head pose networks into the table of README.md."""
    lines = README.read_text("utf-8").splitlines()
    old = [i for i, line in enumerate(lines) if re.match(r"\| \[(.+)\]\(weights/\1\.md\) \|", line)]
    networks = [info for info in read_manifest(MANIFEST).values() if info.kind == "pose"]
    listed = model_cards.index(networks).splitlines()
    rows = [row.replace("](", "](weights/") for row in listed if row.startswith("| [")]
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
