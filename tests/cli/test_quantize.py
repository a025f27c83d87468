"""``headpose quantize``."""

import json
import re

import pytest
import tomlkit

from headpose.cli import main
from headpose.files import sha256_of
from headpose.inference import OnnxPoseModel
from headpose.networks.export import ModelCard, export_onnx
from headpose.types import CropSpec
from tests.cli.errors import assert_error
from tests.training.networks import TINY_BASIC, network, recipe_values, write_drawn_heads


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``tiny.onnx`` and ``tiny.toml``, a recipe with 40 faces."""
    folder = tmp_path_factory.mktemp("quantize")
    card = ModelCard("tiny", "fp32", "permissive", "any use", "drawn axes", "tiny")
    export_onnx(network(TINY_BASIC), CropSpec(32, scale=1.1), card, folder / "tiny.onnx")
    (folder / "tiny.toml").write_text(tomlkit.dumps(recipe_values(write_drawn_heads(folder, 40))))
    return folder


@pytest.fixture
def quantize(folder, tmp_path, capfd):
    """Runs the command on ``tiny.onnx``; returns exit status, stdout and stderr."""

    def run(*arguments, model=folder / "tiny.onnx"):
        capfd.readouterr()
        status = main(["quantize", str(model), "--out", str(tmp_path / "small.onnx"), *map(str, arguments)])
        out, err = capfd.readouterr()
        assert (tmp_path / "small.onnx").exists() == (status == 0)
        assert len(list(tmp_path.iterdir())) == (status == 0)
        return status, out, err

    return run


def test_fp16_needs_no_data(quantize, tmp_path):
    status, out, _ = quantize("--precision", "fp16", "--limit", 1)
    assert status == 0
    assert re.search(r"tiny-fp16, 0\.0\d MB \(tiny: 0\.0\d MB\)", out)
    assert re.search(r"distance from tiny: .* on 64 noise images; give --recipe", out)
    assert re.search(r"ms, ratio \d+\.\d\d$", out.strip())
    assert OnnxPoseModel(tmp_path / "small.onnx", device="cpu").name == "tiny-fp16"


def test_int8_is_calibrated_and_checked_on_a_recipes_faces(quantize, folder, tmp_path):
    arguments = ["--precision", "int8", "--recipe", folder / "tiny.toml", "--calibration-images", 16, "--limit", 20]
    record = folder / "comparison.json"
    status, out, _ = quantize(*arguments, "--set", "data.validation=0.3", "--json", record)
    assert status == 0
    written = json.loads(record.read_text())
    assert f"distance from tiny: {written['parity']['mean']:.4f} degrees" in out
    assert f"on {written['parity']['faces']} held-out" in out
    assert "{reference:.3f} -> {model:.3f}".format(**written["geodesic"]) in out
    assert written["model_sha256"] == sha256_of(tmp_path / "small.onnx")
    assert written["reference_sha256"] == sha256_of(folder / "tiny.onnx")
    assert re.search(r"distance from tiny: .* on \d+ held-out faces\n", out)
    assert re.search(r"held-out geodesic error: \d+\.\d+ -> \d+\.\d+ degrees\n", out)
    assert OnnxPoseModel(tmp_path / "small.onnx", device="cpu").metadata["precision"] == "int8"


def test_the_gate_is_one_line(quantize, folder):
    arguments = ["--precision", "int8", "--recipe", folder / "tiny.toml", "--calibration-images", 8, "--limit", 0]
    assert_error(quantize(*arguments), "tiny-int8 differs from tiny by .* more than the limit of 0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["int8"], "give --recipe"),
        (["fp16", "--set", "run.images=1"], "give --recipe as well"),
        (["fp16", "--full-range"], "needs --precision int8"),
        (["int8", "--recipe", "nothing"], "no recipe 'nothing'"),
        (["int8", "--recipe", "tiny", "--calibration-images", "0"], "1 or more"),
        (["fp16", "--limit", "nan"], "--limit must be an angle"),
    ],
)
def test_mistakes_are_one_line(quantize, arguments, message):
    assert_error(quantize("--precision", *arguments), message)


def test_missing_faces_are_one_line(quantize, folder):
    missing = "data.sources.0.path=nowhere.csv"
    assert_error(quantize("--precision", "int8", "--recipe", folder / "tiny.toml", "--set", missing), "nowhere.csv")


def test_a_model_that_does_not_exist_or_is_no_network_is_one_line(quantize, folder):
    assert_error(quantize("--precision", "fp16", model="nothing"), "unknown model")
    assert_error(quantize("--precision", "fp16", model=folder / "nothing.onnx"), "does not exist")
    (folder / "broken.onnx").write_bytes(b"no network")
    assert_error(
        quantize("--precision", "fp16", model=folder / "broken.onnx"), "not a network that ONNX Runtime can run"
    )


def test_a_folder_that_does_not_exist_is_one_line(folder, tmp_path, capfd):
    target = tmp_path / "nowhere" / "small.onnx"
    status = main(["quantize", str(folder / "tiny.onnx"), "--precision", "fp16", "--out", str(target)])
    assert_error((status, *capfd.readouterr()), "the folder .* does not exist")


def test_what_int8_is_calibrated_on_binds_it_too(quantize, folder, tmp_path):
    """The license of a network that is for any use, its ranges from faces of unknown origin."""
    arguments = ["--precision", "int8", "--recipe", folder / "tiny.toml", "--calibration-images", 16, "--limit", 20]
    (folder / "mine.csv").write_text((folder / "labels.csv").read_text())
    assert quantize(*arguments)[0] == 0
    same = OnnxPoseModel(tmp_path / "small.onnx", device="cpu").metadata
    assert (same["license"], same["license_terms"], same["data"]) == ("permissive", "any use", "drawn axes")
    (tmp_path / "small.onnx").unlink()
    assert quantize(*arguments, "--data", folder / "mine.csv")[0] == 0
    other = OnnxPoseModel(tmp_path / "small.onnx", device="cpu").metadata
    assert (other["license"], other["license_terms"]) == ("unknown", "any use; the rest unknown")
    assert other["data"] == "drawn axes (tiny); calibrated on unknown (mine.csv)"
    assert other["parent"] == "tiny"


def test_fp16_says_what_its_network_says(quantize, folder, tmp_path):
    words = ["--recipe", folder / "tiny.toml", "--data", folder / "labels.csv", "--limit", 1]
    assert quantize("--precision", "fp16", *words)[0] == 0
    about = OnnxPoseModel(tmp_path / "small.onnx", device="cpu").metadata
    assert (about["license"], about["license_terms"], about["data"]) == ("permissive", "any use", "drawn axes")
