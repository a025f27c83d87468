"""Product quantization within a compression: its folder, its file, its report, and how it goes on."""

import json
import re

import numpy as np
import pytest
import tomlkit

from headpose import HeadPoseEstimator, cli, coded
from headpose.compression import coding, product, product_file, surgery
from headpose.compression.recipe import from_dict
from headpose.inference import OnnxPoseModel
from headpose.recipes import training as recipe
from headpose.training.tasks.head_pose import HeadPoseTask
from tests.cli.errors import assert_error
from tests.compression.test_compress import FINE, NETWORK, write_baseline
from tests.training.digits import digits_recipe, write_digits
from tests.training.networks import recipe_values, write_drawn_heads

SMALL = {"codewords": 16, "last_images": 64, "optimiser": FINE}
ONE_BLOCK = [f"layer2.0.{name}" for name in ("conv1", "conv2", "conv3", "downsample.0")]
OTHERS = [f"layer{block}.0.{name}" for block in (1, 3) for name in ("conv1", "conv2", "conv3", "downsample.0")]
PRODUCT = {
    "small": {"network": "baseline", **SMALL, "guide": {"features": 1.0, "output": 1.0, "labels": 0.0}},
    "by-layer": {
        "network": "baseline",
        **SMALL,
        "schedule": "layerwise",
        "images": 16,
        "exempt": ["first", *OTHERS, "head.0", "last"],
    },
    "untrained": {"network": "baseline", "last_images": 0, "exempt": []},
}
ONLY = ("--only", "encode", "--only", "report")


