"""The landmark task: its data, its labels in augmented crops, its figures, and a run from the recipe to the file."""

from __future__ import annotations

import dataclasses
import json
import re

import cv2
import numpy as np
import pytest
import torch

from headpose import cli, crop, files
from headpose.datasets import points
from headpose.datasets.points import MIRRORED, Landmarks
from headpose.errors import DataError, RecipeError
from headpose.evaluation import landmarks as evaluation
from headpose.landmarks import load_landmark_model
from headpose.losses import wing_loss
from headpose.recipes import training as recipe
from headpose.recipes.training import AugmentRecipe
from headpose.training import log
from headpose.training.augment import Augmenter
from headpose.training.tasks.landmarks import LandmarkTask
from headpose.types import Box, CropSpec
from tests.network_files import landmark_network
from tests.training.networks import recipe_values, write_drawn_heads

_HALF = np.random.default_rng(0).uniform(-0.8, 0.8, (68, 2))
TEMPLATE = (_HALF + _HALF[MIRRORED] * (-1, 1)) / 2
"""(68, 2) symmetric face: mirrored, each point lies where its counterpart was."""

STEPS = ("brightness", "shade", "light", "grey", "blur", "low_resolution", "noise", "jpeg", "occlude", "cut", "flip")
STILL = AugmentRecipe(shift=0.0, stretch=0.0, turn=0.0, wide_turn=0.0, **dict.fromkeys(STEPS, 0.0))
COLORS = {0: (0, 0, 255), 30: (0, 255, 0), 45: (255, 0, 0)}  # of three landmarks: ear, nose, eye
SPEC = CropSpec(96)


def write_points(folder, count, seed=0):
    """Pictures of faces that consist of dots; returns the manifest and its landmarks. Every tenth lacks them."""
    manifest, rng = write_drawn_heads(folder, count), np.random.default_rng(seed)
    names, labels = [], []
    for number in range(count):
        places = 24 + (rng.uniform(12, 20) * TEMPLATE + rng.uniform(-4, 4, 2))
        picture = np.full((48, 48, 3), 40, np.uint8)
        for place, shade in zip(places, np.linspace(80, 255, 68), strict=True):
            cv2.circle(picture, tuple(int(each) for each in place), 1, (255, 255 - int(shade), int(shade)), -1)
        cv2.imwrite(str(folder / f"head{number:03d}.png"), picture)
        if number % 10:
            names.append(f"head{number:03d}")
            labels.append(places)
    state = np.full((len(names), 68), 2, np.uint8)
    state[:, :17], state[::3, 60:] = 1, 0
    np.savez(folder / "points.npz", image=np.array(names), points=np.array(labels), state=state)
    return manifest, folder / "points.npz"


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    manifest, labels = write_points(tmp_path_factory.mktemp("data"), 120)
    found = recipe_values(manifest)
    found["task"] = "landmarks"
    found["data"]["sources"][0]["landmarks"] = str(labels)
    found["network"] = {
        "size": 32,
        "layers": [{"width": 8, "max_pool": True}, {"width": 16, "stride": 2}, {"width": 24, "max_pool": True}],
        "head": [48],
    }
    return found


@pytest.fixture(scope="module")
def task(values):
    return LandmarkTask(recipe.from_dict(values))


def test_faces_without_landmarks_are_left_out(task):
    assert sum(task.examples.values()) == 108
    assert task.examples["validation"] > 10


def drawn(places):
    picture = np.zeros((300, 320, 3), np.uint8)
    for number, color in COLORS.items():
        center = tuple(round((value - 0.5) * 16) for value in places[number])
        cv2.circle(picture, center, 6 * 16, color, -1, cv2.LINE_AA, 4)
    return picture


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shift": 0.2, "stretch": 0.3, "scale": (1.1, 1.9)},
        {"wide_turn": 1.0, "wide_turn_degrees": 60.0},
        {"flip": 1.0, "wide_turn": 1.0, "shift": 0.1},
        {"cut": 1.0, "flip": 0.5, "shift": 0.05},
    ],
    ids=["plain", "moved", "turned", "mirrored", "cut"],
)
def test_landmarks_stay_on_what_they_mark(changes):
    box = Box(110, 90, 210, 190)
    places = np.array(box.center) + 45 * TEMPLATE
    augmenter = Augmenter(dataclasses.replace(STILL, **changes), SPEC)
    seen = 0
    for seed in range(12):
        labels = Landmarks(places, np.arange(68) / 68)
        view = augmenter(drawn(places), box, np.eye(3), np.random.default_rng(seed), labels)
        found = {}
        for number, color in COLORS.items():
            mask = np.abs(view.image.astype(int) - color).sum(2) < 150
            if mask.sum() > 20 and not (mask[[0, -1]].any() or mask[:, [0, -1]].any()):
                found[number] = np.argwhere(mask).mean(0)[::-1] + 0.5
        # The nose is its own counterpart, so only the two others tell whether the picture was mirrored.
        flipped = view.landmarks.known[0] != labels.known[0]
        assert flipped or changes.get("flip") != 1.0
        for number, where in found.items():
            marked = MIRRORED[number] if flipped else number
            np.testing.assert_allclose(96 * view.landmarks.points[marked], where, atol=1.0)
            assert view.landmarks.known[marked] == labels.known[number]
            seen += 1
    assert seen > 12


