"""Rotations in torch: what the values of a network's head become.

``headpose.geometry`` holds the convention; these are its differentiable counterparts.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-8


def rotation_from_6d(values: Tensor) -> Tensor:
    """Gram-Schmidt on two columns (Zhou et al., CVPR 2019, eq. 15).

    Args:
        values: (N, 6); the first three are the first column before normalisation.

    Returns:
        (N, 3, 3) rotations.
    """
    first = _unit(values[:, 0:3])
    second = values[:, 3:6]
    second = _unit(second - (first * second).sum(1, keepdim=True) * first)
    return torch.stack([first, second, _cross(first, second)], dim=2)


def rotation_from_euler(radians: Tensor) -> Tensor:
    """(N, 3) yaw, pitch, roll in radians -> (N, 3, 3); see ``geometry.rotation_from_euler``."""
    cos, sin = radians.cos(), radians.sin()
    cy, cp, cr = cos.unbind(1)
    sy, sp, sr = sin.unbind(1)
    rows = [
        torch.stack([cy * cr, cy * sr, -sy], 1),
        torch.stack([sp * sy * cr - cp * sr, sp * sy * sr + cp * cr, sp * cy], 1),
        torch.stack([cp * sy * cr + sp * sr, cp * sy * sr - sp * cr, cp * cy], 1),
    ]
    return torch.stack(rows, 1)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / (vectors.square().sum(1, keepdim=True) + _TINY).sqrt()


def _cross(a: Tensor, b: Tensor) -> Tensor:
    # Spelled out: torch.linalg.cross has no ONNX operator, these products have.
    ax, ay, az = a.unbind(1)
    bx, by, bz = b.unbind(1)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)
