"""Every setting of the recipes has its range, and a value beyond it is an error of one line."""

import dataclasses
import json
import types
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic.fields import FieldInfo

from headpose.compression import recipe as compression
from headpose.compression.selection import Rule
from headpose.errors import RecipeError
from headpose.networks.spec import ResNetSpec, StemSpec
from headpose.recipes import training as recipe
from headpose.types import CropSpec

OWN_CHECKS = (CropSpec, Rule)  # plain dataclasses, which check themselves


def numbers(hint, path, extras=()):
    """(path, type, annotations) of every number within a type."""
    if get_origin(hint) is Annotated:
        inner, *more = get_args(hint)
        yield from numbers(inner, path, (*extras, *more))
    elif hint in (int, float, bool):
        yield path, hint, extras
    elif hint in OWN_CHECKS or get_origin(hint) is Literal:
        return
    elif dataclasses.is_dataclass(hint):
        for name, inner in get_type_hints(hint, include_extras=True).items():
            yield from numbers(inner, f"{path}.{name}")
    elif get_origin(hint) in (tuple, dict, Union, types.UnionType):
        for inner in get_args(hint):
            if inner is not Ellipsis:
                yield from numbers(inner, path)
    else:
        assert hint in (str, type(None)), (path, hint)


def limits(extras):
    """Names of the constraints, such as ge and strict."""
    rules = [rule for each in extras if isinstance(each, FieldInfo) for rule in each.metadata]
    return {name for rule in rules for name in ("ge", "gt", "le", "lt", "strict") if hasattr(rule, name)}


@pytest.mark.parametrize("kind", [recipe.Recipe, compression.CompressionRecipe])
def test_every_number_of_a_recipe_has_a_range(kind):
    found = list(numbers(kind, ""))
    assert len(found) > 50
    for path, hint, extras in found:
        bounds = limits(extras)
        assert "strict" in bounds, path
        assert hint is bool or (bounds & {"ge", "gt"} and bounds & {"le", "lt"}), path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("run.imges=5", "unknown key run.imges: did you mean run.images?"),
        ("data.sources.1.wieght=5", "unknown key data.sources.1.wieght: did you mean data.sources.1.weight?"),
        ("network.stem.widht=5", "unknown key network.stem.widht: did you mean network.stem.width?"),
        ("crop.sice=5", "unknown key crop.sice: did you mean crop.size?"),
        ("optimizer.rate=5", "unknown key optimizer: did you mean optimiser?"),
        ("qwerty=5", "unknown key qwerty: the known keys are name, license,"),
        ("optimiser.kind=lion", "optimiser.kind must be one of adamw, adam, sgd; got 'lion'"),
        ("crop.channels=grey", "crop.channels must be one of rgb, bgr; got 'grey'"),
        ("run.seed=-1", "run.seed must be a whole number from 0 to 9,007,199,254,740,992; got -1"),
        ("run.threads=20000", "run.threads must be a whole number from 0 to 1,024; got 20000"),
        ("run.workers=-1", "run.workers must be a whole number from 0 to 1,024; got -1"),
        ("run.batch='many'", "run.batch must be a whole number from 1 to 65,536; got 'many'"),
        ("run.images=1.5", "run.images must be a whole number from 1 to 1,000,000,000,000; got 1.5"),
        ("run.ema=1", "run.ema must be a number from 0 and below 1; got 1"),
        ("run.frozen_norms=1", "run.frozen_norms must be true or false; got 1"),
        ("run=3", "run must be a table; got 3"),
        ("optimiser.rate=nan", "optimiser.rate must be a number above 0 and up to 100; got nan"),
        ("optimiser.clip=inf", "optimiser.clip must be a number from 0 to 1,000,000; got inf"),
        (
            "optimiser.htd_bounds=[-6, 1e9]",
            "optimiser.htd_bounds.1 must be a number from -100 to 100; got 1000000000.0",
        ),
        ("augment.turn=true", "augment.turn must be a number from 0 to 180; got True"),
        ("augment.scale=[1.2]", "augment.scale has too few values"),
        ("augment.scale=[2, 1]", "augment.scale has the smaller number first; got [2.0, 1.0]"),
        ("data.cache_gib=-1", "data.cache_gib must be a number from 0 to 65,536; got -1"),
        ("data.sources=[]", "data.sources must be a list of at least 1 values; got []"),
        ("data.sources.0.share=-1", "data.sources.0.share must be a number from 0 to 1,000,000; got -1"),
        ("data.density.max_repeats=-1", "data.density.max_repeats must be a number from 0 to 1,000; got -1"),
        ("data.density.max_repeat=5", "unknown key data.density.max_repeat: did you mean data.density.max_repeats?"),
        ("data.spread_floor=2", "data.spread_floor must be a number from 0 to 1; got 2"),
        ("data.sources.0.path=", "data.sources.0.path must be a path; got ''"),
        ("network.inner=[8,8,8,0]", "network.inner.3 must be a whole number from 1 to 65,536; got 0"),
        ("network=3", "network must be a table; got 3"),
        ("network.out=[60000,60000,60000,60000]", "M parameters, 500 M are the most"),
        ("crop.size=4", "crop.size must be 8 to 1024 pixels"),
        ("crop.size=96.5", "crop.size must be a whole number; got 96.5"),
        ("crop.mean=[0.5]", "crop.mean has too few values"),
        ("x=" + "[" * 5000, "unknown key x"),
        ("run.seed=" + "9" * 5000, "run.seed must be a whole number from 0"),
    ],
)
def test_a_setting_out_of_range_is_reported_with_its_path_and_what_is_allowed(change, says):
    with pytest.raises(RecipeError, match=r"^recipe: ") as caught:
        recipe.load("compact", [change])
    message = str(caught.value)
    assert says in message
    assert len(message.splitlines()) == 1
    assert len(message) < 400


