"""Identity: age, sex, ancestry, build and features of a person, and the resulting face shape."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from headpose.synth.assets import Assets
from headpose.synth.surface import F32

ANCESTRIES = ("african", "asian", "caucasian")
# Excluded targets: they move the whole head or produce caricatures.
_LEFT_OUT = re.compile(r"head-trans|head-angle|neck-trans|neck-scale-vert|neck-height|neck-double|ear-trans|pointed")
_OPPOSITES = (
    ("decr", "incr"),
    ("down", "up"),
    ("in", "out"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
)
# Standard deviation of a slider in [-1, 1] by facial region.
_SPREAD = {
    "nose": 0.24,
    "mouth": 0.22,
    "chin": 0.28,
    "eyes": 0.2,
    "ears": 0.3,
    "head": 0.22,
    "forehead": 0.28,
    "cheek": 0.3,
    "eyebrows": 0.28,
    "neck": 0.25,
}
_COMPONENTS = 100  # number of identity components in an asset folder


@dataclass(frozen=True, slots=True)
class Person:
    """Identity of a person.

    Attributes:
        age: Age in [0, 1]: 0 is about 8 years, 0.5 about 25, 1 about 80.
        male: Sex in [0, 1], 1 is male.
        ancestry: Weights of ``ANCESTRIES``, which sum to 1.
        muscle: Muscularity in [0, 1]; 0.5 is average.
        weight: Body weight in [0, 1]; 0.5 is average.
        features: Weights of the targets of single features by name.
        components: Identity components of the asset folder in standard deviations; empty without an asset folder.
    """

    age: float
    male: float
    ancestry: tuple[float, float, float]
    muscle: float
    weight: float
    features: Mapping[str, float] = field(default_factory=dict)
    components: tuple[float, ...] = ()

    @property
    def is_male(self) -> bool:
        return self.male > 0.5

    @property
    def is_child(self) -> bool:
        return self.age < 0.25

    @property
    def is_old(self) -> bool:
        return self.age > 0.75


def draw(rng: np.random.Generator, target_names: Sequence[str], has_components: bool) -> Person:
    """Draw a person: half women, a tenth children, a quarter old; ancestries are uniform and often mixed."""
    group = rng.choice(4, p=[0.1, 0.35, 0.3, 0.25])
    age = rng.uniform([0.0, 0.3, 0.5, 0.75][group], [0.25, 0.5, 0.75, 1.0][group])
    male = rng.integers(2)
    sureness = rng.beta(3.0, 0.8)
    own = rng.dirichlet([0.4, 0.4, 0.4])
    components: tuple[float, ...] = ()
    if has_components and rng.random() < 0.8:
        components = tuple(np.round(rng.normal(0, rng.uniform(0.5, 0.95), _COMPONENTS), 3).tolist())
    return Person(
        age=float(age),
        male=float(male * sureness + (1 - male) * (1 - sureness)),
        ancestry=(float(own[0]), float(own[1]), float(own[2])),
        muscle=float(np.clip(rng.normal(0.5, 0.18), 0, 1)),
        weight=float(np.clip(rng.normal(0.52, 0.22), 0, 1)),
        features=_draw_features(rng, target_names, 0.5 if components else 1.0),
        components=components,
    )


def _draw_features(rng: np.random.Generator, target_names: Sequence[str], scale: float) -> dict[str, float]:
    strength = rng.uniform(0.5, 1.25) * scale
    sliders = _sliders(tuple(target_names))
    normal, even, chance = rng.normal(size=len(sliders)), rng.random(len(sliders)), rng.random(len(sliders))
    uneven = iter(rng.normal(0, 0.06, len(target_names)).tolist())
    amounts: dict[str, float] = {}
    for number, (folder, targets) in enumerate(sliders):
        if folder == "asym":
            value = 0.4 * even[number] * (chance[number] < 0.25)
        elif all(sign == 1 for _, sign, _ in targets):
            value = 0.7 * scale * even[number] * (chance[number] < 0.2)
        else:
            value = min(max(normal[number] * _SPREAD.get(folder, 0.25) * strength, -1.0), 1.0)
        for name, sign, paired in targets:
            amount = sign * value + (next(uneven) if paired else 0.0)
            if value and amount > 0.01:
                amounts[name] = round(float(amount), 3)
    return amounts


@functools.cache
def _sliders(target_names: tuple[str, ...]) -> list[tuple[str, list[tuple[str, int, bool]]]]:
    """Return the facial region and the targets of each feature.

    A target is a tuple (name, direction of the slider, True if there is a counterpart on the other side).
    """
    sliders: dict[tuple[str, str], list[tuple[str, int, bool]]] = {}
    directions = {word: sign for pair in _OPPOSITES for word, sign in zip(pair, (-1, 1), strict=True)}
    for name in target_names:
        folder, stem = name.split("/")
        if folder in ("macro", "faceunits") or _LEFT_OUT.search(stem):
            continue
        paired = stem[:2] in ("l-", "r-")
        stem = stem[2:] if paired else stem
        feature, _, last = stem.rpartition("-")
        sign = directions.get(last, 0)
        key = (folder, name if folder == "asym" else feature if sign else stem)
        sliders.setdefault(key, []).append((name, sign or 1, paired))
    return [(folder, targets) for (folder, _), targets in sliders.items()]


def macro_amounts(person: Person) -> dict[str, float]:
    """Return the weights of the targets for combinations of sex, age, build and ancestry (products of each factor)."""
    ages = _between(person.age, (0.0, 0.5, 1.0), ("child", "young", "old"))
    muscles = _between(person.muscle, (0.0, 0.5, 1.0), ("minmuscle", "averagemuscle", "maxmuscle"))
    builds = _between(person.weight, (0.0, 0.5, 1.0), ("minweight", "averageweight", "maxweight"))
    amounts: dict[str, float] = {}
    for sex, of_sex in (("female", 1 - person.male), ("male", person.male)):
        for age, of_age in ages.items():
            for muscle, of_muscle in muscles.items():
                for build, of_build in builds.items():
                    amounts[f"macro/universal-{sex}-{age}-{muscle}-{build}"] = of_sex * of_age * of_muscle * of_build
            for ancestry, share in zip(ANCESTRIES, person.ancestry, strict=True):
                amounts[f"macro/{ancestry}-{sex}-{age}"] = of_sex * of_age * share
    return {name: amount for name, amount in amounts.items() if amount > 0.003}


def _between(value: float, nodes: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    """Interpolate linearly between evenly spaced nodes; return the weights of the two nodes next to ``value``."""
    return {
        name: share
        for name, share in zip(names, _hats(value, nodes), strict=True)
        if share > 0  # at most two
    }


def _hats(value: float, nodes: Sequence[float]) -> list[float]:
    return [max(0.0, 1 - abs(value - node) / (nodes[1] - nodes[0])) for node in nodes]


def shape(person: Person, assets: Assets, components: tuple[np.ndarray, F32] | None = None) -> F32:
    """Compute the neutral face of a person.

    Args:
        person: Identity.
        assets: Base mesh.
        components: (n,) vertices and (100, n, 3) float32 offsets of the identity components, from an asset folder.

    Returns:
        (19158, 3) float32 vertices in the axes of the base mesh.
    """
    vertices = assets.morph({**macro_amounts(person), **person.features})
    if components is not None and person.components:
        where, movement = components
        vertices[where] += np.tensordot(np.array(person.components, np.float32), movement, 1)
    return vertices


AVERAGE = Person(0.5, 0.5, (1 / 3, 1 / 3, 1 / 3), 0.5, 0.5)
"""Average person, whose head defines the head axes."""
