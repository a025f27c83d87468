"""``headpose best``: save the most frontal, sharpest pictures of each person in a video."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from headpose.cli.arguments import add_network_options, add_threads_option, named_path, positive, share
from headpose.cli.live import seconds
from headpose.cli.program import INTERRUPTED, printable, sigterm_as_interrupt
from headpose.errors import HeadPoseError

_EPILOG = """\
The quality of a picture is the product of the squared cosines of yaw, pitch and roll, times s / (s + 100), where s
is the variance of the Laplacian of the face at 112 x 112 pixels. The folder also gets best.csv with these values.
A person is a track: somebody who leaves and returns counts as another one. A camera runs until Ctrl-C.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``headpose best``."""
    parser.epilog = _EPILOG
    parser.add_argument("source", metavar="VIDEO", help="video, number or device of a camera, or URL")
    parser.add_argument("--n", type=positive, default=5, metavar="N", help="number of pictures per person (5)")
    parser.add_argument("--out", type=named_path, required=True, metavar="DIR", help="folder for the pictures")
    parser.add_argument(
        "--gap", type=seconds, default=0.5, metavar="SECONDS", help="least time between two pictures of a person (0.5)"
    )
    add_network_options(parser)
    add_threads_option(parser)
    parser.add_argument("--min-score", type=share, default=0.0, metavar="S", help="minimum score of a face, 0 to 1 (0)")
    parser.add_argument("-q", "--quiet", action="store_true", help="print no progress bar and no summary")


def run(args: argparse.Namespace) -> int:
    """Run ``headpose best`` and return the exit status."""
    from tqdm import tqdm

    from headpose import files, weights
    from headpose.best import BestPictures
    from headpose.detection import create_detector
    from headpose.estimator import HeadPoseEstimator
    from headpose.facestream import FaceStream
    from headpose.streams import open_source, silence_codecs, source_files

    silence_codecs()
    network = args.model if weights.is_path(args.model) else None
    read = [*source_files(args.source), network, args.detector_model]
    # Names of pictures are known only at the end, so nothing that is read may be in the folder.
    inside = [path for path in map(Path, filter(None, read)) if path.exists() and args.out.exists()]
    for path in inside:
        if args.out.samefile(path.parent) and (path.name.startswith("person-") or path.name == "best.csv"):
            raise HeadPoseError(f"--out {args.out} would overwrite {path}, which is read: give another name")
    files.check_outputs(read, data={"--out": [args.out, args.out / "best.csv"]})
    with open_source(args.source) as source:
        if source.kind not in ("video", "camera"):
            raise HeadPoseError(f"{source.name} is not a video: best chooses among the frames of a video or camera")
        detector = create_detector(
            args.detector,
            threads=args.threads,
            device=args.device,
            model_path=args.detector_model,
            min_face=args.min_face,
        )
        estimator = HeadPoseEstimator(args.model, detector=detector, device=args.device, threads=args.threads)
        faces = FaceStream(estimator, min_score=args.min_score)
        best, status = BestPictures(args.n, gap_s=args.gap), 0
        hidden = args.quiet or not sys.stderr.isatty()
        with sigterm_as_interrupt(), tqdm(total=source.length, unit=" frame", disable=hidden, leave=False) as progress:
            try:
                for frame in source:
                    best.add(frame, faces.update(frame.image, frame.time_s))
                    progress.update()
            except KeyboardInterrupt:
                status = 0 if source.kind == "camera" else INTERRUPTED
    written = best.write(args.out)
    if not args.quiet:
        people = len(best.results())
        print(
            f"headpose: {len(written)} picture{'s' * (len(written) != 1)} of {people} "
            f"{'person' if people == 1 else 'people'} in {printable(str(args.out))}",
            file=sys.stderr,
        )
    for problem in source.problems:
        print(f"headpose: error: {printable(problem)}", file=sys.stderr)
    return status or int(bool(source.problems))
