"""Model cards: what is known of a network, in Markdown with the header that the Hugging Face hub reads.

A card is a template of ``string.Template`` with texts by license and by outputs, and the figures of a record:

* ``history``: lines that say how the network was made and chosen;
* ``result``: of a head pose network what ``eval/aflw2000.py`` measured, of a landmark network its entry among those of
  ``eval/landmarks.py``;
* ``doubt``: of a network with the output ``covariance`` what ``eval/heldout.py`` found of it: a ``doubt.Doubt`` as an
  object, the share ``negatives`` of pictures without a face that are read as faces, and the ``sets`` measured on.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headpose.evaluation import doubt
from headpose.evaluation import landmarks as evaluation
from headpose.inference import OnnxModel, OnnxPoseModel
from headpose.landmarks import OnnxLandmarkModel
from headpose.networks import spec as specs
from headpose.networks.spec import PlainSpec, ResNetSpec
from headpose.types import ModelInfo

_METHOD = (
    'The method of compression is that of Aghli and Ribeiro, "Combining Weight Pruning and Knowledge '
    'Distillation for CNN Compression", CVPR Workshops 2021.'
)
_ERRORS = {"geodesic": "geodesic", "mae": "Euler MAE", "yaw": "yaw", "pitch": "pitch", "roll": "roll"}
_OUTPUTS = {
    "region": "`region` (N, 4) float32: the tight box of the 68 landmarks in the crop",
    "covariance": "`covariance` (N, 3, 3) float32: of the rotation's error, radians squared, not calibrated",
    "face": "`face` (N,) float32: logit that the crop shows a face, not calibrated",
}


@dataclass(frozen=True, slots=True)
class Texts:
    """What cards consist of.

    Attributes:
        templates: Template of each kind of network.
        by_license: Values of the templates by license.
        by_outputs: Values of the templates for head pose networks, by ``rotation`` (no other output) and ``all``.
        by_recipe: Values that replace those by license, for networks of a recipe with other data.
    """

    templates: Mapping[str, str]
    by_license: Mapping[str, Mapping[str, str]]
    by_outputs: Mapping[str, Mapping[str, str]]
    by_recipe: Mapping[str, Mapping[str, str]]


def card(info: ModelInfo, file: Path, record: Mapping[str, Any], texts: Texts, *, fetched: bool) -> str:
    """Return the card of a network.

    Args:
        info: Its entry in the manifest.
        file: Its file.
        record: Its record; see the module.
        texts: Templates and texts.
        fetched: Whether the package comes without it, so that users must fetch it.

    Raises:
        WeightsError: The file is not a network of the kind in its entry.
        KeyError: The record or the texts lack what the template asks for.
    """
    is_pose = info.kind == "pose"
    model = OnnxPoseModel(file, device="cpu") if is_pose else OnnxLandmarkModel(file, device="cpu")
    spec = specs.from_dict(model.metadata["architecture"])
    values = {
        "name": info.name,
        "precision": info.precision,
        "size": f"{specs.parameters(spec) / 1e6:.2f} M parameters, "
        f"{specs.macs(spec, model.crop.size) / 1e6:.0f} M multiply-accumulates, {info.bytes / 1e6:.2f} MB, "
        f"{info.precision}.",
        "license": info.license,
        "terms": info.license_terms,
        "parent": f" Parent: [{info.parent}]({info.parent}.md)." if info.parent and is_pose else "",
        "fetch": f"    # first: headpose fetch {info.name}" if fetched else "",
        "file": info.file,
        "sha256": info.sha256,
        "short": info.sha256[:12],
        "side": model.crop.size,
        "crop": "square" if model.crop.square else "stretched",
        "scale": f"{model.crop.scale:g}",
        "data": info.data,
        "history": "\n".join(record["history"]),
        **{key: text.strip() for key, text in _texts_on_data(info, texts).items()},
        **(_pose(info, spec, model, record, texts) if is_pose else _landmarks(file, spec, record["result"])),
    }
    return string.Template(texts.templates[info.kind]).substitute(values).rstrip() + "\n"


def _texts_on_data(info: ModelInfo, texts: Texts) -> dict[str, str]:
    return {**texts.by_license[info.license], **texts.by_recipe.get(info.recipe, {})}


def _pose(
    info: ModelInfo, spec: specs.Spec, model: OnnxModel, record: Mapping[str, Any], texts: Texts
) -> dict[str, object]:
    assert isinstance(spec, ResNetSpec)
    result, outputs = record["result"], model.metadata.get("outputs", [])
    errors = [
        "| degrees | error | 95 % interval |",
        "|---|---|---|",
        *(
            f"| {title} | {result[key]:.2f} | {result['ci'][key][0]:.2f} to {result['ci'][key][1]:.2f} |"
            for key, title in _ERRORS.items()
        ),
    ]
    bins = [
        "| by \\|yaw\\| of the label | faces | geodesic | Euler MAE |",
        "|---|---|---|---|",
        *(f"| {name} | {b['n']} | {b['geodesic']:.2f} | {b['mae']:.2f} |" for name, b in result["bins"].items()),
    ]
    return {
        "geodesic": info.metrics["aflw2000_geodesic"],
        "mae": info.metrics["aflw2000_mae"],
        "block": spec.block,
        "blocks": len(spec.blocks),
        "output": spec.output,
        "outputs": "".join(f"\n- Output: {_OUTPUTS[name]}." for name in outputs),
        "errors": "\n".join(errors),
        "bins": "\n".join(bins),
        "bias": f"Mean of predicted minus label, degrees: yaw {result['bias']['yaw']:+.2f}, "
        f"pitch {result['bias']['pitch']:+.2f}, roll {result['bias']['roll']:+.2f}.",
        "protocol": result["protocol"],
        "list_sha256": result["list_sha256"],
        "method": _METHOD if info.recipe == "student" else "",
        "doubt": _doubt(record["doubt"]) if "covariance" in outputs else "",
        **{key: text.strip() for key, text in texts.by_outputs["all" if outputs else "rotation"].items()},
    }


def _doubt(found: Mapping[str, Any]) -> str:
    """Return the section on the uncertainty."""
    parts = [doubt.Part(**part) for part in found["parts"]]
    lines = [
        "## Uncertainty",
        "",
        f"On {found['n']:,} held-out faces ({', '.join(found['sets'])}), in {len(parts)} parts ordered by",
        "`uncertainty`: mean geodesic error as predicted, and as it was, in degrees:",
        "",
        f"| part | {' | '.join(str(number) for number in range(1, len(parts) + 1))} |",
        f"|---{'|---' * len(parts)}|",
        f"| predicted | {' | '.join(f'{part.predicted:.1f}' for part in parts)} |",
        f"| true | {' | '.join(f'{part.true:.1f}' for part in parts)} |",
        "",
        f"Errors above {found['far_degrees']:g} degrees are found with an area under the ROC curve of "
        f"{found['auc']:.3f}.",
    ]
    if found["negatives"] is not None:
        kept = f"{doubt.READ_SHARE:.0%} of the faces"
        lines.append(f"Of pictures without a face, {found['negatives']:.1%} are read as faces where {kept} are.")
    return "\n".join([*lines, "", ""])


def _landmarks(file: Path, spec: specs.Spec, result: Mapping[str, Any]) -> dict[str, object]:
    assert isinstance(spec, PlainSpec)
    coded = "\n- Weights: codewords of product quantization, which headpose decodes to an ONNX network, bit for bit."
    titles = {
        "nme": "NME",
        "nme_front": f"NME, yaw below {evaluation.PROFILE_DEGREES:.0f}",
        "nme_profile": f"NME, yaw from {evaluation.PROFILE_DEGREES:.0f}",
        "rmse": "RMSE",
        "failures": f"faces of an NME above {evaluation.FAILURE_PERCENT:.0f}",
    }
    low, high = result["nme_interval"]
    return {
        "layers": len(spec.layers),
        "dense": len(spec.head) + 1,
        "coded": coded if file.suffix != ".onnx" else "",
        "faces": f"{result['faces']:,}",
        "interval": f"{low:.2f} to {high:.2f}",
        "errors": "\n".join(
            ["| percent | |", "|---|---|", *(f"| {title} | {result[key]:.2f} |" for key, title in titles.items())]
        ),
    }


def index(networks: Iterable[ModelInfo]) -> str:
    """Return the index of a folder of networks and their cards."""
    pose = [
        "# Weights",
        "",
        "One file and one card for each network of `headpose/models.toml`. Errors are degrees on AFLW2000-3D;",
        "the card has intervals, the protocol and the command.",
        "",
        "| network | MB | precision | license | geodesic error | Euler MAE |",
        "|---|---|---|---|---|---|",
    ]
    points = [
        "",
        "Landmark networks. NME: mean error in percent of the root of the tight box's area, on held-out faces.",
        "",
        "| network | MB | license | NME |",
        "|---|---|---|---|",
    ]
    found = {"pose": pose, "landmarks": points}
    empty = len(points)
    for info in networks:
        start = f"| [{info.name}]({info.name}.md) | {info.bytes / 1e6:.2f} |"
        names = ("aflw2000_geodesic", "aflw2000_mae") if info.kind == "pose" else ("heldout_nme",)
        cells = [f"{info.metrics[name]:.2f}" if name in info.metrics else "-" for name in names]
        precision = [info.precision] if info.kind == "pose" else []
        found[info.kind].append(f"{start} {' | '.join([*precision, info.license, *cells])} |")
    return "\n".join([*pose, *(points if len(points) > empty else []), ""])