def test_every_landmark_has_one_counterpart():
    assert sorted(MIRRORED) == list(range(68))
    assert (MIRRORED[MIRRORED] == np.arange(68)).all()
    assert {int(each) for each in np.flatnonzero(np.arange(68) == MIRRORED)} == {8, 27, 28, 29, 30, 33, 51, 57, 62, 66}


def test_a_batch_has_points_of_its_crops_and_their_weights(task):
    batch = next(task.batches(0, 1))
    assert batch.images.shape == (16, 3, 32, 32)
    assert batch.targets["landmarks"].shape == (16, 68, 2)
    np.testing.assert_allclose(np.unique(batch.targets["known"]), [0, 0.4, 1], rtol=1e-6)
    (whole,) = task.held_out(1000)
    view = task.views[3]
    np.testing.assert_allclose(whole.targets["landmarks"][3], view.landmarks.points, rtol=1e-6)
    face = task.split.validation[3]
    back = crop.points_in_image(view.landmarks.points, face.sample.box, task.crop)
    np.testing.assert_allclose(back, face.landmarks.points)


def test_unknown_points_carry_no_loss_and_covered_ones_less():
    target, known = torch.zeros(3, 68, 2), torch.ones(3, 68)
    predicted = target.clone()
    predicted[:, 5] = 0.3
    known[1, 5], known[2, 5] = 0.4, 0.0
    full, less, none = wing_loss(predicted, target, known).tolist()
    assert full > less > none == 0
    assert wing_loss(predicted, target, torch.zeros(3, 68)).tolist() == [0, 0, 0]
    # The logarithm meets the line at the width, with a slope of 1 beyond.
    errors = torch.tensor([0.03999, 0.04001, 0.2, 0.3]).reshape(4, 1, 1).expand(4, 1, 2)
    values = wing_loss(errors, torch.zeros(4, 1, 2), torch.ones(4, 1))
    assert values[1] - values[0] == pytest.approx(2e-5, abs=1.5e-5)
    assert values[3] - values[2] == pytest.approx(0.1, abs=1e-5)


def test_figures_are_distances_in_percent_of_the_box():
    square = np.zeros((68, 2))
    square[1:3], square[3:] = [(50, 0), (0, 200)], (50, 200)  # 50 x 200: the root of the area is 100
    known = np.ones(68)
    known[10:] = 0
    labels = [Landmarks(square, known)] * 4
    predicted = np.stack([square] * 4)
    predicted[:, 10:] += 1000  # without a label
    predicted[1, :10] += (3, 4)
    predicted[2, :5] += (0, 20)
    figures = evaluation.figures(predicted, labels, np.array([0.0, 44, -46, 80]))
    assert figures == pytest.approx(
        {
            "nme": (0 + 5 + 10 + 0) / 4,
            "nme_front": 2.5,
            "nme_profile": 5.0,
            "rmse": ((25 + 200) / 4) ** 0.5,
            "failures": 25.0,
        }
    )
    assert tuple(figures) == evaluation.FIGURES
    assert np.isnan(evaluation.figures(predicted[:1], labels[:1], np.zeros(1))["nme_profile"])


