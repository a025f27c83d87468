import json

import pytest

from headpose import weights
from headpose.errors import DataError
from headpose.report import faces, folder, records
from headpose.report.records import Results
from tests.report.results_folder import SHA, change


def test_a_folder_is_read_whole(results):
    found = folder.read(results[0])
    assert [(n.name, n.kind) for n in found.networks] == [("ours", "ours"), ("Theirs (a + b)", "peer")]
    ours, theirs = found.networks
    assert (ours.yaw, ours.pitch) == (pytest.approx(2.0, abs=1e-6), pytest.approx(0.0, abs=1e-6))
    assert (theirs.bytes, theirs.macs, theirs.arithmetic) == (2_500_000, 40_000_000, "int8")
    assert found.robustness is not None and found.latency is not None and found.compressed is not None
    assert found.stability is not None and found.stability.clips[2].median == 0.6
    corrupted = found.robustness.of("ours", "MB")
    assert corrupted is not None and corrupted.mae == 6.0 and found.robustness.of("ours", "none") is None
    assert found.latency.runs[0].median("ours", "network") == 2.0
    assert [v.name for v in found.compressed.variants] == ["baseline", "student"]


def test_only_accuracy_is_needed(results):
    for name in ("networks.json", "robustness/results.json", "stability.json", "latency.json", "compress/report.json"):
        (results[0] / name).unlink()
    found = folder.read(results[0])
    assert (found.robustness, found.stability, found.latency, found.compressed) == (None, None, None, None)
    assert [network.bytes for network in found.networks] == [None, None]


def test_a_network_of_the_manifest_has_its_size(results):
    (results[0] / "networks.json").unlink()
    (results[0] / "robustness" / "results.json").unlink()
    (results[0] / "stability.json").unlink()
    (results[0] / "latency.json").unlink()
    info = weights.lookup("compact")
    change(results[0] / "accuracy" / "ours.json", "model_sha256", to=info.sha256)
    assert folder.read(results[0]).networks[0].bytes == info.bytes


def test_what_is_written_is_read_again(results, tmp_path):
    data = faces.read(results[0], folder.read(results[0]), results[1])
    found = faces.with_curves(folder.read(results[0]), data)
    (tmp_path / "results.json").write_text(records.to_json(found))
    assert folder.read(tmp_path / "results.json") == found
    text = (tmp_path / "results.json").read_text()
    assert "image00" not in text, "nothing of a single face"
    assert records.to_json(folder.read(tmp_path / "results.json")) == text


def test_curves_are_means_of_ten_degrees(results):
    found = folder.read(results[0])
    found = faces.with_curves(found, faces.read(results[0], found, results[1]))
    ours, theirs = (network.curve for network in found.networks)
    assert [point.low for point in ours] == [-40, -30, -20, -10, 0, 10, 20, 30]  # past 40 there are 6
    assert {point.high - point.low for point in ours} == {10.0}
    for point in ours:
        assert point.geodesic == pytest.approx(2.0, abs=0.02) and point.mae == pytest.approx(2 / 3, abs=1e-4)
    assert sum(point.n for point in theirs) < found.networks[0].n
    assert all(point.mae == pytest.approx(2.0, abs=1e-4) for point in theirs)


MIXED = {
    "another network is steady": ("stability.json", ("networks_sha256", "ours"), "c" * 64, "another ours"),
    "another network is corrupted": ("robustness/results.json", ("networks_sha256", "ours"), "c" * 64, "another ours"),
    "another network is timed": ("latency.json", ("networks", 1, "sha256", "net.onnx"), "c" * 64, "another Theirs"),
    "another network is described": ("networks.json", ("ours", "sha256", "ours.onnx"), "c" * 64, "another ours"),
    "other faces": ("accuracy/ours.json", ("list_sha256",), "c" * 64, "different faces"),
    "two of one name": ("accuracy/theirs.json", ("adapter",), "ours", "the same network"),
    "no error": ("accuracy/ours.json", ("geodesic",), None, "no geodesic"),
    "an error of text": ("accuracy/ours.json", ("geodesic",), "small", "geodesic has the invalid value 'small'"),
    "an error that is none": (
        "accuracy/ours.json",
        ("geodesic",),
        float("nan"),
        "geodesic has the invalid value 'nan'",
    ),
    "true for a number": ("accuracy/ours.json", ("n",), True, "n has the invalid value 'True'"),
    "no list of results": ("robustness/results.json", ("results",), 5, "results has the invalid value '5'"),
    "no interval": ("accuracy/ours.json", ("ci", "mae"), None, "without intervals"),
    "other bins": ("accuracy/ours.json", ("bins", "0-30"), None, "other bins"),
    "nothing compressed": ("compress/report.json", ("variants",), [], "without networks"),
    "no result": ("accuracy/ours.json", ("model",), None, "not a result of eval/aflw2000.py"),
    "a hash missing": ("accuracy/ours.json", ("model_sha256",), None, "not a result of eval/aflw2000.py"),
}


@pytest.mark.parametrize("case", MIXED.values(), ids=MIXED)
def test_what_does_not_belong_together_is_refused(results, case):
    file, keys, to, says = case
    change(results[0] / file, *keys, to=to)
    with pytest.raises(DataError, match=says) as caught:
        folder.read(results[0])
    assert "\n" not in str(caught.value) and str(results[0]) in str(caught.value)


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"model": 5}'])
def test_a_file_that_is_no_result_is_refused(results, content):
    (results[0] / "accuracy" / "ours.json").write_text(content)
    with pytest.raises(DataError, match=r"ours\.json"):
        folder.read(results[0])


def test_an_empty_folder_says_who_fills_it(tmp_path):
    with pytest.raises(DataError, match=r"eval/all\.py"):
        folder.read(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        folder.read(tmp_path / "nowhere")


def test_labels_of_other_faces_are_refused(results):
    found = folder.read(results[0])
    for suffix in (".mat", ".png"):
        min(results[1].glob(f"*{suffix}")).unlink()
    with pytest.raises(DataError, match="does not have the list of faces that was measured"):
        faces.read(results[0], found, results[1])


def test_the_hash_of_a_peer_is_that_of_its_files(results):
    assert folder.read(results[0]).networks[1].sha256 == {"net.onnx": SHA["theirs"]}
    assert isinstance(folder.read(results[0]), Results)
    assert json.loads((results[0] / "accuracy" / "theirs.json").read_text())["adapter"] == "Theirs (a + b)"
