"""scripts/publish_weights.py in a copy of what it writes to."""

import json
import shutil

import pytest

from headpose import weights
from headpose.errors import WeightsError
from scripts import publish_weights
from scripts.publish_weights import Origin, index, publish


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


@pytest.mark.parametrize("name", ["student-int8", "compact-clean"])
def test_publishing_a_network_again_changes_nothing_but_the_history(repo, copy, name):
    publish(origin(copy, name))
    assert weights.read_manifest(copy / "models.toml") == weights.manifest()
    assert (copy / "README.md").read_bytes() == (repo / "README.md").read_bytes()
    assert (copy / "weights" / "README.md").read_bytes() == (repo / "weights" / "README.md").read_bytes()
    made, committed = ((root / "weights" / f"{name}.md").read_text("utf-8") for root in (copy, repo))
    assert made.partition("- Recipe:")[0] == committed.partition("- Recipe:")[0]
    assert (copy / "weights" / f"{name}.onnx").read_bytes() == weights.find(name).read_bytes()


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
