"""Puts a trained network into weights/: the file, its entry in models.toml, its card and the index.

python eval/aflw2000.py --data AFLW2000 --model runs/compact/compact.onnx --json runs/compact/aflw2000.json
python scripts/publish_weights.py runs/compact

The folder is one that ``headpose train`` has finished. Every figure of the card comes from its log and
from that evaluation, whose network must be the one that is published. Publishing again replaces.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from headpose.errors import HeadPoseError, WeightsError
from headpose.files import atomic_path, sha256_of, write_text
from headpose.inference import OnnxPoseModel
from headpose.training import log
from headpose.training.spec import ResNetSpec, macs, parameters
from headpose.weights import read_manifest

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS, MANIFEST = ROOT / "weights", ROOT / "headpose" / "models.toml"


def main() -> int:
    parser = argparse.ArgumentParser(prog="publish_weights", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="DIR", help="folder of the finished run")
    arguments = parser.parse_args()
    try:
        publish(arguments.run)
    except HeadPoseError as error:
        print(f"publish_weights: error: {error}", file=sys.stderr)
        return 1
    return 0


def publish(run: Path) -> None:
    """Copies and describes the network of a finished run."""
    recipe = _read_json(run / "recipe.json")
    model = OnnxPoseModel(run / f"{recipe['name']}.onnx", device="cpu")
    result = _read_json(run / "aflw2000.json")
    sha256 = sha256_of(model.path)
    if result.get("model_sha256") != sha256:
        raise WeightsError(f"{run / 'aflw2000.json'} was measured on another network than {model.path}: measure again")
    about = model.metadata
    entry = {
        "file": f"{model.name}.onnx",
        "sha256": sha256,
        "bytes": model.path.stat().st_size,
        **{key: about[key] for key in ("precision", "lane", "licence", "data", "recipe", "parent")},
        "crop": model.crop.to_dict(),
        "metrics": {"aflw2000_geodesic": round(result["geodesic"], 2), "aflw2000_mae": round(result["mae"], 2)},
    }
    WEIGHTS.mkdir(exist_ok=True)
    with atomic_path(WEIGHTS / entry["file"]) as temporary:
        shutil.copyfile(model.path, temporary)
    _add_to_manifest(model.name, entry)
    training = Training(recipe, _read_json(run / "split.json"), log.read(run / log.FILE))
    write_text(WEIGHTS / f"{model.name}.md", card(model, entry, result, training))
    write_text(WEIGHTS / "README.md", index())


@dataclass(frozen=True, slots=True)
class Training:
    """What the folder of a run tells: its recipe, numbers of faces by side of the split, and log."""

    recipe: dict[str, Any]
    faces: dict[str, int]
    rows: list[log.Row]


def card(model: OnnxPoseModel, entry: dict[str, Any], result: dict[str, Any], training: Training) -> str:
    """The model card, Markdown."""
    recipe, faces, rows = training.recipe, training.faces, training.rows
    spec, size = ResNetSpec.from_dict(model.metadata["architecture"]), model.crop.size
    best = min(rows, key=lambda row: row.error)
    command = f"python eval/aflw2000.py --data AFLW2000 --model {model.name}"
    crop = "square" if model.crop.square else "stretched box"
    lines = [
        f"# {model.name}",
        "",
        f"{parameters(spec) / 1e6:.2f} M parameters, {macs(spec, size) / 1e6:.0f} M multiply-accumulates, "
        f"{entry['bytes'] / 1e6:.2f} MB, {entry['precision']}. Lane: **{entry['lane']}**. Licence: {entry['licence']}.",
        "",
        f"- File: `{entry['file']}`, SHA-256 `{entry['sha256']}`.",
        f"- Input: `image` (N, 3, {size}, {size}) float32, RGB, normalised; a {crop} crop of {model.crop.scale:g} "
        "times the tight box of the 68 landmarks (the file's metadata has the whole of it).",
        "- Output: `rotation` (N, 3, 3) float32, head to camera; the angles and their signs are in "
        "[docs/conventions.md](../docs/conventions.md).",
        f"- Network: residual, {spec.block} blocks, {len(spec.blocks)} of them, output {spec.output}.",
        f"- Trained on: {entry['data']}.",
        f"- Recipe: `headpose train {entry['recipe']}`, seed {recipe['run']['seed']}, "
        f"{rows[-1].images:,} images shown in batches of {recipe['run']['batch']}, of {faces['training']:,} faces.",
        f"- Chosen by: the lowest geodesic error on {faces['validation']:,} held-out faces of the training sets, split "
        f"by photograph: {best.error:.2f} degrees (Euler MAE {best.figures['mae']:.2f}) after {best.images:,} images. "
        "The held-out labels are of the same making as the training labels. AFLW2000-3D chose nothing.",
        "",
        "## AFLW2000-3D",
        "",
        f"`{command}`",
        "",
        "| degrees | error | 95 % interval |",
        "|---|---|---|",
        *(
            f"| {title} | {result[key]:.2f} | {result['ci'][key][0]:.2f} to {result['ci'][key][1]:.2f} |"
            for title, key in (
                ("geodesic", "geodesic"),
                ("Euler MAE", "mae"),
                ("yaw", "yaw"),
                ("pitch", "pitch"),
                ("roll", "roll"),
            )
        ),
        "",
        "| by \\|yaw\\| of the label | faces | geodesic | Euler MAE |",
        "|---|---|---|---|",
        *(f"| {name} | {b['n']} | {b['geodesic']:.2f} | {b['mae']:.2f} |" for name, b in result["bins"].items()),
        "",
        f"Mean of predicted minus label: yaw {result['bias']['yaw']:+.2f}, pitch {result['bias']['pitch']:+.2f}, "
        f"roll {result['bias']['roll']:+.2f}. Protocol: {result['protocol']} List SHA-256 `{result['list_sha256']}`.",
        "",
    ]
    return "\n".join(lines)


def index() -> str:
    """weights/README.md: one line for each network of the manifest."""
    lines = [
        "# Weights",
        "",
        "One ONNX file and one card for each network of `headpose/models.toml`. Errors are degrees on AFLW2000-3D;",
        "the card has intervals, the protocol and the command.",
        "",
        "| network | MB | precision | lane | geodesic error | Euler MAE |",
        "|---|---|---|---|---|---|",
    ]
    for info in read_manifest(MANIFEST).values():
        measured = [info.metrics.get(f"aflw2000_{name}") for name in ("geodesic", "mae")]
        cells = ["-" if value is None else f"{value:.2f}" for value in measured]
        lines.append(
            f"| [{info.name}]({info.name}.md) | {info.bytes / 1e6:.2f} | {info.precision} | {info.lane} | "
            f"{cells[0]} | {cells[1]} |"
        )
    return "\n".join([*lines, ""])


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
