import dataclasses
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from headpose import corruptions, geometry
from headpose.corruptions import CLEAN, parse
from headpose.datasets import aflw2000, manifest
from headpose.errors import DataError, HeadPoseError
from headpose.evaluation import corrupted_set, robustness
from headpose.evaluation.adapters import faces_predictor, load_adapter
from headpose.evaluation.cells import Cells, collect, hashed_subset, samples_sha256
from headpose.evaluation.robustness import Cell, Setup, measure
from headpose.images import read_image
from headpose.inference import load_model
from headpose.types import Box, CropSpec, EulerAngles, Sample
from tests.evaluation.faces import write_colored_faces
from tests.network_files import color_network

GRID = [(float(yaw), float(pitch), 0.0) for yaw in range(-32, 33, 16) for pitch in (-24, 0, 24)]


@pytest.fixture
def samples(tmp_path):
    return aflw2000.read(write_colored_faces(tmp_path / "faces", GRID))


@pytest.fixture
def model(tmp_path):
    return load_model(color_network(tmp_path / "color.onnx"), device="cpu", threads=1)


class ContrastModel:
    """Yaw in degrees is half the standard deviation of the input, in grey levels of 255."""

    name = "contrast"

    def __init__(self, scale=1.0):
        self.crop = CropSpec(size=32, scale=scale, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    def predict(self, inputs):
        yaw = 127.5 * inputs.std((1, 2, 3), dtype=np.float64)
        return geometry.rotation_from_euler(np.stack([yaw, 0 * yaw, 0 * yaw], 1))


def pictured(folder: Path, image, box=None, euler=(0.0, 0.0, 0.0), name="face"):
    assert cv2.imwrite(str(folder / f"{name}.png"), image)
    return Sample(folder / f"{name}.png", box or Box(0, 0, *image.shape[1::-1]), EulerAngles(*euler))


def test_the_error_of_a_known_corruption(samples, model):
    clean, dark = measure(model, samples, parse("LB@40"))
    assert (clean.condition, dark.condition) == ("clean", "LB@40")
    assert clean.mae < 0.2
    # 40 of 255 are 15.7 degrees of yaw and of pitch to this network; the pictures hold more than 40 of both.
    assert dark.yaw == pytest.approx(15.7, abs=0.2)
    assert dark.pitch == pytest.approx(15.7, abs=0.2)
    assert dark.roll == pytest.approx(0, abs=1e-3)
    assert dark.mae == pytest.approx(31.4 / 3, abs=0.2)
    assert 20 < dark.geodesic < 24  # two turns of 16 degrees about different axes
    assert dark.ratio == pytest.approx(dark.geodesic / clean.geodesic)
    assert dark.ratio_mae == pytest.approx(dark.mae / clean.mae)
    for name, (low, high) in dark.ci.items():
        assert low <= getattr(dark, name) <= high
    assert clean.ratio == 1
    assert clean.ci["ratio"] == (1, 1)
    assert (dark.n, dark.seeds, dark.seed_sd) == (len(GRID), 1, 0)


def test_every_picture_draws_its_own_and_draws_it_again(tmp_path):
    image = np.full((32, 32, 3), 128, np.uint8)
    twins = [pictured(tmp_path, image, name=name) for name in ("one", "two")]
    setup, noise = Setup(ContrastModel()), parse("noise-5")[0]
    cell = Cell(setup.name, noise.label, 0)
    first, second = (robustness.errors({cell: (setup, noise)}, twins)[cell] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first[0, 0] != first[1, 0]


def test_the_ratio_is_to_the_networks_own_clean_error():
    clean, dark = CLEAN.label, "LB"
    errors = {("a", clean): 2.0, ("a", dark): 3.0, ("b", clean): 4.0, ("b", dark): 10.0}
    measured = {Cell(*key, 0): np.full((6, 5), value) for key, value in errors.items()}
    found = {(each.network, each.condition): each for each in robustness.summarise(measured)}
    assert [found[key].ratio for key in errors] == [1.0, 1.5, 1.0, 2.5]
    assert [found[key].ratio_mae for key in errors] == [1.0, 1.5, 1.0, 2.5]
    assert found["b", dark].ci["ratio"] == pytest.approx((2.5, 2.5))


def test_clean_is_measured_once_and_comes_first(samples, model):
    results = measure(model, samples, [*parse("grey-2"), CLEAN, *parse("LB")])
    assert [result.condition for result in results] == ["clean", "grey-2", "LB"]


@pytest.mark.parametrize("on", ["picture", "crop"])  # a turn is the picture's, whatever the others act on
def test_the_label_follows_a_turned_picture(samples, model, on):
    """The network does not see a turn of a plain picture, so all of the turn is its error."""
    (_, turned) = measure(model, samples, parse("turn-2"), on=on)
    assert turned.geodesic == pytest.approx(20, abs=0.5)


def test_a_jittered_box_reaches_the_network(tmp_path):
    image = np.zeros((90, 90, 3), np.uint8)
    image[30:60, 30:60] = 255
    sample = pictured(tmp_path, image, Box(30, 30, 60, 60))
    clean, jittered = measure(ContrastModel(), [sample], parse("crop_jitter-5"))
    assert clean.yaw < 3
    assert jittered.yaw > 20


@pytest.mark.parametrize("name", ["glasses-3", "LB", "grey-5", "occlusion-3"])
def test_on_the_crop_and_on_the_picture_agree_where_the_crop_is_all_of_the_picture(tmp_path, name):
    """Plain pictures, cropped one to one: what is drawn in shares of the face must come out alike."""
    image = np.full((32, 32, 3), (40, 120, 220), np.uint8)
    sample = pictured(tmp_path, image)
    on_picture, on_crop = (measure(ContrastModel(), [sample], parse(name), on=on)[1] for on in ("picture", "crop"))
    assert on_crop.yaw == pytest.approx(on_picture.yaw, abs=1e-6)


def test_on_the_crop_the_face_is_where_the_crop_has_it(tmp_path):
    """The picture halved, with room around the face: a share of the face is a share of it still."""
    image = np.full((64, 64, 3), (40, 120, 220), np.uint8)
    sample = pictured(tmp_path, image, Box(16, 16, 48, 48))
    on_picture, on_crop = (
        measure(ContrastModel(scale=2.0), [sample], parse("glasses-5"), on=on) for on in ("picture", "crop")
    )
    added = [results[1].yaw - results[0].yaw for results in (on_picture, on_crop)]
    assert added[0] != 0
    assert added[1] == pytest.approx(added[0], rel=0.25)


def test_on_the_crop_acts_in_the_pixels_of_the_crop(tmp_path):
    """Stripes of 4 pixels, reduced to 1 pixel of the crop: a blur over 25 pixels there leaves nothing."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[:, np.arange(128) // 8 % 2 == 1] = 255
    sample = pictured(tmp_path, image)
    near = measure(ContrastModel(), [sample], parse("MB@0"), on="crop")[1]
    far = measure(ContrastModel(), [sample], parse("MB@24"), on="crop")[1]
    assert near.yaw < 6
    assert far.yaw > 50


def test_downsampling_takes_away_what_a_small_crop_cannot_hold(tmp_path):
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, np.arange(64) // 2 % 2 == 1] = 255
    sample = pictured(tmp_path, image)
    whole, small = (measure(ContrastModel(), [sample], [], downsample=side)[0] for side in (0, 8))
    assert whole.yaw > 20
    assert small.yaw < 3
    assert (whole.network, small.network) == ("contrast", "contrast-DS8")
    assert Setup(ContrastModel(), on="crop", downsample=8).name == "contrast-DS8 on crop"


def test_weightless_faces_do_not_count(samples, model):
    wrong = dataclasses.replace(samples[0], euler=EulerAngles(90.0, 0.0, 0.0), weight=0.0)
    with_wrong, without = (measure(model, list_, [])[0] for list_ in ([wrong, *samples[1:]], samples[1:]))
    assert with_wrong.geodesic == pytest.approx(without.geodesic)
    assert with_wrong.ci["geodesic"][1] < 1
    with pytest.raises(DataError, match="none of the faces has a weight"):
        measure(model, [wrong], [])
    counted = measure(model, [dataclasses.replace(wrong, weight=1.0), *samples[1:]], [])[0]
    assert counted.geodesic > 5


def test_seeds_are_averaged_and_their_spread_is_reported(tmp_path, samples, model):
    setup = Setup(model)
    measured = collect(Cells(tmp_path, samples), [setup], parse("fog-5") + parse("LB"), samples, seeds=3)
    assert [(cell.condition, cell.seed) for cell in measured] == [
        ("clean", 0), ("fog-5", 0), ("fog-5", 1), ("fog-5", 2), ("LB", 0)
    ]  # fmt: skip
    _, fog, dark = robustness.summarise(measured)
    means = [each[:, 0].mean() for cell, each in measured.items() if cell.condition == "fog-5"]
    assert fog.geodesic == pytest.approx(np.mean(means))
    assert fog.seed_sd == pytest.approx(np.std(means, ddof=1)) != 0
    assert (fog.seeds, dark.seeds) == (3, 1)
    text = robustness.table([fog, dark])
    assert "sd" in text.splitlines()[2]
    assert f"{dark.geodesic:.2f}" in text.splitlines()[3]
    assert f"-> {dark.mae:.2f} (x {dark.ratio_mae:.2f})" in robustness.pivot([fog, dark])


def test_a_run_goes_on_where_it_was(tmp_path, samples, model):
    setup, conditions = Setup(model), parse("LB") + parse("grey-1") + parse("grey-2")
    cells = Cells(tmp_path / "out", samples)
    first = collect(cells, [setup], conditions, samples)
    grey = Cell("color", "grey-2", 0)
    cells.path(grey).unlink()
    times = {path: path.stat().st_mtime_ns for path in cells.path(grey).parent.iterdir()}
    second = collect(Cells(tmp_path / "out", samples), [setup], conditions, samples)
    assert list(second) == list(first)
    for cell, each in first.items():
        np.testing.assert_array_equal(second[cell], each)
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert cells.path(grey).is_file()
    for sample in samples:  # all is measured: no picture is needed any more
        sample.image.unlink()
    assert list(collect(cells, [setup], conditions, samples)) == list(first)


def test_what_was_measured_otherwise_is_measured_again(tmp_path, samples, model):
    cells, (dark,) = Cells(tmp_path / "out", samples), parse("LB")
    collect(cells, [Setup(model)], [dark], samples)
    cell = Cell("color", "LB", 0)
    assert cells.read(cell, Setup(model), dark) is not None
    assert cells.read(cell, Setup(model), parse("LB@50")[0]) is None
    assert cells.read(cell, Setup(model, downsample=8), dark) is None
    other = load_model(color_network(tmp_path / "other.onnx", gain=1.00001), device="cpu", threads=1)
    assert Cells(tmp_path / "out", samples).read(cell, Setup(other), dark) is None
    assert Cells(tmp_path / "out", samples[1:]).read(cell, Setup(model), dark) is None


def test_damaged_cells_and_twin_names_are_errors(tmp_path, samples, model):
    cells, (dark,) = Cells(tmp_path / "out", samples), parse("LB")
    collect(cells, [Setup(model)], [dark], samples)
    file = cells.path(Cell("color", "LB", 0))
    text = file.read_text()
    stored = json.loads(text)
    stored["errors"]["yaw"].pop()
    for damaged in (text[:100], "[]", json.dumps(stored)):
        file.write_text(damaged)
        with pytest.raises(DataError, match="remove it"):
            collect(cells, [Setup(model)], [dark], samples)
    with pytest.raises(HeadPoseError, match="one name: color, color"):
        collect(cells, [Setup(model), Setup(model)], [dark], samples)


def test_the_subset_is_the_same_everywhere(samples):
    chosen = hashed_subset(samples, 5)
    assert {s.image.stem for s in chosen} == {s.image.stem for s in hashed_subset(samples[::-1], 5)}
    assert chosen == sorted(chosen, key=lambda sample: sample.image.stem)
    assert set(hashed_subset(samples, 3)) < set(chosen)
    assert len(hashed_subset(samples, 10**6)) == len(samples)
    assert samples_sha256(samples) != samples_sha256(samples[1:])


def test_an_exported_set_holds_the_pixels_that_are_measured(tmp_path, samples, model):
    (dark,) = parse("LB@30")
    folder, digest = corrupted_set.export(tmp_path / "set", samples, dark)
    assert folder == tmp_path / "set" / "LB@30"
    exported = aflw2000.read(folder)
    for sample, original in zip(exported, samples, strict=True):
        expected = dark(read_image(original.image), original.box, original.image.stem).image
        np.testing.assert_array_equal(read_image(sample.image), expected)
    assert measure(model, exported, [])[0].mae == pytest.approx(measure(model, samples, [dark])[1].mae)
    assert corrupted_set.export(tmp_path / "again", samples, dark)[1] == digest
    assert corrupted_set.export(tmp_path / "again", samples, parse("LB@31")[0])[1] != digest


def test_an_exported_turn_brings_its_labels_along(tmp_path, samples, model):
    folder, _ = corrupted_set.export(tmp_path, samples, parse("turn-2")[0], seed=1)
    assert folder.name == "turn-2-seed1"
    assert not list(folder.glob("*.mat"))  # they would name the old pose
    exported = manifest.read(folder / "labels.csv")
    assert measure(model, exported, [])[0].geodesic == pytest.approx(20, abs=0.5)


def test_an_export_of_two_faces_with_one_name_is_an_error(tmp_path, samples):
    with pytest.raises(DataError, match="image00000 is the name of two faces"):
        corrupted_set.export(tmp_path, [samples[0], *samples], CLEAN)


@pytest.mark.data
def test_an_adapter_is_measured_as_it_reads_pictures(repo, data_dir):
    peers = Path(os.environ.get("HEADPOSE_PEERS", repo.parent / "shared" / "peers" / "models"))
    if not (peers / "fsanet-var.onnx").is_file():
        pytest.skip(f"no networks of others in {peers}: set HEADPOSE_PEERS to their folder")
    adapter = load_adapter(repo / "eval" / "adapters" / "fsanet.toml", peers, threads=1)
    samples = hashed_subset(aflw2000.read(data_dir / "aflw2000"), 3)
    predict = faces_predictor(adapter)
    direct = np.concatenate([predict(read_image(sample.image), [sample.box]) for sample in samples])
    labels = np.stack([sample.rotation for sample in samples])
    result = measure(adapter, samples, corruptions.PAPER)[0]
    assert result.geodesic == pytest.approx(geometry.geodesic_degrees(direct, labels).mean(), abs=1e-4)
