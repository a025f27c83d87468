"""Connections as the unit of pruning: what they are worth, what is removed, and what stays removed."""

import json

import numpy as np
import pytest
import tomlkit
import torch

from headpose import cli
from headpose.compression import connections, product, product_file, surgery
from headpose.compression.importance import Evidence
from headpose.compression.selection import Rule
from headpose.errors import InputError
from headpose.inference import OnnxPoseModel
from headpose.networks.spec import PlainLayerSpec, PlainSpec, StemSpec, resnet
from tests.cli.errors import assert_error
from tests.compression.test_coding import plain
from tests.compression.test_compress import FINE, NETWORK, write_baseline
from tests.training.networks import TINY_BASIC, TINY_BOTTLENECK, network, recipe_values, write_drawn_heads

PLAIN = PlainSpec(9, (PlainLayerSpec(4, 3, 2), PlainLayerSpec(5, 1, 2), PlainLayerSpec(3, 3, 1, True)), (6,))
NARROW = resnet("bottleneck", (1, 1), (4, 6), (6, 9), StemSpec(5, 3, 2, False), head=(7,))


def images(count=3, side=32, seed=0):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def maps(net, module, batch):
    """What a module reads and writes."""
    caught = []
    handle = net.get_submodule(module).register_forward_hook(lambda _m, x, y: caught.extend([x[0].clone(), y.clone()]))
    with torch.no_grad():
        net.raw(batch)
    handle.remove()
    return caught


def oracle(net, name, after, relu, batch):
    """Correlations by NumPy, from windows that are cut one by one."""
    layer = net.get_submodule(name)
    x, y = maps(net, name, batch)[0], maps(net, after, batch)[1]
    y = y.relu() if relu else y
    if x.ndim == 2:
        with np.errstate(invalid="ignore"):  # some units are dead
            return np.corrcoef(np.hstack([x, y]), rowvar=False)[x.shape[1] :, : x.shape[1]]
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], layer.padding[0]
    windows = torch.nn.functional.unfold(x, kernel, padding=padding, stride=stride)  # (N, I * k * k, P)
    columns = windows.transpose(0, 1).flatten(1).double().numpy()
    rows = y.transpose(0, 1).flatten(1).double().numpy()
    with np.errstate(invalid="ignore"):
        whole = np.corrcoef(np.vstack([rows, columns]))[: len(rows), len(rows) :]
    whole = np.nan_to_num(whole)
    return whole.reshape(len(rows), x.shape[1], kernel * kernel).mean(2)


@pytest.mark.parametrize(
    ("spec", "name", "after", "relu"),
    [
        (NARROW, "conv1", "bn1", True),
        (NARROW, "layer1.0.conv2", "layer1.0.bn2", True),
        (NARROW, "layer2.0.conv3", "layer2.0.bn3", False),  # the addition comes before its ReLU
        (NARROW, "layer2.0.downsample.0", "layer2.0.downsample.1", False),
        (NARROW, "head.0", "head.0", True),
        (NARROW, "head.1", "head.1", False),
        (PLAIN, "conv2", "bn2", True),
        (PLAIN, "conv3", "bn3", True),
    ],
)
def test_correlations_are_those_of_the_activations(spec, name, after, relu):
    net = network(spec)
    side = 9 if spec is PLAIN else 32
    whole = images(8, side)
    # In two batches: sums, not means of means.
    found = connections.correlations(net, [name], iter([whole[:3], whole[3:]]))[name]
    wanted = oracle(net, name, after, relu, whole)
    assert found.shape == net.get_parameter(f"{name}.weight").shape[:2]
    np.testing.assert_allclose(found.numpy(), np.nan_to_num(wanted), atol=1e-3)
    assert found.abs().max() > 0.1
    assert not net.training


def test_a_constant_activation_correlates_with_nothing():
    net = network(NARROW)
    with torch.no_grad():
        net.bn1.weight[2], net.bn1.bias[2] = 0, 1.5
    found = connections.correlations(net, ["conv1", "layer1.0.conv1"], [images()])
    assert (found["conv1"][2] == 0).all()
    assert (found["layer1.0.conv1"][:, 2] == 0).all()
    ranks = connections.correlation(net, ["layer1.0.conv1"], [images()])["layer1.0.conv1"]
    assert (ranks[:, 2] == 0).all() and (ranks[:, :2] > 0).any()


@pytest.mark.parametrize("spec", [TINY_BASIC, TINY_BOTTLENECK])
def test_positive_and_negative_correlations_lose_the_same_share(spec):
    net, name = network(spec), "layer1.0.downsample.0"
    values = connections.correlations(net, [name], [images(8)])[name]
    ranks = connections.correlation(net, [name], [images(8)])
    connections.remove(net, ranks, Rule("share", 0.5))
    mask = connections.kept(net.get_parameter(f"{name}.weight"))
    for side in (values > 0, values < 0):
        assert abs(int((mask & side).sum()) - int(side.sum()) / 2) <= 1
        assert values[mask & side].abs().min() >= values[~mask & side].abs().max()
    together = values.abs() >= values.abs().median()  # what one ranking of both would keep
    assert abs(int((together & (values > 0)).sum()) - int((values > 0).sum()) / 2) > 1