def test_what_is_missing_is_named(tmp_path):
    (tmp_path / "short.toml").write_text('name = "short"\n')
    with pytest.raises(RecipeError, match="recipe: license is missing"):
        recipe.load(str(tmp_path / "short.toml"))


@pytest.mark.parametrize(
    "name", ["../../x", "", "a/b", "a\\b", ".", "..", "/abs", ".hidden", "a\nb", "x" * 101, "a ", "-v"]
)
def test_a_name_that_is_no_file_name_is_refused(name):
    values = json.loads(recipe.load("compact").to_json())
    with pytest.raises(RecipeError, match="recipe: name must be a file name"):
        recipe.from_dict({**values, "name": name})


def test_a_name_too_long_for_a_file_system_is_refused():
    with pytest.raises(RecipeError, match="recipe: name: too long: 300 bytes, the maximum is 200"):
        recipe.load("compact", [f"name={'名' * 100}"])
    assert recipe.load("compact", [f"name={'é' * 100}"]).name == "é" * 100


@pytest.mark.parametrize("name", ["a", "compact-2.1", "köpfe", "student, stage 1 of 2", "x" * 100])
def test_other_names_are_free(name):
    values = json.loads(recipe.load("compact").to_json())
    assert recipe.from_dict({**values, "name": name}).name == name


def test_whole_numbers_are_taken_for_fractions_and_come_out_as_such():
    settings = recipe.load("compact", ["augment.turn=6", "crop.scale=1", "optimiser.htd_bounds=[-6, 3]"])
    values = json.loads(settings.to_json())
    assert '"turn": 6.0' in settings.to_json()
    assert '"scale": 1.0' in settings.to_json()
    assert recipe.from_dict(values) == settings


def test_the_widths_of_a_network_have_ranges_too():
    values = recipe.load("compact").spec.to_dict()
    for change, says in (
        ({"width": 0}, "stem.width"),
        ({"kernel": 99}, "stem.kernel"),
        ({"pool_padding": "no"}, "end"),
    ):
        with pytest.raises(ValueError, match=says) as caught:
            ResNetSpec.from_dict({**values, "stem": {**values["stem"], **change}})
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"stages\.1\.0\.out must be a whole number from 1 to 65,536; got True"):
        values["stages"][1][0]["out"] = True
        ResNetSpec.from_dict(values)
    with pytest.raises(ValueError, match="stride"):
        StemSpec(8, stride=0)


@pytest.mark.parametrize("text", ["[1]", '"text"', "null", '{"name": "x"}', "[" * 100_000, '{"name": 1}'])
def test_a_damaged_recipe_of_a_run_is_reported_with_its_file(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    for read in (recipe.load_saved, lambda path: recipe.load(str(path))):
        with pytest.raises(RecipeError, match="recipe") as caught:
            read(tmp_path / "recipe.json")
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(RecipeError, match=r"recipe\.json"):
        recipe.load_saved(tmp_path / "recipe.json")
