"""The data section of a recipe: what is learnt from, and how often each part of it is drawn."""

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
    """One set of training faces.

    Attributes:
        kind: ``300w-lp`` (a folder in 300W-LP's layout), ``manifest`` (a CSV file), ``negatives`` (images without a
            face, a folder or a CSV file), or for a classifier ``cifar-10`` (a folder in the layout of CIFAR-10's
            binary version).
        path: path of the folder or the file, relative to the working directory.
        weight: factor on the weights of the source's samples in the loss.
        repeat: passes over the source in one epoch; 0.5 shows every other sample, drawn again each epoch.
        share: share of all images drawn that come from this source; 0 for none of its own. Where every source has
            one, they are divided by their sum. Otherwise the sources without one are pooled and get the rest: each
            of their faces is drawn equally often, times ``repeat``, or as ``data.density`` decides.
        near_duplicates: whether near-duplicate pictures (perceptual hash) are grouped before the split, for data
            sets that do not name their source photographs.
    """

    kind: Literal["300w-lp", "manifest", "negatives", "cifar-10"]
    path: PathText
    weight: Annotated[float, Field(strict=True, gt=0, le=10**6)] = 1.0
    repeat: Annotated[float, Field(strict=True, gt=0, le=1000)] = 1.0
    share: Annotated[float, Field(strict=True, ge=0, le=10**6)] = 0.0
    near_duplicates: Flag = False


@dataclass(frozen=True, slots=True, config=CLOSED)
class DensityRecipe:
    """How the training faces are drawn over yaw and pitch.

    Attributes:
        max_repeats: limit of the draws of one face in an epoch. With a limit, the bins of yaw and pitch are drawn as
            evenly as it and the sources' shares allow; 0 switches this off.
        bin_degrees: side of a bin of yaw and pitch, degrees.
    """

    max_repeats: Annotated[float, Field(strict=True, ge=0, le=1000)] = 0.0
    bin_degrees: Annotated[float, Field(strict=True, ge=1, le=180)] = 15.0


@dataclass(frozen=True, slots=True, config=CLOSED)
class DataRecipe:
    """The examples.

    Attributes:
        sources: folders and files of examples; ``--data PATH`` replaces them.
        density: distribution of the draws over yaw and pitch.
        spread_floor: smallest weight in the loss that a large ``spread`` gives to a training face. 1 switches
            weights by ``spread`` off. Held-out faces keep their weights.
        spread_until: largest absolute yaw of training faces that are weighted by ``spread``, degrees; beyond it a
            face has the full weight.
        validation: share of the source photographs that is held out for validation.
        split_seed: random seed of the choice of these photographs.
        cache_gib: memory for decoded pictures, GiB per process.
    """

    sources: Annotated[tuple[SourceRecipe, ...], Field(min_length=1)]
    density: DensityRecipe = field(default_factory=DensityRecipe)
    spread_floor: Probability = 0.0
    spread_until: Degrees = 180.0
    validation: Share = 0.08
    split_seed: Seed = 0
    cache_gib: Annotated[float, Field(strict=True, ge=0, le=65536)] = 2.0

    def __post_init__(self) -> None:
        """Checks the shares; a ValueError becomes the recipe's error, its first word the start of the path."""
        shares = [source.share for source in self.sources]
        for number, source in enumerate(self.sources):
            if source.share and source.repeat != 1:
                raise ValueError(f"data sources.{number} has both share and repeat: keep one")
        if not all(shares) and sum(shares) >= 1:
            raise ValueError(
                f"data sources have shares that sum to {sum(shares):g} and leave nothing to those without one: "
                "lower them, or give every source a share"
            )
