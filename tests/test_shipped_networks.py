"""What the manifest says of the networks that ship is what their files do."""

from __future__ import annotations

import json

import numpy as np
import pytest

from headpose import files, geometry, weights
from headpose.crop import network_input
from headpose.datasets import aflw2000
from headpose.evaluation import accuracy, protocols
from headpose.inference import load_model
from headpose.types import Box

MODELS = weights.list_models()
# The photo's one face, roughly: yaw and roll are small, whoever reads them.
FACE = Box(178, 83, 273, 176)


def test_there_is_a_default_network():
    from headpose.choices import DEFAULT_MODEL

    assert DEFAULT_MODEL in MODELS


@pytest.mark.parametrize("name", MODELS)
def test_the_manifest_repeats_the_files_own_words(name, repo):
    info, model = weights.lookup(name), load_model(name, device="cpu", threads=1)
    said = {
        key: getattr(info, key) for key in ("name", "precision", "license", "license_terms", "data", "recipe", "parent")
    }
    assert said == {key: model.metadata[key] for key in said}
    assert info.crop == model.crop
    assert info.bytes == model.path.stat().st_size
    assert info.sha256 == files.sha256_of(model.path)
    card = (repo / "weights" / f"{name}.md").read_text("utf-8")
    assert info.sha256 in card
    assert f"{info.metrics['aflw2000_geodesic']:.2f}" in card
    assert json.dumps(model.metadata["architecture"])  # what a converter needs to rebuild the network


@pytest.mark.parametrize("name", MODELS)
def test_a_mirrored_photo_gives_the_mirrored_pose(name, photo):
    model = load_model(name, device="cpu", threads=1)
    width = photo.shape[1]
    flipped = np.ascontiguousarray(photo[:, ::-1])
    mirrored_box = Box(width - FACE.x2, FACE.y1, width - FACE.x1, FACE.y2)
    (plain,) = model.predict(network_input(photo, [FACE], model.crop))
    (mirrored,) = model.predict(network_input(flipped, [mirrored_box], model.crop))
    assert geometry.geodesic_degrees(geometry.mirror(plain), mirrored) < 5
    assert np.abs(geometry.euler_from_rotation(plain)).max() < 15


@pytest.mark.data
@pytest.mark.parametrize("name", MODELS)
def test_the_published_error_is_the_measured_one(name, data_dir):
    model = load_model(name, device="cpu", threads=1)
    samples = protocols.select(aflw2000.read(data_dir / "aflw2000"))[::6]
    result = accuracy.score(accuracy.predict(model, samples), samples)
    metrics = weights.lookup(name).metrics
    # A sixth of the pictures: their mean lies within their own interval, twice as wide, of the whole's.
    for key in ("geodesic", "mae"):
        low, high = result.ci[key]
        assert abs(getattr(result, key) - metrics[f"aflw2000_{key}"]) < high - low


def test_the_readmes_table_is_the_manifests(repo):
    rows = [line for line in (repo / "weights" / "README.md").read_text("utf-8").splitlines() if line.startswith("| [")]
    readme = (repo / "README.md").read_text("utf-8")
    assert len(rows) == len(MODELS)
    for row, info in zip(rows, weights.manifest().values(), strict=True):
        assert row.replace("](", "](weights/") in readme
        for name in ("geodesic", "mae"):
            assert f"| {info.metrics[f'aflw2000_{name}']:.2f} |" in row
