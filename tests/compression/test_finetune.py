"""A tuning that was interrupted goes on with the data that it began with, or says that they have changed."""

import csv
import json

import pytest
from safetensors.torch import load_file, save_file

from headpose.compression.finetune import NETWORK, FineTuner, FineTuning
from headpose.compression.recipe import RunRecipe
from headpose.errors import DataError, WeightsError
from headpose.networks.build import build
from headpose.recipes import training as recipe
from headpose.recipes.training import OptimiserRecipe
from headpose.training.loop import BEST, LAST, Trainer
from headpose.training.tasks.head_pose import HeadPoseTask
from tests.training.networks import recipe_values, write_drawn_heads

TUNING = FineTuning("student, stage 1 of 2", 32, OptimiserRecipe(warmup=0), seed=3)


@pytest.fixture
def labels(tmp_path):
    return write_drawn_heads(tmp_path, 30)


def tuner(labels, changed_data=False):
    settings = recipe.from_dict(recipe_values(labels))
    return FineTuner(HeadPoseTask(settings), settings, RunRecipe(batch=16, threads=1, bf16="off"), changed_data)


def begin(there, folder):
    """What an interrupted tuning leaves: all but its result."""
    network = build(there.training.spec)
    Trainer(there.recipe(network, TUNING), folder, task=there.task, network=network).run()
    assert (folder / LAST).exists()
    return network


def relabel(labels):
    with labels.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[1][5] = "12.3"
    with labels.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_a_fine_tuning_refuses_other_data_unless_asked(labels, tmp_path):
    folder = tmp_path / "stage-1"
    network = begin(tuner(labels), folder)
    relabel(labels)
    with pytest.raises(DataError, match=r"the data have changed since the run began.*--changed-data") as caught:
        tuner(labels).train(network, TUNING, folder)
    assert "\n" not in str(caught.value)
    assert not (folder / NETWORK).exists()
    tuner(labels, changed_data=True).train(network, TUNING, folder)
    assert (folder / NETWORK).exists()


def test_a_fine_tuning_goes_on_with_its_data(labels, tmp_path):
    network = begin(tuner(labels), tmp_path / "stage-1")
    tuner(labels).train(network, TUNING, tmp_path / "stage-1")
    assert (tmp_path / "stage-1" / NETWORK).exists()


def test_best_weights_that_lack_a_tensor_are_no_result(labels, tmp_path):
    folder = tmp_path / "stage-1"
    network = begin(tuner(labels), folder)
    state = load_file(folder / BEST)
    state.pop("conv1.weight")
    save_file(state, folder / BEST)
    with pytest.raises(WeightsError, match=r"best\.safetensors is of another network: it lacks conv1\.weight"):
        tuner(labels).train(network, TUNING, folder)
    assert not (folder / NETWORK).exists()


@pytest.mark.parametrize("name", ["", "x" * 100 + ", stage 1 of 2", "x" * 99 + " y"])
def test_any_name_of_a_fine_tuning_makes_a_recipe(labels, name):
    there = tuner(labels)
    made = there.recipe(build(there.training.spec), FineTuning(name, 16, OptimiserRecipe(), seed=2**32 + 3000))
    assert 1 <= len(made.name) <= 100
    assert recipe.from_dict(json.loads(made.to_json())) == made
