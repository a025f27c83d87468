"""scripts/publish_weights.py in a copy of what it writes to."""

import json
import shutil

import pytest
from huggingface_hub import ModelCard

from headpose import weights
from headpose.errors import WeightsError
from headpose.recipes import training as recipes
from scripts import publish_weights
from scripts.publish_weights import Origin, card, index, publish


@pytest.fixture
def copy(repo, tmp_path, monkeypatch):
    """The manifest, README and the index, in a folder of their own."""
    shutil.copyfile(repo / "headpose" / "models.toml", tmp_path / "models.toml")
    shutil.copyfile(repo / "README.md", tmp_path / "README.md")
    monkeypatch.setattr(publish_weights, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(publish_weights, "MANIFEST", tmp_path / "models.toml")
    monkeypatch.setattr(publish_weights, "README", tmp_path / "README.md")
    return tmp_path


def origin(folder, name, **changes):
    info = weights.lookup(name)
    errors = dict.fromkeys(("mae", "yaw", "pitch", "roll"), info.metrics["aflw2000_mae"])
    errors["geodesic"] = info.metrics["aflw2000_geodesic"]
    result = {
        **errors,
        "model_sha256": info.sha256,
        "ci": {key: [value, value] for key, value in errors.items()},
        "bins": {"0-30": {"n": 3, "geodesic": 1.0, "mae": 1.0}},
        "bias": {"yaw": 0.0, "pitch": 0.0, "roll": 0.0},
        "protocol": "none.",
        "list_sha256": "0" * 64,
        **changes,
    }
    (folder / "result.json").write_text(json.dumps(result))
    return Origin(weights.find(name), folder / "result.json", ["- Recipe: by hand."])


@pytest.mark.parametrize("name", weights.manifest())
def test_a_card_is_what_the_script_writes(repo, name):
    committed = (repo / "weights" / f"{name}.md").read_text("utf-8")
    assert committed == card(name), "run python scripts/publish_weights.py --cards"


@pytest.mark.parametrize("name", weights.manifest())
def test_the_hub_reads_the_header_of_a_card(repo, name):
    info = weights.lookup(name)
    data = ModelCard.load(repo / "weights" / f"{name}.md").data
    assert data.license == {"permissive": "apache-2.0", "research-only": "other"}[info.license]
    assert data.get("license_name") == (None if info.license == "permissive" else "research-only")
    assert (data.library_name, data.model_name) == ("onnx", name)
    assert info.precision in data.tags
    values = {result.metric_type: result.metric_value for result in data.eval_results}
    metrics = info.metrics
    assert values == {"geodesic-error": metrics["aflw2000_geodesic"], "mae": metrics["aflw2000_mae"]}


@pytest.mark.parametrize("name", weights.manifest())
def test_a_card_states_use_limits_and_terms(repo, name):
    text = (repo / "weights" / f"{name}.md").read_text("utf-8")
    titles = [
        "Usage",
        "Intended use",
        "Limits",
        "Training data and terms",
        "Training",
        "Errors on AFLW2000-3D",
        "Citation",
    ]
    assert [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")] == titles
    limits = text.partition("## Limits")[2].partition("\n## ")[0]
    assert all(word in limits for word in ("Profiles", "Far views", "Cut faces", "Age and skin"))
    terms = text.partition("## Training data and terms")[2].partition("\n## ")[0]
    sources = ("AFLW (", "HELEN (", "opentrack 0.4 (", "3DDFA_V2 (", "LwPose (")
    assert all((source in terms) == (weights.lookup(name).license == "research-only") for source in sources)
    assert "$" not in text


def test_the_cards_alone_are_written_without_a_run(copy, repo, monkeypatch):
    shutil.copytree(repo / "weights", copy / "weights")
    before = {path.name: path.read_bytes() for path in (copy / "weights").iterdir()}
    (copy / "weights" / "compact.md").write_text("old")
    monkeypatch.setattr("sys.argv", ["publish_weights", "--cards"])
    assert publish_weights.main() == 0
    assert {path.name: path.read_bytes() for path in (copy / "weights").iterdir()} == before


@pytest.mark.parametrize("name", ["student-int8", "compact-clean"])
def test_publishing_a_network_again_changes_nothing_but_the_history(repo, copy, name):
    publish(origin(copy, name))
    assert weights.read_manifest(copy / "models.toml") == weights.manifest()
    assert (copy / "README.md").read_bytes() == (repo / "README.md").read_bytes()
    assert (copy / "weights" / "README.md").read_bytes() == (repo / "weights" / "README.md").read_bytes()
    made, committed = ((root / "weights" / f"{name}.md").read_text("utf-8") for root in (copy, repo))
    assert made.partition("- Recipe:")[0] == committed.partition("- Recipe:")[0]
    assert (copy / "weights" / f"{name}.onnx").read_bytes() == weights.find(name).read_bytes()
    assert list(json.loads((copy / "weights" / "records.json").read_text("utf-8"))) == [name]


def test_a_variant_of_a_trained_network_has_its_comparison_on_its_card(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.json").write_text(recipes.load("compact").to_json())
    (run / "split.json").write_text(json.dumps({"training": 1200, "validation": 34}))
    row = {"step": 1, "images": 64, "rate": 0.1, "loss": 1.0, "geodesic": 5.5, "mae": 3.25}
    (run / "log.csv").write_text("\n".join([",".join(row), ",".join(map(str, row.values()))]) + "\n")
    shutil.copyfile(weights.find("compact"), run / "compact.onnx")
    shutil.copyfile(weights.find("student-int8"), run / "compact-int8.onnx")
    record = {
        "model_sha256": weights.lookup("student-int8").sha256,
        "reference_sha256": weights.lookup("compact").sha256,
        "parity": {"mean": 0.31, "p99": 1.25, "max": 3.0, "faces": 2048, "outputs": {"region": 0.02, "face": 0.004}},
        "geodesic": {"reference": 5.01, "model": 5.04},
    }
    (run / "compact-int8.json").write_text(json.dumps(record))
    first, second = publish_weights.origins(run, ["compact", "compact-int8"])
    assert "64 images shown in batches of 64, of 1,200 faces" in first.history[0]
    assert (second.file.name, second.result) == ("compact-int8.onnx", run / "aflw2000" / "compact-int8.json")
    assert second.history == [
        "- Made from: [compact](compact.md), by `headpose quantize`, compared on 2,048 faces.",
        "- Distance from compact: 0.310 degrees (99th percentile 1.25); geodesic error 5.01 before, 5.04 after.",
        "- Other outputs, means: IoU of the regions 0.980, probability of a face 0.004 apart.",
    ]
    (run / "compact-int8.json").write_text(json.dumps({**record, "geodesic": None}))
    with pytest.raises(WeightsError, match="compares on noise"):
        publish_weights.origins(run, ["compact-int8"])
    (run / "compact-int8.json").write_text(json.dumps({**record, "model_sha256": "0" * 64}))
    with pytest.raises(WeightsError, match="compares other networks"):
        publish_weights.origins(run, ["compact-int8"])


def test_the_table_of_the_readme_follows_the_manifest(copy):
    manifest = copy / "models.toml"
    manifest.write_text(manifest.read_text("utf-8").replace("aflw2000_mae = 3.38", "aflw2000_mae = 9.87"), "utf-8")
    before = (copy / "README.md").read_text("utf-8")
    publish(origin(copy, "compact"))
    after = (copy / "README.md").read_text("utf-8")
    assert after == before.replace("| int8 | research-only | 5.38 | 3.38 |", "| int8 | research-only | 5.38 | 9.87 |")
    assert after != before
    assert "| 9.87 |" in index()


def test_a_measurement_of_another_network_is_refused(copy):
    before = (copy / "models.toml").read_bytes()
    with pytest.raises(WeightsError, match="was measured on another network"):
        publish(origin(copy, "compact", model_sha256="0" * 64))
    assert (copy / "models.toml").read_bytes() == before and not (copy / "weights").exists()
