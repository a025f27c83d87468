from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from headpose import geometry
from headpose.losses import cosine_distance, cross_entropy, euler_squared_error, geodesic_distance

angles = st.tuples(*[st.floats(-180, 180) for _ in range(3)])


@given(angles, angles)
def test_geodesic_is_geometrys(a, b):
    first, second = geometry.rotation_from_euler(a), geometry.rotation_from_euler(b)
    ours = torch.rad2deg(geodesic_distance(torch.tensor(first[None]), torch.tensor(second[None]))).item()
    # 0.02 degrees at 0 from the epsilon that keeps the gradient finite, 1.7 at 180 from the clamp
    assert ours == pytest.approx(float(geometry.geodesic_degrees(first, second)), abs=0.02, rel=0.01)


@pytest.mark.parametrize("degrees", [0.0, 90.0, 180.0])
def test_the_gradient_is_finite_where_acos_has_none(degrees):
    turned = torch.tensor(geometry.rotation_from_euler([degrees, 0, 0]))[None].requires_grad_()
    geodesic_distance(turned, torch.eye(3, dtype=torch.float64)[None]).sum().backward()
    assert torch.isfinite(turned.grad).all()


def test_a_cosine_sees_direction_and_not_length():
    a = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    b = torch.tensor([[5.0, 0.0], [-2.0, -2.0], [0.0, 3.0]])
    torch.testing.assert_close(cosine_distance(a, b), torch.tensor([0.0, 2.0, 1.0]))


def test_a_cosines_slope_is_torchs():
    torch.manual_seed(0)
    a, b = torch.randn(5, 4, 3, 3), torch.randn(5, 4, 3, 3, requires_grad=True)
    weights = torch.rand(5)
    (slope,) = torch.autograd.grad((cosine_distance(a, b) * weights).sum(), b)
    plain = 1 - functional.cosine_similarity(a.flatten(1), b.flatten(1))
    torch.testing.assert_close(slope, torch.autograd.grad((plain * weights).sum(), b)[0])
    assert torch.isfinite(torch.autograd.grad(cosine_distance(a, b * 0).sum(), b)[0]).all()


def test_euler_error_is_the_mean_square_over_the_axes():
    predicted = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    error = euler_squared_error(predicted, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 3.0]]))
    torch.testing.assert_close(error, torch.tensor([13.0 / 3, 3.0]))


def test_cross_entropy_has_one_value_for_each_sample():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]))
    error = cross_entropy(logits, torch.tensor([0, 1]))
    torch.testing.assert_close(error, -torch.log(torch.tensor([0.7, 0.1])))
