from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from headpose import geometry
from headpose.losses import (
    binary_cross_entropy,
    box_iou,
    cosine_distance,
    cross_entropy,
    euler_squared_error,
    generalized_iou_loss,
    geodesic_distance,
    laplace_likelihood,
)
from headpose.types import Box

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


FACTOR = torch.tensor([[0.2, 0.0, 0.0], [0.05, 0.1, 0.0], [-0.1, 0.02, 0.3]])


def test_the_likelihood_is_that_of_a_density():
    """Its integral over space is 1, and its mean Mahalanobis distance that of a Gaussian."""
    axis = torch.linspace(-9, 9, 61)
    grid = torch.cartesian_prod(axis, axis, axis)
    density = torch.exp(-laplace_likelihood(grid @ FACTOR.T, FACTOR.expand(len(grid), 3, 3)))
    mass = density * FACTOR.det() * (axis[1] - axis[0]) ** 3
    assert mass.sum().item() == pytest.approx(1, abs=0.01)
    assert (mass * grid.norm(dim=1)).sum().item() == pytest.approx((8 / torch.pi) ** 0.5, rel=0.02)


def test_the_likelihood_is_best_for_the_covariance_of_the_errors():
    torch.manual_seed(0)
    errors = torch.randn(4000, 3) @ FACTOR.T
    scales = torch.linspace(0.7, 1.4, 15)
    losses = [laplace_likelihood(errors, scale * FACTOR.expand(4000, 3, 3)).mean() for scale in scales]
    assert scales[int(torch.stack(losses).argmin())].item() == pytest.approx(1.0, abs=0.06)
    turned = laplace_likelihood(errors, FACTOR.flip(0, 1).T.contiguous().expand(4000, 3, 3)).mean()
    assert turned > losses[6] + 0.1


def test_the_gradient_of_the_likelihood_is_finite_at_no_error():
    factor = FACTOR[None].clone().requires_grad_()
    laplace_likelihood(torch.zeros(1, 3), factor).sum().backward()
    assert bool(factor.grad.isfinite().all())


sides = st.floats(0.05, 1.5)
boxes = st.tuples(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5), sides, sides)


@given(boxes, boxes)
def test_generalised_iou_of_boxes(a, b):
    first, second = torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64)
    one, other = (Box(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in (a, b))
    iou = box_iou(first, second).item()
    assert iou == pytest.approx(one.iou(other), abs=1e-9)
    loss = generalized_iou_loss(first, second).item()
    assert -1e-5 <= 1 - iou - 1e-5 <= loss <= 2
    assert generalized_iou_loss(first, first).item() == pytest.approx(0, abs=1e-5)


def test_boxes_apart_are_pulled_together():
    far = torch.tensor([[0.1, 0.1, 0.1, 0.1]], requires_grad=True)
    generalized_iou_loss(far, torch.tensor([[0.9, 0.9, 0.1, 0.1]])).sum().backward()
    assert (far.grad[0, :2] < 0).all()


def test_cross_entropy_of_a_logit():
    found = binary_cross_entropy(torch.tensor([0.0, 100.0, -100.0]), torch.tensor([1.0, 1.0, 1.0]))
    assert found.tolist() == pytest.approx([0.6931, 0.0, 100.0], abs=1e-3)
