"""Differentiable rotations in torch, from the values of a network's head.

``headpose.geometry`` defines the convention. ``headpose.networks.export`` traces these functions, so they may only call
functions of its table.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from headpose.networks.spec import Output

_TINY = 1e-8


def decoder(output: Output) -> Callable[[Tensor], Tensor]:
    """Choose the function that turns a head's output, ``6d`` or ``euler``, into rotations."""
    return rotation_from_6d if output == "6d" else rotation_from_euler


def rotation_from_6d(values: Tensor) -> Tensor:
    """Orthonormalize two columns by Gram-Schmidt (Zhou et al., CVPR 2019, eq. 15).

    Args:
        values: (N, 6): the first and the second column before orthonormalization.

    Returns:
        (N, 3, 3) rotations.
    """
    first, second = values.chunk(2, 1)
    first = _unit(first)
    second = _unit(second - (first * second).sum(1, True) * first)
    return torch.stack([first, second, torch.linalg.cross(first, second)], 2)


def rotation_from_euler(radians: Tensor) -> Tensor:
    """Convert (N, 3) yaw, pitch, roll in radians to (N, 3, 3) rotations; see ``geometry.rotation_from_euler``."""
    cy, cp, cr = radians.cos().chunk(3, 1)
    sy, sp, sr = radians.sin().chunk(3, 1)
    sp_sy, cp_sy = sp * sy, cp * sy
    entries = [
        *(cy * cr, cy * sr, -sy),
        *(sp_sy * cr - cp * sr, sp_sy * sr + cp * cr, sp * cy),
        *(cp_sy * cr + sp * sr, cp_sy * sr - sp * cr, cp * cy),
    ]
    return torch.cat(entries, 1).reshape(-1, 3, 3)


def rotation_vectors(rotations: Tensor) -> Tensor:
    """Convert (N, 3, 3) rotations to (N, 3) rotation vectors in radians; see ``geometry.vector_from_rotation``.

    For targets: the gradient is not finite at turns of 180 degrees.
    """
    xx, yy, zz = rotations.diagonal(dim1=1, dim2=2).unbind(1)
    x, y, z = (rotations[:, i, j] - rotations[:, j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    xy, xz, yz = (rotations[:, i, j] + rotations[:, j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    rows = [
        [1 + xx + yy + zz, x, y, z],
        [x, 1 + xx - yy - zz, xy, xz],
        [y, xy, 1 - xx + yy - zz, yz],
        [z, xz, yz, 1 - xx - yy + zz],
    ]
    quaternions = torch.stack([torch.stack(row, 1) for row in rows], 1)
    largest = quaternions.diagonal(dim1=1, dim2=2).argmax(1)
    chosen = quaternions[torch.arange(len(rotations), device=rotations.device), largest]
    chosen = torch.where(chosen[:, :1] < 0, -chosen, chosen)
    chosen = chosen / torch.linalg.vector_norm(chosen, dim=1, keepdim=True)
    sine = torch.linalg.vector_norm(chosen[:, 1:], dim=1, keepdim=True)
    angle = 2 * torch.atan2(sine, chosen[:, :1])
    return chosen[:, 1:] * torch.where(sine > 0, angle / sine.clamp(min=1e-12), 2.0)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / (vectors.square().sum(1, True) + _TINY).sqrt()
