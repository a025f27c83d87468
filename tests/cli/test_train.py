import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tomlkit
import torch
from safetensors.torch import load_file, save_file

from headpose import weights
from headpose.cli import main
from headpose.files import sha256_of
from headpose.networks.export import state_from_onnx
from headpose.networks.resnet import HeadPoseNet
from headpose.recipes import training as recipe
from headpose.training import log
from tests.datasets.labels import write_face
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


def test_a_dry_run_shows_what_is_drawn(recipe_file, tmp_path, capsys):
    """Drawn heads whose yaw is within 50 degrees, and profiles with a quarter of the draws."""
    head, *lines = write_drawn_heads(tmp_path, 40, seed=3).read_text().splitlines()
    for name, some in {
        "heads": lines[:30],
        "profiles": [f"{line.rsplit(',', 3)[0]},80,0,0" for line in lines[30:]],
    }.items():
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *some]) + "\n")
    data = ["--data", str(tmp_path / "heads.csv"), "--data", str(tmp_path / "profiles.csv")]
    settings = ["--set", "data.sources.1.share=0.25", "--set", "data.density.max_repeats=3"]
    assert main(["train", str(recipe_file), *data, *settings, "--dry-run", "--out", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    rows = {}
    for line in re.findall(r"^(?: +[\d.]+){12}  .*$", out, re.MULTILINE):
        *numbers, name = line.split(maxsplit=12)
        rows[Path(name).name] = [float(number) for number in numbers]
    assert set(rows) == {"heads.csv", "profiles.csv", "all"}
    (_, _, *of_heads, _, _), (profiles, *_), everything = (
        rows[name][:11] for name in ("heads.csv", "profiles.csv", "all")
    )
    assert rows["profiles.csv"][1] == rows["profiles.csv"][7] == everything[7] == 25.0
    assert rows["heads.csv"][1] == 75.0
    assert sum(of_heads) == pytest.approx(75.0, abs=0.5)
    assert everything[6] == everything[8] == 0.0
    assert 1 < everything[10] <= 3
    training = int(re.search(r"(\d+) faces; an epoch has \1 draws", out)[1])
    assert rows["all"][11] == pytest.approx(everything[10] * 640 / training, abs=0.3)
    plain = next(line for line in out.splitlines() if line.endswith("each face drawn equally often"))
    assert float(plain.split()[7]) == profiles == pytest.approx(100 * 10 / training, abs=15)
    assert everything[9] < 50.0
    # Without shares and a density everything is drawn once an epoch; this run is shorter than that.
    short = ["--set", "run.images=16", "--dry-run", "--out", str(tmp_path / "run")]
    assert main(["train", str(recipe_file), *data, *short]) == 0
    assert re.search(r"^ +100\.0 +100\.0 .* 100\.0 +1\.00 +0\.\d  all$", capsys.readouterr().out, re.MULTILINE)


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


def test_ones_own_data_replace_every_source_of_a_recipe(recipe_file, tmp_path, capsys):
    """Folders and lists, each by what it holds; --set changes them afterwards."""
    write_drawn_heads(tmp_path, 30, seed=3)
    (tmp_path / "pairs").mkdir()
    for number in range(4):
        write_face(tmp_path / "pairs" / f"face_{number}.jpg", Pose_Para=np.array([[0.1, -0.1, 0.2, 0, 0, 0, 1]]))
    words = ["--data", str(tmp_path / "labels.csv"), "--data", str(tmp_path / "pairs"), "--set", "run.images=32"]
    assert (
        main(["train", str(recipe_file), *words, "--set", "data.sources.1.weight=2", "--out", str(tmp_path / "run")])
        == 0
    )
    sources = json.loads((tmp_path / "run" / "recipe.json").read_text())["data"]["sources"]
    assert [(source["kind"], source["weight"]) for source in sources] == [("manifest", 1.0), ("300w-lp", 2.0)]
    counts = json.loads((tmp_path / "run" / "split.json").read_text())
    assert counts["training"] + counts["validation"] == 34
    # compact names two sources; one CSV is enough.
    alone = ["--data", str(tmp_path / "labels.csv"), "--set", "data.validation=0.2", "--set", "run.batch=8"]
    assert main(["train", "compact", *alone, "--dry-run"]) == 0
    # The same command goes on with the run.
    again = [word for word in words if word not in ("--set", "run.images=32")]
    assert main(["train", str(recipe_file), *again, "--resume", "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.csv", "there is no such file or folder"),
        ("empty", "a .mat file beside each .jpg"),
        ("text.csv", "image"),
    ],
)
def test_what_is_no_data_set_is_a_line(recipe_file, tmp_path, capsys, path, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.csv").write_text("a,b\n1,2\n")
    assert main(["train", str(recipe_file), "--data", str(tmp_path / path), "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_a_run_starts_from_a_network_of_the_package_by_its_name(tmp_path, capsys):
    """Every tensor of compact fits compact; the folder says which network it was."""
    labels = str(write_drawn_heads(tmp_path, 30))
    few = ["--set", "run.images=32", "--set", "run.batch=16", "--set", "optimiser.warmup=0"]
    few += [
        "--set",
        "data.validation=0.2",
        "--set",
        "optimiser.rate=1e-9",
        "--set",
        "run.ema=0.0",
        "--set",
        "run.bf16=off",
    ]
    assert main(["train", "compact", "--data", labels, "--init", "compact", *few, "--out", str(tmp_path / "run")]) == 0
    assert re.search(r"^compact: \d+ tensors taken$", capsys.readouterr().out, re.MULTILINE)
    trained, given = load_file(tmp_path / "run" / "best.safetensors"), state_from_onnx(weights.find("compact"))[2]
    torch.testing.assert_close(trained["conv1.weight"], given["conv1.weight"], atol=1e-6, rtol=0)
    assert json.loads((tmp_path / "run" / "init.json").read_text())["name"] == "compact"


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("compakt", "no network of that name; give a name (student-wide, "),
        ("none.onnx", "the file does not exist"),
        ("folder/none", "the file does not exist"),
        ("student-int8", "cannot be turned back"),
    ],
)
def test_weights_that_are_not_there_are_a_line(recipe_file, tmp_path, capsys, start, message):
    assert main(["train", str(recipe_file), "--init", start, "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("headpose: error: ") and message in error
    assert not (tmp_path / "run" / "recipe.json").exists()


@pytest.mark.parametrize(("warmup", "kept"), [(319, 319), (320, 32), (20_000, 32)])
def test_a_warm_up_as_long_as_its_run_is_shortened_with_a_line(recipe_file, tmp_path, capsys, warmup, kept):
    words = ["--set", "run.images=320", "--set", f"optimiser.warmup={warmup}", "--out", str(tmp_path / "run")]
    assert main(["train", str(recipe_file), *words]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "optimiser.warmup" in line]
    line = f"tiny: the run of 320 images is no longer than optimiser.warmup, {warmup:,} images: shortened to {kept:,}"
    assert lines == ([line] if kept != warmup else [])
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["optimiser"]["warmup"] == kept
    assert main(["train", str(recipe_file), "--resume", "--out", str(tmp_path / "run")]) == 0
    assert "shortened" not in capsys.readouterr().err
