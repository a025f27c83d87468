"""What a trained network says of its origin: license, terms, data and parent, by the command."""

import dataclasses
import json
import re

import onnx
import pytest
import tomlkit
from safetensors import safe_open
from safetensors.torch import save_file

from headpose import cli
from headpose.datasets import manifest
from headpose.networks.build import build
from headpose.recipes import provenance
from headpose.recipes import training as recipe
from headpose.recipes.provenance import RENDERED, Origin, Statement, combine
from headpose.synth import layout
from headpose.training.loop import contiguous_state
from tests.training.networks import recipe_values, write_drawn_heads

RESEARCH = Statement("research-only", "research use only: the photographs'", "photographs of others")
UNKNOWN = Statement("unknown", "unknown", "unknown (labels.csv)")
QUICK = ["--set", "run.images=32", "--set", "run.validate_images=32", "--set", "optimiser.warmup=0"]


def about(file):
    return json.loads({entry.key: entry.value for entry in onnx.load(file).metadata_props}["headpose.model"])


def stated(file):
    """What the file of a network says."""
    said = about(file)
    return Statement(said["license"], said["license_terms"], said["data"])


def write_recipe(folder, data, statement=RENDERED, name="tiny"):
    values = {**recipe_values(data), "name": name, **dataclasses.asdict(statement)}
    (folder / f"{name}.toml").write_text(tomlkit.dumps(values))
    return folder / f"{name}.toml"


def rendered(folder, assets="", count=30):
    """A folder as ``headpose synth`` leaves it: the drawn heads by its names, and its settings."""
    root = folder / f"heads{assets}"
    root.mkdir()
    labels = write_drawn_heads(root, count)
    text = labels.read_text()
    for index in range(count):
        picture = root / layout.picture_path(index)
        picture.parent.mkdir(exist_ok=True)
        (root / f"head{index:03d}.png").rename(picture)
        text = text.replace(f"head{index:03d}.png", layout.picture_path(index).as_posix())
    labels.unlink()
    (root / "manifest.csv").write_text(text)
    (root / "synth.json").write_text(json.dumps({"version": 3, "seed": 0, "asset_folder": assets, "without": []}))
    return root / "manifest.csv"


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Photographs of one's own, so to say, of which nobody has stated anything."""
    return write_drawn_heads(tmp_path_factory.mktemp("mine"), 30)


def train(*words):
    assert cli.main(["train", *map(str, words), *QUICK]) == 0


def test_the_recipe_of_rendered_heads_states_what_the_package_takes_for_that():
    assert recipe.load("compact-clean").statement == RENDERED


def test_the_rendered_heads_of_the_recipe_keep_its_statement(tmp_path):
    train(write_recipe(tmp_path, rendered(tmp_path)), "--out", tmp_path / "run")
    assert stated(tmp_path / "run" / "tiny.onnx") == RENDERED
    assert about(tmp_path / "run" / "tiny.onnx")["parent"] == ""


def test_a_statement_of_rendered_heads_is_not_believed_of_others(tmp_path, mine):
    """A copy of compact-clean with another path: the path is the recipe's own, the heads are not rendered."""
    train(write_recipe(tmp_path, mine), "--out", tmp_path / "run")
    assert stated(tmp_path / "run" / "tiny.onnx") == UNKNOWN


