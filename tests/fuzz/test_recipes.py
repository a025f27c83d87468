"""Recipes that are nearly right: a recipe, or one line that says what is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose.compression import recipe as compression
from headpose.errors import RecipeError
from headpose.recipes import training
from tests.fuzz.damage import damaged, odd_values, places, spoiled
from tests.fuzz.test_readers import only

KINDS = {"training": (training, "compact"), "compression": (compression, "paper")}
BOTH = pytest.mark.parametrize("kind", list(KINDS))


def values_of(kind):
    module, name = KINDS[kind]
    return json.loads(module.load(name).to_json())


VALUES = {kind: values_of(kind) for kind in KINDS}
KEYS = sorted({".".join(map(str, place)) for values in VALUES.values() for place in places(values)})


def check(module, made):
    """A recipe that is taken survives its JSON: what a run writes down is what it can read again."""
    assert module.from_dict(json.loads(made.to_json())) == made


@BOTH
@given(data=st.data())
def test_odd_values(kind, data):
    module, _ = KINDS[kind]
    with only(RecipeError):
        check(module, module.from_dict(data.draw(spoiled(VALUES[kind]))))


# As somebody would write them after --set, and as nobody would.
settings = st.one_of(
    st.tuples(st.sampled_from(KEYS), odd_values.map(json.dumps)).map("=".join),
    st.tuples(st.sampled_from(KEYS), st.text(max_size=8)).map("=".join),
    st.tuples(st.sampled_from(KEYS), st.sampled_from(["", ".", ".0", ".x", ".-1", ".9"])).map("=1".join),
    st.text(max_size=12),
    st.text("abc.=[]{}0123\"'-", max_size=12),
)


@BOTH
@given(changes=st.lists(settings, max_size=3))
def test_odd_settings(kind, changes):
    module, name = KINDS[kind]
    with only(RecipeError):
        check(module, module.load(name, changes))


@BOTH
@given(data=st.data())
def test_damaged_files(kind, data, tmp_path_factory):
    module, _ = KINDS[kind]
    path = tmp_path_factory.getbasetemp() / f"{kind}.json"
    path.write_bytes(data.draw(damaged([json.dumps(VALUES[kind]).encode()])))
    with only(RecipeError):
        check(module, module.load(str(path)))
