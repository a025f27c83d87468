import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from headpose.compression import channels, importance, surgery
from headpose.compression.importance import CRITERIA, Evidence
from headpose.errors import InputError
from headpose.networks.spec import StemSpec, resnet
from tests.compression.networks import specs
from tests.training.networks import network as lively

SPEC = resnet("bottleneck", (2, 1), (4, 6), (10, 12), StemSpec(8, 3, 1, False), head=(10,), output="classes", classes=3)
COUPLED = resnet("basic", (2,), (5,), (8,), StemSpec(8), output="classes", classes=3)
SPECS = pytest.mark.parametrize("spec", [SPEC, COUPLED], ids=["bottleneck", "coupled basic"])


class Batch:
    def __init__(self, count, seed=0, size=20):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randn(count, 3, size, size, generator=generator)
        self.labels = torch.randint(0, 3, (count,), generator=generator)


def loss(network, batch):
    return nn.functional.cross_entropy(network(batch.images), batch.labels)


def names_of(spec):
    return [group.name for group in channels.groups(spec)]


def maps_of(network, images):
    """Every map after its ReLU, by the network's own arithmetic written out: group -> its maps."""
    found = {}

    def keep(name, x):
        found.setdefault(name, []).append(x.clone())
        return x

    with torch.no_grad():
        blocks = [(f"{s}.{i}", b) for s in network.stages for i, b in enumerate(network.get_submodule(s))]
        stream = "layer1" if blocks[0][1].downsample is None else "conv1"
        x = network.maxpool(keep(stream, network.bn1(network.conv1(images)).relu()))
        for name, block in blocks:
            y = keep(f"{name}.conv1", block.bn1(block.conv1(x)).relu())
            if hasattr(block, "conv3"):
                y = keep(f"{name}.conv2", block.bn2(block.conv2(y)).relu())
                y = block.bn3(block.conv3(y))
            else:
                y = block.bn2(block.conv2(y))
            if block.downsample is not None:
                x, stream = block.downsample(x), name.removesuffix(".0")
            x = keep(stream, (x + y).relu())
        x = x.mean((2, 3))
        for i, layer in enumerate(network.head[:-1]):
            x = keep(f"head.{i}", layer(x).relu())
    return found


@SPECS
def test_zeros_are_counted_in_every_map(spec):
    network = lively(spec)
    images = torch.randn(7, 3, 20, 20)
    found = importance.zeros(network, names_of(spec), images.split(3))
    wanted = maps_of(network, images)
    assert found.keys() == wanted.keys()
    for name, share in found.items():
        shares = [
            (x == 0).double().flatten(2).mean((0, 2)) if x.ndim == 4 else (x == 0).double().mean(0)
            for x in wanted[name]
        ]
        assert share.dtype == torch.float64
        torch.testing.assert_close(share, torch.stack(shares).mean(0), atol=1e-12, rtol=0)


def test_zeros_by_hand():
    network = lively(SPEC)
    with torch.no_grad():
        network.bn1.weight.zero_()
        network.bn1.bias.copy_(torch.tensor([-1.0, 0.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0]))
    share = importance.zeros(network, ["conv1"], [torch.randn(2, 3, 20, 20)])["conv1"]
    assert share.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert importance.apoz(network, ["conv1"], [torch.randn(2, 3, 20, 20)])["conv1"].tolist() == [
        0,
        0,
        1,
        1,
        1,
        1,
        1,
        1,
    ]


@settings(max_examples=15)
@given(specs())
def test_apoz_is_the_same_for_any_batches(spec):
    network, images = lively(spec).double(), torch.randn(6, 3, 16, 16).double()
    whole = importance.zeros(network, names_of(spec), [images])
    parts = importance.zeros(network, names_of(spec), iter(images.split([1, 2, 3])))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("criterion", CRITERIA)