@pytest.mark.parametrize("way", ["--data", "--set"])
def test_other_data_are_unknown(tmp_path, mine, capsys, way):
    words = ["--data", mine] if way == "--data" else ["--set", f"data.sources.0.path={mine}"]
    train(write_recipe(tmp_path, "not-here.csv", RESEARCH), *words, "--out", tmp_path / "run")
    assert "license: unknown; state it with --set" in capsys.readouterr().out
    assert stated(tmp_path / "run" / "tiny.onnx") == UNKNOWN
    with safe_open(tmp_path / "run" / "best.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["model"])["license"] == "unknown"


def test_other_data_are_what_the_user_says(tmp_path, mine):
    words = ["--set", "license=research-only", "--set", "license_terms=mine alone", "--set", "data_note=my webcam"]
    train(write_recipe(tmp_path, "not-here.csv"), "--data", mine, *words, "--out", tmp_path / "run")
    assert stated(tmp_path / "run" / "tiny.onnx") == Statement("research-only", "mine alone", "my webcam")


def test_half_a_statement_leaves_the_rest_unknown(tmp_path, mine):
    file = write_recipe(tmp_path, "not-here.csv")
    changed = recipe.load(str(file), ["license_terms=mine alone"], [{"kind": "manifest", "path": str(mine)}])
    assert changed.statement == Statement("unknown", "mine alone", "unknown (labels.csv)")


@pytest.mark.parametrize("kind", ["manifest", "300w-lp"])
def test_rendered_heads_elsewhere_are_recognised(tmp_path, kind):
    file, heads = write_recipe(tmp_path, "not-here.csv", RESEARCH), rendered(tmp_path)
    path = heads if kind == "manifest" else heads.parent
    assert recipe.load(str(file), [], [{"kind": kind, "path": str(path)}]).statement == RENDERED
    # A photograph among them, and they are not.
    with heads.open("a") as text:
        text.write("photo.jpg,4,4,44,44,1,2,3\n")
    (heads.parent / "photo.jpg").write_bytes(b"")
    assert recipe.load(str(file), [], [{"kind": kind, "path": str(path)}]).license == "unknown"


@pytest.mark.parametrize("damage", ["{", "[]", '{"seed": 0}', None])
def test_without_the_settings_of_synth_heads_are_not_rendered_ones(tmp_path, damage):
    heads = rendered(tmp_path)
    settings = heads.parent / "synth.json"
    settings.unlink() if damage is None else settings.write_text(damage)
    source = [{"kind": "manifest", "path": str(heads)}]
    assert recipe.load("compact", [], source).license == "unknown"


def test_an_asset_folder_is_the_recipes_own_or_unknown(tmp_path):
    heads = rendered(tmp_path, "skins")
    changed = recipe.load("compact-clean", [], [{"kind": "manifest", "path": str(heads)}])
    assert (changed.license, changed.license_terms) == ("unknown", "unknown")
    assert "(skins)" in changed.data_note and "no photograph" not in changed.data_note
    own = recipe.restate(recipe.load(str(write_recipe(tmp_path, heads))), changed=False)
    assert own.statement == RENDERED


def test_rendered_negatives_are_rendered_whether_listed_or_in_their_folder(tmp_path):
    heads = rendered(tmp_path)
    names = [line.partition(",")[0] for line in heads.read_text().splitlines()]
    heads.unlink()
    listed = heads.parent / "negatives.csv"
    listed.write_text("\n".join(names))
    assert provenance._asset_folder("negatives", str(listed)) == ""
    listed.write_text("\n".join([*names, "wall.jpg"]))
    assert provenance._asset_folder("negatives", str(listed)) is None
    for place in (heads.parent / names[1]).parent.glob("*"):
        place.rename(place.with_suffix(".jpg"))
    assert provenance._asset_folder("negatives", str(heads.parent)) == ""
    (heads.parent / "wall.jpg").touch()
    assert provenance._asset_folder("negatives", str(heads.parent)) is None


def test_the_names_of_rendered_pictures_are_known():
    for index in (0, 9_999, 10_000, 1_000_000):
        assert provenance._PICTURE.fullmatch(layout.picture_path(index).as_posix())


@pytest.fixture(scope="module")
def parents(tmp_path_factory, mine):
    """Networks of the recipe's shape to start from: research-only, rendered heads', and one that states nothing."""
    folder = tmp_path_factory.mktemp("parents")
    train(write_recipe(folder, mine, RESEARCH, "shut"), "--out", folder)
    heads = rendered(folder)
    train(write_recipe(folder, heads, RENDERED, "free"), "--out", folder / "free")
    settings = recipe.load(str(folder / "shut.toml"))
    save_file(contiguous_state(build(settings.spec)), folder / "bare.safetensors")
    words = ["weights", "to-safetensors", str(folder / "shut.onnx"), "--out", str(folder / "shut.safetensors")]
    assert cli.main(words) == 0
    return folder


@pytest.mark.parametrize("file", ["shut.onnx", "best.safetensors", "shut.safetensors"])
def test_research_only_weights_stay_research_only(tmp_path, parents, file):
    words = [
        "--init",
        parents / file,
        "--out",
        tmp_path / "run",
        "--set",
        "license_terms=any use",
        "--set",
        "license=permissive",
    ]
    train(write_recipe(tmp_path, rendered(tmp_path)), *words)
    said = about(tmp_path / "run" / "tiny.onnx")
    assert said["license"] == "research-only"
    assert said["license_terms"].startswith(RESEARCH.license_terms)
    assert RESEARCH.data_note in said["data"] and "no photograph" not in said["data"]
    assert said["parent"] == "shut"
    # A run that goes on keeps it, the parent too.
    (tmp_path / "run" / "tiny.onnx").unlink()
    assert cli.main(["train", str(tmp_path / "tiny.toml"), "--resume", "--out", str(tmp_path / "run")]) == 0
    assert about(tmp_path / "run" / "tiny.onnx") == said


def test_rendered_heads_and_weights_of_rendered_heads_stay_clean(tmp_path, parents):
    heads = parents / "heads" / "manifest.csv"
    train(write_recipe(tmp_path, heads), "--init", parents / "free" / "free.onnx", "--out", tmp_path / "run")
    assert stated(tmp_path / "run" / "tiny.onnx") == RENDERED


def test_weights_that_state_nothing_are_unknown_or_what_the_user_says(tmp_path, parents):
    heads = parents / "heads" / "manifest.csv"
    words = [write_recipe(tmp_path, heads), "--init", parents / "bare.safetensors", "--out"]
    train(*words, tmp_path / "run")
    said = about(tmp_path / "run" / "tiny.onnx")
    assert (said["license"], said["license_terms"], said["parent"]) == ("unknown", "unknown", "bare.safetensors")
    train(
        *words, tmp_path / "said", "--set", "license=permissive", "--set", "license_terms=BSD", "--set", "data_note=own"
    )
    assert stated(tmp_path / "said" / "tiny.onnx") == Statement("permissive", "BSD", "own")


def test_changed_data_change_the_statement_and_it_lasts(tmp_path, mine, capsys):
    heads = rendered(tmp_path)
    file, run = write_recipe(tmp_path, heads), tmp_path / "run"
    train(file, "--out", run)
    resume = ["train", str(file), "--resume", "--out", str(run)]
    assert cli.main([*resume, "--data", str(mine)]) == 1
    assert "uses the data that it started with" in capsys.readouterr().err
    assert cli.main([*resume, "--changed-data", "--set", f"data.sources.0.path={mine}"]) == 0
    assert stated(run / "tiny.onnx").license == "unknown"
    assert cli.main(resume) == 0
    assert stated(run / "tiny.onnx") == Statement("unknown", "unknown", stated(run / "tiny.onnx").data_note)
    assert "labels.csv" in stated(run / "tiny.onnx").data_note


def test_what_was_stated_does_not_cover_data_that_come_later(tmp_path, mine):
    own = tmp_path / "own"
    own.mkdir()
    file, run = (
        write_recipe(tmp_path, write_drawn_heads(own, 30, seed=1), Statement("permissive", "CC0", "me")),
        tmp_path / "run",
    )
    train(file, "--out", run)
    words = ["--resume", "--out", str(run), "--changed-data", "--set", f"data.sources.0.path={mine}"]
    assert cli.main(["train", str(file), *words]) == 0
    assert stated(run / "tiny.onnx") == Statement(
        "unknown", "CC0; the rest unknown", "me (before); then unknown (labels.csv)"
    )


def test_data_that_have_only_been_moved_keep_the_statement(tmp_path, mine):
    file, run = write_recipe(tmp_path, mine, RESEARCH), tmp_path / "run"
    train(file, "--out", run)
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in mine.parent.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    assert len(manifest.read(moved / mine.name)) == 30
    words = ["--resume", "--out", str(run), "--set", f"data.sources.0.path={moved / mine.name}"]
    assert cli.main(["train", str(file), *words]) == 0
    assert stated(run / "tiny.onnx") == RESEARCH


def test_a_new_run_forgets_the_weights_of_an_old_one(tmp_path, parents, mine):
    file, run = write_recipe(tmp_path, mine, RESEARCH), tmp_path / "run"
    train(file, "--init", parents / "shut.onnx", "--out", run)
    (run / "last.pt").unlink()
    train(file, "--out", run)
    assert about(run / "tiny.onnx")["parent"] == ""


def test_a_damaged_note_of_the_parent_is_a_line(tmp_path, parents, mine, capsys):
    file, run = write_recipe(tmp_path, mine, RESEARCH), tmp_path / "run"
    train(file, "--init", parents / "shut.onnx", "--out", run)
    (run / "init.json").write_text("[")
    assert cli.main(["train", str(file), "--resume", "--out", str(run)]) == 1
    assert re.search(r"headpose: error: .*init.json, which says .* is damaged\n$", capsys.readouterr().err)


def test_parts_are_never_more_permissive_together():
    mine = Statement("permissive", "CC BY 4.0", "my own")
    assert combine(RENDERED, Origin("a", "", RENDERED)) == RENDERED
    assert combine(RESEARCH, Origin("a", "", RESEARCH)) == RESEARCH
    assert combine(mine, Origin("a", "", RENDERED)).license_terms == "Apache-2.0; CC BY 4.0"
    mixed = combine(UNKNOWN, Origin("a", "", RESEARCH))
    assert (mixed.license, mixed.license_terms) == ("research-only", f"{RESEARCH.license_terms}; the rest unknown")
    assert mixed.data_note == f"{RESEARCH.data_note} (a); then {UNKNOWN.data_note}"
    assert combine(mine, Origin("a", "", UNKNOWN)).license == "unknown"
    # What the user says covers what is unknown, not what is known.
    said = {"license", "license_terms", "data_note"}
    assert combine(mine, Origin("a", "", UNKNOWN), said) == mine
    assert combine(mine, Origin("a", "", RESEARCH), said).license == "research-only"
