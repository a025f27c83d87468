"""The decoders of the optional outputs, and which values of the last layer belong to which."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headpose import reading
from headpose.errors import InputError
from headpose.networks import outputs
from headpose.networks.build import build
from headpose.networks.spec import ResNetSpec
from tests.training.networks import TINY_BASIC, TINY_BOTTLENECK, network

EVERYTHING = dataclasses.replace(TINY_BASIC, outputs=("covariance", "face", "region"))

rows = st.integers(1, 4)


def values(columns):
    """Values of any size that float32 holds."""
    elements = st.floats(-1e6, 1e6, width=32) | st.floats(-4, 4, width=32)
    return rows.flatmap(lambda count: hnp.arrays(np.float32, (count, columns), elements=elements))


def test_each_value_belongs_to_one_output():
    assert EVERYTHING.parts == {"rotation": 6, "region": 4, "covariance": 6, "face": 1}
    assert EVERYTHING.values == 17
    assert dataclasses.replace(TINY_BOTTLENECK, outputs=("face",)).parts == {"rotation": 3, "face": 1}
    parts = outputs.split(torch.arange(17.0)[None], EVERYTHING)
    assert torch.equal(torch.cat(list(parts.values()), 1), torch.arange(17.0)[None])
    assert parts["face"].tolist() == [[16.0]]


def test_a_new_network_starts_with_plain_values():
    net = build(EVERYTHING).eval()
    torch.nn.init.zeros_(net.head[-1].weight)
    found = net.read(torch.zeros(1, 3, 40, 40))
    torch.testing.assert_close(found["rotation"][0], torch.eye(3))
    torch.testing.assert_close(found["region"][0], torch.tensor([0.5, 0.5, 0.7, 0.7]))
    torch.testing.assert_close(found["covariance"][0], 0.01 * torch.eye(3))
    assert found["face"].tolist() == [0.0]


@settings(max_examples=100, deadline=None)
@given(values(17))
def test_whatever_the_values_the_outputs_are_valid(raw):
    decoded = outputs.decode(torch.from_numpy(raw), EVERYTHING)
    decoded["rotation"] = torch.eye(3).repeat(len(raw), 1, 1)
    found = reading.checked({name: value.numpy() for name, value in decoded.items()}, len(raw), "any")
    deviations = np.sqrt(np.linalg.eigvalsh(found["covariance"]))
    assert deviations.min() > 0 and deviations.max() < 5
    assert found["region"][:, 2:].min() > 0.03


@settings(max_examples=50, deadline=None)
@given(values(6))
def test_a_covariance_is_the_square_of_its_factor(raw):
    factor = outputs.scale_tril(torch.from_numpy(raw)).double()
    assert torch.equal(factor, factor.tril()) and bool((factor.diagonal(dim1=1, dim2=2) > 0.0049).all())
    wanted = factor @ factor.transpose(1, 2)
    found = outputs.covariance(torch.from_numpy(raw)).double()
    deviations = wanted.diagonal(dim1=1, dim2=2).sqrt()
    scale = deviations[:, :, None] * deviations[:, None, :]  # float32 terms of this size may cancel in an element
    torch.testing.assert_close(found / scale, wanted / scale, rtol=0, atol=2e-6)


def test_every_value_of_a_covariance_has_an_effect():
    for column in range(6):
        raw = torch.zeros(1, 6)
        raw[0, column] = 1.0
        assert (outputs.covariance(raw) - outputs.covariance(torch.zeros(1, 6))).abs().max() > 1e-3


def test_outputs_are_decoded_in_float32_under_autocast():
    net, images = network(EVERYTHING), torch.randn(2, 3, 40, 40)
    with torch.autocast("cpu", torch.bfloat16):
        found = net.read(images)
    assert {value.dtype for value in found.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": ("face", "face")}, "each name once"),
        ({"outputs": ("gaze",)}, "outputs.0 must be one of region, covariance, face; got 'gaze'"),
        ({"outputs": ("face",), "output": "classes", "classes": 3}, "those of a head pose network"),
    ],
)
def test_a_spec_names_known_outputs(change, message):
    with pytest.raises(InputError, match=message):
        ResNetSpec.from_dict({**TINY_BASIC.to_dict(), **change})


def test_specs_with_outputs_survive_json():
    assert ResNetSpec.from_dict(EVERYTHING.to_dict()) == EVERYTHING
    assert "outputs" not in TINY_BASIC.to_dict()  # earlier versions read the file
