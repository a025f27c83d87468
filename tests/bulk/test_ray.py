"""The same rows on Ray as without it, also when a machine of the cluster is lost."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.bulk.conftest import HELD, command, environment, label, table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
    pytest.mark.skipif(sys.platform == "win32", reason="a cluster of several nodes on one Windows machine"),
]

# Two machines of a cluster on this one: NODES' processes. The first one says that it has a GPU, so the network's worker
# asks for it, and computes on the CPU. The second ends when a line arrives.
NODES = """
import sys, time
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=2)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(second, allow_graceful=False)
    print("removed", flush=True)
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def many(sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    for index in range(160):
        shutil.copy(sources / "pictures" / f"{index % 4}.jpg", folder / f"{index:03d}.jpg")
    held = folder / "159.jpg"
    held.write_bytes(held.read_bytes() + HELD)
    (folder / "160.jpg").write_bytes((folder / "000.jpg").read_bytes()[:1000])
    shutil.copy(sources / "clip.mp4", folder / "clip.mp4")
    return folder


@pytest.fixture(scope="module")
def undisturbed(many, tmp_path_factory):
    """Rows, failures and hash of a run without Ray."""
    out = tmp_path_factory.mktemp("local") / "out"
    label(many, "--out", out, "--workers", 1, "--shard-size", 64)
    return table(out), table(out, "failures"), json.loads((out / "summary.json").read_text())["rows_sha256"]


def assert_same(out, undisturbed):
    found = table(out), table(out, "failures"), json.loads((out / "summary.json").read_text())["rows_sha256"]
    assert found == undisturbed


@pytest.fixture
def cluster(gate):
    # Ray's workers give way to every other process by default, and a busy machine would hardly run them.
    started = environment(RAY_worker_niceness="0", RAY_USAGE_STATS_ENABLED="0", **gate.variables)
    nodes = subprocess.Popen(
        [sys.executable, "-c", NODES],
        env=started, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    address = nodes.stdout.readline().strip()
    assert address
    yield nodes, address
    nodes.communicate(timeout=60)


def test_a_node_that_is_lost_changes_nothing(many, undisturbed, tmp_path, cluster, gate):
    nodes, address = cluster
    out = tmp_path / "out"
    words = command(many, "--out", out, "--shard-size", 64, "--ray", address)
    running = subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 400
    while not list(out.glob("labels/part-*.parquet")):
        assert running.poll() is None and time.monotonic() < end, running.communicate()
        time.sleep(0.05)
    nodes.stdin.write("remove\n")
    nodes.stdin.flush()
    assert nodes.stdout.readline() == "removed\n"
    assert running.poll() is None, "the node was lost too late"
    gate.open()
    _, err = running.communicate(timeout=400)
    assert running.returncode == 1, err  # one picture is damaged
    assert_same(out, undisturbed)
    print(len(undisturbed[0]), undisturbed[2], file=sys.stderr)


def end_group(leader):
    """End what a killed driver leaves: two agents of Ray look for their cluster for a minute before they end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def test_a_run_on_ray_that_is_killed_goes_on_without_ray(many, undisturbed, tmp_path, gate, request):
    out = tmp_path / "out"
    words = command(many, "--out", out, "--shard-size", 64, "--ray", "auto")
    started = environment(RAY_worker_niceness="0", **gate.variables)
    running = subprocess.Popen(
        words, env=started, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    request.addfinalizer(lambda: end_group(running.pid))
    end = time.monotonic() + 400
    while not list(out.glob("labels/part-*.parquet")):
        assert running.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert 0 < len(list(out.glob("labels/part-*.parquet"))) < 4
    done = label(many, "--out", out, "--shard-size", 64, "--workers", 2)
    assert done.returncode == 1, done.stderr
    assert_same(out, undisturbed)
