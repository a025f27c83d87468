"""Files with the key names of earlier versions: every kind that is published is still read."""

import json

import numpy as np
import onnx
import pytest
import tomlkit
from safetensors import safe_open
from safetensors.numpy import save_file

from headpose import cli, licenses, weights
from headpose.errors import RecipeError, WeightsError
from headpose.evaluation.adapter_files import read_adapter
from headpose.inference import OnnxPoseModel
from headpose.recipes import provenance
from headpose.recipes import training as recipe
from headpose.recipes.provenance import Statement
from tests.evaluation.foreign import adapter_file
from tests.network_files import PLAIN, color_network
from tests.training.networks import recipe_values, write_drawn_heads

OLD = {"license": "lane", "license_terms": "licence"}
OLD_VALUES = {"permissive": "clean", "research-only": "research", "unknown": "unknown"}


def as_before(values):
    """The same table as an earlier version wrote it."""
    old = {OLD.get(key, key): value for key, value in values.items()}
    return {**old, "lane": OLD_VALUES[old["lane"]]}


def stated(file):
    """The ``headpose.model`` of an ONNX file as it is stored."""
    return json.loads({entry.key: entry.value for entry in onnx.load(file).metadata_props}["headpose.model"])


@pytest.mark.parametrize(("value", "old"), OLD_VALUES.items())
def test_old_keys_and_values_become_the_current_ones_in_their_place(value, old):
    values = {"name": "a", "lane": old, "licence": "research", "data": "clean"}
    current = licenses.with_current_keys(values)
    assert list(current.items()) == [
        ("name", "a"),
        ("license", value),
        ("license_terms", "research"),
        ("data", "clean"),
    ]
    assert licenses.with_current_keys(current) == current
    assert values["lane"] == old, "the table that was given is not changed"


@pytest.mark.parametrize("value", [3, None, ["clean"], {"clean": 1}, "other"])
def test_other_values_are_left_to_the_reader(value):
    assert licenses.with_current_keys({"lane": value}) == {"license": value}


def test_an_old_value_needs_the_old_key():
    assert licenses.with_current_keys({"license": "clean"}) == {"license": "clean"}


def test_an_old_key_beside_the_current_one_does_not_replace_it():
    both = {"lane": "clean", "license": "research-only", "licence": "a", "license_terms": "b"}
    for values in (both, dict(reversed(both.items()))):
        assert licenses.with_current_keys(values) == both


@pytest.mark.parametrize(
    ("change", "current"),
    [
        ("lane=clean", "license=permissive"),
        (" lane = 'research' ", "license=research-only"),
        ('lane="unknown"', 'license="unknown"'),
        ("lane=permissive", "license=permissive"),
        ("licence=clean = any use", "license_terms=clean = any use"),
        ("license=clean", "license=clean"),
        ("data_note=lane=clean", "data_note=lane=clean"),
        ("lane", "lane"),
    ],
)
def test_old_keys_of_changes(change, current):
    assert licenses.with_current_key(change) == current


def manifest_file(folder, **changes):
    entry = {
        "file": "one.onnx",
        "sha256": "0" * 64,
        "bytes": 5,
        "precision": "fp32",
        "lane": "research",
        "licence": "as the photographs",
        "data": "none",
        "recipe": "one",
        "parent": "",
        "crop": PLAIN.to_dict(),
    }
    file = folder / "models.toml"
    file.write_text(tomlkit.dumps({"one": {**entry, **changes}}))
    return file


@pytest.mark.parametrize(("old", "value"), [("research", "research-only"), ("clean", "permissive")])
def test_an_old_manifest(tmp_path, old, value):
    info = weights.read_manifest(manifest_file(tmp_path, lane=old))["one"]
    assert (info.license, info.license_terms) == (value, "as the photographs")


def test_a_manifest_with_both_names_of_a_key(tmp_path):
    with pytest.raises(WeightsError, match=r"model one: unknown key lane$"):
        weights.read_manifest(manifest_file(tmp_path, license="permissive"))


@pytest.fixture
def values(tmp_path):
    """Plain values of a recipe, with a data set that is there."""
    return {**recipe_values(write_drawn_heads(tmp_path, 30)), "license": "research-only", "license_terms": "mine"}


def test_an_old_recipe(tmp_path, values):
    file = tmp_path / "old.toml"
    file.write_text(tomlkit.dumps(as_before(values)))
    assert recipe.load(str(file)) == recipe.from_dict(values)
    both = tmp_path / "both.toml"
    both.write_text(tomlkit.dumps({**values, "lane": "clean"}))
    with pytest.raises(RecipeError, match="unknown key lane"):
        recipe.load(str(both))


