"""Loss functions. Each returns one value per sample; training minimizes their weighted mean."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-8
_SHORTEST = 1e-8  # minimum norm of a vector
_LAPLACE_RATE = 3.0 / math.sqrt(8.0 / math.pi)


def geodesic_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Compute the geodesic distance on SO(3): the angle between rotations.

    The formula is 2 asin(|A - B|_F / sqrt(8)). Unlike acos((trace(A^T B) - 1) / 2) it has a slope of 1 at small angles
    and finite gradients at 0 and at pi.

    Args:
        predicted: (N, 3, 3) rotation matrices.
        target: (N, 3, 3) rotation matrices.

    Returns:
        (N,) angles in radians.
    """
    chord = ((predicted - target).square().sum((1, 2)) / 8.0 + _TINY).sqrt()
    return 2.0 * torch.asin(chord.clamp(max=1.0 - 1e-4))


def euler_squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Compute the mean squared error of Euler angles, for networks with an Euler head.

    Aghli & Ribeiro (CVPR Workshops 2021) do not state their loss; this one is our choice.

    Args:
        predicted: (N, 3) yaw, pitch, roll in radians.
        target: (N, 3) yaw, pitch, roll in radians.

    Returns:
        (N,) mean squared errors in radians squared.
    """
    return (predicted.float() - target).square().mean(1)


def wing_loss(predicted: Tensor, target: Tensor, known: Tensor, width: float = 0.04, knee: float = 0.01) -> Tensor:
    """Compute the Wing loss of points (Feng et al., "Wing Loss for Robust Facial Landmark Localisation", CVPR 2018).

    It is ``width * ln(1 + |d| / knee)`` for a coordinate's error d below ``width``, and |d| minus a constant beyond.
    A squared or smooth L1 loss hardly sees the errors of a few percent that remain once the face is found, and these
    are all that the measures see; the logarithm keeps their gradient, up to ``width / knee`` times that of L1. Feng et
    al. compare the four on AFLW and 300W. The two constants in units of a crop's side are ours.

    Args:
        predicted: (N, K, 2) points.
        target: (N, K, 2) points.
        known: (N, K) weights of the points; 0 for points without a label.
        width: Error from which the loss is linear.
        knee: Error at which the logarithm bends.

    Returns:
        (N,) weighted means over the points and the two coordinates; 0 for a face without a known point.
    """
    distance = (predicted - target).abs()
    offset = width - width * math.log1p(width / knee)
    each = torch.where(distance < width, width * torch.log1p(distance / knee), distance - offset).mean(2)
    return (each * known).sum(1) / known.sum(1).clamp(min=_TINY)


def laplace_likelihood(errors: Tensor, scale_tril: Tensor) -> Tensor:
    """Compute the negative log likelihood of errors under a multivariate Laplace distribution.

    The density depends on the Mahalanobis distance m = |L^-1 d| alone and falls exponentially with it,

        p(d) = a^3 / (8 pi det L) exp(-a m),        a = 3 / sqrt(8 / pi),

    (an elliptical distribution in the sense of Kotz, Kozubowski and Podgorski, "The Laplace Distribution and
    Generalizations", 2001). With this a, the mean of m is that of a Gaussian with the covariance L L^T, so that a
    covariance fitted by this loss gives the mean error that ``geometry.expected_angle`` computes. A Gaussian likelihood
    would fit the mean square instead: labels that are wrong by 90 degrees, which occur in all data of this field, and
    the long tail of real errors would inflate the covariances of all other faces.

    Args:
        errors: (N, 3) rotation vectors in radians.
        scale_tril: (N, 3, 3) lower triangular factors L in radians, with a positive diagonal.

    Returns:
        (N,) float32 negative log likelihoods in nats.
    """
    whitened = torch.linalg.solve_triangular(scale_tril.float(), errors.float()[:, :, None], upper=False)[:, :, 0]
    distance = (whitened.square().sum(1) + _TINY).sqrt()
    logarithm = scale_tril.float().diagonal(dim1=1, dim2=2).log().sum(1)
    return logarithm + _LAPLACE_RATE * distance + math.log(8 * math.pi / _LAPLACE_RATE**3)


def generalized_iou_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Compute 1 - GIoU of boxes (Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019).

    Unlike a smooth L1 distance it has no scale to choose, counts relative to the size of the face, and is a bound of
    the overlap by which a tracking loop judges a box. Its gradient does not vanish for boxes that do not overlap.

    Args:
        predicted: (N, 4) center x, center y, width and height, width and height above 0.
        target: (N, 4) boxes in the same form.

    Returns:
        (N,) float32 losses in [0, 2].
    """
    overlap, union, hull = _areas(predicted.float(), target.float())
    return 2.0 - overlap / union.clamp(min=_TINY) - union / hull.clamp(min=_TINY)


def box_iou(predicted: Tensor, target: Tensor) -> Tensor:
    """Compute the (N,) intersections over union of boxes in the form of ``generalized_iou_loss``."""
    overlap, union, _ = _areas(predicted, target)
    return overlap / union


def _areas(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the (N,) areas of the intersections, the unions and the hulls of boxes."""
    (low_a, high_a), (low_b, high_b) = _corners(a), _corners(b)
    overlap = (torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp(min=0).prod(1)
    union = (high_a - low_a).prod(1) + (high_b - low_b).prod(1) - overlap
    return overlap, union, (torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)).prod(1)


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    center, size = boxes.chunk(2, 1)
    return center - size / 2, center + size / 2


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the binary cross-entropy.

    Args:
        logits: (N,) logits of the label 1.
        labels: (N,) labels, 0 or 1.

    Returns:
        (N,) float32 cross-entropies in nats.
    """
    return functional.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the cross-entropy of a classifier.

    Args:
        logits: (N, C) logits of C classes.
        labels: (N,) int64 class indices in [0, C).

    Returns:
        (N,) float32 cross-entropies in nats.
    """
    return functional.cross_entropy(logits.float(), labels, reduction="none")


def cosine_distance(teacher: Tensor, student: Tensor) -> Tensor:
    """Compute the cosine distance between feature maps (Aghli & Ribeiro, CVPR Workshops 2021, eq. 3).

    The distance is 1 - cos(angle). The paper prints the opposite sign; minimizing that would push the maps apart.
    Gradients flow to ``student`` only.

    Args:
        teacher: (N, ...) features of the teacher; each sample is flattened.
        student: (N, ...) features of the student, same shape.

    Returns:
        (N,) float32 distances in [0, 2].
    """
    distance: Tensor = _CosineDistance.apply(teacher.flatten(1), student.flatten(1))  # type: ignore[no-untyped-call]
    return distance


class _CosineDistance(torch.autograd.Function):
    """Cosine distance with sums in float32 for inputs of any dtype; converting whole feature maps costs more."""

    @staticmethod
    def forward(context: Any, a: Tensor, b: Tensor) -> Tensor:
        lengths = [torch.linalg.vector_norm(x, dim=1, dtype=torch.float32).clamp(min=_SHORTEST) for x in (a, b)]
        cosine = (a * b).sum(1, dtype=torch.float32) / (lengths[0] * lengths[1])
        context.save_for_backward(a, b, *lengths, cosine)
        return 1.0 - cosine

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[None, Tensor]:
        a, b, length_a, length_b, cosine = context.saved_tensors
        along_a = -gradient / (length_a * length_b)
        along_b = gradient * cosine / length_b.square()
        return None, torch.addcmul(a * along_a[:, None].to(b.dtype), b, along_b[:, None].to(b.dtype))
