"""Measures landmark networks on the faces that a training run held out.

python eval/landmarks.py runs/landmarks-vgg [small.onnx ...] [--json FILE] [--out SHEET.png]

The first argument is the folder of a run of `headpose train`: its recipe says which faces were held out. Measured are
the network that it exported and any further files (.onnx, .safetensors), each with its own crop, on the same faces. The
errors are in percent of the root of the area of the tight box of a face's labeled points
(`headpose.evaluation.landmarks`); the intervals are 95 % bootstrap intervals of the NME, over groups of
near-duplicates.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headpose import crop, metrics
from headpose.cli.arguments import non_empty, whole
from headpose.cli.program import imports_from, run_program
from headpose.datasets.points import Landmarks, LandmarkSample
from headpose.errors import DataError
from headpose.evaluation import landmarks as evaluation
from headpose.files import check_outputs, sha256_of, write_text
from headpose.geometry import Array
from headpose.images import read_image
from headpose.landmarks import OnnxLandmarkModel
from headpose.types import CropSpec, Image

with imports_from("train", "landmarks"):
    from headpose.recipes import training as recipe
    from headpose.training.loop import RECIPE
    from headpose.training.picture import draw_landmarks
    from headpose.training.tasks.landmarks import read

_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A network on the held-out faces.

    Attributes:
        name: Name of the network.
        sha256: SHA-256 of its file.
        figures: Result of ``evaluation.figures``.
        interval: (2,) 95 % interval of the NME.
        crops: N crops, (S, S, 3) uint8 BGR.
        predicted: (N, 68, 2) landmarks in sides of the crop.
        labels: N labels in sides of the crop.
    """

    name: str
    sha256: str
    figures: dict[str, float]
    interval: Array
    crops: list[Image]
    predicted: Array
    labels: list[Landmarks]


def main() -> int:
    return run_program("landmarks", _main)


def _main() -> int:
    arguments = _parser().parse_args()
    folder = Path(arguments.run)
    saved = folder / RECIPE
    if not saved.is_file():
        raise DataError(f"{folder} is not the folder of a run: it has no {RECIPE}")
    read_files = [saved, *folder.glob("*.onnx"), *arguments.networks]
    check_outputs(read_files, text={"--json": arguments.json}, data={"--out": arguments.out})
    settings = recipe.load(str(saved))
    files = [folder / f"{settings.name}.onnx", *map(Path, arguments.networks)]
    if settings.task != "landmarks":
        raise DataError(f"{folder} is a run of the task {settings.task}, not of landmarks")
    models = [OnnxLandmarkModel(file, device="cpu", threads=arguments.threads) for file in files]
    faces = read(settings.data).validation
    measured = [measure(model, faces) for model in models]
    print(table(measured, faces))
    if arguments.json:
        write_text(Path(arguments.json), json.dumps({"networks": [_plain(each) for each in measured]}, indent=1) + "\n")
    if arguments.out:
        last = measured[-1]
        errors = np.nanmean(evaluation.errors(last.predicted, last.labels), axis=1)
        draw_landmarks(Path(arguments.out), last.crops, last.predicted, last.labels, errors)
    return 0


def measure(model: OnnxLandmarkModel, faces: list[LandmarkSample]) -> Measured:
    """Measure a network on faces, each cut by its box with the crop settings of the network."""
    crops, labels = [], []
    for face in faces:
        crops.append(crop.cut(read_image(face.image), face.sample.box, model.crop))
        labels.append(_in_crop(face, model.crop))
    found = [
        model.predict(crop.normalize(np.stack(crops[start : start + _BATCH]), model.crop))
        for start in range(0, len(crops), _BATCH)
    ]
    predicted = np.concatenate(found)
    nme = np.nanmean(evaluation.errors(predicted, labels), axis=1)
    interval = metrics.bootstrap_interval(nme, groups=[face.group for face in faces])
    return Measured(
        model.name,
        sha256_of(model.path),
        evaluation.figures(predicted, labels, _yaw(faces)),
        interval,
        crops,
        predicted,
        labels,
    )


def _in_crop(face: LandmarkSample, spec: CropSpec) -> Landmarks:
    return Landmarks(crop.points_in_crop(face.landmarks.points, face.sample.box, spec), face.landmarks.known)


def _yaw(faces: list[LandmarkSample]) -> Array:
    return np.array([face.sample.euler.yaw for face in faces])


def table(measured: list[Measured], faces: list[LandmarkSample]) -> str:
    """Format the figures as a Markdown table."""
    profile = int((np.abs(_yaw(faces)) >= evaluation.PROFILE_DEGREES).sum())
    limit = f"{evaluation.PROFILE_DEGREES:.0f}"
    lines = [
        f"{len(faces)} held-out faces, {profile} of |yaw| >= {limit}; percent of the box",
        "",
        f"| network | NME | 95 % | NME, yaw below {limit} | NME, from {limit} | RMSE "
        f"| NME above {evaluation.FAILURE_PERCENT:.0f}, % of the faces |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in measured:
        nme, *others = (f"{each.figures[name]:.2f}" for name in evaluation.FIGURES)
        interval = " to ".join(f"{bound:.2f}" for bound in each.interval)
        lines.append(f"| {' | '.join([each.name, nme, interval, *others])} |")
    return "\n".join(lines)


def _plain(each: Measured) -> dict[str, Any]:
    known = {"name": each.name, "model_sha256": each.sha256, "faces": len(each.labels)}
    return {**known, **each.figures, "nme_interval": list(map(float, each.interval))}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="landmarks", description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN", type=non_empty, help="folder of a finished run of headpose train")
    parser.add_argument(
        "networks", nargs="*", metavar="FILE", type=non_empty, help="further landmark networks: .onnx, .safetensors"
    )
    parser.add_argument("--json", type=non_empty, metavar="FILE", help="write the figures to a file")
    parser.add_argument("--out", type=non_empty, metavar="FILE", help="draw faces of the last network into an image")
    parser.add_argument("--threads", type=whole, default=0, metavar="N", help="number of CPU threads (default: all)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