def test_an_old_recipe_of_a_run(tmp_path, values):
    made = recipe.from_dict(values)
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(as_before(json.loads(made.to_json()))))
    assert recipe.load_saved(file) == recipe.load(str(file)) == made


@pytest.mark.parametrize("old_file", [False, True])
def test_old_keys_on_the_command_line(tmp_path, values, old_file):
    file = tmp_path / "a.toml"
    file.write_text(tomlkit.dumps(as_before(values) if old_file else values))
    changes = ["lane=clean", "licence=BSD"]
    assert recipe.load(str(file), changes).statement == Statement("permissive", "BSD", "drawn axes")
    assert recipe.load(str(file), [*changes, "license=unknown"]).license == "unknown", "the last one counts"
    assert recipe.load(str(file), ["license=unknown", "lane=research"]).license == "research-only"
    # For other data they are a statement, as the current keys are.
    other = [{"kind": "manifest", "path": str(tmp_path / "other.csv")}]
    assert recipe.load(str(file), changes, other).statement == Statement("permissive", "BSD", "unknown (other.csv)")
    with pytest.raises(RecipeError, match=r"license must be one of permissive, research-only, unknown"):
        recipe.load(str(file), ["license=clean"])


def test_train_takes_the_old_keys(tmp_path, values, capsys):
    file = tmp_path / "a.toml"
    file.write_text(tomlkit.dumps(as_before(values)))
    run = ["train", str(file), "--dry-run", "--out", str(tmp_path / "run")]
    assert cli.main(run) == 0
    assert "license: research-only; mine\n" in capsys.readouterr().out
    assert cli.main([*run, "--set", "lane=clean", "--set", "licence=BSD"]) == 0
    assert "license: permissive; BSD\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["student", "compact-clean"])
def test_the_networks_of_the_package_were_written_with_the_old_keys(name, tmp_path):
    """Their hashes are published, so their bytes stay as they are."""
    info, file = weights.lookup(name), weights.find(name)
    assert {"lane", "licence"} <= set(stated(file)), "the file no longer tests the old keys"
    model = OnnxPoseModel(file, device="cpu", threads=1)
    assert (model.metadata["license"], model.metadata["license_terms"]) == (info.license, info.license_terms)
    assert not {"lane", "licence"} & set(model.metadata)
    assert provenance.of_network(file).statement == Statement(info.license, info.license_terms, info.data)
    # What is made from them has the current keys.
    target = tmp_path / "weights.safetensors"
    assert cli.main(["weights", "to-safetensors", name, "--out", str(target)]) == 0
    with safe_open(target, framework="np") as tensors:
        about = json.loads(tensors.metadata()["model"])
    assert (about["license"], about["license_terms"]) == (info.license, info.license_terms)
    assert not {"lane", "licence"} & set(about)
    half = tmp_path / "half.onnx"
    assert cli.main(["quantize", name, "--precision", "fp16", "--out", str(half)]) == 0
    assert (stated(half)["license"], stated(half)["license_terms"]) == (info.license, info.license_terms)
    assert not {"lane", "licence"} & set(stated(half))


def test_an_old_network_of_ones_own(tmp_path):
    file = color_network(tmp_path / "color.onnx", size=PLAIN.size)
    model = onnx.load(file)
    about = json.dumps({"name": "color", "lane": "research", "licence": "mine", "data": "a webcam", "parent": "p"})
    for entry in model.metadata_props:
        entry.value = about if entry.key == "headpose.model" else entry.value
    onnx.save(model, file)
    assert OnnxPoseModel(file, device="cpu").metadata["license"] == "research-only"
    assert provenance.of_network(file).statement == Statement("research-only", "mine", "a webcam")


def test_old_safetensors(tmp_path):
    about = {"name": "a", "lane": "research", "licence": "mine", "data": "a webcam", "parent": "b"}
    file = tmp_path / "a.safetensors"
    save_file({"weight": np.zeros(3, np.float32)}, file, {"model": json.dumps(about)})
    origin = provenance.Origin("a", "b", Statement("research-only", "mine", "a webcam"))
    assert provenance.of_network(file) == origin


def test_an_old_adapter(tmp_path):
    file = adapter_file(tmp_path / "a.toml")
    text = file.read_text()
    file.write_text(f'licence = "MIT"\n{text}')
    assert read_adapter(file).license_terms == "MIT"
    file.write_text(f'licence = "MIT"\nlicense_terms = "BSD"\n{text}')
    with pytest.raises(WeightsError, match="licence"):
        read_adapter(file)