@pytest.fixture
def run(capsys):
    def run(*arguments):
        capsys.readouterr()
        status = cli.main(["compress", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, "".join(line + "\n" for line in err.splitlines() if line.startswith("headpose:"))

    return run


def plain(values):
    """Without what these tests do not need."""
    values["prune"] = {"steps": 0, "scan": [], "last_images": 32}
    values["students"], values["quantize"] = {}, {}
    values["run"]["latency"] = False
    return {**values, "product": PRODUCT}


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    values = write_baseline(folder, {**recipe_values(write_drawn_heads(folder, 40)), "network": NETWORK})
    (folder / "tiny.toml").write_text(tomlkit.dumps(plain(values)))
    return folder


@pytest.fixture(scope="module")
def finished(heads, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "run"
    assert cli.main(["compress", str(heads / "tiny.toml"), "--out", str(out), *ONLY]) == 0
    return out


def test_the_files_are_small_and_hold_the_trained_weights(finished):
    report = json.loads((finished / "report.json").read_text())
    variants = {variant["name"]: variant for variant in report["variants"]}
    assert list(variants) == ["baseline", *PRODUCT]
    for name in PRODUCT:
        file = finished / f"{name}.safetensors"
        assert variants[name]["precision"] == "product"
        assert (
            variants[name]["bytes"]
            == file.stat().st_size
            < variants["baseline"]["bytes"] * (0.8 if name == "by-layer" else 0.4)
        )
        assert not (finished / f"{name}.onnx").exists()
        network = surgery.load(finished / "product" / name / "network.safetensors")
        codes = product_file.load_codes(finished / "product" / name / coding.CODES)
        for layer, each in codes.items():
            assert np.array_equal(each.decode(), network.get_parameter(f"{layer}.weight").detach().numpy())
            assert len(each.codebook) <= 16 or name == "untrained"
        model = OnnxPoseModel(file, device="cpu", threads=1)
        assert (model.name, model.metadata["parent"]) == (name, "baseline")
        assert HeadPoseEstimator(str(file), device="cpu", threads=1)(np.zeros((64, 64, 3), np.uint8)) == []


def test_the_reported_error_is_that_of_the_file(heads, finished):
    task = HeadPoseTask(recipe.load(str(heads / "training.toml")))
    report = json.loads((finished / "report.json").read_text())
    figures = {variant["name"]: variant["figures"]["geodesic"] for variant in report["variants"]}
    for name in PRODUCT:
        model = OnnxPoseModel(finished / f"{name}.safetensors", device="cpu", threads=1)
        rotations = model.predict(np.stack(list(_inputs(task))))
        assert task.validator.score(rotations).error == pytest.approx(figures[name], abs=1e-3)


def _inputs(task):
    for batch in task.held_out(1):
        yield batch.images[0].numpy()


def test_layers_are_quantized_at_once_or_one_after_the_other(finished):
    baseline = surgery.load(finished / "product" / "untrained" / "network.safetensors")
    names = product.layers(baseline)
    folders = {name: sorted((finished / "product" / name).glob("step-*")) for name in PRODUCT}
    assert [len(folders[name]) for name in PRODUCT] == [1, len(ONE_BLOCK), 1]
    codes = [product_file.load_codes(folder / coding.CODES) for folder in folders["by-layer"]]
    assert [list(each) for each in codes] == [ONE_BLOCK[: end + 1] for end in range(len(ONE_BLOCK))]
    # A layer's codewords go on learning while later layers are quantized; which vectors share one stays.
    first, last = codes[0][ONE_BLOCK[0]], codes[-1][ONE_BLOCK[0]]
    assert np.array_equal(first.indices, last.indices)
    assert not np.array_equal(first.codebook, last.codebook)
    assert list(product_file.load_codes(folders["untrained"][0] / coding.CODES)) == names
    assert (folders["by-layer"][-1] / "log.csv").exists() and not (folders["untrained"][0] / "log.csv").exists()


def test_a_second_run_makes_nothing_again_and_a_lost_step_is_made_again(finished, heads, run):
    files = {path: path.read_bytes() for path in finished.glob("*.safetensors")}
    folder = finished / "product" / "by-layer"
    logs = {path: path.stat().st_mtime_ns for path in finished.glob("product/*/step-*/log.csv")}
    assert run(heads / "tiny.toml", "--out", finished, *ONLY)[0] == 0
    assert logs == {path: path.stat().st_mtime_ns for path in logs}
    (folder / "network.safetensors").unlink()
    (sorted(folder.glob("step-*"))[-1] / "network.safetensors").unlink()
    assert run(heads / "tiny.toml", "--out", finished, *ONLY)[0] == 0
    assert files == {path: path.read_bytes() for path in files}  # threads = 1: a seed gives the same bits


def test_a_forecast_counts_every_step(heads, run, tmp_path):
    status, out, _ = run(heads / "tiny.toml", "--out", tmp_path / "run", "--dry-run", "--only", "encode")
    assert status == 0
    rows = re.findall(r"^(.+?) +(\d+) images at +32 px", out, re.MULTILINE)
    assert rows == [("small, step 1 of 1", "64"), ("by-layer, step 1 of 4", "48"), ("by-layer, step 4 of 4", "64")]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("product.small.network=teachers", "product.small.network must be one of baseline, teacher; got 'teachers'"),
        ("product.small.network=teacher", "there is no teacher in .*: run the stage prune first"),
        ("product.small.exempt=['conv9']", "product: exempt: no layer conv9; the layers are conv1, layer1.0.conv1"),
        ("product.small.codewords=300", "product.small.codewords must be a whole number from 1 to 256"),
        ("product.small.length=0", "product.small.length must be a whole number from 1 to"),
        ("product.small.schedule=some", "product.small.schedule must be one of all, layerwise"),
        ("product.small.guide={labels=0.0}", "product.small.guide needs a loss"),
        ("product.small.cluster=1", "unknown key product.small.cluster"),
        ("product.teacher.network=baseline", "product.teacher is the name of another network"),
    ],
)
def test_mistakes_are_reported_in_a_line(heads, run, tmp_path, change, message):
    assert_error(run(heads / "tiny.toml", "--out", tmp_path / "run", *ONLY, "--set", change), message)


def test_another_setting_needs_another_folder(heads, finished, run):
    change = ("--set", "product.small.length=2")
    message = "product/small was made with another product.length: give another --out, or restore that setting"
    assert_error(run(heads / "tiny.toml", "--out", finished, *ONLY, *change), message)


def test_a_classifier_is_refused(run, tmp_path):
    values = plain(write_baseline(tmp_path, digits_recipe(write_digits(tmp_path, 100))))
    (tmp_path / "tiny.toml").write_text(tomlkit.dumps(values))
    message = "product: no file can be written of a classifier"
    assert_error(run(tmp_path / "tiny.toml", "--out", tmp_path / "run", "--only", "encode"), message)


def test_a_coded_network_can_be_compressed_again(heads, finished, run, tmp_path):
    weights = ("--set", f"baseline.weights={finished / 'small.safetensors'}")
    assert run(heads / "tiny.toml", "--out", tmp_path / "run", "--only", "export", *weights)[0] == 0
    assert OnnxPoseModel(tmp_path / "run" / "baseline.onnx", device="cpu", threads=1).metadata["parent"] == "small"
    int8 = ["quantize", str(finished / "small.safetensors"), "--precision", "fp16", "--out", str(tmp_path / "h.onnx")]
    assert cli.main(int8) == 0
    before, after = (
        OnnxPoseModel(file, device="cpu") for file in (finished / "small.safetensors", tmp_path / "h.onnx")
    )
    images = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(before.predict(images), after.predict(images), atol=0.01)


def test_the_recipe_round_trips():
    values = {"name": "x", "baseline": {"recipe": "compact", "weights": "compact"}, "product": PRODUCT}
    settings = from_dict(values)
    assert from_dict(json.loads(settings.to_json())) == settings
    assert settings.product["untrained"].codec == product.Codec()
    assert settings.product["untrained"].codewords == coded.MOST_CODEWORDS


def test_codewords_are_written_as_onnx(finished, tmp_path, capsys):
    file, out = finished / "small.safetensors", tmp_path / "small.onnx"
    assert cli.main(["weights", "to-onnx", str(file), "--out", str(out)]) == 0
    assert out.read_bytes() == coded.read_onnx(file)
    assert f"{out.stat().st_size:,} bytes of {file.stat().st_size:,}" in capsys.readouterr().out
    for source, message in (
        (finished / "baseline.onnx", "is not stored as codewords"),
        (tmp_path / "no.safetensors", "cannot read the model file"),
    ):
        assert cli.main(["weights", "to-onnx", str(source), "--out", str(out)]) == 1
        assert re.fullmatch(rf"headpose: error: [^\n]*{message}[^\n]*\n", capsys.readouterr().err)
