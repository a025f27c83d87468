"""Weights as codewords: what is stored, what comes back, and what training changes."""

import dataclasses
import json
import zlib

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from headpose import coded
from headpose.compression import product, product_file
from headpose.compression.product import Codec
from headpose.errors import DataError, InputError, WeightsError
from headpose.inference import OnnxPoseModel
from headpose.networks import checkpoint
from headpose.networks.export import ModelCard, export_onnx, state_from_onnx
from headpose.types import CropSpec
from tests.training.networks import TINY_BASIC, TINY_BOTTLENECK, network

CARD = ModelCard("tiny", "fp32", "permissive", "any use", "noise", "tiny", "before")
CROP = CropSpec(size=32)


def weights_of(net, name):
    return net.get_parameter(f"{name}.weight").detach()


def quantized(spec=TINY_BASIC, codec=Codec(), names=None, seed=0):  # noqa: B008
    """A network with codewords in all but its first and last layer, and the codes."""
    net = network(spec, seed)
    names = product.layers(net)[1:-1] if names is None else names
    codes = {name: product.quantize(weights_of(net, name), codec, seed) for name in names}
    product.insert(net, codes)
    product.shorten(net, names)
    return net, codes


def written(folder, net, codes):
    export_onnx(net, CROP, CARD, folder / "tiny.onnx")
    product_file.write(folder / "tiny.safetensors", folder / "tiny.onnx", codes)
    return folder / "tiny.safetensors"


@pytest.mark.parametrize("spec", [TINY_BASIC, TINY_BOTTLENECK])
@pytest.mark.parametrize("codec", [Codec(), Codec(signed=True), Codec(5, 1, 1), Codec(7, 3, 2, signed=True)])
def test_a_file_decodes_to_the_network_that_was_written(spec, codec, tmp_path):
    net, codes = quantized(spec, codec)
    file = written(tmp_path, net, codes)
    assert coded.read_onnx(file) == (tmp_path / "tiny.onnx").read_bytes()
    found, crop, state = state_from_onnx(file)
    assert (found, crop) == (spec, CROP)
    for name, value in net.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(state[name], value), name
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    both = [OnnxPoseModel(path, device="cpu", threads=1) for path in (file, tmp_path / "tiny.onnx")]
    assert np.array_equal(*(model.predict(images) for model in both))
    assert both[0].name == "tiny" and both[0].metadata["parent"] == "before"


