"""Facial expressions: mixtures of the 52 expression units of ARKit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_SIDED = ("browOuterUp", "mouthPress", "noseSneer", "mouthStretch", "mouthUpperUp", "mouthLowerDown", "mouthDimple")
_SINGLE = (
    "browInnerUp",
    "mouthLeft",
    "mouthRight",
    "jawLeft",
    "jawRight",
    "jawForward",
    "mouthRollLower",
    "mouthRollUpper",
    "cheekPuff",
    "mouthShrugLower",
    "mouthShrugUpper",
)


def draw(rng: np.random.Generator) -> dict[str, float]:
    """Draw weights of the expression units in [0, 1.1].

    A third of the faces smile, most of them with visible teeth; a fifth are neutral.
    """
    amounts: dict[str, float] = {}

    def both(name: str, amount: float) -> None:
        for side in ("Left", "Right"):
            amounts[name + side] = amount * float(rng.uniform(0.85, 1.1))

    kind = rng.choice(
        ["smile", "laugh", "talk", "rest", "frown", "pout", "surprise", "yell", "wince", "mixed"],
        p=[0.26, 0.1, 0.17, 0.2, 0.05, 0.05, 0.05, 0.03, 0.04, 0.05],
    )
    strength = float(rng.uniform(0.25, 1.0))
    if kind in ("smile", "laugh"):
        both("mouthSmile", strength)
        both("cheekSquint", strength * 0.6)
        both("eyeSquint", strength * rng.uniform(0, 0.5))
        amounts["jawOpen"] = float(rng.uniform(0.15, 0.5) if kind == "laugh" else rng.uniform(0, 0.12))
        shown = float(rng.uniform(0.2, 0.7) if rng.random() < 0.6 else 0.0)  # visible teeth, as in most posed smiles
        both("mouthUpperUp", shown)
        both("mouthLowerDown", shown * rng.uniform(0.2, 1.0))
    elif kind in ("talk", "yell"):
        amounts["jawOpen"] = float(rng.uniform(0.08, 0.45) if kind == "talk" else rng.uniform(0.6, 1.0))
        amounts[str(rng.choice(["mouthFunnel", "mouthPucker", "mouthShrugUpper"]))] = float(rng.uniform(0, 0.5))
    elif kind == "frown":
        both("mouthFrown", strength * 0.7)
        both("browDown", strength * 0.7)
    elif kind == "pout":
        amounts[str(rng.choice(["mouthPucker", "mouthFunnel"]))] = strength
    elif kind == "surprise":
        amounts["browInnerUp"] = strength
        both("browOuterUp", strength)
        both("eyeWide", strength)
        amounts["jawOpen"] = float(rng.uniform(0, 0.6))
    elif kind == "wince":
        both("eyeSquint", strength)
        both("browDown", strength * 0.6)
        both("noseSneer", strength * 0.6)
    if rng.random() < 0.6:
        amounts["browInnerUp"] = max(amounts.get("browInnerUp", 0.0), float(rng.uniform(0, 0.4)))
    for name in _SIDED:
        if rng.random() < (0.4 if kind == "mixed" else 0.06):
            both(name, float(rng.uniform(0, 0.5)))
    for name in _SINGLE:
        if rng.random() < (0.3 if kind == "mixed" else 0.06):
            amounts[name] = amounts.get(name, 0.0) + float(rng.uniform(0, 0.45))
    _draw_lids(rng, amounts)
    return {name: round(min(amount, 1.1), 3) for name, amount in amounts.items() if amount > 0.01}


def _draw_lids(rng: np.random.Generator, amounts: dict[str, float]) -> None:
    """Draw the eyelids: 6 % of the faces have closed eyes, 1 % wink, others lower the lids or open them wide."""
    chance = rng.random()
    if chance < 0.06:
        amounts["eyeBlinkLeft"] = amounts["eyeBlinkRight"] = float(rng.uniform(0.85, 1.0))
    elif chance < 0.07:
        amounts[str(rng.choice(["eyeBlinkLeft", "eyeBlinkRight"]))] = 1.0
    elif chance < 0.6:
        amounts["eyeBlinkLeft"] = amounts["eyeBlinkRight"] = max(0.0, float(rng.normal(0.04, 0.09)))
    else:
        amounts["eyeWideLeft"] = amounts["eyeWideRight"] = float(rng.uniform(0, 0.3))


def targets(amounts: Mapping[str, float]) -> dict[str, float]:
    """Return the weights by the names of the targets of the base mesh."""
    return {f"faceunits/{name}": amount for name, amount in amounts.items()}


def shows_teeth(amounts: Mapping[str, float]) -> bool:
    """Return whether the lips may part, so that the inside of the mouth must be drawn."""
    parting = ("jawOpen", "mouthSmileLeft", "mouthUpperUpLeft", "mouthFunnel", "mouthLowerDownLeft")
    return any(amounts.get(name, 0.0) > 0.03 for name in parting)
