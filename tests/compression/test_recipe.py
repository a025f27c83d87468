"""The settings of a compression: ranges, choices and names."""

import pytest

from headpose.compression import recipe
from headpose.errors import RecipeError


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("prune.stpes=4", "unknown key prune.stpes: did you mean prune.steps?"),
        ("students.student.raito=4", "unknown key students.student.raito: did you mean students.student.ratio?"),
        ("prune.optimiser.kind=lion", "prune.optimiser.kind must be one of adamw, adam, sgd; got 'lion'"),
        (
            "prune.rule.kind=magic",
            "prune.rule.kind must be one of mean_plus_std, std, share, global_share; got 'magic'",
        ),
        ("prune.rule={kind='share',value=1.5}", "prune.rule: a share must be in [0, 1), got 1.5"),
        ("prune.rule.valeu=1", "unknown key prune.rule.valeu: did you mean prune.rule.value?"),
        ("prune.importance=magic", "prune.importance must be one of apoz"),
        ("prune.minimum=0", "prune.minimum must be a whole number from 1 to 65,536; got 0"),
        ("prune.size=4", "prune.size must be 0, or from 8 to 1,024; got 4"),
        ("prune.scan=[0.5, 1.0]", "prune.scan.1 must be a number above 0 and below 1; got 1.0"),
        ("prune.stop.megabytes=-1", "prune.stop.megabytes must be a number from 0 to 1,000,000; got -1"),
        ("prune.guide={labels=0.0}", "prune.guide needs a loss"),
        ("run.threads=20000", "run.threads must be a whole number from 0 to 1,024; got 20000"),
        ("run.seed=4294967296", "run.seed must be a whole number from 0 to 4,294,967,295; got 4294967296"),
        ("students.student.ratio=0.5", "students.student.ratio must be a number from 1 to 10,000; got 0.5"),
        ("students.student.seed=-1", "students.student.seed must be a whole number from 0 to 4,294,967,295; got -1"),
        (
            "students.student.head=[0]",
            "students.student.head: a list of widths from 1 to 65,536, or 'teacher'; got [0]",
        ),
        ("students.student.head=none", "or 'teacher'; got 'none'"),
        ("students.student.stages.0.images=0", "students.student.stages.0.images must be a whole number from 1"),
        ("students.student.start=magic", "students.student.start must be one of "),
        (
            "quantize.calibration_images=0",
            "quantize.calibration_images must be a whole number from 1 to 1,000,000; got 0",
        ),
        ("quantize.students=['nobody']", "quantize.students: no student 'nobody'; the recipe has student, "),
        ("name=../../x", "name must be a file name"),
        ("baseline.weights=", "baseline.weights must be a path; got ''"),
    ],
)
def test_a_setting_out_of_range_is_reported_with_its_path_and_what_is_allowed(change, says):
    with pytest.raises(RecipeError, match=r"^recipe: ") as caught:
        recipe.load("paper", ["quantize.students=['student']", change])
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".."])
def test_a_student_is_named_like_a_file(name):
    settings = recipe.load("paper")
    values = {"name": "x", "baseline": {"recipe": "r", "weights": "w"}}
    student = {"stages": [{"images": 1, "labels": 1.0}]}
    with pytest.raises(RecipeError, match=r"students.*: the key must be a file name") as caught:
        recipe.from_dict({**values, "students": {name: student}})
    assert "\n" not in str(caught.value)
    assert recipe.from_dict({**values, "students": {"a.b": student}}).students["a.b"] != settings.students["student"]


@pytest.mark.parametrize("name", ["teacher", "baseline", "teacher-random", "small-fp16"])
def test_a_student_does_not_take_the_name_of_another_file(name):
    student = {"stages": [{"images": 1, "labels": 1.0}]}
    values = {
        "name": "x",
        "baseline": {"recipe": "r", "weights": "w"},
        "students": {"small": student, name: student},
        "quantize": {"students": ["small"]},
    }
    with pytest.raises(RecipeError, match="is the name of another network"):
        recipe.from_dict(values)
