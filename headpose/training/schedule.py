"""Learning-rate schedules."""

from __future__ import annotations

import dataclasses
import math

from headpose.recipes.training import OptimiserRecipe


def rate(recipe: OptimiserRecipe, images_seen: int, images: int) -> float:
    """Return the learning rate after ``images_seen`` of ``images`` training images.

    ``htd`` is the hyperbolic-tangent decay to 0 of Hsueh et al. (WACV 2019, eq. 2), as used by Aghli & Ribeiro:
    rate / 2 * (1 - tanh(L + (U - L) t / T)).
    """
    part = min(1.0, images_seen / images)
    if recipe.schedule == "htd":
        low, high = recipe.htd_bounds
        decay = (1.0 - math.tanh(low + (high - low) * part)) / 2.0
    elif recipe.schedule == "steps":
        decay = 0.1 ** sum(part >= drop for drop in recipe.drops)
    else:
        decay = (1.0 + math.cos(math.pi * part)) / 2.0
    warmup = min(1.0, (images_seen + 1) / recipe.warmup) if recipe.warmup else 1.0
    return recipe.rate * decay * warmup


def fitted(recipe: OptimiserRecipe, images: int) -> OptimiserRecipe:
    """Shorten a warm-up that is longer than the run to a tenth of the run."""
    return dataclasses.replace(recipe, warmup=images // 10) if recipe.warmup >= images else recipe