def test_l1_and_taylor_by_hand():
    net = network(TINY_BASIC)
    names = ["layer1.0.conv2", "head.0"]
    kernel, dense = (net.get_parameter(f"{name}.weight").detach() for name in names)
    sizes = connections.l1(net, names)
    wanted = kernel.abs().double().mean((2, 3))
    assert torch.allclose(sizes["layer1.0.conv2"], wanted / wanted.mean())
    assert torch.allclose(sizes["head.0"], dense.abs().double() / dense.abs().double().mean())

    def loss(net, batch):
        return net.raw(batch.images).square().sum()

    class Batch:
        images = images(2)

    worth = connections.taylor(net, names, [Batch, Batch], loss)
    grads = torch.autograd.grad(loss(net, Batch), [net.get_parameter(f"{name}.weight") for name in names])
    assert torch.allclose(worth["layer1.0.conv2"], (kernel * grads[0]).double().sum((2, 3)).square(), rtol=1e-3)
    assert torch.allclose(worth["head.0"], (dense * grads[1]).double().square(), rtol=1e-3)
    assert not any(value.grad is not None for value in net.parameters())


@pytest.mark.parametrize("name", connections.CRITERIA)
def test_every_criterion_ranks_all_connections(name):
    net = network(TINY_BASIC)

    class Batch:
        images = images(4)

    evidence = Evidence([Batch], lambda net, batch: net.raw(batch.images).square().sum(), seed=3)
    found = connections.CRITERIA[name](net, product.layers(net), evidence)
    assert list(found) == product.layers(net)
    for layer, values in found.items():
        assert values.shape == net.get_parameter(f"{layer}.weight").shape[:2]
        assert values.isfinite().all() and values.max() > 0
    before = {key: value.clone() for key, value in net.state_dict().items()}
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    with pytest.raises(InputError, match="no layer 'conv9'"):
        connections.CRITERIA[name](net, ["conv9"], evidence)


def test_criteria_need_their_evidence():
    net = network(TINY_BASIC)
    for name, message in (("correlation", "at least one image"), ("taylor", "needs a loss")):
        with pytest.raises(InputError, match=message):
            connections.CRITERIA[name](net, ["conv1"], Evidence())
    with pytest.raises(InputError, match="at least one batch"):
        connections.taylor(net, ["conv1"], [], lambda net, batch: net.raw(batch.images).sum())


@pytest.mark.parametrize("kind", ["share", "global_share"])
def test_a_step_removes_a_share_of_what_is_left(kind):
    net = network(TINY_BASIC)
    names = ["layer1.0.conv2", "layer2.0.conv1"]
    sizes = {name: net.get_parameter(f"{name}.weight")[:, :, 0, 0].numel() for name in names}
    total = sum(sizes.values())
    for left in (0.5, 0.25):
        counts = connections.remove(net, connections.l1(net, names), Rule(kind, 0.5))
        assert sum(counts.values()) == pytest.approx(left * total, abs=2)
        for name in names:
            assert int(connections.kept(net.get_parameter(f"{name}.weight")).sum()) == counts[name]
    assert connections.removed_weights(net) == 9 * (total - sum(counts.values()))
    connections.remove(net, connections.l1(net, names), Rule("share", 0.999))
    assert all(connections.kept(net.get_parameter(f"{name}.weight")).any() for name in names)
    assert connections.kept(net.get_parameter("conv1.weight")).all()


def test_removed_connections_stay_removed_in_training():
    net = network(TINY_BASIC)
    names = ["layer1.0.conv2", "head.0"]
    connections.remove(net, connections.l1(net, names), Rule("share", 0.6))
    masks = {name: connections.kept(net.get_parameter(f"{name}.weight")) for name in names}
    before = net.get_parameter("head.0.weight").detach().clone()
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.05)
    with connections.held(net):
        for seed in range(4):
            optimiser.zero_grad()
            net.raw(images(4, seed=seed)).square().sum().backward()
            optimiser.step()
    for name, mask in masks.items():
        assert torch.equal(connections.kept(net.get_parameter(f"{name}.weight")), mask)
    assert (net.get_parameter("head.0.weight")[masks["head.0"]] != before[masks["head.0"]]).all()
    optimiser.zero_grad()
    net.raw(images(4)).square().sum().backward()
    optimiser.step()
    freed = connections.kept(net.get_parameter("head.0.weight"))  # nothing holds them outside of the context
    assert freed.double().mean() > masks["head.0"].double().mean() + 0.3


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    values = write_baseline(folder, {**recipe_values(write_drawn_heads(folder, 40)), "network": NETWORK})
    few = {"network": "baseline", "images": 16, "last_images": 32, "optimiser": FINE}
    values = plain(values) | {
        "connections": {
            "sparse": {**few, "steps": 2, "guide": {"features": 1.0, "labels": 0.0}},
            "by-layer": {**few, "importance": "taylor", "schedule": "layerwise", "exempt": ["conv1", *OTHERS, "last"]},
        },
        "product": {"small": {"network": "sparse", "last_images": 32, "optimiser": FINE}},
    }
    (folder / "tiny.toml").write_text(tomlkit.dumps(values))
    return folder


