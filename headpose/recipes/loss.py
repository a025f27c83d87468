"""Loss section of a recipe: weights of the losses of a head pose network."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from headpose.config import CLOSED, Weight


@dataclass(frozen=True, slots=True, config=CLOSED)
class LossRecipe:
    """Weights of the losses on the optional outputs, relative to the geodesic distance in radians.

    A loss counts only if the network has its output. The gradient of the likelihood does not reach the rotation, which
    the geodesic distance alone trains; only the layers before the last one learn from both.

    Attributes:
        region: Weight of 1 - generalised IoU of ``region``.
        likelihood: Weight of the Laplace likelihood of the rotation's error under ``covariance``, nats.
        likelihood_from: Share of the run after which the likelihood counts: errors of a rotation that has just begun
            to learn say nothing of those at the end.
        face: Weight of the binary cross-entropy of ``face``, nats.
    """

    region: Weight = 0.25
    likelihood: Weight = 0.02
    likelihood_from: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.1
    face: Weight = 0.1
