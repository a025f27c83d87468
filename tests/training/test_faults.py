"""What goes wrong around a training: one line each, and nothing of the run is lost."""

import csv
import io
import json
import logging
import random
import resource
import shutil
import subprocess
import sys
import zipfile

import pytest
import tomlkit
import torch
from safetensors.torch import load_file, save_file

from headpose import folders
from headpose.cli import main
from headpose.errors import DataError, HeadPoseError, WeightsError
from headpose.networks import checkpoint, pretrained
from headpose.recipes import training as recipe
from headpose.training import data, distributed, log
from headpose.training.loop import BEST, LAST, RECIPE, SPLIT
from headpose.training.tasks.head_pose import HeadPoseTask
from tests.training.networks import TINY_BASIC, network, recipe_values, write_drawn_heads


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a data set, its recipe and a finished run of two checkpoints."""
    folder = tmp_path_factory.mktemp("home")
    values = recipe_values(write_drawn_heads(folder, 40))
    values["run"] |= {"images": 64, "checkpoint_images": 32, "validate_images": 32}
    (folder / "tiny.toml").write_text(tomlkit.dumps(values))
    assert main(["train", str(folder / "tiny.toml"), "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def run(home, tmp_path):
    """A copy of the run."""
    return shutil.copytree(home / "run", tmp_path / "run")


@pytest.fixture
def train(home, capfd):
    """Runs the command; returns the one line of its error, or "" if there is none."""

    def train(*arguments):
        capfd.readouterr()
        status = main(["train", str(home / "tiny.toml"), *map(str, arguments)])
        err = capfd.readouterr().err
        message = [line for line in err.splitlines() if line.startswith("headpose: error: ")]
        assert (status, len(message)) in ((0, 0), (1, 1)), err
        assert "Traceback" not in err
        if message:
            assert err.endswith(message[0] + "\n")
        return message[0] if message else ""

    return train


def again(run):
    """Takes a run's end back, so that it has something left to do."""
    state = checkpoint.load(run / LAST)
    state.pop("format")
    checkpoint.save(run / LAST, {**state, "progress": {**state["progress"], "step": 2}})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (log.FILE, b"\xff\xfe\x00\x01"),
        (log.FILE, b""),
        (log.FILE, b"step,images\n1,2\n"),
        (log.FILE, b"step,images,rate,loss\n1,2,3,4\n"),
        (log.FILE, b"step,images,rate,loss,geodesic\n2,32,0.1,0.5\n"),
        (log.FILE, b"step,images,rate,loss,geodesic\n2,32,0.1,0.5,7,8\n"),
        (log.FILE, b"step,images,rate,loss,geodesic\n2,32,0.1,much,7\n"),
        (log.FILE, b'step,images,rate,loss,geodesic\n2,32,0.1,"0.5,7\n'),
        (RECIPE, b""),
        (RECIPE, b"{}"),
        (RECIPE, b"[1]"),
        (RECIPE, b"\xff"),
        (SPLIT, b""),
        (SPLIT, b"[]"),
        (SPLIT, b'{"training": "x", "validation": 8}'),
        (LAST, b""),
        (LAST, b"PK\x03\x04"),
        (LAST, b"\x80\x02."),
    ],
)
def test_a_damaged_file_of_a_run_is_named(run, train, name, content):
    (run / name).write_bytes(content)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert name in train("--resume", "--out", run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("name", [LAST, BEST])
def test_files_cut_short_anywhere_are_named(run, train, name):
    whole = (run / name).read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 1):
        (run / name).write_bytes(whole[:length])
        assert name in train("--resume", "--out", run)


