"""Tasks, by the name in a recipe."""

from __future__ import annotations

from collections.abc import Callable

from headpose.recipes.training import Recipe
from headpose.training.protocols import Task
from headpose.training.tasks.classification import ClassificationTask
from headpose.training.tasks.head_pose import HeadPoseTask
from headpose.training.tasks.landmarks import LandmarkTask


def of(recipe: Recipe) -> Task:
    """Create the task of a recipe and read its data.

    Raises:
        DataError: A source cannot be read, or one side of the split is empty.
        RecipeError: A source is of the wrong kind for the task.
    """
    kinds: dict[str, Callable[[Recipe], Task]] = {
        "head-pose": HeadPoseTask,
        "classification": ClassificationTask,
        "landmarks": LandmarkTask,
    }
    return kinds[recipe.task](recipe)
