"""What a photograph shows beside the head: which pixels are the head's, and the picture without it."""

from __future__ import annotations

import cv2
import numpy as np

from headpose.synth.surface import F32, U8
from headpose.types import Image

_ROUNDS = 2  # of GrabCut
_SIDE = 64  # pixels of the longer side of the picture that GrabCut sees


def head_mask(photo: Image, face: U8, head: U8, reach: int) -> U8:
    """Find the pixels of a head, hair and shoulders included (GrabCut, Rother et al. 2004).

    Args:
        photo: (H, W, 3) uint8 BGR.
        face: (H, W) uint8, 1 where the face is for certain.
        head: (H, W) uint8, 1 where head and shoulders probably are.
        reach: how far beyond ``head`` hair may reach, pixels.

    Returns:
        (H, W) uint8, 1 on the head.
    """
    height, width = face.shape
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    certain, probable = (cv2.resize(each, size, interpolation=cv2.INTER_NEAREST) for each in (face, head))
    near = _dilated(probable, max(1, round(reach * scale)))
    mask = np.where(near > 0, cv2.GC_PR_BGD, cv2.GC_BGD).astype(np.uint8)
    mask[probable > 0] = cv2.GC_PR_FGD
    mask[certain > 0] = cv2.GC_FGD
    if not ((mask == cv2.GC_BGD) | (mask == cv2.GC_PR_BGD)).any() or not certain.any():
        return np.maximum(face, head)
    cv2.setRNGSeed(1)  # GrabCut clusters colors from a random start
    cv2.grabCut(small, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    found |= certain
    _, labels = cv2.connectedComponents(found)
    kept = np.isin(labels, np.unique(labels[certain > 0]))
    smooth = cv2.resize((kept & (found > 0)).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return (smooth > 0.5).astype(np.uint8)


def without_head(photo: F32, mask: U8, margin: int) -> F32:
    """Fill the pixels of a head from around it (push-pull, Gortler et al. 1996).

    Args:
        photo: (H, W, 3) float32.
        mask: (H, W) uint8, 1 on the head.
        margin: pixels around the head that are filled, too: their colors are mixed with its.

    Returns:
        (H, W, 3) float32.
    """
    known = (_dilated(mask, margin) == 0).astype(np.float32)
    if not known.any():
        return np.broadcast_to(photo.mean((0, 1)), photo.shape).astype(np.float32)
    return _push_pull(photo * known[..., None], known)


def _push_pull(weighted: F32, weight: F32) -> F32:
    """Return colors; ``weighted`` is (H, W, 3) colors times their (H, W) weight in [0, 1]."""
    height, width = weight.shape
    color = (weighted / np.maximum(weight, 1e-6)[..., None]).astype(np.float32)
    if min(height, width) < 2 or weight.min() >= 1:
        return color
    size = ((width + 1) // 2, (height + 1) // 2)
    coarse_weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    coarse_weighted = cv2.resize(weighted, size, interpolation=cv2.INTER_AREA)
    full = np.minimum(4 * coarse_weight, 1)  # one known pixel in four is enough
    coarse = _push_pull(coarse_weighted * (full / np.maximum(coarse_weight, 1e-6))[..., None], full)
    coarse = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return (color * weight[..., None] + coarse * (1 - weight)[..., None]).astype(np.float32)


def _dilated(mask: U8, by: int) -> U8:
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1)))
