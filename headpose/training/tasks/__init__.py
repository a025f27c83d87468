"""The task that a recipe names."""

from __future__ import annotations

from headpose.recipes.training import Recipe
from headpose.training.protocols import Task
from headpose.training.tasks.classification import ClassificationTask
from headpose.training.tasks.head_pose import HeadPoseTask


def of(recipe: Recipe) -> Task:
    """The recipe's task, its data read.

    Raises:
        DataError: a source cannot be read, or one side of the split is empty.
        RecipeError: a source does not hold what the task needs.
    """
    return ClassificationTask(recipe) if recipe.task == "classification" else HeadPoseTask(recipe)