@pytest.fixture(scope="module")
def run(values, tmp_path_factory):
    """Folder of a finished run of a tiny network."""
    folder = tmp_path_factory.mktemp("landmarks")
    changed = {**values, "run": {**values["run"], "images": 1600, "validate_images": 640}}
    (folder / "tiny.json").write_text(json.dumps(changed))
    assert cli.main(["train", str(folder / "tiny.json"), "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_a_run_learns_them_and_its_file_locates_them(run, task):
    rows = log.read(run / log.FILE)
    assert tuple(rows[0].figures) == evaluation.FIGURES
    assert rows[-1].figures["nme"] < 0.5 * rows[0].figures["nme"]
    model = load_landmark_model(run / "tiny.onnx", device="cpu", threads=1)
    assert (model.metadata["kind"], model.metadata["outputs"]) == ("landmarks", ["landmarks"])
    inputs = crop.normalize(np.stack([view.image for view in task.views]), model.crop)
    yaw = np.array([face.sample.euler.yaw for face in task.split.validation])
    figures = evaluation.figures(model.predict(inputs), task.labels, yaw)
    assert figures["nme"] == pytest.approx(min(row.figures["nme"] for row in rows), rel=1e-3)
    assert (run / "predictions.jpg").is_file()


def test_a_dry_run_counts_the_network(run, task, capsys):
    assert cli.main(["train", str(run.parent / "tiny.json"), "--out", str(run.parent / "dry"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "tiny: {training} to train on, {validation} to validate on".format(**task.examples) in out
    assert re.search(r"0\.03 M parameters.*\n +1,600 images at  32 px: 1 M MACs", out)
    assert not (run.parent / "dry").exists()


def test_the_program_measures_networks_on_the_faces_of_a_run(run, task, tmp_path, load_program, monkeypatch, capsys):
    program = load_program("eval/landmarks.py")
    still = landmark_network(tmp_path / "still.onnx", np.full((68, 2), 0.5))
    words = [
        str(run),
        str(still),
        "--json",
        str(tmp_path / "a.json"),
        "--out",
        str(tmp_path / "a.png"),
        "--threads",
        "1",
    ]
    monkeypatch.setattr("sys.argv", ["landmarks", *words])
    assert program.main() == 0
    ours, other = json.loads((tmp_path / "a.json").read_text())["networks"]
    assert other["model_sha256"] == files.sha256_of(still) and other["faces"] == task.examples["validation"]
    best = min(row.figures["nme"] for row in log.read(run / log.FILE))
    assert ours["nme"] == pytest.approx(best, rel=1e-3)
    assert ours["nme_interval"][0] < ours["nme"] < ours["nme_interval"][1] < other["nme"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{task.examples['validation']} held-out faces, ")
    assert lines[-2].startswith(f"| tiny | {ours['nme']:.2f} | ")
    assert cv2.imread(str(tmp_path / "a.png")) is not None


def test_the_program_names_a_folder_that_is_no_run_of_landmarks(tmp_path, load_program, monkeypatch, capsys):
    program = load_program("eval/landmarks.py")
    heads = write_drawn_heads(tmp_path, 4)
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads" / "recipe.json").write_text(json.dumps(recipe_values(heads)))
    for folder, message in (
        ("", "it has no recipe.json"),
        ("heads", "is a run of the task head-pose, not of landmarks"),
    ):
        monkeypatch.setattr("sys.argv", ["landmarks", str(tmp_path / folder)])
        assert program.main() == 1
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("crop", {"size": 40}, "a plain network has one input size: crop.size is network.size, 40 here"),
        ("run", {"growing": [{"size": 16, "until": 100}]}, "one input size.* run.growing is empty"),
        ("data", {"sources": [{"kind": "manifest", "path": "a.csv"}]}, "with their landmarks"),
        ("data", {"sources": [{"kind": "cifar-10", "path": "a"}]}, "takes sources of kind 300w-lp"),
        ("data", {"sources": [{"kind": "300w-lp", "path": "a", "landmarks": "b.npz"}]}, "takes sources of kind"),
        ("network", {"layers": [{"width": 8, "kernel": 4}]}, "network.layers.0.*kernel is odd"),
    ],
)
def test_a_recipe_that_cannot_run_is_one_clear_error(values, section, changes, message):
    with pytest.raises(RecipeError, match=message):
        recipe.from_dict({**values, section: {**values[section], **changes}})


def test_tasks_and_outputs_belong_together(values, tmp_path):
    with pytest.raises(RecipeError, match=r"network\.output 'landmarks' does not go with task 'head-pose'"):
        recipe.from_dict({**values, "task": "head-pose"})
    heads = recipe_values(tmp_path / "none.csv")
    with pytest.raises(RecipeError, match=r"no other task has data\.sources\.N\.landmarks"):
        recipe.from_dict({**heads, "data": values["data"]})


def test_other_landmarks_are_other_data(values, task, tmp_path):
    source = values["data"]["sources"][0]
    arrays = dict(np.load(source["landmarks"]))
    arrays["points"][0, 0] += 0.01
    np.savez(tmp_path / "moved.npz", **arrays)
    data = {**values["data"], "sources": [{**source, "landmarks": str(tmp_path / "moved.npz")}]}
    assert LandmarkTask(recipe.from_dict({**values, "data": data})).fingerprint != task.fingerprint


def test_landmarks_that_fit_no_picture_are_an_error(task, tmp_path):
    samples = [face.sample for face in task.split.validation]
    np.savez(tmp_path / "others.npz", image=np.array(["nobody"]), points=np.zeros((1, 68, 2)))
    with pytest.raises(DataError, match="name none of the"):
        points.join(samples, tmp_path / "others.npz")
    np.savez(tmp_path / "flat.npz", image=np.array([samples[0].image.stem]), points=np.zeros((1, 68, 2)))
    with pytest.raises(DataError, match=f"those of {samples[0].image.stem} span no area"):
        points.join(samples, tmp_path / "flat.npz")
