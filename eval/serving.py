"""Load of the server: pictures per second, times and memory with many connections.

    python eval/serving.py --requests 2000 --connections 64

Starts `headpose serve`, sends it the same picture over kept connections, and prints a table. The clients run on the
same machine and take part of its time. A client that is refused (503) asks again after a tenth of the time that the
server says, after two tenths the next time, and so on.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headpose.cli.arguments import named_path, positive
from headpose.cli.program import imports_from, run_program
from headpose.errors import HeadPoseError
from headpose.images import read_image

with imports_from("serve", "serving"):
    import uvicorn  # noqa: F401

_ROOT = Path(__file__).parents[1]


@dataclass
class Load:
    """What the clients saw.

    Attributes:
        seconds: Time of each answered request.
        refused: Number of answers 503.
        others: Answers that were neither 200 nor 503.
        memory: (share of the requests done, resident memory in MB) over time.
        processor_s: Processor time of the server in seconds.
    """

    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    others: int = 0
    memory: list[tuple[float, float]] = field(default_factory=list)
    processor_s: float = float("nan")


def main(arguments: Sequence[str] | None = None) -> int:
    return run_program("serving", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=positive, default=2000, metavar="N", help="number of requests (2000)")
    parser.add_argument("--connections", type=positive, default=64, metavar="N", help="number of clients (64)")
    parser.add_argument(
        "--image", type=named_path, default=_ROOT / "examples" / "astronaut.jpg", metavar="FILE", help="picture to send"
    )
    parser.add_argument("--model", default="student", help="network (student)")
    parser.add_argument("--workers", type=positive, metavar="N", help="workers of the server (its default)")
    parser.add_argument("--at-once", type=positive, default=32, metavar="N", help="requests held at once (32)")
    args = parser.parse_args(arguments)
    read_image(args.image)  # one line, if it is no picture
    load = Load()
    with _server(args) as (process, port):
        started, before = time.perf_counter(), _processor_s(process.pid)
        _run(load, process.pid, port, args.image.read_bytes(), args.requests, args.connections)
        seconds, load.processor_s = time.perf_counter() - started, _processor_s(process.pid) - before
    _report(load, seconds, args)
    return 0 if load.others == 0 else 1


def _server(args: argparse.Namespace) -> _Server:
    words = ["--port", str(_free_port()), "--models", args.model, "--at-once", str(args.at_once)]
    return _Server([*words, *(["--workers", str(args.workers)] if args.workers else [])])


class _Server:
    """The server as a process of its own. A context manager that yields (process, port)."""

    def __init__(self, words: list[str]) -> None:
        self._words = words

    def __enter__(self) -> tuple[subprocess.Popen[str], int]:
        environment = {name: value for name, value in os.environ.items() if name != "HEADPOSE_TOKEN"}
        command = [sys.executable, "-m", "headpose", "serve", *self._words]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        if not (found := re.search(r"serving on http://127\.0\.0\.1:(\d+)", line)):
            self._process.communicate()
            raise HeadPoseError(f"the server did not start: {line.strip()}")
        return self._process, int(found[1])

    def __exit__(self, *exc_info: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=60)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _run(load: Load, pid: int, port: int, picture: bytes, requests: int, connections: int) -> None:
    left = iter(range(requests))
    lock = threading.Lock()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while True:
            with lock:
                number = next(left, None)
            if number is None:
                break
            _ask(connection, picture, load, lock)
            if number % max(1, requests // 20) == 0:
                with lock:
                    load.memory.append((number / requests, _resident_mb(pid)))
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _ask(connection: http.client.HTTPConnection, picture: bytes, load: Load, lock: threading.Lock) -> None:
    """Send one picture until it is answered."""
    for attempt in itertools.count(1):
        started = time.perf_counter()
        connection.request("POST", "/v1/estimate", picture, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        answer.read()
        with lock:
            if answer.status == 200:
                load.seconds.append(time.perf_counter() - started)
                return
            if answer.status != 503:
                load.others += 1
                return
            load.refused += 1
        time.sleep(float(answer.headers.get("Retry-After", 1)) * min(1.0, 0.1 * attempt))


def _resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB; nan where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return float("nan")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


def _processor_s(pid: int) -> float:
    """Return the processor time of a process in seconds; nan where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def _report(load: Load, seconds: float, args: argparse.Namespace) -> None:
    done = len(load.seconds)
    p50, p99 = np.percentile(np.array(load.seconds or [np.nan]) * 1e3, [50, 99])
    memory = [mb for share, mb in sorted(load.memory) if share >= 0.1]
    print(
        "| requests | connections | held at once | pictures/s | processor, ms | p50, ms | p99, ms | 503 | other | MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    grown = f"{memory[0]:.0f} -> {memory[-1]:.0f}" if memory else "-"
    rates = f"{done / seconds:.1f} | {1e3 * load.processor_s / max(1, done):.1f} | {p50:.0f} | {p99:.0f}"
    sizes = f"{args.requests} | {args.connections} | {args.at_once}"
    print(f"| {sizes} | {rates} | {load.refused} | {load.others} | {grown} |")


if __name__ == "__main__":
    sys.exit(main())
