"""How often an epoch draws each face: shares of the sources, and a density over yaw and pitch.

An epoch has L draws, where L is the sum of ``repeat`` over the training faces. Each source with a share is a pool, and
all sources without one are one more pool. A pool p gets s_p L draws, where s_p is its share. Without a density, every
face of a pool is drawn equally often, times its ``repeat``. With one, face i of pool p in bin b is drawn r_i times:

    r_i = min(c, a_p d_b repeat_i)          c = density.max_repeats
    sum of r_i over pool p = s_p L          the shares hold
    T_b = sum of r_i over bin b             -sum T_b log T_b is as large as possible

No other draws with the same limit and shares have a larger entropy over the bins that hold faces; empty bins are
skipped. With one pool this is T_b = min(c n_b, t) for n_b faces in a bin: every bin is filled to the same level t, or
as far as the limit allows. A source with a share fills the bins that the others leave empty. Where bins are full
without it, few of its faces are drawn, or none.

The factors a and d are found by raking (Deming & Stephan, "On a Least Squares Adjustment of a Sampled Frequency
Table", 1940), in turns: all bins are scaled to the same total, then each pool to its share under the limit. Both
steps are exact projections onto convex sets in the Kullback-Leibler divergence, so the turns converge to the nearest
points of the two sets, whether these intersect or not (Csiszar & Tusnady, "Information Geometry and Alternating
Minimization Procedures", 1984).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headpose import geometry
from headpose.errors import RecipeError
from headpose.recipes.data import DataRecipe
from headpose.types import Sample

F64 = NDArray[np.float64]
Int = NDArray[np.int64]

_TURNS = 2000
_TOLERANCE = 1e-5  # draws of a face
_LEAST = 1e-9  # draws of a face: it stays above 0, so that a later turn can raise it


def repeats(recipe: DataRecipe, samples: Sequence[Sample], sources: Int) -> F64:
    """How often an epoch draws each training face, on average.

    Args:
        recipe: the sources with their shares and repeats, and the density.
        samples: the N training faces.
        sources: (N,) index of each face's source.

    Returns:
        (N,) draws in an epoch, at least 0; rounded to 6 digits, so that processors agree on them.

    Raises:
        RecipeError: a source has a share and no faces, or the limit does not let a pool reach its share.
    """
    own = np.array([source.repeat for source in recipe.sources])[sources]
    shares, limit = np.array([source.share for source in recipe.sources]), recipe.density.max_repeats
    if not limit and not shares.any():
        return own
    pools = np.where(shares > 0, np.arange(len(shares)), len(shares))[sources]
    draws = {pool: share * own.sum() for pool, share in _pool_shares(shares).items()}
    _check(recipe, draws, np.bincount(pools, minlength=len(shares) + 1))
    if limit:
        drawn = _rake(own, sources, pools, pose_bins(samples, recipe.density.bin_degrees), draws, limit)
    else:
        sums = np.bincount(pools, own, minlength=len(shares) + 1)
        drawn = own * np.array([draws.get(pool, 0.0) for pool in range(len(sums))])[pools] / sums[pools]
    return np.round(drawn, 6)


def pose_bins(samples: Sequence[Sample], side: float) -> Int:
    """(N,) number of each face's bin of yaw and pitch, from 0 on; bins without a face have none.

    Args:
        samples: N faces.
        side: of a bin, degrees. Edges lie at its multiples.
    """
    cells = np.floor(angles(samples)[:, :2] / side)
    _, number = np.unique(cells, axis=0, return_inverse=True)
    bins: Int = number.reshape(-1)
    return bins


def angles(samples: Sequence[Sample]) -> F64:
    """(N, 3) yaw, pitch, roll of faces in degrees: those with the smaller |pitch| + |roll|, whatever the label says."""
    return geometry.euler_from_rotation(geometry.rotation_from_euler(np.array([s.euler for s in samples])))


def _pool_shares(shares: F64) -> dict[int, float]:
    """Share of the draws of each pool, by the index of its source; the pool of sources without one comes last."""
    found = {int(source): float(shares[source]) for source in np.flatnonzero(shares)}
    if len(found) == len(shares):
        return {source: share / sum(found.values()) for source, share in found.items()}
    return {**found, len(shares): 1.0 - sum(found.values())}


def _check(recipe: DataRecipe, draws: dict[int, float], faces: Int) -> None:
    limit = recipe.density.max_repeats
    for pool, wanted in draws.items():
        name = recipe.sources[pool].path if pool < len(recipe.sources) else "the sources without a share"
        if not faces[pool]:
            raise RecipeError(
                f"{name}: there are no faces to train on, and data.sources gives them a share of the draws"
            )
        if limit and wanted > limit * faces[pool]:
            raise RecipeError(
                f"{name}: {faces[pool]} faces need {wanted / faces[pool]:.3g} draws each in an epoch to reach their "
                f"share, and data.density.max_repeats is {limit:g}: raise it, or change the shares"
            )


def _rake(own: F64, sources: Int, pools: Int, bins: Int, draws: dict[int, float], limit: float) -> F64:
    """(N,) draws of each face under a density: see the module."""
    # Faces of one source and bin are alike: they are counted together, as a cell.
    _, first, cell, count = np.unique(
        np.stack([sources, bins]), axis=1, return_index=True, return_inverse=True, return_counts=True
    )
    cell, cell_bin, cell_pool = cell.reshape(-1), bins[first], pools[first]
    drawn, bin_count = own[first] * count, int(bins.max()) + 1
    for _ in range(_TURNS):
        before, totals = drawn, np.bincount(cell_bin, drawn, minlength=bin_count)
        drawn = np.maximum(drawn * (own.sum() / bin_count / totals)[cell_bin], _LEAST * count)
        for pool, wanted in draws.items():
            inside = cell_pool == pool
            drawn[inside] = _scale(drawn[inside], limit * count[inside], wanted)
        if np.abs((drawn - before) / count).max() <= _TOLERANCE:
            break
    each: F64 = (drawn / count)[cell]
    return each


def _scale(values: F64, limits: F64, total: float) -> F64:
    """min(limits, a * values), with the factor a for which they sum up to ``total``.

    Args:
        values: (N,) above 0.
        limits: (N,) above 0.
        total: at most the sum of ``limits``.
    """
    order = np.argsort(limits / values)  # the first ones reach their limit first
    full = np.concatenate([[0.0], np.cumsum(limits[order])[:-1]])
    factors = (total - full) / np.cumsum(values[order][::-1])[::-1]
    # With the first k at their limit, a is factors[k]: right for the first k whose next one stays below its own.
    fits = factors * values[order] <= limits[order]
    factor = factors[np.argmax(fits)] if fits.any() else np.inf
    scaled: F64 = np.minimum(limits, factor * values)
    return scaled
