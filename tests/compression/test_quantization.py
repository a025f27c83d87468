"""FP16 and INT8 networks: their files, their gate."""

import os
import platform
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from headpose import crop, geometry
from headpose.compression.folding import body, read_folded
from headpose.compression.fp16 import to_fp16
from headpose.compression.int8 import to_int8, to_stock_int8
from headpose.compression.parity import check_parity, measure_parity, noise_pictures, predict, predict_anyhow
from headpose.compression.quantization import LIMITS, quantize
from headpose.errors import DataError, WeightsError
from headpose.inference import OnnxPoseModel
from headpose.networks.export import ModelCard, export_onnx, state_from_onnx
from headpose.types import CropSpec
from tests.network_files import color_network
from tests.training.networks import TINY_BASIC, TINY_BOTTLENECK, TINY_CAFFE, network

CARD = ModelCard("tiny", "fp32", "permissive", "any use", "none", "tiny")
CROP = CropSpec(40, scale=1.25)
CROPS = noise_pictures(24, 40)
PRECISIONS = pytest.mark.parametrize("precision", ["fp16", "int8"])


def weights(path):
    return {value.name: numpy_helper.to_array(value) for value in onnx.load(path).graph.initializer}


@pytest.fixture(scope="module", params=[TINY_BASIC, TINY_BOTTLENECK, TINY_CAFFE], ids=["basic", "euler", "caffe"])
def source(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "tiny.onnx"
    export_onnx(network(request.param), CROP, CARD, path)
    return path


@pytest.fixture(scope="module")
def files(source):
    """The variants by precision, and their source."""
    found = {"fp32": source, "fp16": source.with_name("fp16.onnx"), "int8": source.with_name("int8.onnx")}
    to_fp16(source, found["fp16"], CROPS)
    to_int8(source, found["int8"], CROPS)
    return found


@PRECISIONS
def test_a_variant_keeps_the_contract(files, precision):
    model = OnnxPoseModel(files[precision], device="cpu", threads=1)
    assert model.crop == CROP
    wanted = {"name": f"tiny-{precision}", "precision": precision, "parent": "tiny", "license": "permissive"}
    assert wanted.items() <= model.metadata.items()
    assert model.metadata["architecture"] == OnnxPoseModel(files["fp32"], device="cpu").metadata["architecture"]
    onnx.checker.check_model(str(files[precision]), full_check=True)
    graph = onnx.load(files[precision]).graph
    types = [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]
    assert types == [TensorProto.FLOAT, TensorProto.FLOAT]
    inputs = crop.normalize(np.stack(CROPS[:5]), CROP)
    together = model.predict(inputs)
    apart = np.concatenate([model.predict(inputs[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(together, apart, atol=1e-6)


@PRECISIONS
def test_its_weights_cannot_be_taken_for_the_trained_ones(files, precision):
    with pytest.raises(WeightsError, match="cannot be turned back"):
        state_from_onnx(files[precision])
    with pytest.raises(WeightsError, match=f"is already {precision}"):
        to_fp16(files[precision], files[precision].with_name("twice.onnx"))


def test_fp16_is_half_the_bytes_and_hardly_differs(files):
    graph = onnx.load(files["fp16"]).graph
    assert not any(node.op_type == "BatchNormalization" for node in graph.node)
    assert all(
        w.dtype == np.float16 for name, w in weights(files["fp16"]).items() if name.endswith((".weight", ".bias"))
    )
    full, half = (predict(OnnxPoseModel(files[name], device="cpu"), CROPS) for name in ("fp32", "fp16"))
    assert 0 < measure_parity(full, half).mean < 0.1


def test_fp16_computes_the_tail_in_float32(files):
    graph = onnx.load(files["fp16"]).graph
    casts = [i for i, node in enumerate(graph.node) if node.op_type == "Cast"]
    assert len(casts) == 2
    assert casts[0] == 0
    assert graph.node[casts[1] - 1].op_type == "Gemm"
    assert "Gemm" not in [node.op_type for node in graph.node[casts[1] :]]


def test_fp16_has_the_weights_that_onnx_runtimes_converter_gives(files):
    """Its own network is not used: see ``fp16``'s docstring."""
    folded = read_folded(files["fp32"])
    del folded.graph.node[len(body(folded)) :]
    raw = onnx.helper.make_tensor_value_info(folded.graph.node[-1].output[0], TensorProto.FLOAT, ["N", None])
    folded.graph.output[0].CopyFrom(raw)
    theirs = convert_float_to_float16(folded, keep_io_types=True)
    ours = weights(files["fp16"])
    halves = {v.name: numpy_helper.to_array(v) for v in theirs.graph.initializer if v.data_type == TensorProto.FLOAT16}
    assert halves.keys() == {name for name, value in ours.items() if value.dtype == np.float16}
    # They differ where a value is below the smallest of float16: theirs is not rounded to 0.
    assert all(np.abs(ours[name].astype(float) - value.astype(float)).max() < 6e-8 for name, value in halves.items())


def test_fp16_refuses_values_that_it_cannot_hold(tmp_path):
    net = network(TINY_BASIC)
    net.head[0].weight.data *= 6e4 / net.head[0].weight.abs().max()  # the weights would fit, their sums do not
    export_onnx(net, CROP, CARD, tmp_path / "large.onnx")
    with pytest.raises(WeightsError, match="fp16 ends at 65504"):
        to_fp16(tmp_path / "large.onnx", tmp_path / "fp16.onnx", CROPS)
    assert not (tmp_path / "fp16.onnx").exists()


def test_fp16_refuses_weights_that_it_cannot_hold(tmp_path):
    """Without a picture too: and a weight that only meets zeros shows in no value."""
    net = network(TINY_BASIC)
    net.head[0].weight.data[0, 0] = 7e4
    export_onnx(net, CROP, CARD, tmp_path / "large.onnx")
    with pytest.raises(WeightsError, match="values up to 7e"):
        to_fp16(tmp_path / "large.onnx", tmp_path / "fp16.onnx")
    assert not (tmp_path / "fp16.onnx").exists()


def test_int8_weights_are_int8_and_nothing_is_kept_twice(files):
    graph = onnx.load(files["int8"]).graph
    makers = {name: node for node in graph.node for name in node.output}
    values = weights(files["int8"])
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert convolutions
    for node in convolutions:
        image, weight, bias = (makers[name] for name in node.input)
        assert {image.op_type, weight.op_type, bias.op_type} == {"DequantizeLinear"}
        assert values[image.input[2]].dtype == np.uint8
        assert values[weight.input[0]].dtype == np.int8
        assert values[weight.input[1]].shape == values[weight.input[0]].shape[:1]  # a scale for each channel
        assert values[bias.input[0]].dtype == np.int32
    head = max((node for node in graph.node if node.op_type == "Gemm"), key=lambda node: node.name)
    assert values[head.input[1]].dtype == np.float32
    large = {name for name, w in values.items() if w.dtype == np.float32 and w.ndim > 1}
    assert large == {head.input[1]}


def test_the_tail_of_int8_is_the_tail_of_fp32(files):
    def last(path):
        nodes = list(onnx.load(path).graph.node)
        start = max(i for i, node in enumerate(nodes) if node.op_type == "Gemm")
        return [(node.op_type, [*node.input], [*node.output]) for node in nodes[start:]]

    # The quantizer sorts the nodes of its file.
    assert sorted(last(files["fp32"])[1:]) == sorted(row for row in last(files["int8"])[1:])


def test_seven_bits_cannot_overflow_sixteen(source, files):
    """Two products of uint8 and int8 weights are added in 16 bits on x86 without VNNI."""
    eight = source.with_name("eight.onnx")
    to_int8(source, eight, CROPS, full_range=True)

    def largest(path):
        int8 = [w for w in weights(path).values() if w.dtype == np.int8 and w.ndim > 1]
        return max(np.abs(w.astype(int)).max() for w in int8)

    assert 2 * 255 * largest(files["int8"]) <= 32767
    assert 2 * 255 * largest(eight) > 32767


@pytest.mark.skipif(
    shutil.which("qemu-x86_64") is None or platform.machine() not in ("x86_64", "AMD64"),
    reason="needs qemu-x86_64 (Debian's package qemu-user) on an x86 machine",
)
def test_a_processor_without_vnni_gives_the_same_int8_angles(repo, tmp_path):
    """ONNX Runtime chooses its kernels by what the processor says it is, and no setting of it changes that.

    QEMU stands for a Haswell: AVX2, no AVX-512, no VNNI. A network with 8-bit weights differs there by degrees.
    """
    code = (
        "import sys; import numpy as np; from headpose.inference import OnnxPoseModel\n"
        "np.save(sys.argv[3], OnnxPoseModel(sys.argv[1], device='cpu', threads=1).predict(np.load(sys.argv[2])))"
    )
    network = repo / "weights" / "student-int8.onnx"
    pictures = noise_pictures(3, 96)
    np.save(tmp_path / "inputs.npy", crop.normalize(np.stack(pictures), OnnxPoseModel(network, device="cpu").crop))
    haswell = ["qemu-x86_64", "-cpu", "Haswell,-pcid,-x2apic,-tsc-deadline,-hle,-rtm,-invpcid"]
    arguments = ["-c", code, network, tmp_path / "inputs.npy"]
    for emulator, name in ([], "here.npy"), (haswell, "haswell.npy"):
        command = [*emulator, sys.executable, *arguments, tmp_path / name]
        subprocess.run(command, check=True, capture_output=True, cwd=repo)
    here, there = np.load(tmp_path / "here.npy"), np.load(tmp_path / "haswell.npy")
    assert geometry.geodesic_degrees(here, there).max() < 0.01


def test_the_same_faces_give_the_same_bytes(source, files):
    """In another process too, where sets are walked through in another order."""
    code = (
        "import sys; from pathlib import Path\n"
        "from headpose.compression.int8 import to_int8; from headpose.compression.parity import noise_pictures\n"
        "to_int8(Path(sys.argv[1]), Path(sys.argv[2]), noise_pictures(24, 40))"
    )
    again = source.with_name("again.onnx")
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, source, again], check=True, env=environment)
    assert again.read_bytes() == files["int8"].read_bytes()


def test_one_value_in_a_hundred_thousand_does_not_set_the_range(source, tmp_path):
    crops = [np.full((40, 40, 3), value, np.uint8) for value in range(100, 160)]
    crops[7][3, 4, 0] = 255  # of 288,000 values
    to_int8(source, tmp_path / "int8.onnx", crops)
    graph, values = onnx.load(tmp_path / "int8.onnx").graph, weights(tmp_path / "int8.onnx")
    (entry,) = (node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "image")
    normal = crop.normalize(np.stack([crops[0], crops[-1]]), CROP)
    assert 255 * values[entry.input[1]] == pytest.approx(np.ptp(normal), rel=0.1)


def test_the_quantizer_is_silent(source, tmp_path, capfd, caplog):
    to_int8(source, tmp_path / "int8.onnx", CROPS[:8])
    assert capfd.readouterr().out == ""
    assert not caplog.records


def test_int8_stays_near_fp32_and_the_stock_settings_quantize_all(tmp_path):
    path, ours, stock = (tmp_path / f"{name}.onnx" for name in ("tiny", "ours", "stock"))
    export_onnx(network(TINY_BASIC), CROP, CARD, path)
    to_int8(path, ours, CROPS)
    to_stock_int8(path, stock, CROPS)
    reference = predict(OnnxPoseModel(path, device="cpu"), CROPS)
    near, far = (measure_parity(reference, predict_anyhow(file, CROPS, CROP)).mean for file in (ours, stock))
    assert 0 < near < 3
    assert near < far
    ends = [
        {node.op_type for node in onnx.load(file).graph.node if "rotation" in node.output} for file in (ours, stock)
    ]
    assert ends == [{"Concat"}, {"DequantizeLinear"}]


def test_calibration_needs_faces_of_the_networks_size(source, tmp_path):
    for crops in ([], noise_pictures(4, 32)):
        with pytest.raises(DataError, match="40 x 40 pixels"):
            to_int8(source, tmp_path / "int8.onnx", crops)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("epsilon", [None, 0.3])
def test_a_folded_network_computes_what_it_did(source, tmp_path, epsilon):
    """With an epsilon that says something, and convolutions that have a bias: other exporters write both."""
    model = onnx.load(source)
    stored = {value.name: value for value in model.graph.initializer}
    rng = np.random.default_rng(0)
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            variance = stored[node.input[4]]
            values = rng.choice([1e-5, 1.0], len(numpy_helper.to_array(variance))).astype(np.float32)
            variance.CopyFrom(numpy_helper.from_array(values, variance.name))
            shrunk = numpy_helper.to_array(stored[node.input[1]]) * np.sqrt(values + 1e-5)
            stored[node.input[1]].CopyFrom(numpy_helper.from_array(shrunk.astype(np.float32), node.input[1]))
            if epsilon:
                node.attribute.append(onnx.helper.make_attribute("epsilon", epsilon))
        elif node.op_type == "Conv":
            outputs = len(numpy_helper.to_array(stored[node.input[1]]))
            bias = numpy_helper.from_array(rng.normal(size=outputs).astype(np.float32), f"{node.name}.given")
            model.graph.initializer.append(bias)
            node.input.append(bias.name)
    given, folded = tmp_path / "given.onnx", tmp_path / "folded.onnx"
    onnx.save(model, given)
    made = read_folded(given)
    assert not any(node.op_type == "BatchNormalization" for node in made.graph.node)
    assert list(made.opset_import) == list(model.opset_import)
    assert {value.name for value in made.graph.initializer} > {"conv1.weight", "conv1.bias", "head.0.weight"}
    assert not any("Fusion" in name for node in made.graph.node for name in node.input)
    onnx.save(made, folded)
    before, after = (predict(OnnxPoseModel(file, device="cpu", threads=1), CROPS) for file in (given, folded))
    np.testing.assert_array_equal(before, after)  # ONNX Runtime folds in the same way when it loads a file
    assert measure_parity(before, predict(OnnxPoseModel(source, device="cpu"), CROPS)).mean > 1


def test_only_networks_with_a_dense_layer_are_taken(tmp_path):
    with pytest.raises(WeightsError, match="no dense layer"):
        to_fp16(color_network(tmp_path / "color.onnx"), tmp_path / "fp16.onnx")


def test_the_gate_stops_a_spoiled_network_and_leaves_no_file(source, tmp_path):
    spoiled = network(TINY_BASIC, seed=1)
    export_onnx(spoiled, CROP, CARD, tmp_path / "other.onnx")
    with pytest.raises(WeightsError, match=r"more than the limit of 0\.5"):
        check_parity(source, tmp_path / "other.onnx", CROPS, LIMITS["int8"])
    with pytest.raises(WeightsError, match="more than the limit of nan"):
        check_parity(source, source, CROPS, float("nan"))
    out = tmp_path / "out"
    out.mkdir()
    for precision in LIMITS:
        with pytest.raises(WeightsError, match="more than the limit of 1e-07"):
            quantize(source, out / "small.onnx", precision, CROPS, CROPS, limit_degrees=1e-7)
    assert not list(out.iterdir())
    (out / "small.onnx").write_bytes(b"what was there")
    with pytest.raises(WeightsError, match="more than the limit of 1e-07"):
        quantize(source, out / "small.onnx", "fp16", CROPS, limit_degrees=1e-7)
    assert (out / "small.onnx").read_bytes() == b"what was there"


def test_networks_with_other_crops_are_not_compared(source, tmp_path):
    export_onnx(network(TINY_BASIC), CropSpec(40, scale=1.3), CARD, tmp_path / "other.onnx")
    with pytest.raises(WeightsError, match="crop faces differently"):
        check_parity(source, tmp_path / "other.onnx", CROPS, 180.0)


def test_parity_is_the_angle_between_rotations():
    angles = np.deg2rad(np.arange(100.0))
    zero, one = np.zeros(100), np.ones(100)
    turned = np.array(
        [[np.cos(angles), -np.sin(angles), zero], [np.sin(angles), np.cos(angles), zero], [zero, zero, one]]
    )
    parity = measure_parity(np.eye(3)[None], np.moveaxis(turned, -1, 0))
    assert (parity.mean, parity.max, parity.faces) == (pytest.approx(49.5), pytest.approx(99.0), 100)
    assert parity.p99 == pytest.approx(98.01)