OTHERS = [f"layer{block}.0.{name}" for block in (1, 2, 3) for name in ("conv1", "conv2", "conv3", "downsample.0")][2:]


@pytest.fixture(scope="module")
def finished(heads, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "run"
    stages = ("connections", "encode", "report")
    only = [word for stage in stages for word in ("--only", stage)]
    assert cli.main(["compress", str(heads / "tiny.toml"), "--out", str(out), *only]) == 0
    return out


def test_the_chain_stores_what_is_left(finished):
    report = json.loads((finished / "report.json").read_text())
    variants = {variant["name"]: variant for variant in report["variants"]}
    assert list(variants) == ["baseline", "sparse", "by-layer", "small"]
    sparse = surgery.load(finished / "connections" / "sparse" / "network.safetensors")
    shares = {
        name: float(connections.kept(sparse.get_parameter(f"{name}.weight")).double().mean())
        for name in product.layers(sparse)
    }
    assert shares.pop("conv1") == shares.pop("head.1") == 1
    assert all(share == pytest.approx(0.25, abs=0.02) for share in shares.values())  # two steps of a half
    missing = variants["baseline"]["parameters"] - variants["sparse"]["parameters"]
    assert missing == connections.removed_weights(sparse) > 0.5 * variants["baseline"]["parameters"]
    assert variants["small"]["parameters"] == variants["sparse"]["parameters"]
    codes = product_file.load_codes(finished / "product" / "small" / "codes.safetensors")
    for name, each in codes.items():
        kept = connections.kept(sparse.get_parameter(f"{name}.weight")).numpy()
        assert np.array_equal(each.mask.reshape(kept.shape), kept)
    model = OnnxPoseModel(finished / "small.safetensors", device="cpu", threads=1)
    assert (model.name, model.metadata["parent"]) == ("small", "sparse")
    assert OnnxPoseModel(finished / "sparse.onnx", device="cpu", threads=1).metadata["parent"] == "baseline"
    assert (finished / "small.safetensors").stat().st_size < 0.3 * variants["sparse"]["bytes"]


def test_one_layer_after_the_other(finished):
    folders = sorted((finished / "connections" / "by-layer").glob("step-*"))
    cuts = [surgery.load(folder / "cut.safetensors") for folder in folders]
    counts = [connections.removed_weights(cut) for cut in cuts]
    names = ["layer1.0.conv1", "layer1.0.conv2", "head.0"]
    sizes = [cuts[0].get_parameter(f"{name}.weight").numel() for name in names]
    assert counts == [sum(sizes[: end + 1]) // 2 for end in range(3)]


def test_a_finished_pruning_is_not_made_again(finished, heads, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.glob("connections/*/*.safetensors")}
    assert cli.main(["compress", str(heads / "tiny.toml"), "--out", str(finished), "--only", "connections"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    capsys.readouterr()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("connections.sparse.importance=apoz", "importance must be one of correlation, l1, taylor, random; got 'apoz'"),
        ("connections.sparse.rule={kind='share',value=1.0}", "a share must be in .0, 1., got 1.0"),
        ("connections.sparse.exempt=['conv7']", "connections: exempt: no layer conv7"),
        ("connections.sparse.network=small", "connections.sparse.network must be one of baseline, teacher; got"),
        ("product.small.network=later", "product.small.network must be one of baseline, teacher, sparse, by-layer"),
        ("product.sparse={network='baseline'}", "product.sparse is the name of another network"),
        ("product.small.network=by-layer", "there is no network by-layer in .*: run the stage connections first"),
    ],
)
def test_mistakes_are_reported_in_a_line(heads, tmp_path, capsys, change, message):
    stage = "encode" if "product.small.network=by-layer" in change else "connections"
    command = ["compress", str(heads / "tiny.toml"), "--out", str(tmp_path / "run"), "--only", stage, "--set", change]
    status = cli.main(command)
    out, err = capsys.readouterr()
    lines = "".join(line + "\n" for line in err.splitlines() if line.startswith("headpose:"))
    assert_error((status, out, lines), message)
