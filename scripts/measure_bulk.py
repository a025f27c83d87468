"""Measure ``headpose label`` against a plain loop over the same pictures.

    python scripts/measure_bulk.py FOLDER --n 256 --workers 1 2 [--ray]

Each way labels ``--few`` pictures and then ``--n``; the difference leaves out the time that starting takes. The time on
the CPU, which other programs on the machine hardly change, is reported beside the time by the clock.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from headpose.cli.program import run_program
from headpose.errors import HeadPoseError
from headpose.images import list_images

_LOOP = """
import sys
import cv2
from headpose import HeadPoseEstimator
cv2.setNumThreads(1)
estimator = HeadPoseEstimator(threads=1)
for path in open(sys.argv[1]).read().splitlines():
    estimator(path)
"""


def measure(command: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds by the clock, and on the CPU with its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise HeadPoseError(f"{command[2]} failed: {(done.stderr.strip().splitlines() or ['-'])[-1]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print a row for each way of labeling."""
    parser = argparse.ArgumentParser(description="Measure headpose label against a plain loop.")
    parser.add_argument("folder", type=Path, help="folder of pictures")
    parser.add_argument("--n", type=int, default=256, help="number of pictures (default: %(default)s)")
    parser.add_argument("--few", type=int, default=32, help="pictures of the short run (default: %(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers (default: 1 2)")
    parser.add_argument("--ray", action="store_true", help="also on a Ray cluster that is started here")
    args = parser.parse_args()
    pictures = [str(path.absolute()) for path in list_images(args.folder)][: args.n]
    if len(pictures) <= args.few:
        raise HeadPoseError(f"{args.folder} has {len(pictures)} pictures: more than {args.few} are needed")
    ways: list[tuple[str, list[str]]] = [("plain loop", [])]
    ways += [(f"{count} workers", ["--workers", str(count)]) for count in args.workers]
    ways += [("Ray", ["--ray", "auto"])] if args.ray else []
    print("| way | pictures/s | of the loop | pictures per CPU second | of the loop | decode, detect, estimate |")
    print("|---|---|---|---|---|---|")
    loop: tuple[float, float] | None = None
    with tempfile.TemporaryDirectory() as name:
        for way, options in ways:
            times, shares = [], ""
            for count in (args.few, len(pictures)):
                listed, out = Path(name) / "list.txt", Path(name) / f"{way} {count}"
                listed.write_text("\n".join(pictures[:count]))
                label = [sys.executable, "-m", "headpose", "label", str(listed), "--out", str(out), "-q", *options]
                times.append(measure(label if options else [sys.executable, "-c", _LOOP, str(listed)]))
                if options:
                    stages = json.loads((out / "summary.json").read_text())["this_run"]["stages"]
                    shares = ", ".join(f"{stages[stage]:.0%}" for stage in ("decode", "detect", "estimate"))
            (short, short_cpu), (long, long_cpu) = times
            more = len(pictures) - args.few
            rates = more / (long - short), more / (long_cpu - short_cpu)
            loop = loop or rates
            print(
                f"| {way} | {rates[0]:.1f} | {rates[0] / loop[0]:.2f} | {rates[1]:.1f} | {rates[1] / loop[1]:.2f} "
                f"| {shares or '-'} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(run_program("measure_bulk", main))
