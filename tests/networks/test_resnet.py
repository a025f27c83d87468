import numpy as np
import pytest
import torch

from tests.training.networks import TINY_BASIC, TINY_BOTTLENECK, TINY_CAFFE, network


@pytest.mark.parametrize(
    "spec", [TINY_BASIC, TINY_BOTTLENECK, TINY_CAFFE], ids=["basic 6d", "bottleneck euler", "caffe"]
)
def test_every_output_is_a_rotation(spec):
    rotation = network(spec)(torch.randn(4, 3, 40, 40)).detach().numpy()
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-5)


def test_every_parameter_is_trained():
    net = network(TINY_BASIC).train()
    net(torch.randn(4, 3, 40, 40)).square().mul(torch.randn(4, 3, 3)).sum().backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


def test_names_are_torchvisions():
    names = set(network(TINY_BOTTLENECK).state_dict())
    assert {
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv3.weight",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.bias",
        "layer2.1.bn2.running_var",
    } <= names


def test_an_untrained_6d_network_says_straight_ahead():
    from headpose.networks.resnet import HeadPoseNet

    torch.manual_seed(0)
    rotation = HeadPoseNet(TINY_BASIC).eval()(torch.randn(8, 3, 40, 40)).detach().numpy()
    assert np.abs(rotation - np.eye(3)).max() < 0.5