def test_best_weights_of_another_network_are_not_shipped(run, train):
    exported = (run / "tiny.onnx").read_bytes()
    state = load_file(run / BEST)
    save_file(dict(network(TINY_BASIC).state_dict()), run / BEST)
    assert BEST in train("--resume", "--out", run)
    save_file({name: value for name, value in state.items() if name != "conv1.weight"}, run / BEST)
    assert "lacks conv1.weight" in train("--resume", "--out", run)
    save_file({**state, "conv1.weight": state["conv1.weight"] * float("nan")}, run / BEST)
    assert "conv1.weight has values that are not finite" in train("--resume", "--out", run)
    (run / BEST).unlink()
    assert BEST in train("--resume", "--out", run)
    assert (run / "tiny.onnx").read_bytes() == exported


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop("progress"), "does not fit this recipe: 'progress'"),
        (lambda state: state["progress"].update(step="2"), "progress.step must be a whole number from 0"),
        (lambda state: state["progress"].update(step=-1), "progress.step must be a whole number from 0"),
        (lambda state: state["progress"].update(step=10**9), "it is at step 1000000000 of 4"),
        (lambda state: state["progress"].update(loss_sum=float("nan")), "progress.loss_sum"),
        (lambda state: state["progress"].update(more=1), "unknown key more"),
        (lambda state: state.update(progress=[1]), "is damaged"),
        (lambda state: state.update(network=3), "does not fit"),
        (lambda state: state["network"].update({"conv1.weight": 3}), "does not fit"),
        (lambda state: state["network"]["conv1.weight"].fill_(float("inf")), "conv1.weight has values that are not"),
        (lambda state: state.update(average=None), "does not fit"),
        (lambda state: state["optimiser"].update(state=3), "does not fit"),
        (lambda state: state["optimiser"].update(param_groups=[]), "does not fit"),
        (lambda state: state["optimiser"]["state"][0].update(exp_avg=torch.zeros(1).expand(10**12)), "not a tensor of"),
        (lambda state: state["optimiser"]["state"][0].update(exp_avg="x"), "not a tensor of"),
        (
            lambda state: state["optimiser"]["state"][0]["exp_avg"].fill_(float("nan")),
            "exp_avg has values that are not",
        ),
        (lambda state: state.update(format=2), "not a checkpoint of this version"),
    ],
)
def test_wrong_values_in_a_checkpoint_are_reported(run, train, change, says):
    state = checkpoint.load(run / LAST)
    change(state)
    torch.save(state, run / LAST)
    message = train("--resume", "--out", run)
    assert LAST in message
    assert says in message


def test_what_the_recipe_decides_does_not_come_from_the_checkpoint(run, train):
    state = checkpoint.load(run / LAST)
    state["progress"]["step"] = 2
    for group in state["optimiser"]["param_groups"]:
        group.update(lr="fast", weight_decay=None, betas=())
    torch.save(state, run / LAST)
    assert train("--resume", "--out", run) == ""


def test_a_mutated_checkpoint_is_read_or_refused_in_a_line(run):
    whole, rng = (run / LAST).read_bytes(), random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 20)):
            damaged[rng.randrange(min(len(damaged), 4000))] = rng.randrange(256)
        (run / LAST).write_bytes(damaged)
        try:
            checkpoint.load(run / LAST)
        except DataError as error:
            assert len(str(error).splitlines()) == 1


def packed(file, sizes=10**9):
    """A file as torch writes it, packed: a few kB that unpack to a tensor of ``sizes`` bytes."""
    plain = io.BytesIO()
    torch.save({"format": 1, "conv1.weight": torch.zeros(16)}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, bytes(sizes) if "/data/" in name else old.read(name))
    assert file.stat().st_size < sizes / 100
    return file


def test_a_small_file_that_unpacks_to_a_large_one_is_not_unpacked(tmp_path):
    bomb = packed(tmp_path / "bomb.pth", 10**8)
    with pytest.raises(DataError, match="unpacks to 100,0"):
        checkpoint.load(bomb)
    with pytest.raises(WeightsError, match="unpacks to 100,0"):
        pretrained.initialize(network(TINY_BASIC), bomb)