@SPECS
def test_a_criterion_judges_every_group_and_leaves_no_trace(spec, criterion):
    network = lively(spec).train()
    network.layer1.eval()
    network.conv1.weight.requires_grad_(False)
    network.bn1.weight.requires_grad_(False)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    evidence = Evidence([Batch(3, 1), Batch(2, 2)], loss, seed=4)
    found = CRITERIA[criterion](network, names_of(spec), evidence)
    for group in channels.groups(spec):
        assert found[group.name].shape == (group.width,) and found[group.name].dtype == torch.float64
        assert found[group.name].isfinite().all() and not found[group.name].requires_grad
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert all(p.grad is None for p in network.parameters())
    assert {n for n, p in network.named_parameters() if not p.requires_grad} == {"conv1.weight", "bn1.weight"}
    assert not any(module._forward_hooks for module in network.modules())
    again = CRITERIA[criterion](network, names_of(spec)[:2], evidence)
    assert all(torch.equal(again[name], found[name]) for name in again)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_what_cannot_be_judged_is_refused(criterion):
    network = lively(SPEC)
    with pytest.raises(InputError, match="no group of channels 'layer9'"):
        CRITERIA[criterion](network, ["layer9"], Evidence([Batch(2)], loss))
    if criterion in ("apoz", "taylor", "correlation"):
        with pytest.raises(InputError, match="at least"):
            CRITERIA[criterion](network, ["conv1"], Evidence([], loss))


def test_hooks_go_when_the_images_are_bad():
    network = lively(SPEC).train()
    with pytest.raises(RuntimeError, match="channels"):
        importance.apoz(network, names_of(SPEC), [torch.randn(2, 5, 20, 20)])
    assert not any(module._forward_hooks for module in network.modules()) and network.training


def test_taylor_without_a_loss_is_refused():
    with pytest.raises(InputError, match="needs a loss"):
        CRITERIA["taylor"](lively(SPEC), ["conv1"], Evidence([Batch(2)]))


@SPECS
def test_taylor_is_the_slope_of_the_loss_as_a_channel_fades(spec):
    network, batch = lively(spec).double(), Batch(4)
    batch.images = batch.images.double()
    found = importance.taylor(network, names_of(spec), [batch], loss)
    axes, step = channels.axes(spec), 1e-6
    for group in channels.groups(spec):
        producers = [layer for layer in channels.layers(spec) if layer.outputs == group]
        slopes = []
        for channel in (0, group.width - 1):
            values = []
            for factor in (1 - step, 1 + step):
                state = {k: v.clone() for k, v in network.state_dict().items()}
                for layer in producers:
                    for kind in ("weight", "bias"):
                        name = f"{layer.norm or layer.name}.{kind}"
                        assert axes[name][0] == group.name
                        state[name][channel] *= factor
                faded = lively(spec).double()
                faded.load_state_dict(state)
                with torch.no_grad():
                    values.append(float(loss(faded, batch)))
            slopes.append(((values[1] - values[0]) / (2 * step)) ** 2)
        torch.testing.assert_close(found[group.name][[0, -1]], torch.tensor(slopes).double(), rtol=1e-4, atol=1e-9)


def test_taylor_is_the_mean_over_batches():
    network, one, two = lively(SPEC), Batch(3, 1), Batch(5, 2)
    parts = [importance.taylor(network, ["layer1"], [batch], loss)["layer1"] for batch in (one, two)]
    torch.testing.assert_close(importance.taylor(network, ["layer1"], [one, two], loss)["layer1"], sum(parts) / 2)


def test_l1_is_the_mean_weight_of_the_filter_in_units_of_the_layer():
    network = lively(SPEC)
    with torch.no_grad():
        network.conv1.weight.copy_(torch.arange(1.0, 9.0).view(8, 1, 1, 1).expand_as(network.conv1.weight) * -0.1)
    found = importance.l1(network, names_of(SPEC))
    np.testing.assert_allclose(found["conv1"], np.arange(1, 9) / 4.5, rtol=1e-6)
    layers = [network.layer1[0].conv3, network.layer1[0].downsample[0], network.layer1[1].conv3]
    sizes = [layer.weight.detach().abs().mean((1, 2, 3)) for layer in layers]
    wanted = sum(size / size.mean() for size in sizes) / 3
    np.testing.assert_allclose(found["layer1"], wanted, rtol=1e-5)


