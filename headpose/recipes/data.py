"""Data section of a recipe: sources of training data, and how often their samples are drawn."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from headpose.config import CLOSED, Flag, PathText, Probability, Share

Seed = Annotated[int, Field(strict=True, ge=0, le=2**53)]
Degrees = Annotated[float, Field(strict=True, ge=0, le=180)]


@dataclass(frozen=True, slots=True, config=CLOSED)
class SourceRecipe:
    """Source of training data.

    Attributes:
        kind: ``300w-lp`` (a folder in 300W-LP's layout), ``manifest`` (a CSV file), ``negatives`` (images without a
            face, a folder or a CSV file, for networks with the output ``face``), or for a classifier ``cifar-10`` (a
            folder in the layout of CIFAR-10's binary version).
        path: Path of the folder or the file, relative to the working directory.
        landmarks: Path of the .npz file with the 68 landmarks of a manifest's pictures, for task ``landmarks``;
            pictures without landmarks are left out. A folder in 300W-LP's layout has its own.
        weight: Factor on the weights of the source's samples in the loss.
        repeat: Passes over the source in one epoch; 0.5 shows every other sample, drawn again each epoch.
        share: Share of all draws that come from this source; 0 for no fixed share. If every source has a share, they
            are normalized to a sum of 1. Otherwise the sources without a share are pooled and get the rest: each of
            their faces is drawn equally often, times ``repeat``, or according to ``data.density``. Negatives are never
            in the pool: without a share they are drawn ``repeat`` times each, in addition to the faces.
        near_duplicates: Whether near-duplicate pictures (perceptual hash) are grouped before the split, for data
            sets that do not name their source photographs.
    """

    kind: Literal["300w-lp", "manifest", "negatives", "cifar-10"]
    path: PathText
    landmarks: Annotated[str, Field(pattern=r"^[^\x00]*$", description="a path, or empty")] = ""
    weight: Annotated[float, Field(strict=True, gt=0, le=10**6)] = 1.0
    repeat: Annotated[float, Field(strict=True, gt=0, le=1000)] = 1.0
    share: Annotated[float, Field(strict=True, ge=0, le=10**6)] = 0.0
    near_duplicates: Flag = False


def has_landmarks(source: SourceRecipe) -> bool:
    """Return whether the faces of a source have landmarks."""
    return source.kind == "300w-lp" if not source.landmarks else source.kind == "manifest"


@dataclass(frozen=True, slots=True, config=CLOSED)
class DensityRecipe:
    """Distribution of the draws of training faces over yaw and pitch.

    Attributes:
        max_repeats: Maximum number of draws of one face per epoch. If it is above 0, the bins of yaw and pitch are
            drawn as evenly as this limit and the shares of the sources allow; 0 disables the balancing.
        bin_degrees: Side of a bin of yaw and pitch, degrees.
    """

    max_repeats: Annotated[float, Field(strict=True, ge=0, le=1000)] = 0.0
    bin_degrees: Annotated[float, Field(strict=True, ge=1, le=180)] = 15.0


@dataclass(frozen=True, slots=True, config=CLOSED)
class DataRecipe:
    """Training data of a recipe.

    Attributes:
        sources: Folders and files of examples; ``--data PATH`` replaces them.
        density: Distribution of the draws over yaw and pitch.
        spread_floor: Minimum weight in the loss that results from a large ``spread``; 1 disables weights by ``spread``.
            Weights of held-out faces do not change.
        spread_until: Maximum absolute yaw of training faces that are weighted by ``spread``, degrees; faces beyond it
            have the full weight.
        validation: Share of the source photographs that is held out for validation.
        split_seed: Random seed of the choice of these photographs.
        cache_gib: Memory for decoded pictures, GiB per process.
    """

    sources: Annotated[tuple[SourceRecipe, ...], Field(min_length=1)]
    density: DensityRecipe = field(default_factory=DensityRecipe)
    spread_floor: Probability = 0.0
    spread_until: Degrees = 180.0
    validation: Share = 0.08
    split_seed: Seed = 0
    cache_gib: Annotated[float, Field(strict=True, ge=0, le=65536)] = 2.0

    def __post_init__(self) -> None:
        """Check the shares. The first word of a ValueError becomes the start of the path in the recipe's error."""
        shares = [source.share for source in self.sources]
        for number, source in enumerate(self.sources):
            if source.share and source.repeat != 1:
                raise ValueError(f"data sources.{number} has both share and repeat: keep one")
        if not all(shares) and sum(shares) >= 1:
            raise ValueError(
                f"data sources have shares that sum to {sum(shares):g} and leave nothing to those without one: "
                "lower them, or give every source a share"
            )
