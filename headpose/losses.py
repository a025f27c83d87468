"""Loss functions. Each returns one value per sample; training minimizes their weighted mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-8
_SHORTEST = 1e-8  # minimum norm of a vector


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
