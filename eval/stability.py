"""Measures how steady networks are: on rendered sequences whose pose is known, and on videos without labels.

python eval/stability.py student compact opentrack --peers NETWORKS --sequences DIR [--heads 8] [--json FILE]
python eval/stability.py student compact opentrack --peers NETWORKS --clips a.mp4 b.mp4 [--json FILE]

--sequences renders what DIR does not hold yet (needs the extra: synth). All networks get the same boxes: on rendered
heads those of the sequences, on videos those of one detector. docs/protocols.md says what each figure is.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
from tqdm import tqdm

from headpose import files
from headpose.cli.arguments import named_path, non_empty, positive
from headpose.cli.log import show_log
from headpose.cli.program import imports_from, run_program
from headpose.datasets import sequences
from headpose.detection import create_detector
from headpose.errors import HeadPoseError
from headpose.evaluation import networks, stability
from headpose.evaluation.adapters import FacesPredictor, faces_predictor
from headpose.evaluation.cells import network_sha256
from headpose.evaluation.stability import ClipFigures, RenderedFigures, Stability
from headpose.report import document, tables
from headpose.streams import open_source, source_files
from headpose.types import Image

ADAPTERS = Path(__file__).resolve().parent / "adapters"


def main() -> int:
    return run_program("stability", _main)


def _main() -> int:
    arguments = _parser().parse_args()
    show_log("stability")
    _run(arguments)
    return 0


def _run(arguments: argparse.Namespace) -> None:
    if not arguments.sequences and not arguments.clips:
        raise HeadPoseError(
            "nothing to measure on: name a folder for rendered heads (--sequences), or videos (--clips)"
        )
    clips = [file for clip in arguments.clips for file in source_files(clip)]
    files.check_outputs(
        [*arguments.networks, *clips, arguments.sequences, arguments.peers], text={"--json": arguments.json}
    )
    names = [Path(clip).stem for clip in arguments.clips]
    if len(set(names)) < len(names):
        raise HeadPoseError(f"two of the videos have one name: {', '.join(names)}")
    models = [
        networks.load(name, adapters=ADAPTERS, peers=arguments.peers, threads=arguments.threads)
        for name in arguments.networks
    ]
    predictors = {model.name: faces_predictor(model) for model in models}
    if len(predictors) < len(models):
        raise HeadPoseError(f"two of the networks have one name: {', '.join(model.name for model in models)}")
    digests = {model.name: network_sha256(model) for model in models}
    rendered = _rendered(predictors, arguments) if arguments.sequences else []
    result = _written(rendered, [], digests, arguments)
    for clip in arguments.clips:
        result = _written(rendered, [*result.clips, *_clip(predictors, clip, arguments)], digests, arguments)
    print("\n\n".join(document.markdown_block(block) for block in tables.stability(result).blocks))


def _written(
    rendered: list[RenderedFigures], clips: list[ClipFigures], digests: dict[str, str], arguments: argparse.Namespace
) -> Stability:
    """All figures so far. They are written at once: a run that is cut short leaves what it has measured."""
    heads, videos = arguments.heads if rendered else 0, len({each.clip for each in clips})
    result = Stability(stability.in_words(heads, videos, arguments.detector), rendered, clips)
    if arguments.json and (rendered or clips):
        record = {**dataclasses.asdict(result), "networks_sha256": digests}
        files.write_text(arguments.json, json.dumps(record, indent=1) + "\n")
    return result


def _rendered(predictors: dict[str, FacesPredictor], arguments: argparse.Namespace) -> list[RenderedFigures]:
    """Measure networks on rendered heads; missing heads are rendered first."""
    with imports_from("synth", "stability"):
        from headpose.synth import sequences as rendering
    rendering.write(arguments.sequences, arguments.heads)
    read = stability.read_sequences(predictors, sequences.read(arguments.sequences, arguments.heads))
    return stability.rendered_figures(read)


def _clip(predictors: dict[str, FacesPredictor], clip: str, arguments: argparse.Namespace) -> list[ClipFigures]:
    """Measure networks on a video."""
    detector = create_detector(arguments.detector, threads=arguments.threads)

    def frames() -> Iterator[tuple[float, Image]]:
        with open_source(clip) as video:
            if video.kind != "video":
                raise HeadPoseError(f"{clip} is no video: jitter needs frames in order of time")
            bar = tqdm(video, desc=Path(clip).stem, total=video.length, unit="frame", leave=False, disable=None)
            yield from ((frame.time_s, frame.image) for frame in bar)

    return stability.clip_figures(Path(clip).stem, stability.read_clip(predictors, frames(), detector))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stability", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "networks",
        type=non_empty,
        nargs="+",
        metavar="NETWORK",
        help="names of networks, .onnx files, or adapters (names or .toml files)",
    )
    parser.add_argument("--peers", metavar="DIR", help="folder of the third-party networks")
    parser.add_argument(
        "--sequences", type=named_path, metavar="DIR", help="folder of rendered sequences; missing ones are rendered"
    )
    parser.add_argument(
        "--heads", type=positive, default=8, metavar="N", help="number of rendered heads (default: %(default)s)"
    )
    parser.add_argument("--clips", type=non_empty, nargs="+", default=[], metavar="VIDEO", help="videos with faces")
    parser.add_argument(
        "--detector",
        choices=("blazeface", "mediapipe"),
        default="blazeface",
        help="face detector for --clips (default: %(default)s)",
    )
    parser.add_argument("--json", type=named_path, metavar="FILE", help="write the result to a file")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="number of CPU threads (default: all)")
    return parser


if __name__ == "__main__":
    cv2.setNumThreads(1)  # one picture at a time is too little work to share
    sys.exit(main())