def test_weights_to_start_from_that_are_damaged_are_reported(tmp_path, home, train):
    whole = io.BytesIO()
    state = recipe.load(str(home / "tiny.toml")).spec
    torch.save(dict(network(state).state_dict()), whole)
    legacy = io.BytesIO()
    torch.save(dict(network(state).state_dict()), legacy, _use_new_zipfile_serialization=False)
    file, rng = tmp_path / "start.pth", random.Random(1)
    files = [b"", b"PK", whole.getvalue()[:1000], legacy.getvalue()[:2000], b"\x80\x02]q\x00."]
    for content in (whole.getvalue(), legacy.getvalue()):
        for _ in range(30):
            damaged = bytearray(content)
            for _ in range(rng.randrange(1, 20)):
                damaged[rng.randrange(3000)] = rng.randrange(256)
            files.append(bytes(damaged))
    for content in files:
        file.write_bytes(content)
        try:
            pretrained.initialize(network(state), file)
        except WeightsError as error:
            assert len(str(error).splitlines()) == 1
    file.write_bytes(b"PK")
    assert "start.pth" in train("--out", tmp_path / "run", "--init", file)
    assert "Is a directory" in train("--out", tmp_path / "run", "--init", tmp_path)
    assert not (tmp_path / "run").exists()
    torch.save({"conv1.weight": torch.zeros(1).expand(12, 3, 3, 3), "x": 3}, file)
    assert "no convolution" in train("--out", tmp_path / "run", "--init", file)


def rewrite(home, folder, change):
    """The data set in another folder, its rows changed; the pictures are the same files."""
    folder.mkdir()
    for picture in home.glob("*.png"):
        (folder / picture.name).symlink_to(picture)
    with (home / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "labels.csv").open("w", newline="") as file:
        changed = change(rows)
        writer = csv.DictWriter(file, changed[0].keys())
        writer.writeheader()
        writer.writerows(changed)
    return f"data.sources.0.path={folder / 'labels.csv'}"


def one(name, value):
    return lambda rows: [{**rows[0], name: value}, *rows[1:]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[:-3], r"for training and .* for validation then, "),
        (one("yaw", "12.3"), "there are as many examples"),
        (one("x1", "5"), "there are as many examples"),
        (
            lambda rows: [{**rows[0], "weight": "0.5"}, *({**row, "weight": "1"} for row in rows[1:])],
            "as many examples",
        ),
        (lambda rows: [*rows[:-1], {**rows[-1], "image": rows[0]["image"]}], "the data have changed"),
    ],
    ids=["fewer", "label", "box", "weight", "picture"],
)
def test_a_run_does_not_go_on_with_other_data_unless_asked_to(home, run, train, tmp_path, change, says):
    import re

    again(run)
    path = rewrite(home, tmp_path / "other", change)
    message = train("--resume", "--out", run, "--set", path)
    assert "the data have changed since the run began" in message
    assert re.search(says, message)
    assert "--changed-data" in message
    before = json.loads((run / SPLIT).read_text())
    assert train("--resume", "--out", run, "--set", path, "--changed-data") == ""
    after = json.loads((run / SPLIT).read_text())
    assert after["sha256"] != before["sha256"]
    again(run)
    assert train("--resume", "--out", run, "--set", path) == ""  # now these are its data


def test_data_that_have_moved_or_are_in_another_order_are_the_same(home, run, train, tmp_path):
    again(run)
    assert train("--resume", "--out", run, "--set", rewrite(home, tmp_path / "moved", lambda rows: rows[::-1])) == ""


def test_a_run_of_before_there_was_a_hash_goes_on_with_as_many_faces(home, run, train, tmp_path):
    again(run)
    split = json.loads((run / SPLIT).read_text())
    split.pop("sha256")
    (run / SPLIT).write_text(json.dumps(split))
    fewer = rewrite(home, tmp_path / "fewer", lambda rows: rows[:-3])
    assert "the data have changed" in train("--resume", "--out", run, "--set", fewer)
    assert train("--resume", "--out", run) == ""
    assert len(json.loads((run / SPLIT).read_text())["sha256"]) == 64


def test_changed_data_is_for_a_run_that_goes_on(train, tmp_path):
    assert "add --resume" in train("--out", tmp_path / "run", "--changed-data")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("fault", ["cut short", "does not exist"])
