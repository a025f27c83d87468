"""Measure ``headpose label`` against a plain loop over the same pictures, or its memory over many pictures.

    python scripts/measure_bulk.py FOLDER --n 256 --workers 1 2 [--ray]
    python scripts/measure_bulk.py FOLDER --memory --n 100000 --workers 2

Each way labels ``--few`` pictures and then ``--n``; the difference leaves out the time that starting takes. The time on
the CPU, which other programs on the machine hardly change, is reported beside the time by the clock.

With ``--memory``, one run labels ``--n`` pictures, those of the folder again and again, and the resident memory of its
processes is printed after each twentieth. It needs ``ps``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
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


def resident(parent: int) -> dict[str, list[int]]:
    """Return the resident memory in MB of each process of a run, by its part in the run.

    Args:
        parent: Process id of ``headpose label``.
    """
    listed = subprocess.run(
        ["ps", "-ww", "-A", "-o", "pid=,ppid=,rss=,args="], capture_output=True, text=True, check=True
    )
    lines = [line.split(maxsplit=3) for line in listed.stdout.splitlines()]
    found: dict[str, list[int]] = {"main": [], "workers": [], "decoders": []}
    below = {parent}
    for _ in ("workers", "decoders"):
        below |= {int(pid) for pid, above, *_ in lines if int(above) in below}
    for pid, _, kilobytes, words in ((*line, "")[:4] for line in lines):
        if int(pid) not in below:
            continue
        part = "main" if int(pid) == parent else "decoders" if "headpose.bulk.decoding" in words else "workers"
        if "resource_tracker" not in words:
            found[part].append(round(int(kilobytes) / 1024))
    return found


def memory(pictures: list[str], count: int, workers: int) -> None:
    """Print a row for each twentieth of a run over ``count`` pictures.

    Raises:
        HeadPoseError: The run fails.
    """
    step = max(count // 20, 1)
    print("| pictures | main process, MB | workers, MB | decoders, MB |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        listed, out, shown = Path(name) / "list.txt", Path(name) / "labels", 0
        listed.write_text("\n".join(itertools.islice(itertools.cycle(pictures), count)))
        command = [sys.executable, "-m", "headpose", "label", str(listed), "--out", str(out), "--shard-size", str(step)]
        running = subprocess.Popen([*command, "--workers", str(workers), "-q"], stderr=subprocess.PIPE, text=True)
        while running.poll() is None:
            time.sleep(0.5)
            # The last parts end with the processes.
            if (done := len(list(out.glob("labels/part-*.parquet")))) > shown and done < count // step:
                shown = done
                print(f"| {done * step:,} | {_row(resident(running.pid).values())} |", flush=True)
        if running.returncode:
            raise HeadPoseError(f"headpose label failed: {(running.communicate()[1].strip() or '-').splitlines()[-1]}")
        print(f"{json.loads((out / 'summary.json').read_text())['pictures']:,} pictures")


def _row(parts: Iterable[list[int]]) -> str:
    return " | ".join(", ".join(map(str, part)) for part in parts)


def main() -> int:
    """Print a row for each way of labeling."""
    parser = argparse.ArgumentParser(description="Measure headpose label: its speed beside a plain loop, its memory.")
    parser.add_argument("folder", type=Path, help="folder of pictures")
    parser.add_argument("--n", type=int, default=256, help="number of pictures (default: %(default)s)")
    parser.add_argument("--few", type=int, default=32, help="pictures of the short run (default: %(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers (default: 1 2)")
    parser.add_argument("--ray", action="store_true", help="also on a Ray cluster that is started here")
    parser.add_argument("--memory", action="store_true", help="measure memory with the first number of workers")
    args = parser.parse_args()
    if args.memory:
        memory([str(path.absolute()) for path in list_images(args.folder)], args.n, args.workers[0])
        return 0
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
