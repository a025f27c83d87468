"""The adapters of the project against the networks themselves, where a folder of them is named (HEADPOSE_PEERS)."""

import os
from pathlib import Path

import numpy as np
import pytest

from headpose import geometry, metrics
from headpose.datasets import aflw2000
from headpose.evaluation import accuracy, protocols
from headpose.evaluation.adapters import load_adapter
from headpose.types import Box
from tests.network_files import int8_saturates

# What their authors' own preprocessing and decoding give for the face of examples/astronaut.jpg, in the crop of
# the adapter: the picture as it is, and at a quarter of its brightness.
ANGLES = {
    "fsanet": [(1.808, -8.345, 3.999), (-1.384, -9.126, 2.836)],
    "3ddfa_v2": [(1.308, -6.225, 2.146), (0.268, -3.937, 2.203)],
    "opentrack": [(1.021, -3.832, 3.008), (1.459, -3.558, 2.764)],
    "lwpose": [(0.970, -7.398, 3.079), (0.835, -7.070, 2.967)],
    "whenet": [(0.058, -6.521, 3.199), (0.174, -8.628, 2.517)],
}
FACE = Box(178, 83, 273, 176)


@pytest.fixture(scope="module")
def peers(repo):
    folder = Path(os.environ.get("HEADPOSE_PEERS", repo.parent / "shared" / "peers" / "models"))
    if not folder.is_dir():
        pytest.skip(f"no networks in {folder}: set HEADPOSE_PEERS to their folder")
    return folder


def adapter_of(repo, peers, name):
    if name == "opentrack" and int8_saturates():
        pytest.skip("opentrack's INT8 network has 8-bit weights: without VNNI it reads other angles")
    return load_adapter(repo / "eval" / "adapters" / f"{name}.toml", peers, threads=1)


@pytest.mark.parametrize("name", ANGLES)
def test_a_face_is_read_as_the_authors_read_it(repo, peers, photo, name):
    adapter = adapter_of(repo, peers, name)
    for image, angles in zip((photo, photo // 4), ANGLES[name], strict=True):
        given = adapter.predict_angles(adapter.network_input(image, [FACE]))
        np.testing.assert_allclose(given, [angles], atol=0.02)
        np.testing.assert_allclose(adapter.predict_faces(image, [FACE]), geometry.rotation_from_euler(given), atol=1e-6)


# Over every 40th of the 1969 pictures, out of the predictions that docs/protocols.md gets its table from.
@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "mae"),
    [("opentrack", 2.83), ("3ddfa_v2", 3.17), ("lwpose", 3.50), ("fsanet", 4.12), ("whenet", 4.00)],
)
def test_the_error_on_some_pictures_is_the_one_that_was_measured(repo, peers, data_dir, name, mae):
    samples = protocols.select(aflw2000.read(data_dir / "aflw2000"))[::40]
    adapter = adapter_of(repo, peers, name)
    angles = accuracy.predict_angles(adapter, samples)
    labels = np.array([sample.euler for sample in samples])
    assert metrics.euler_mae(angles, labels).mean() == pytest.approx(mae, abs=0.02)