def test_l1_of_a_layer_of_zeros_is_zero():
    network = lively(SPEC)
    nn.init.zeros_(network.conv1.weight)
    assert importance.l1(network, ["conv1"])["conv1"].tolist() == [0] * 8


def test_correlation_removes_the_dead_then_the_copies():
    network = lively(SPEC)
    with torch.no_grad():
        for tensor in (network.conv1.weight, network.bn1.weight, network.bn1.bias, network.bn1.running_mean):
            tensor[5] = tensor[2]
        network.bn1.running_var[5] = network.bn1.running_var[2]
        network.bn1.weight[5] *= 0.5  # the copy speaks softer
        network.bn1.bias[5] *= 0.5
        network.bn1.weight[0], network.bn1.bias[0] = 0.0, -1.0  # never speaks
        network.bn1.weight[7], network.bn1.bias[7] = 0.0, 0.3  # always says the same
    found = importance.correlation(network, ["conv1"], [torch.randn(4, 3, 20, 20)])["conv1"]
    assert sorted(found.tolist()) == [i / 8 for i in range(1, 9)]
    assert [found.tolist().index(i / 8) for i in (1, 2, 3)] == [7, 0, 5]


def test_correlation_by_brute_force():
    network, images = lively(SPEC), torch.randn(6, 3, 20, 20)
    found = importance.correlation(network, names_of(SPEC), images.split(4))
    maps = maps_of(network, images)
    for layer in channels.layers(SPEC):
        if layer.outputs is None or layer.outputs.kind == "stream":
            continue
        name = layer.outputs.name
        (x,) = maps[name]
        units = x.transpose(0, 1).flatten(1).double().numpy()
        filters = network.get_submodule(layer.name).weight.detach().flatten(1).double().numpy()
        filters /= np.linalg.norm(filters, axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            alike = np.maximum(np.abs(np.nan_to_num(np.corrcoef(units))), filters @ filters.T)
        left, order = list(range(len(units))), []
        for i in reversed(left.copy()):
            if units[i].std() == 0:
                left.remove(i)
                order.append(i)
        while len(left) > 1:
            pairs = [(alike[i, j], i, j) for i in left for j in left if i < j]
            _, i, j = max(pairs)
            gone = i if units[i].var() < units[j].var() else j
            left.remove(gone)
            order.append(gone)
        order += left
        ranks = np.empty(len(units))
        ranks[order] = np.arange(1, len(units) + 1) / len(units)
        np.testing.assert_array_equal(found[name], ranks, err_msg=name)


def test_a_stream_of_dead_units_has_an_order_too():
    network = lively(COUPLED)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    found = importance.correlation(network, ["layer1"], [torch.randn(2, 3, 20, 20)])["layer1"]
    assert found.tolist() == [(8 - i) / 8 for i in range(8)]  # of equals the later one goes


def test_the_control_is_drawn_from_its_seed():
    network = lively(SPEC)
    one, two = importance.random(network, ["conv1"], 0)["conv1"], importance.random(network, ["conv1"], 1)["conv1"]
    assert not torch.equal(one, two)
    both = importance.random(network, ["layer1.0.conv1", "layer1.0.conv2"], 0)
    assert not torch.equal(both["layer1.0.conv1"], both["layer1.0.conv2"])


def test_what_taylor_calls_unimportant_is():
    network, batch = lively(SPEC), Batch(64, 3)
    with torch.no_grad():
        surgery.recalibrate(network, [batch.images])  # no channel is silent by accident
        network.layer1[0].bn1.weight[2] = network.layer1[0].bn1.bias[2] = 1e-4
        found = importance.taylor(network, ["layer1.0.conv1"], [batch], loss)["layer1.0.conv1"]
        whole, harm = loss(network, batch), []
        for gone in range(4):
            keep = torch.tensor([i for i in range(4) if i != gone])
            harm.append(abs(loss(surgery.prune(network, {"layer1.0.conv1": keep}), batch) - whole))
        assert found.argmin() == 2 == torch.tensor(harm).argmin()
