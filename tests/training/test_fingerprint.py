"""The hash by which a run knows its data: of classifiers as well as of heads."""

import dataclasses

from headpose.recipes import training as recipe
from headpose.training.tasks.classification import ClassificationTask, Split
from tests.training.digits import digits_recipe, write_digits


def test_a_classifiers_data_are_known_by_their_pixels_labels_and_sides(tmp_path):
    settings = recipe.from_dict(digits_recipe(write_digits(tmp_path, 100)))
    task = ClassificationTask(settings)
    assert len(task.fingerprint) == 64
    assert ClassificationTask(settings).fingerprint == task.fingerprint
    assert task.during(settings).fingerprint == task.fingerprint
    seeded = dataclasses.replace(settings, data=dataclasses.replace(settings.data, split_seed=1))
    assert ClassificationTask(seeded).fingerprint != task.fingerprint

    training, validation = task.split.training, task.split.validation
    darker = dataclasses.replace(training, images=training.images // 2)
    other = dataclasses.replace(validation, labels=(validation.labels + 1) % 10)
    changed = [Split(darker, validation), Split(training, other), Split(validation, training)]
    found = {ClassificationTask(settings, split).fingerprint for split in changed}
    assert len(found | {task.fingerprint}) == 4
