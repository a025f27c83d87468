import dataclasses
import json

import pytest

from headpose.compression.steps import Step, read_json, read_step
from headpose.errors import DataError


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"number": "x"}', '{"kept": 5}', "NaN", "[" * 100_000],
)
def test_a_damaged_step_is_reported_with_its_file(tmp_path, text):
    (tmp_path / "step.json").write_text(text)
    with pytest.raises(DataError, match=r"step\.json is damaged") as caught:
        read_step(tmp_path / "step.json")
    assert len(str(caught.value).splitlines()) == 1
    if text != "{}" and not text.startswith('{"'):
        with pytest.raises(DataError, match=r"step\.json is damaged"):
            read_json(tmp_path / "step.json")


@pytest.mark.parametrize("change", [{"kept": {"a": [1, 1]}}, {"kept": {"a": [-1]}}, {"figures": {}}, {"number": 1.5}])
def test_a_step_with_impossible_values_is_damaged(tmp_path, change):
    step = Step(1, {"a": [0, 2]}, {"a": {1: 0.5}}, 3.0, {"geodesic": 2.0}, 10, 20, 40)
    file = tmp_path / "step.json"
    file.write_text(json.dumps(dataclasses.asdict(step)))
    again = read_step(file)
    assert again.removed == step.removed and again.kept == step.kept and again.figures == step.figures
    file.write_text(json.dumps({**dataclasses.asdict(step), **change}))
    with pytest.raises(DataError, match="damaged"):
        read_step(file)
