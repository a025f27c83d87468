import os
import platform
import signal
import subprocess
import sys
import time

import pytest
import tomlkit
import torch

from headpose.networks import checkpoint
from headpose.recipes import training as recipe
from headpose.training.loop import LAST
from headpose.training.sampling import Stream
from tests.training.networks import recipe_values, write_drawn_heads

SGD = {"kind": "sgd", "rate": 0.05, "warmup": 0, "clip": 1.0}


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """A few steps that depend on the samples and their order alone: BatchNorm takes no statistics."""
    values = recipe_values(write_drawn_heads(tmp_path_factory.mktemp("heads"), 60))
    run = {**values["run"], "images": 384, "frozen_norms": True, "checkpoint_images": 48, "validate_images": 384}
    return {**values, "optimiser": SGD, "run": run}


def command(values, folder, processes=1):
    """The command line of ``headpose train`` in one or several processes."""
    file = folder.with_suffix(".toml")
    file.write_text(tomlkit.dumps(values))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, *(launcher if processes > 1 else []), "-m", "headpose", "train", file, "--out", folder]


def train(values, folder, processes=1, *more):
    """Runs it; returns the last checkpoint."""
    ran = subprocess.run([*command(values, folder, processes), *more], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return checkpoint.load(folder / LAST)


def assert_close(one, other):
    assert one["progress"]["step"] == other["progress"]["step"]
    assert one["progress"]["best_error"] == pytest.approx(other["progress"]["best_error"], abs=0.01)
    for part in ("network", "average"):
        for name, value in one[part].items():
            torch.testing.assert_close(value, other[part][name], atol=2e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def alone(values, tmp_path_factory):
    return train(values, tmp_path_factory.mktemp("alone") / "run")


def test_two_processes_learn_what_one_does(values, alone, tmp_path):
    together = train(values, tmp_path / "run", 2)
    assert_close(together, alone)
    assert (tmp_path / "run" / "tiny.onnx").exists()


def test_what_two_processes_began_one_goes_on_with(values, alone, tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen(command(values, folder, 2), stderr=subprocess.DEVNULL, start_new_session=True)
    while not (folder / LAST).exists() and process.poll() is None:
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.load(folder / LAST)["progress"]["step"] < alone["progress"]["step"]
    assert_close(train(values, folder, 1, "--resume"), alone)


def test_a_batch_in_parts_is_the_same_batch(values, alone, tmp_path):
    in_parts = {**values, "run": {**values["run"], "accumulate": 3}}
    assert_close(train(in_parts, tmp_path / "run"), alone)


def test_shares_of_a_batch_are_the_batch():
    whole = Stream(torch.ones(20).numpy(), 8, 0, 2, 6)
    shares = [Stream(torch.ones(20).numpy(), 8, 0, 2, 6, rank, 3) for rank in range(3)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(batch) == sorted(draw for part in parts for draw in part)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_more_processes_than_images_is_said(values, monkeypatch, tmp_path):
    from headpose.errors import RecipeError
    from headpose.training import distributed
    from headpose.training.loop import Trainer

    monkeypatch.setattr(distributed, "join", lambda: distributed.Processes(0, 17, torch.device("cpu")))
    with pytest.raises(RecipeError, match="17 processes"):
        Trainer(recipe.from_dict(values), tmp_path / "run")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's memory is kept")
def test_freed_memory_is_kept_for_the_next_step():
    code = (
        "import resource, torch\n"
        "from headpose.training.distributed import prepare_process\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    tensors = [torch.ones(side, 2**18) for side in range(1, 17)]\n"
        "    del tensors\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "prepare_process(1)\n"
        "print(faults(), [faults() for _ in range(5)][-1])"
    )
    first, second = map(int, subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert first > 10_000 > 100 > second
