"""scripts/publish_weights.py in a copy of what it writes to."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from huggingface_hub import ModelCard

from headpose import weights
from headpose.errors import WeightsError
from headpose.files import sha256_of
from headpose.networks.export import ModelCard as ExportCard
from headpose.networks.export import export_onnx
from headpose.recipes import training as recipes
from headpose.types import CropSpec
from scripts import publish_weights
from scripts.publish_weights import Origin, card, index, publish
from tests.network_files import landmark_network
from tests.training.networks import TINY_BASIC, network


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
    doubtful = weights.lookup(name).recipe == "student-wide"
    titles = [
        "Usage",
        "Intended use",
        "Limits",
        "Training data and terms",
        "Training",
        "Errors on AFLW2000-3D",
        *(["Uncertainty"] if doubtful else []),
        "Citation",
    ]
    assert [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")] == titles
    limits = text.partition("## Limits")[2].partition("\n## ")[0]
    assert all(word in limits for word in ("Profiles", "Far views", "Cut faces", "Age and skin"))
    terms = text.partition("## Training data and terms")[2].partition("\n## ")[0]
    sources = ("AFLW (", "HELEN (", "opentrack 0.4 (", "3DDFA_V2 (", "LwPose (")
    assert all((source in terms) == (weights.lookup(name).license == "research-only") for source in sources)
    assert all((source in terms) == doubtful for source in ("LFW (", "UTKFace (", "Sun et al."))
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


def test_a_landmark_network_gets_a_card_and_a_table_of_its_own(repo, copy):
    spec = recipes.load("landmarks-vgg").spec
    about = {"name": "dots", "license": "research-only", "license_terms": "research", "data": "two faces"}
    about |= {"precision": "fp32", "recipe": "by-hand", "parent": "", "architecture": spec.to_dict()}
    file = landmark_network(copy / "dots.onnx", np.full((68, 2), 0.5), CropSpec(size=64), about=about)
    figures = {"nme": 4.126, "nme_front": 3.5, "nme_profile": 6.25, "rmse": 5.0, "failures": 2.0}
    measured = {"name": "dots", "model_sha256": sha256_of(file), "faces": 1234, "nme_interval": [4.0, 4.25], **figures}
    (copy / "landmarks.json").write_text(json.dumps({"networks": [{**measured, "model_sha256": "0" * 64}, measured]}))
    publish(Origin(file, copy / "landmarks.json", ["- Recipe: by hand."]))
    info = weights.read_manifest(copy / "models.toml")["dots"]
    assert (info.kind, info.metrics, info.file) == ("landmarks", {"heldout_nme": 4.13}, "dots.onnx")
    text = (copy / "weights" / "dots.md").read_text("utf-8")
    for part in ("8 convolutions and 2 dense", "interval of the NME is 4.00 to 4.25", "1,234 faces", "MERL-RAV"):
        assert part in text, part
    assert "codewords" not in text and "$" not in text
    assert "| NME, yaw from 45 | 6.25 |" in text and ModelCard(text).data.license == "other"
    listed = (copy / "weights" / "README.md").read_text("utf-8")
    assert listed.endswith("| [dots](dots.md) | 0.00 | research-only | 4.13 |\n")
    assert (copy / "README.md").read_bytes() == (repo / "README.md").read_bytes()
    (copy / "landmarks.json").write_text(json.dumps({"networks": [{**measured, "model_sha256": "0" * 64}]}))
    with pytest.raises(WeightsError, match="was measured on another network"):
        publish(Origin(file, copy / "landmarks.json", []))


def test_the_card_of_a_network_that_knows_its_doubt_says_how_well(copy):
    spec = dataclasses.replace(TINY_BASIC, output="6d", outputs=("region", "covariance", "face"))
    described = ExportCard("sure", "fp32", "research-only", "research", "two faces", "by-hand")
    export_onnx(network(spec), CropSpec(size=32), described, copy / "sure.onnx")
    sha256 = sha256_of(copy / "sure.onnx")
    result = origin(copy, "compact", model_sha256=sha256).result
    parts = [{"n": 50, "predicted": 2.0, "true": 2.25}, {"n": 50, "predicted": 9.0, "true": 8.5}]
    found = {"n": 100, "far_degrees": 15.0, "far": 3, "auc": 0.9614, "parts": parts}
    heldout = {"networks_sha256": {"sure": sha256}, "samples_sha256": {"aflw": "", "web": ""}, "doubt": {"sure": found}}
    heldout["negatives_read_as_faces"] = {"sure": 0.02}
    (copy / "heldout.json").write_text(json.dumps(heldout))
    publish(Origin(copy / "sure.onnx", result, ["- Recipe: by hand."], copy / "heldout.json"))
    text = (copy / "weights" / "sure.md").read_text("utf-8")
    for part in ("`covariance` (N, 3, 3)", "(aflw, web)", "| true | 2.2 | 8.5 |", "curve of 0.961", "2.0% are read"):
        assert part in text, part
    assert "No confidence" not in text and "Roll.** Heads are read at any angle" in text
    (copy / "heldout.json").write_text(json.dumps({**heldout, "networks_sha256": {"sure": "0" * 64}}))
    with pytest.raises(WeightsError, match=r"heldout\.json was measured on another network"):
        publish(Origin(copy / "sure.onnx", result, [], copy / "heldout.json"))
