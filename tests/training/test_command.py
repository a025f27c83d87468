import json
import re

import numpy as np
import onnxruntime
import pytest
import tomlkit
import torch
from safetensors.torch import save_file

from headpose.cli import main
from headpose.files import sha256_of
from headpose.training import log, recipe
from headpose.training.network import HeadPoseNet
from tests.training.networks import recipe_values, write_drawn_heads


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    path = folder / "tiny.toml"
    path.write_text(tomlkit.dumps(recipe_values(write_drawn_heads(folder, 40))))
    return path


def test_train_ends_with_a_network_that_runs(recipe_file, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", str(recipe_file), "--out", str(run), "--set", "run.images=320"]) == 0
    assert "best validation" in capsys.readouterr().out
    assert (run / "curves.png").stat().st_size > 1000
    assert json.loads((run / "recipe.json").read_text())["run"]["images"] == 320
    assert log.read(run / "log.csv")[-1].images == 320
    session = onnxruntime.InferenceSession(run / "tiny.onnx", providers=["CPUExecutionProvider"])
    (rotation,) = session.run(None, {"image": np.zeros((2, 3, 32, 32), np.float32)})
    assert rotation.shape == (2, 3, 3)
    # All is done: to resume is to write the same results again.
    before = (run / "tiny.onnx").read_bytes()
    assert main(["train", str(recipe_file), "--out", str(run), "--resume"]) == 0
    assert (run / "tiny.onnx").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-recipe"], "no recipe 'no-such-recipe'"),
        (["{recipe}", "--set", "run.imagse=5"], "imagse"),
        (["{recipe}", "--set", "data.sources.0.path=missing.csv"], "missing.csv"),
        (["{recipe}", "--resume"], "nothing to resume"),
    ],
)
def test_a_mistake_is_one_line(recipe_file, tmp_path, capsys, arguments, message):
    arguments = [a.format(recipe=recipe_file) for a in arguments]
    assert main(["train", *arguments, "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.startswith("headpose: error: ")
    assert "\n" not in error


def test_a_dry_run_tells_and_writes_nothing(recipe_file, tmp_path, capsys):
    run = tmp_path / "run"
    growing = "run.growing=[{size=16, until=320}]"
    assert main(["train", str(recipe_file), "--out", str(run), "--dry-run", "--set", growing]) == 0
    out = capsys.readouterr().out
    assert re.search(r"320 images at +16 px: .* images/s", out)
    assert re.search(r"320 images at +32 px: .* images/s", out)
    assert "hours in all" in out
    assert not run.exists()


def test_a_run_starts_from_given_weights(recipe_file, tmp_path, capsys):
    settings = recipe.load(str(recipe_file))
    torch.manual_seed(5)
    weights = tmp_path / "start.safetensors"
    save_file(dict(HeadPoseNet(settings.network.build()).state_dict()), weights)
    arguments = ["train", str(recipe_file), "--out", str(tmp_path / "run"), "--init", str(weights)]
    assert main([*arguments, "--set", "run.images=320"]) == 0
    assert re.search(r"start\.safetensors: \d+ tensors taken$", capsys.readouterr().out, re.MULTILINE)
    assert json.loads((tmp_path / "run" / "init.json").read_text())["sha256"] == sha256_of(weights)
    assert main([*arguments, "--resume"]) == 1
    assert "leave one of them out" in capsys.readouterr().err
