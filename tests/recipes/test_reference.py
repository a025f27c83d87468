"""docs/recipes.md names every key there is, and the keys that it names are keys."""

import dataclasses
import re

import pytest

from headpose.compression import recipe as compression
from headpose.errors import RecipeError
from headpose.recipes import training as recipe
from scripts.document_recipes import PAGE, page


def keys(section):
    """The keys that one section of the page names."""
    text = PAGE.read_text("utf-8").partition(f"## `headpose {section}`")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def test_the_page_is_what_the_classes_say():
    assert PAGE.read_text("utf-8") == page(), "run python scripts/document_recipes.py"


@pytest.mark.parametrize(
    ("section", "load", "name"), [("train", recipe.load, "baseline"), ("compress", compression.load, "student")]
)
def test_every_key_of_a_recipe_is_on_the_page(section, load, name):
    def leaves(values, prefix=""):
        for key, value in values.items():
            path = f"{prefix}{'NAME' if prefix == 'students.' else key}"
            if isinstance(value, dict):
                yield from leaves(value, f"{path}.")
            elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
                yield from leaves(value[0], f"{path}.N.")
            else:
                yield path

    there = {*leaves(dataclasses.asdict(load(name)))}
    empty = {path for path in there if path in ("run.growing", "baseline.data")}
    empty |= {path for path in there if path.endswith(".growing")}
    assert there - empty <= {*keys(section)}


def test_every_key_on_the_page_has_a_meaning_and_is_known():
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("| `"):
            assert len(re.split(r"(?<!\\)\|", line)) == 6 and not line.endswith("|  |"), line
    for key in keys("train"):
        if "growing" not in key:
            with pytest.raises(RecipeError, match=r"^(?!.*unknown key)"):
                recipe.load("baseline", [f"{key.replace('.N.', '.0.')}=[[[]]]"])