@given(
    st.integers(1, 6), st.integers(1, 6), st.sampled_from([(), (1, 1), (3, 3), (5, 5)]), st.integers(1, 9),
    st.booleans(), st.floats(0, 1), st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_codes_keep_zeros_signs_and_shape(outputs, inputs, kernel, length, signed, share, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, *kernel, generator=generator)
    weight *= (torch.rand(outputs, inputs, generator=generator) >= share).reshape(outputs, inputs, *[1] * len(kernel))
    codes = product.quantize(weight, Codec(16, length, length, signed), seed)
    back = torch.from_numpy(codes.decode())
    assert back.shape == weight.shape
    assert (back[weight == 0] == 0).all()
    assert codes.stored == int((weight != 0).sum())
    if not signed:
        assert (codes.codebook >= 0).all()
        assert (back * weight >= 0).all()
    vectors = -(-codes.stored // length)
    assert len(codes.indices) == vectors and len(codes.codebook) == max(1, min(16, vectors // 4))


def test_enough_codewords_lose_nothing_but_bits():
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(1)).half().float().repeat(1, 4)
    weight = torch.cat([weight] * 8)  # each vector at least four times
    codes = product.quantize(weight, Codec())
    assert torch.equal(torch.from_numpy(codes.decode()), weight)


def test_absolute_values_represent_weights_better_than_signed_codewords():
    weight = torch.randn(64, 64, 3, 3, generator=torch.Generator().manual_seed(0))
    apart, within = (
        (torch.from_numpy(product.quantize(weight, Codec(signed=signed)).decode()) - weight).square().mean()
        for signed in (False, True)
    )
    assert apart < 0.5 * within


def test_clusters_are_as_tight_as_those_of_scikit_learn():
    vectors = torch.randn(1500, 4, generator=torch.Generator().manual_seed(2)).abs()
    centers, indices = product.cluster(vectors, 40, seed=0)
    inertia = float((vectors - centers[indices]).square().sum())
    oracle = KMeans(40, n_init=1, random_state=0).fit(vectors.numpy())
    assert inertia < 1.05 * oracle.inertia_
    nearest = torch.cdist(vectors, centers).argmin(1)
    assert torch.equal(nearest, indices)


def test_no_codeword_is_left_unused():
    # Most vectors are equal: first centers that are drawn regardless of their distance are the same vector.
    vectors = torch.cat([torch.ones(500, 2), torch.rand(40, 2, generator=torch.Generator().manual_seed(0))])
    centers, indices = product.cluster(vectors, 30, seed=0)
    assert len(indices.unique()) == 30
    assert float((vectors - centers[indices]).square().sum()) < 0.2


def train(net, codes, steps=6, **options):
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.05, **options)
    generator = torch.Generator().manual_seed(0)
    net.train()
    with product.tied(net, codes):
        for _ in range(steps):
            optimiser.zero_grad()
            net.raw(torch.randn(8, 3, 32, 32, generator=generator)).square().sum().backward()
            optimiser.step()
    return net.eval()


@pytest.mark.parametrize("signed", [False, True])
def test_training_changes_codewords_and_keeps_weights_tied(signed):
    net, codes = quantized(codec=Codec(6, 4, 9, signed))
    name = "layer1.0.conv2"
    with torch.no_grad():
        net.get_parameter(f"{name}.weight")[:, 1] = 0  # pruned
    codes[name] = product.quantize(weights_of(net, name), Codec(6, 4, 9, signed))
    product.insert(net, codes)
    before = {each: weights_of(net, each).clone() for each in codes}
    train(net, codes)
    for each, old in codes.items():
        weight = weights_of(net, each)
        new = product.refit(weight, old)
        assert np.array_equal(new.indices, old.indices)
        assert (weight - before[each]).abs().max() > 1e-3
        # All weights of a codeword are still equal: the codes represent them up to float16's rounding.
        assert torch.allclose(torch.from_numpy(new.decode()), weight, rtol=2e-3, atol=1e-6)
    assert (weights_of(net, name)[:, 1] == 0).all()
    assert (weights_of(net, "conv1") != network(TINY_BASIC).conv1.weight).any()


def test_the_gradient_of_a_codeword_is_the_mean_of_those_of_its_vectors():
    net, codes = quantized(codec=Codec(4, 2, 3))
    name = "layer2.0.conv1"
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    (plain,) = torch.autograd.grad(net.raw(images).square().sum(), [net.get_parameter(f"{name}.weight")])
    with product.tied(net, {name: codes[name]}):
        net.raw(images).square().sum().backward()
    signs = np.where(codes[name].signs, -1.0, 1.0)
    wanted = (plain.numpy().reshape(-1) * signs).reshape(-1, 3)
    for index in range(len(codes[name].codebook)):
        members = codes[name].indices == index
        wanted[members] = wanted[members].mean(0)
    tied = net.get_parameter(f"{name}.weight").grad.numpy().reshape(-1)
    np.testing.assert_allclose(tied, wanted.reshape(-1) * signs, rtol=1e-4, atol=1e-5)
    net.zero_grad()
    net.raw(images).square().sum().backward()  # outside of the context a gradient is an ordinary one
    assert torch.allclose(net.get_parameter(f"{name}.weight").grad, plain)


def test_shortened_values_have_the_bits_of_float16_and_keep_their_range():
    net = network(TINY_BASIC)
    net.bn1.running_var[0] = 3e9  # beyond float16
    before = {name: value.clone() for name, value in net.state_dict().items()}
    product.shorten(net, ["layer1.0.conv1"])
    for name, value in net.state_dict().items():
        if name == "layer1.0.conv1.weight" or not value.is_floating_point():
            assert torch.equal(value, before[name])
        else:
            assert torch.allclose(value, before[name], rtol=2**-11, atol=0)
            assert (value.contiguous().view(torch.int32) & 0x1FFF == 0).all()
    plain = before["bn1.bias"]
    assert torch.equal(net.bn1.bias, plain.half().float())


def test_codes_are_saved_for_later(tmp_path):
    _, codes = quantized()
    codes["layer1.0.conv1"] = dataclasses.replace(codes["layer1.0.conv1"], signs=None)
    product_file.save_codes(tmp_path / "codes.safetensors", codes)
    found = product_file.load_codes(tmp_path / "codes.safetensors")
    assert list(found) == list(codes)
    assert all(np.array_equal(found[name].decode(), codes[name].decode()) for name in codes)
    (tmp_path / "codes.safetensors").write_bytes(b"0" * 50)
    with pytest.raises(DataError, match="is damaged"):
        product_file.load_codes(tmp_path / "codes.safetensors")


def test_a_network_with_other_weights_is_not_written(tmp_path):
    net, codes = quantized()
    with torch.no_grad():
        net.layer2[0].conv1.weight += 1
    with pytest.raises(WeightsError, match=r"other weights in layer2\.0\.conv1"):
        written(tmp_path, net, codes)
    with pytest.raises(WeightsError, match="has no layer conv9"):
        written(tmp_path, net, {"conv9": codes["layer1.0.conv1"]})
    assert not (tmp_path / "tiny.safetensors").exists()


@pytest.mark.parametrize("values", [{"codewords": 0}, {"codewords": 257}, {"length": 0}, {"kernel_length": 0}])
def test_settings_out_of_range(values):
    with pytest.raises(InputError, match="codeword"):
        Codec(**values)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return written(tmp_path_factory.mktemp("files"), *quantized())


def altered(file, target, change, **tensors):
    """A copy of a file with another entry in its metadata, or other tensors."""
    with product_file.safe_open(file, framework="pt") as opened:
        state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        about = opened.metadata()
    layout = json.loads(about[coded.ENTRY])
    change(layout)
    checkpoint.save_weights(target, {**state, **tensors}, {**about, coded.ENTRY: json.dumps(layout)})
    return target


def packed(data):
    return torch.from_numpy(np.frombuffer(zlib.compress(data), np.uint8).copy())


CHANGES = {
    "version": (lambda layout: layout.update(version=2), "has version 2, this headpose reads 1: update headpose"),
    "hash": (lambda layout: layout.update(sha256="0" * 64), "is damaged: the weights have another SHA-256"),
    "size": (lambda layout: layout.update(bytes=2**40), "is damaged: it claims"),
    "short": (lambda layout: layout.update(bytes=layout["bytes"] - 1), "is damaged: a part has another size"),
    "order": (lambda layout: layout["layers"].reverse(), "is damaged"),
    "shape": (lambda layout: layout["layers"][0].__setitem__(1, [2**20, 2**20]), "is damaged: a layer is"),
    "offset": (lambda layout: layout["layers"][0].__setitem__(0, -1), "is damaged: a layer is"),
    "fields": (lambda layout: layout["layers"][0].pop(), "is damaged"),
    "codewords": (lambda layout: layout["layers"][0].__setitem__(2, 300), "is damaged: a layer is"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_does_not_fit_is_one_line(file, tmp_path, name):
    change, says = CHANGES[name]
    target = altered(file, tmp_path / "other.safetensors", change)
    with pytest.raises(WeightsError, match=says) as caught:
        coded.read_onnx(target)
    assert "\n" not in str(caught.value)


def test_a_part_that_unpacks_to_more_than_it_should_is_not_unpacked(file, tmp_path):
    bomb = {"indices": packed(b"\0" * 10**7)}
    target = altered(file, tmp_path / "other.safetensors", lambda layout: None, **bomb)
    with pytest.raises(WeightsError, match="a part has another size"):
        coded.read_onnx(target)


@pytest.mark.parametrize("at", [0, 4, 30, -400, -1])
def test_damaged_bytes_and_cut_files_are_one_line(file, tmp_path, at):
    whole, target = file.read_bytes(), tmp_path / "other.safetensors"
    flipped = bytearray(whole)
    flipped[at] ^= 0x55
    for data in (bytes(flipped), whole[:at]):
        target.write_bytes(data)
        with pytest.raises(WeightsError, match=r"other\.safetensors") as caught:
            OnnxPoseModel(target, device="cpu", threads=1)
        assert "\n" not in str(caught.value)


def test_weights_for_training_are_no_network_to_run(tmp_path):
    checkpoint.save_weights(tmp_path / "best.safetensors", {"conv1.weight": torch.zeros(2)})
    assert not coded.is_coded(tmp_path / "best.safetensors")
    with pytest.raises(WeightsError, match="is not a network to run"):
        OnnxPoseModel(tmp_path / "best.safetensors", device="cpu", threads=1)
    assert not coded.is_coded(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="cannot read"):
        coded.read_onnx(tmp_path / "none.safetensors")


def test_plain_files_are_passed_through(file):
    plain = file.with_suffix(".onnx")
    assert coded.read_onnx(plain) == plain.read_bytes()
    assert coded.is_coded(file) and not coded.is_coded(plain)
    onnx.checker.check_model(onnx.load_model_from_string(coded.read_onnx(file)), full_check=True)