def test_a_bad_picture_is_one_line_whoever_reads_it(home, tmp_path, workers, fault):
    folder = shutil.copytree(home, tmp_path / "home")
    values = tomlkit.parse((folder / "tiny.toml").read_text()).unwrap()
    values["data"]["sources"][0]["path"] = str(folder / "labels.csv")
    values["run"]["workers"] = workers
    settings = recipe.from_dict(values)
    task = HeadPoseTask(settings)
    picture = task.split.training[3].image
    if fault == "cut short":
        picture.write_bytes(picture.read_bytes()[:100])
    else:
        picture.unlink()
    with pytest.raises(HeadPoseError, match=picture.name) as caught:
        list(task.batches(0, 6))
    assert fault in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_source_that_cannot_be_read_is_one_line(train, tmp_path):
    (tmp_path / "file").touch()
    long = tmp_path / "long.csv"
    long.write_text("image,x1,y1,x2,y2,yaw,pitch,roll\n" + "x" * 300 + ".jpg,1,1,9,9,10,20,30\n")
    (tmp_path / "empty").mkdir()
    lp = ("--set", "data.sources.0.kind=300w-lp")
    for path, more in (
        (long, ()),
        (tmp_path, ()),
        (tmp_path / "file", lp),
        (tmp_path / "file" / "x", lp),
        (tmp_path / "empty", lp),
    ):
        message = train("--out", tmp_path / "run", "--set", f"data.sources.0.path={path}", *more)
        assert path.name in message
    assert not (tmp_path / "run").exists()


def test_faces_without_weight_are_reported_before_anything_is_made(home, train, tmp_path):
    path = rewrite(home, tmp_path / "other", lambda rows: [{**row, "weight": "0"} for row in rows])
    assert "have the weight 0" in train("--out", tmp_path / "run", "--set", path)


def test_two_trainings_do_not_share_a_folder(home, run, train):
    hold = (
        "import pathlib, sys\nfrom headpose import folders\n"
        "with folders.occupied(pathlib.Path(sys.argv[1])):\n print('ready', flush=True)\n sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", hold, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        assert f"in use by another run (process {process.pid})" in train("--resume", "--out", run)
        process.communicate("")
    assert train("--resume", "--out", run) == ""
    assert not (run / folders.LOCK).exists()


def test_an_unusable_folder_is_one_line(home, train, tmp_path):
    (tmp_path / "file").touch()
    assert "cannot use the folder" in train("--out", tmp_path / "file")
    assert "cannot use the folder" in train("--out", tmp_path / "file" / "run")
    assert "cannot use the folder" in train("--out", tmp_path / ("x" * 300), "--resume")


@pytest.mark.parametrize("limit", [100, 5_000, 300_000])
def test_a_full_disk_is_one_line(home, tmp_path, limit):
    command = [sys.executable, "-m", "headpose", "train", home / "tiny.toml", "--out", tmp_path / "run"]
    full = subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert full.returncode == 1
    assert "Traceback" not in full.stderr
    assert full.stderr.splitlines()[-1].startswith("headpose: error: cannot write ")
    assert not list(tmp_path.rglob(".*"))  # nothing half written


def test_no_more_threads_than_the_machine_has_and_that_is_logged(caplog):
    there_are = distributed.at_most_processors(10**6, "run.threads")
    assert 1 <= there_are < 5000
    assert caplog.messages == [
        f"run.threads is 1000000: this machine has {there_are} processors, so {there_are} are used"
    ]
    assert distributed.at_most_processors(1, "run.workers") == 1
    assert distributed.at_most_processors(0, "run.workers") == 0
    assert [(record.name, record.levelno) for record in caplog.records] == [("headpose", logging.WARNING)]
    before = torch.get_num_threads()
    try:
        distributed.prepare_process(1024)
        assert torch.get_num_threads() == min(1024, there_are)
    finally:
        torch.set_num_threads(before)


def test_the_split_has_a_hash_of_its_own(home):
    settings = recipe.load(str(home / "tiny.toml"))
    split = data.read(settings.data)
    assert split.sha256 == data.read(settings.data).sha256
    other = recipe.load(str(home / "tiny.toml"), ["data.split_seed=1"])
    assert data.read(other.data).sha256 != split.sha256
